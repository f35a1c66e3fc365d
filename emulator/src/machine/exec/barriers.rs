//! Named barriers and mbarriers.

use super::{Flow, converge_live, small_copies, uniform};
use crate::isa::ir::{Address, BarrierKind, MbarrierOp, MbarrierPhase, Op, Semantics, Space};
use crate::machine::barrier::{Arrival, Arrived};
use crate::machine::cluster::{At, Cluster};
use crate::machine::footprint::SharedAddress;
use crate::machine::mbarrier::{Progress, pending_count};
use crate::machine::order::Use;
use crate::machine::report::{FailureKind, MbarrierMisuse, Step};
use crate::machine::shared::misuse;
use crate::machine::wake::write_reduction;
use crate::machine::warp::{Wait, lanes};

/// `barrier.sync`, `.arrive` and `.red`.
pub fn named(cluster: &mut Cluster, at: At, op: &Op, active: u32) -> Step<Flow> {
    let Op::Barrier {
        kind,
        id,
        threads,
        aligned,
        reduction,
    } = op
    else {
        return Ok(Flow::Next);
    };
    if *aligned && let Some(wait) = converge_live(cluster, at, active)? {
        return Ok(Flow::Block(wait));
    }
    let cta = &mut cluster.ctas[at.cta];
    let warp = &cta.warps[at.warp];
    let id = uniform(warp, *id, active, "the barrier number")?;
    let threads = match threads {
        None => None,
        Some(threads) => Some(uniform(warp, *threads, active, "the thread count")?),
    };
    let predicate = reduction.map(|reduction| {
        lanes(active)
            .filter(|lane| (warp.value(reduction.predicate, *lane) != 0) != reduction.negated)
            .fold(0, |mask, lane| mask | 1 << lane)
    });
    let arrival = Arrival {
        warp: at.warp as u32,
        lanes: active,
        live: warp.live,
        threads,
        predicate,
    };
    let pc = warp.groups[at.group].pc;
    let arrived = cta.barriers.arrive(id, arrival, &cta.warps)?;
    let id = id as u32;
    let waits = *kind != BarrierKind::Arrive;
    if let Some(order) = &mut cluster.order {
        order.named_arrive(at.issuer(0), id);
    }
    Ok(match arrived {
        Arrived::Complete(reduction) => {
            cluster.complete_barrier(at.cta, id, reduction, waits.then_some(at.warp));
            let kernel = cluster.context.kernel;
            let warp = &mut cluster.ctas[at.cta].warps[at.warp];
            write_reduction(kernel, warp, pc, active, reduction);
            Flow::Rejoin
        }
        Arrived::Pending => {
            cluster.release_barrier_warp(at.cta, at.warp, id);
            match waits {
                true => Flow::Block(Wait::Barrier { id }),
                false => Flow::Rejoin,
            }
        }
        Arrived::WarpIncomplete if waits => Flow::Block(Wait::Barrier { id }),
        Arrived::WarpIncomplete => Flow::Block(Wait::BarrierWarp { id }),
    })
}

/// `barrier.cluster.arrive` and `.wait`.
pub fn cluster(
    cluster: &mut Cluster,
    at: At,
    arrive: bool,
    wait: bool,
    aligned: bool,
    semantics: Semantics,
    active: u32,
) -> Step<Flow> {
    if aligned && let Some(missing) = converge_live(cluster, at, active)? {
        return Ok(Flow::Block(missing));
    }
    if arrive {
        let warp = &mut cluster.ctas[at.cta].warps[at.warp];
        warp.cluster_barrier.arrive(active)?;
        if let Some(order) = &mut cluster.order {
            order.cluster_arrive(at.issuer(0), semantics == Semantics::Relaxed);
        }
        cluster.complete_cluster_barrier();
    }
    let barrier = &mut cluster.ctas[at.cta].warps[at.warp].cluster_barrier;
    if !wait {
        return Ok(Flow::Next);
    }
    if !barrier.wait(active)? {
        return Ok(Flow::Block(Wait::ClusterBarrier));
    }
    if let Some(order) = &mut cluster.order {
        order.cluster_wait(at.issuer(0));
    }
    Ok(Flow::Next)
}

