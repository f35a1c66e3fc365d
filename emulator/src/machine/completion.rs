//! What asynchronous operations do when they take effect.

use std::ops::Range;

use super::cluster::{Cluster, Context, Cta};
use super::dependency::Accessor;
use super::footprint::SharedAddress;
use super::launch_control::{self, RESPONSE_BYTES};
use super::operation::{Issuer, Operation, Work};
use super::pair;
use super::report::{FailureKind, Step};
use super::warp::Wait;
use crate::tma;

/// A failure of an operation that had been issued earlier.
#[derive(Debug)]
pub struct LateFailure {
    pub issuer: Issuer,
    pub kind: FailureKind,
}

impl Cluster<'_> {
    /// Lets an operation take effect.
    pub fn complete(&mut self, operation: Operation) -> Result<(), LateFailure> {
        let operation = match self.engine.is_chunked() {
            true => self.split(operation)?,
            false => Some(operation),
        };
        let Some(operation) = operation else {
            return Ok(());
        };
        self.changed();
        if let Some(recorder) = &mut self.recorder {
            recorder.completed(&operation);
        }
        if let Some(order) = &mut self.order {
            order.complete(&operation);
        }
        let Operation {
            issuer,
            work,
            mut snapshot,
            ..
        } = operation;
        self.global.set_accessor(|| Accessor {
            cta: self.ctas[issuer.cta as usize].id,
            warp: issuer.warp,
            lanes: 1 << issuer.lane,
            line: issuer.line,
        });
        if let Some(snapshot) = &mut snapshot {
            snapshot.swap(&mut self.ctas, issuer);
        }
        let applied = self.apply(issuer, work);
        if let Some(snapshot) = &mut snapshot {
            snapshot.swap(&mut self.ctas, issuer);
        }
        applied.map_err(|kind| LateFailure { issuer, kind })
    }

    fn apply(&mut self, issuer: Issuer, work: Work) -> Step<()> {
        match work {
            Work::TmaLoad {
                map,
                coordinates,
                destination,
                barrier,
            } => {
                let window = self.ctas[destination.cta as usize].shared.window_mut();
                let bytes =
                    tma::load_tile(&map, &coordinates, destination.offset, &self.global, window)
                        .map_err(FailureKind::tile)?;
                self.report.tma_bytes += u64::from(bytes);
                self.complete_tx(barrier, bytes)
            }
            Work::BulkLoad {
                source,
                destination,
                bytes,
                barrier,
            } => {
                let window = self.ctas[destination.cta as usize].shared.window_mut();
                let range = byte_range(destination.offset, bytes);
                self.global.read(source, &mut window[range])?;
                self.report.tma_bytes += u64::from(bytes);
                self.complete_tx(barrier, bytes)
            }
            Work::SmallCopies(copies) => {
                for copy in copies.lanes.iter().flatten() {
                    let window = self.ctas[copy.destination.cta as usize].shared.window_mut();
                    let range = byte_range(copy.destination.offset, copies.bytes);
                    let (read, zero) = window[range].split_at_mut(copy.source_bytes as usize);
                    self.global.read(copy.source, read)?;
                    zero.fill(0);
                }
                self.ctas[issuer.cta as usize].warps[issuer.warp as usize]
                    .retry(|wait| matches!(wait, Wait::CopyGroup { .. }));
                Ok(())
            }
            Work::TryCancel { response, barriers } => {
                let Context {
                    pending, launch, ..
                } = self.context;
                let canceled = pending.take().map(|index| launch.first_cta(index));
                let [low, high] = launch_control::response(canceled);
                for barrier in barriers {
                    let shared = &mut self.ctas[barrier.cta as usize].shared;
                    shared.store(response, 8, low);
                    shared.store(response + 8, 8, high);
                    self.complete_tx(barrier, RESPONSE_BYTES)?;
                }
                Ok(())
            }
            Work::CopiesArrive { barrier } => {
                self.mbarrier(barrier, |barrier| barrier.arrive(1))?;
                Ok(())
            }
            Work::StoreRead(store) => {
                let window = self.ctas[store.source.cta as usize].shared.window();
                let data = store.target.read(store.source.offset, window);
                self.engine.deposit(store.ticket, data);
                self.retry_bulk_waits(issuer);
                Ok(())
            }
            Work::StoreWrite(store) => {
                store.execute(&self.global)?;
                self.report.tma_bytes += store.part().len() as u64;
                self.retry_bulk_waits(issuer);
                Ok(())
            }
            Work::Chunk(chunk) => self.land(&chunk),
            Work::SharedCopy(copy) => {
                self.report.tma_bytes += u64::from(copy.bytes);
                copy.execute(self)
            }
            Work::AsyncStore(store) => store.execute(self),
            Work::TensorCopy { copy, cta_group } => {
                for cta in pair::group(issuer.cta as usize, cta_group) {
                    let Cta { shared, tensor, .. } = &mut self.ctas[cta];
                    copy.execute(shared.window(), tensor)
                        .map_err(FailureKind::tensor)?;
                }
                Ok(())
            }
            Work::Mma(mma) => {
                self.report.mmas += 1;
                let group = pair::group(issuer.cta as usize, mma.path().ctas() as u8);
                mma.execute(&mut pair::memories(&mut self.ctas[group]))
                    .map_err(FailureKind::tensor)
            }
            Work::Commit { barriers } => {
                for barrier in barriers {
                    self.mbarrier(barrier, |barrier| barrier.arrive(1))?;
                }
                Ok(())
            }
            Work::WarpgroupMma(operands) => {
                let (cta, warp) = (issuer.cta as usize, issuer.warp as usize);
                super::exec::complete_warpgroup_mma(self, cta, warp, &operands)
            }
            Work::TensorLoad | Work::TensorStore => Ok(()),
        }
    }

    fn retry_bulk_waits(&mut self, issuer: Issuer) {
        self.ctas[issuer.cta as usize].warps[issuer.warp as usize]
            .retry(|wait| matches!(wait, Wait::BulkGroup { .. }));
    }

    pub fn complete_tx(&mut self, barrier: SharedAddress, bytes: u32) -> Step<()> {
        self.mbarrier(barrier, |barrier| barrier.complete_tx(bytes))?;
        Ok(())
    }
}

fn byte_range(offset: u32, bytes: u32) -> Range<usize> {
    offset as usize..(offset + bytes) as usize
}
