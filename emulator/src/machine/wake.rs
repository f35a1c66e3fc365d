//! What lets waiting threads go on: phases of mbarriers, barriers of a CTA and of the cluster, and threads that exit.

use super::barrier::Reduction;
use super::cluster::{Cluster, Cta};
use super::cluster_barrier;
use super::footprint::SharedAddress;
use super::mbarrier::{Mbarrier, Progress};
use super::operation::Issuer;
use super::report::{FailureKind, MbarrierMisuse, Step};
use super::shared::misuse;
use super::warp::{State, Wait, Warp, lanes};
use crate::isa::ir::{Kernel, MbarrierOp, Op, VoteMode};

impl Cluster<'_> {
    /// Applies `change` to a live mbarrier and wakes its waiters if that completed a phase.
    pub fn mbarrier(
        &mut self,
        address: SharedAddress,
        change: impl FnOnce(&mut Mbarrier) -> Result<Progress, MbarrierMisuse>,
    ) -> Step<Progress> {
        let SharedAddress { cta, offset } = address;
        let barrier = self.ctas[cta as usize].shared.mbarrier(offset)?;
        let progress = change(barrier).map_err(|error| misuse(offset, error))?;
        if progress == Progress::PhaseComplete {
            let completed = *barrier;
            if let Some(order) = &mut self.order {
                order.phase_complete(address)?;
            }
            self.wake_mbarrier(address, &completed);
        }
        Ok(progress)
    }

    fn wake_mbarrier(&mut self, address: SharedAddress, barrier: &Mbarrier) {
        let code = &self.context.kernel.code;
        let warps = &mut self.ctas[address.cta as usize].warps;
        for (number, warp) in warps.iter_mut().enumerate() {
            for index in 0..warp.groups.len() {
                if let State::Blocked(Wait::Mbarrier {
                    offset,
                    parity,
                    lanes: waiting,
                    predicate,
                }) = warp.groups[index].state
                    && offset == address.offset
                    && barrier.parity_complete(parity)
                {
                    for lane in lanes(waiting) {
                        warp.set(predicate, lane, 1);
                    }
                    if let Some(order) = &mut self.order {
                        let inst = &code[warp.groups[index].pc as usize];
                        let by = Issuer {
                            cta: address.cta,
                            warp: number as u32,
                            lane: waiting.trailing_zeros(),
                            line: inst.line,
                        };
                        let relaxed = matches!(
                            inst.op,
                            Op::Mbarrier(MbarrierOp::Wait { relaxed: true, .. })
                        );
                        order.mbarrier_wait(by, address, relaxed);
                    }
                    warp.release(index);
                }
            }
        }
    }

    /// Releases the threads that wait for a named barrier; `last` is the warp that came last, if it waits too.
    pub fn complete_barrier(
        &mut self,
        cta: usize,
        id: u32,
        reduction: Reduction,
        last: Option<usize>,
    ) {
        let kernel = self.context.kernel;
        if let Some(order) = &mut self.order {
            let waits = |warp: &Warp| {
                let mut groups = warp.groups.iter();
                groups.any(|group| group.state == State::Blocked(Wait::Barrier { id }))
            };
            let warps = self.ctas[cta].warps.iter().enumerate();
            let waiting = warps.filter(|(_, warp)| waits(warp));
            order.named_complete(cta, id, waiting.map(|(number, _)| number).chain(last));
        }
        for warp in &mut self.ctas[cta].warps {
            for index in 0..warp.groups.len() {
                let group = warp.groups[index];
                let State::Blocked(Wait::Barrier { id: waited } | Wait::BarrierWarp { id: waited }) =
                    group.state
                else {
                    continue;
                };
                if waited == id {
                    write_reduction(kernel, warp, group.pc, group.mask, reduction);
                    warp.release(index);
                }
            }
        }
    }

    /// Releases the parts of a warp that waited for its other threads at `barrier.arrive`.
    pub fn release_barrier_warp(&mut self, cta: usize, warp: usize, id: u32) {
        let warp = &mut self.ctas[cta].warps[warp];
        for index in 0..warp.groups.len() {
            if warp.groups[index].state == State::Blocked(Wait::BarrierWarp { id }) {
                warp.release(index);
            }
        }
    }

    /// Lets the threads that wait for the cluster go on if all have arrived.
    pub fn complete_cluster_barrier(&mut self) {
        if cluster_barrier::complete(&mut self.ctas) {
            if let Some(order) = &mut self.order {
                order.cluster_complete();
            }
            for warp in self.ctas.iter_mut().flat_map(|cta| &mut cta.warps) {
                warp.retry(|wait| *wait == Wait::ClusterBarrier);
            }
        }
    }

    /// A CTA of a larger cluster must not exit while operations in flight involve it: the others may run on for long.
    /// At the end of a cluster nothing may be in flight at all.
    fn check_exit(&self, cta: usize) -> Step<()> {
        if self.ctas.len() == 1 || !self.ctas[cta].has_exited() {
            return Ok(());
        }
        let operations = self.in_flight(|operation| operation.involves(cta as u32));
        match operations.is_empty() {
            true => Ok(()),
            false => Err(FailureKind::OutstandingAtExit {
                operations: operations.iter().map(ToString::to_string).collect(),
            }),
        }
    }

    /// Follows from the exit of threads of a warp: barriers that waited for them.
    pub fn threads_exited(&mut self, cta: usize, warp: usize) -> Step<()> {
        self.complete_cluster_barrier();
        self.check_exit(cta)?;
        if self.ctas[cta].warps[warp].live == 0 {
            self.warp_exited(cta, warp)?;
        }
        let Cta {
            barriers, warps, ..
        } = &mut self.ctas[cta];
        for (id, completed) in barriers.threads_exited(warp, warps)? {
            match completed {
                Some(reduction) => self.complete_barrier(cta, id, reduction, None),
                None => self.release_barrier_warp(cta, warp, id),
            }
        }
        Ok(())
    }
}

/// Writes the result of the `barrier.red` at `pc`; other barrier instructions have none.
pub fn write_reduction(kernel: &Kernel, warp: &mut Warp, pc: u32, mask: u32, reduction: Reduction) {
    if let Op::Barrier {
        reduction: Some(instruction),
        ..
    } = &kernel.code[pc as usize].op
    {
        let value = match (instruction.popc, instruction.op) {
            (true, _) => u64::from(reduction.count),
            (false, VoteMode::All) => u64::from(reduction.all),
            (false, _) => u64::from(reduction.any),
        };
        for lane in lanes(mask) {
            warp.set(Some(instruction.dst), lane, value);
        }
    }
}
