//! `cp.async`, its groups, and arrivals that follow it (PTX ISA §9.7.9.25.3, §9.7.13.15.15).

use super::{Flow, memory};
use crate::isa::ir::{Address, LANES, Space, Src};
use crate::machine::cluster::{At, Cluster};
use crate::machine::footprint::{Access, Footprint, SharedAddress};
use crate::machine::mbarrier::Progress;
use crate::machine::operation::Work;
use crate::machine::report::{FailureKind, Step};
use crate::machine::small_copy::{LaneCopy, SmallCopies};
use crate::machine::warp::{Wait, lanes};

pub fn copy(
    cluster: &mut Cluster,
    at: At,
    destination: &Address,
    source: &Address,
    bytes: u32,
    source_bytes: Option<Src>,
    active: u32,
) -> Step<()> {
    let mut copies = [None; LANES];
    for lane in lanes(active) {
        let warp = &cluster.ctas[at.cta].warps[at.warp];
        let from = warp.address(source, lane);
        let to = warp.address(destination, lane);
        let taken = source_bytes.map_or(bytes, |source| warp.value(source, lane) as u32);
        if taken > bytes {
            return Err(FailureKind::IllegalOperand(format!(
                "cp.async of {bytes} bytes with a source of {taken}"
            )));
        }
        memory::aligned("global", from, bytes)?;
        let to = cluster.shared_address(at, Space::SharedCta, to)?;
        let shared = &cluster.ctas[to.cta as usize].shared;
        shared.check_ordinary(to.offset, bytes, bytes)?;
        cluster.global.check(from, taken.into())?;
        cluster.check_global(from, taken, Access::Read)?;
        copies[lane] = Some(LaneCopy {
            source: from,
            destination: to,
            source_bytes: taken,
        });
    }
    let copies = SmallCopies::new(bytes, copies);
    let footprint = copies.footprint();
    let lane = active.trailing_zeros() as usize;
    cluster.issue(at, lane, Work::SmallCopies(Box::new(copies)), footprint)
}

/// `cp.async.commit_group`, per thread.
pub fn commit_group(cluster: &mut Cluster, at: At, active: u32) {
    for lane in lanes(active) {
        let number = &mut cluster.ctas[at.cta].warps[at.warp].copy_groups[lane];
        let group = *number;
        *number += 1;
        cluster.engine.commit_copy_group(at.issuer(lane), group);
        if let Some(order) = &mut cluster.order {
            order.commit_copies(at.issuer(lane));
        }
    }
}

/// `cp.async.wait_group`: all but the last `pending` groups of each thread have completed. `None` is `wait_all`, which
/// commits first.
pub fn wait_group(cluster: &mut Cluster, at: At, pending: Option<u32>, active: u32) -> Flow {
    if pending.is_none() {
        commit_group(cluster, at, active);
    }
    let allowed = pending.unwrap_or(0);
    let committed = cluster.ctas[at.cta].warps[at.warp].copy_groups;
    let complete = lanes(active).all(|lane| {
        let before = committed[lane].saturating_sub(allowed);
        let engine = &cluster.engine;
        engine.copy_groups_complete(at.issuer(lane), before)
    });
    if !complete {
        return Flow::Block(Wait::CopyGroup { allowed });
    }
    if let Some(order) = &mut cluster.order {
        for lane in lanes(active) {
            let groups = committed[lane].saturating_sub(allowed);
            order.wait_copy_groups(at.issuer(lane), groups);
        }
    }
    Flow::Next
}

/// `cp.async.mbarrier.arrive`: arrives once all earlier copies of the thread are complete. Without `.noinc` the arrival
/// is one more than the barrier expects, so that it does not count.
pub fn arrive(
    cluster: &mut Cluster,
    at: At,
    lane: usize,
    barrier: SharedAddress,
    no_inc: bool,
) -> Step<()> {
    cluster.mbarrier(barrier, |barrier| {
        if !no_inc {
            barrier.expect_arrival()?;
        }
        Ok(Progress::SamePhase)
    })?;
    let work = Work::CopiesArrive { barrier };
    cluster.issue(at, lane, work, Footprint::default())
}
