//! `clusterlaunchcontrol` (PTX ISA §9.7.13.17, §9.7.13.18).

use super::copies::check_barrier;
use crate::isa::ir::LaunchControlOp;
use crate::machine::cluster::{At, Cluster};
use crate::machine::footprint::{Footprint, Region, SharedAddress};
use crate::machine::launch_control::{RESPONSE_BYTES, first_cta};
use crate::machine::operation::Work;
use crate::machine::report::{FailureKind, Step};
use crate::machine::warp::lanes;

pub fn execute(cluster: &mut Cluster, at: At, op: &LaunchControlOp, active: u32) -> Step<()> {
    for lane in lanes(active) {
        let warp = &cluster.ctas[at.cta].warps[at.warp];
        match op {
            LaunchControlOp::TryCancel {
                response,
                barrier,
                space,
                multicast,
            } => {
                let response = warp.address(response, lane);
                let barrier = warp.address(barrier, lane);
                let response = cluster.shared_address(at, *space, response)?;
                let barrier = cluster.shared_address(at, *space, barrier)?;
                try_cancel(cluster, at, lane, response, barrier, *multicast)?;
            }
            LaunchControlOp::IsCanceled { dst, response } => {
                let canceled = first_cta(response.map(|half| warp.value(half, lane))).is_some();
                let cta = &mut cluster.ctas[at.cta];
                cta.warps[at.warp].set(*dst, lane, canceled.into());
                cta.saw_last_cluster |= !canceled;
            }
            LaunchControlOp::FirstCta { dsts, response } => {
                let Some(id) = first_cta(response.map(|half| warp.value(half, lane))) else {
                    return Err(FailureKind::IllegalOperand(
                        "the first CTA of a response that cancelled no cluster".to_owned(),
                    ));
                };
                let warp = &mut cluster.ctas[at.cta].warps[at.warp];
                for (dst, value) in dsts.iter().zip(id) {
                    warp.set(*dst, lane, value.into());
                }
            }
        }
    }
    Ok(())
}

fn try_cancel(
    cluster: &mut Cluster,
    at: At,
    lane: usize,
    response: SharedAddress,
    barrier: SharedAddress,
    multicast: bool,
) -> Step<()> {
    if cluster.ctas[at.cta].saw_last_cluster {
        return Err(FailureKind::IllegalOperand(
            "a request to cancel a cluster after one whose failure this CTA has seen".to_owned(),
        ));
    }
    let ctas = match multicast {
        true => 0..cluster.ctas.len() as u32,
        false => at.cta as u32..at.cta as u32 + 1,
    };
    let mut footprint = Footprint::default();
    let mut barriers = Vec::new();
    for cta in ctas {
        let barrier = SharedAddress { cta, ..barrier };
        let shared = &cluster.ctas[cta as usize].shared;
        shared.check_ordinary(response.offset, RESPONSE_BYTES, RESPONSE_BYTES)?;
        check_barrier(cluster, barrier)?;
        let bytes = response.offset..response.offset + RESPONSE_BYTES;
        footprint.writes.push(Region::shared(cta, bytes));
        barriers.push(barrier);
    }
    let work = Work::TryCancel {
        response: response.offset,
        barriers,
    };
    cluster.issue(at, lane, work, footprint)
}
