//! TMA loads and bulk copies: operands are gathered and checked at issue, bytes move later.

use super::{Flow, memory, unsupported};
use crate::isa::ir::{BulkCopy, Space, TmaLoad};
use crate::machine::async_engine::{Footprint, Region, SharedAddress, Work};
use crate::machine::cluster::{At, Cluster};
use crate::machine::report::{FailureKind, Step};
use crate::machine::warp::{Wait, lanes};
use crate::tma::tile::DESTINATION_ALIGNMENT;
use crate::tma::{self, TensorMap};

/// `cp.async.bulk.tensor`, global to shared. Each lane issues a load of its own.
pub fn tma_load(cluster: &mut Cluster, at: At, load: &TmaLoad, active: u32) -> Step<()> {
    if load.multicast.is_some() {
        return Err(unsupported("multicast loads"));
    }
    if load.cta_group == Some(2) {
        return Err(unsupported("loads for CTA pairs (.cta_group::2)"));
    }
    for lane in lanes(active) {
        let warp = &cluster.ctas[at.cta].warps[at.warp];
        let value = |source| warp.value(source, lane);
        let address = |address: &crate::isa::ir::Address| {
            value(address.base).wrapping_add_signed(address.offset)
        };
        let map = memory::tensor_map(cluster, address(&load.map))?;
        let map = TensorMap::from_bytes(&map)
            .map_err(|error| FailureKind::Tma(format!("the tensor map is unusable: {error}")))?;
        let coordinates = load
            .coordinates
            .iter()
            .map(|source| value(*source) as i32)
            .collect();
        let destination =
            cluster.shared_address(at, Space::SharedCluster, address(&load.destination))?;
        let barrier = cluster.shared_address(at, Space::SharedCluster, address(&load.barrier))?;
        let range = tma::footprint(&map, destination.offset);
        check_destination(
            cluster,
            destination,
            range.len() as u32,
            DESTINATION_ALIGNMENT,
        )?;
        check_barrier(cluster, barrier)?;
        let footprint = Footprint {
            reads: Vec::new(),
            writes: vec![Region::shared(destination.cta, range)],
        };
        let work = Work::TmaLoad {
            map: Box::new(map),
            coordinates,
            destination,
            barrier,
        };
        cluster.issue(at, lane, work, footprint)?;
    }
    Ok(())
}

/// `cp.async.bulk`. Each lane issues a copy of its own.
pub fn bulk(cluster: &mut Cluster, at: At, copy: &BulkCopy, active: u32) -> Step<()> {
    if copy.multicast.is_some() {
        return Err(unsupported("multicast copies"));
    }
    if copy.reduction.is_some() {
        return Err(unsupported("cp.reduce.async.bulk"));
    }
    for lane in lanes(active) {
        let warp = &cluster.ctas[at.cta].warps[at.warp];
        let value = |source| warp.value(source, lane);
        let address = |address: &crate::isa::ir::Address| {
            value(address.base).wrapping_add_signed(address.offset)
        };
        let (from, to) = (address(&copy.source), address(&copy.destination));
        let bytes = value(copy.bytes) as u32;
        let barrier = match &copy.barrier {
            None => None,
            Some(barrier) => {
                Some(cluster.shared_address(at, Space::SharedCluster, address(barrier))?)
            }
        };
        let check = |to, from| {
            tma::check_bulk_copy(to, from, bytes)
                .map_err(|error| FailureKind::Tma(error.to_string()))
        };
        let (work, footprint) = match (copy.source_space, copy.destination_space, barrier) {
            (Space::Global, Space::SharedCta | Space::SharedCluster, Some(barrier)) => {
                let destination = cluster.shared_address(at, copy.destination_space, to)?;
                check(destination.offset.into(), from)?;
                check_destination(cluster, destination, bytes, tma::bulk::BULK_GRANULE)?;
                check_barrier(cluster, barrier)?;
                cluster.global.check(from, bytes.into())?;
                let writes = vec![region(destination, bytes)];
                let work = Work::BulkLoad {
                    source: from,
                    destination,
                    bytes,
                    barrier,
                };
                (
                    work,
                    Footprint {
                        reads: Vec::new(),
                        writes,
                    },
                )
            }
            (Space::SharedCta, Space::Global, None) => {
                let source = cluster.shared_address(at, copy.source_space, from)?;
                check(to, source.offset.into())?;
                check_destination(cluster, source, bytes, tma::bulk::BULK_GRANULE)?;
                cluster.global.check(to, bytes.into())?;
                let reads = vec![region(source, bytes)];
                let work = Work::BulkStore {
                    source,
                    destination: to,
                    bytes,
                    group: None,
                };
                (
                    work,
                    Footprint {
                        reads,
                        writes: Vec::new(),
                    },
                )
            }
            _ => return Err(unsupported("bulk copies between shared memories")),
        };
        cluster.issue(at, lane, work, footprint)?;
    }
    Ok(())
}

fn region(address: SharedAddress, bytes: u32) -> Region {
    Region::shared(address.cta, address.offset..address.offset + bytes)
}

/// The shared-memory side of a copy: in bounds, aligned, no mbarrier in it.
fn check_destination(
    cluster: &Cluster,
    address: SharedAddress,
    bytes: u32,
    alignment: u32,
) -> Step<()> {
    let shared = &cluster.ctas[address.cta as usize].shared;
    shared.check_ordinary(address.offset, bytes, alignment)
}

/// The barrier that a copy reports to has to be live when the copy is issued, not only when it completes.
fn check_barrier(cluster: &mut Cluster, barrier: SharedAddress) -> Step<()> {
    let shared = &mut cluster.ctas[barrier.cta as usize].shared;
    shared.mbarrier(barrier.offset).map(|_| ())
}

/// `cp.async.bulk.commit_group`, per thread.
pub fn commit_group(cluster: &mut Cluster, at: At, active: u32) {
    for lane in lanes(active) {
        let number = &mut cluster.ctas[at.cta].warps[at.warp].bulk_groups[lane];
        let group = *number;
        *number += 1;
        cluster.engine.commit_bulk_group(at.issuer(lane), group);
    }
}

/// `cp.async.bulk.wait_group`: all but the last `pending` groups of each thread have completed.
pub fn wait_group(cluster: &mut Cluster, at: At, pending: u32, read: bool, active: u32) -> Flow {
    let committed = cluster.ctas[at.cta].warps[at.warp].bulk_groups;
    let complete = lanes(active).all(|lane| {
        let before = committed[lane].saturating_sub(pending);
        cluster.engine.pending_bulk_groups(at.issuer(lane), before) == 0
    });
    match complete {
        true => Flow::Next,
        false => Flow::Block(Wait::BulkGroup {
            allowed: pending,
            read,
        }),
    }
}