/// Each lane executes the mbarrier instruction on its own, in lane order.
pub fn mbarrier(cluster: &mut Cluster, at: At, op: &MbarrierOp, active: u32) -> Step<Flow> {
    if let MbarrierOp::Wait { .. } = op {
        return wait(cluster, at, op, active);
    }
    for lane in lanes(active) {
        let warp = &cluster.ctas[at.cta].warps[at.warp];
        let value = |source| warp.value(source, lane);
        let locate = |barrier: &Address, space: &Space| {
            cluster.shared_address(at, *space, warp.address(barrier, lane))
        };
        match op {
            MbarrierOp::Init {
                barrier,
                count,
                space,
            } => {
                let count = value(*count);
                let address = own(at, locate(barrier, space)?)?;
                cluster.check_race_of_mbarrier(address)?;
                let shared = &mut cluster.ctas[at.cta].shared;
                shared.init_mbarrier(address.offset, count, at.line)?;
                if let Some(order) = &mut cluster.order {
                    order.mbarrier_init(at.issuer(lane), address)?;
                }
            }
            MbarrierOp::Inval { barrier, space } => {
                let address = own(at, locate(barrier, space)?)?;
                let shared = &mut cluster.ctas[at.cta].shared;
                shared.invalidate_mbarrier(address.offset)?;
                if let Some(order) = &mut cluster.order {
                    order.mbarrier_inval(at.issuer(lane), address)?;
                }
            }
            MbarrierOp::Arrive {
                barrier,
                space,
                count,
                expect_tx,
                drop,
                no_complete,
                relaxed,
                state,
            } => {
                let count = count.map_or(1, value);
                let bytes = expect_tx.map(|bytes| value(bytes) as u32);
                let address = locate(barrier, space)?;
                if let Some(order) = &mut cluster.order {
                    order.mbarrier_arrive(at.issuer(lane), address, *relaxed)?;
                }
                let mut token = 0;
                let progress = cluster.mbarrier(address, |barrier| {
                    if let Some(bytes) = bytes {
                        barrier.expect_tx(bytes)?;
                    }
                    token = barrier.token();
                    match drop {
                        true => barrier.arrive_drop(count),
                        false => barrier.arrive(count),
                    }
                })?;
                if *no_complete && progress == Progress::PhaseComplete {
                    return Err(misuse(
                        address.offset,
                        MbarrierMisuse::CompletedDespiteNoComplete,
                    ));
                }
                cluster.ctas[at.cta].warps[at.warp].set(*state, lane, token);
            }
            MbarrierOp::ExpectTx {
                barrier,
                space,
                bytes,
            } => {
                let bytes = value(*bytes) as u32;
                let address = locate(barrier, space)?;
                use_mbarrier(cluster, at, lane, address)?;
                cluster.mbarrier(address, |barrier| {
                    barrier.expect_tx(bytes)?;
                    Ok(barrier.advance())
                })?;
            }
            MbarrierOp::CompleteTx {
                barrier,
                space,
                bytes,
            } => {
                let bytes = value(*bytes) as u32;
                let address = locate(barrier, space)?;
                use_mbarrier(cluster, at, lane, address)?;
                cluster.mbarrier(address, |barrier| barrier.complete_tx(bytes))?;
            }
            MbarrierOp::PendingCount { dst, state } => {
                let count = pending_count(value(*state));
                cluster.ctas[at.cta].warps[at.warp].set(*dst, lane, count);
            }
            MbarrierOp::CpAsyncArrive {
                barrier,
                space,
                no_inc,
            } => {
                let address = own(at, locate(barrier, space)?)?;
                small_copies::arrive(cluster, at, lane, address, *no_inc)?;
            }
            MbarrierOp::Wait { .. } => {}
        }
    }
    Ok(Flow::Next)
}

fn use_mbarrier(cluster: &mut Cluster, at: At, lane: usize, address: SharedAddress) -> Step<()> {
    if let Some(order) = &mut cluster.order {
        order.mbarrier_use(at.issuer(lane), address, Use::Instruction)?;
    }
    Ok(())
}

fn own(at: At, address: SharedAddress) -> Step<SharedAddress> {
    match address.cta as usize == at.cta {
        true => Ok(address),
        false => Err(misuse(address.offset, MbarrierMisuse::RemoteWait)),
    }
}

/// How often a `try_wait` for an incomplete phase gives up at once, where the schedule has that.
const SPURIOUS_ONE_IN: u64 = 4;

/// `test_wait` and `try_wait`. A `try_wait` whose lanes all wait for one phase of one barrier
/// blocks until it completes; mixed ones return at once, as the instruction may.
fn wait(cluster: &mut Cluster, at: At, op: &MbarrierOp, active: u32) -> Step<Flow> {
    let MbarrierOp::Wait {
        barrier,
        space,
        predicate,
        phase,
        potentially_blocking,
        relaxed,
    } = op
    else {
        return Ok(Flow::Next);
    };
    let mut blocked = None;
    let mut same = true;
    for lane in lanes(active) {
        let warp = &cluster.ctas[at.cta].warps[at.warp];
        let address = warp.address(barrier, lane);
        let address = own(at, cluster.shared_address(at, *space, address)?)?;
        let operand = match phase {
            MbarrierPhase::Token(source) | MbarrierPhase::Parity(source) => {
                warp.value(*source, lane)
            }
        };
        use_mbarrier(cluster, at, lane, address)?;
        let state = cluster.ctas[at.cta].shared.mbarrier(address.offset)?;
        let (complete, parity) = match phase {
            MbarrierPhase::Token(_) => {
                let complete = state
                    .token_complete(operand)
                    .map_err(|error| misuse(address.offset, error))?;
                (complete, (state.phase & 1) as u32 ^ u32::from(complete))
            }
            MbarrierPhase::Parity(_) if operand > 1 => {
                return Err(FailureKind::IllegalOperand(format!(
                    "a phase parity of {operand}; it is 0 or 1"
                )));
            }
            MbarrierPhase::Parity(_) => (state.parity_complete(operand as u32), operand as u32),
        };
        if complete && let Some(order) = &mut cluster.order {
            order.mbarrier_wait(at.issuer(lane), address, *relaxed);
        }
        let waits_for = (!complete).then_some((address.offset, parity));
        if lane as u32 == active.trailing_zeros() {
            blocked = waits_for;
        }
        same &= blocked == waits_for;
        cluster.ctas[at.cta].warps[at.warp].set(*predicate, lane, complete.into());
    }
    // The time after which a `try_wait` gives up is up to the system: now and then, at once.
    let gives_up = |cluster: &mut Cluster| {
        let random = cluster.spurious.as_mut();
        random.is_some_and(|random| random.one_in(SPURIOUS_ONE_IN))
    };
    Ok(match blocked {
        None if same => Flow::Next,
        Some((offset, parity)) if same && *potentially_blocking && !gives_up(cluster) => {
            Flow::Block(Wait::Mbarrier {
                offset,
                parity,
                lanes: active,
                predicate: *predicate,
            })
        }
        // It is going to poll.
        _ => Flow::Yield,
    })
}
