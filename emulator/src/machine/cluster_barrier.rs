//! `barrier.cluster` (PTX ISA §9.7.13.3): every thread of every CTA of the cluster arrives, then waits.
//!
//! Threads that exit count as arrived. The state is kept in the warps: a lane has arrived in the current phase, or its
//! phase has completed and it may wait without blocking.

use super::cluster::Cta;
use super::report::{ClusterBarrierMisuse, FailureKind, Step};
use super::warp::Warp;

/// A warp's part of the cluster barrier, one bit per lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClusterBarrier {
    /// Arrived in the current phase.
    arrived: u32,
    /// Arrived in the phase before, and not waited yet.
    complete: u32,
}

impl ClusterBarrier {
    /// `barrier.cluster.arrive`.
    pub fn arrive(&mut self, lanes: u32) -> Step<()> {
        match lanes & (self.arrived | self.complete) {
            0 => {
                self.arrived |= lanes;
                Ok(())
            }
            _ => Err(FailureKind::ClusterBarrier(
                ClusterBarrierMisuse::ArrivedTwice,
            )),
        }
    }

    /// `barrier.cluster.wait`: whether the lanes' phase has completed; if so, they have waited.
    pub fn wait(&mut self, lanes: u32) -> Step<bool> {
        if lanes & !(self.arrived | self.complete) != 0 {
            return Err(FailureKind::ClusterBarrier(
                ClusterBarrierMisuse::NotArrived,
            ));
        }
        let complete = lanes & !self.complete == 0;
        if complete {
            self.complete &= !lanes;
        }
        Ok(complete)
    }
}

/// Completes the phase if every thread that has not exited has arrived; `true` where it did.
pub fn complete(ctas: &mut [Cta]) -> bool {
    let warps = || ctas.iter().flat_map(|cta| &cta.warps);
    let is_there = |warp: &Warp| warp.live & !warp.cluster_barrier.arrived == 0;
    let anyone = warps().any(|warp| warp.cluster_barrier.arrived & warp.live != 0);
    if !anyone || !warps().all(is_there) {
        return false;
    }
    for warp in ctas.iter_mut().flat_map(|cta| &mut cta.warps) {
        let barrier = &mut warp.cluster_barrier;
        barrier.complete |= std::mem::take(&mut barrier.arrived);
    }
    true
}
