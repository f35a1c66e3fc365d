//! Why a cluster does not go on: what each of its threads waits for, and what is in flight.

use super::cluster::Cluster;
use super::operation::Operation;
use super::report::{
    FailureKind, InFlight, LaunchFailure, SourceLine, Stall, StallReason, StallReport, StalledGroup,
};
use super::warp::{Group, State, Wait};
use crate::tensor::memory::COLUMNS;

impl Cluster<'_> {
    pub fn stalled(&mut self, stall: Stall) -> LaunchFailure {
        let mut groups = Vec::new();
        for cta in 0..self.ctas.len() {
            for warp in 0..self.ctas[cta].warps.len() {
                for group in 0..self.ctas[cta].warps[warp].groups.len() {
                    let Group {
                        mask, pc, state, ..
                    } = self.ctas[cta].warps[warp].groups[group];
                    let reason = match state {
                        State::Ready => self.polling(cta, warp),
                        State::Blocked(wait) => self.reason(cta, warp, wait),
                    };
                    groups.push(self.stalled_group(cta, warp, mask, pc, reason));
                }
                let at_merges: Vec<_> = self.ctas[cta].warps[warp].waiting_at_merges().collect();
                for (mask, pc, missing) in at_merges {
                    let reason = StallReason::Reconvergence { missing };
                    groups.push(self.stalled_group(cta, warp, mask, pc, reason));
                }
            }
        }
        let report = Box::new(StallReport {
            steps: self.steps,
            stall,
            groups,
            in_flight: self.in_flight(|_| true),
        });
        let kind = match stall {
            Stall::Deadlock | Stall::NotResident { .. } => FailureKind::Deadlock(report),
            Stall::Livelock => FailureKind::Livelock(report),
            Stall::StepLimit => FailureKind::Hang(report),
        };
        self.failed_everywhere(kind)
    }

    fn stalled_group(
        &self,
        cta: usize,
        warp: usize,
        lanes: u32,
        pc: u32,
        reason: StallReason,
    ) -> StalledGroup {
        StalledGroup {
            cta: self.ctas[cta].id,
            warp: warp as u32,
            lanes,
            source: SourceLine::of(self.context.kernel, self.line(pc)),
            reason,
        }
    }

    pub fn reason(&mut self, cta: usize, warp: usize, wait: Wait) -> StallReason {
        let cta = &mut self.ctas[cta];
        let live = cta.warps[warp].live;
        match wait {
            Wait::Mbarrier { offset, parity, .. } => match cta.shared.mbarrier(offset) {
                Ok(barrier) => StallReason::Mbarrier {
                    address: offset,
                    wanted_parity: parity,
                    phase: barrier.phase,
                    pending: barrier.pending,
                    expected: barrier.expected,
                    tx: barrier.tx,
                },
                Err(_) => StallReason::InvalidatedMbarrier { address: offset },
            },
            Wait::Barrier { id } | Wait::BarrierWarp { id } => {
                let (arrived, expected) = cta.barriers.arrivals(id);
                StallReason::Barrier {
                    id,
                    arrived,
                    expected,
                }
            }
            Wait::Collective { members, .. } => StallReason::Collective { members },
            Wait::Aligned { lanes } => StallReason::Warp {
                missing: live & !lanes,
            },
            Wait::TensorMemory { columns } => {
                let free = COLUMNS as u32 - cta.allocated_columns();
                StallReason::TensorMemory { columns, free }
            }
            Wait::Pair => StallReason::Pair,
            Wait::ClusterBarrier => StallReason::ClusterBarrier,
            Wait::Registers { wanted } => {
                let (current, free) = cta.registers.of(warp);
                StallReason::Registers {
                    wanted,
                    current,
                    free,
                }
            }
            Wait::Grid => StallReason::Grid,
            Wait::BulkGroup { allowed, .. } => StallReason::BulkGroup { allowed },
            Wait::CopyGroup { allowed } => StallReason::CopyGroup { allowed },
            Wait::WarpgroupMma { allowed } => StallReason::WarpgroupMma { allowed },
        }
    }

    pub fn in_flight(&self, wanted: impl Fn(&Operation) -> bool) -> Vec<InFlight> {
        let kernel = self.context.kernel;
        self.engine
            .operations()
            .iter()
            .filter(|operation| wanted(operation))
            .map(|operation| InFlight {
                operation: operation.work.name(),
                cta: self.ctas[operation.issuer.cta as usize].id,
                warp: operation.issuer.warp,
                source: SourceLine::of(kernel, operation.issuer.line),
            })
            .collect()
    }
}
