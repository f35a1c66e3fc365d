//! Execution of one instruction by one group of lanes.

mod barriers;
mod collective;
mod copies;
mod global_order;
mod launch_control;
mod matrix;
mod memory;
mod multicast;
mod pair;
mod remote;
mod small_copies;
mod special;
mod stores;
mod tensor;
mod tensor_map;
mod warpgroup;

pub use warpgroup::complete as complete_warpgroup_mma;

use super::cluster::{At, Cluster};
use super::dependency;
use super::registers::Change;
use super::report::{FailureKind, Step};
use super::warp::{Wait, Warp, lanes};
use crate::isa::alu;
use crate::isa::ir::{Inst, Op, Src};

/// How the group goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Next,
    /// The lanes of the mask go to `target`, the others to the next instruction.
    Branch {
        target: u32,
    },
    /// Every lane goes where its index says.
    BranchIndexed,
    Exit,
    Block(Wait),
    /// Ends the group's turn.
    Yield,
    /// Next instruction, after joining other groups of the warp that were released there.
    Rejoin,
}

/// Executes `inst` in the lanes of `active`, which is not empty.
pub fn execute(cluster: &mut Cluster, at: At, inst: &Inst, active: u32) -> Step<Flow> {
    match &inst.op {
        Op::Alu(op) => {
            let warp = &mut cluster.ctas[at.cta].warps[at.warp];
            alu::execute(op, &mut warp.registers, active);
            return Ok(Flow::Next);
        }
        Op::Branch { target, .. } => return Ok(Flow::Branch { target: *target }),
        Op::BranchIndexed { .. } => return Ok(Flow::BranchIndexed),
        Op::Exit => return Ok(Flow::Exit),
        Op::Trap => return Err(FailureKind::Trap),
        Op::Nop => {}
        Op::Load { .. } => memory::load(cluster, at, &inst.op, active)?,
        Op::Store { .. } => memory::store(cluster, at, &inst.op, active)?,
        Op::WideAtomic { .. } => memory::wide_atomic(cluster, at, &inst.op, active)?,
        Op::Atomic { .. } => memory::atomic(cluster, at, &inst.op, active)?,

        Op::Pack {
            dst,
            parts,
            part_bits,
        } => {
            let warp = warp(cluster, at);
            let mask = low_bits(*part_bits);
            for lane in lanes(active) {
                let packed = parts.iter().rev().fold(0u64, |high, part| {
                    (high << (part_bits & 63)) | (warp.value(*part, lane) & mask)
                });
                warp.set(*dst, lane, packed);
            }
        }
        Op::Unpack {
            dsts,
            src,
            part_bits,
        } => {
            let warp = warp(cluster, at);
            let mask = low_bits(*part_bits);
            for lane in lanes(active) {
                let mut rest = warp.value(*src, lane);
                for dst in dsts {
                    warp.set(*dst, lane, rest & mask);
                    rest = rest.checked_shr(*part_bits).unwrap_or(0);
                }
            }
        }
        Op::Special { dst, register } => special::read(cluster, at, *dst, *register, active),

        Op::Shuffle { .. }
        | Op::Vote { .. }
        | Op::Match { .. }
        | Op::Redux { .. }
        | Op::Elect { .. }
        | Op::WarpSync { .. } => return collective::execute(cluster, at, &inst.op, active),
        Op::ActiveMask { dst } => {
            let warp = warp(cluster, at);
            for lane in lanes(active) {
                warp.set(*dst, lane, active.into());
            }
        }

        Op::Fence { kind, scope } => {
            std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
            if let Some(order) = &mut cluster.order {
                order.fence(at.issuer(0), *kind, *scope);
            }
        }
        Op::Prefetch {
            address, tensormap, ..
        } => memory::prefetch(cluster, at, address, *tensormap, active)?,
        Op::ConvertAddress { .. } => memory::convert_address(cluster, at, &inst.op, active)?,
        Op::IsSpace { .. } | Op::MapShared { .. } => {
            memory::query_address(cluster, at, &inst.op, active)?
        }
        Op::CreatePolicy { dst } => {
            let warp = warp(cluster, at);
            for lane in lanes(active) {
                warp.set(*dst, lane, 0);
            }
        }

        Op::Barrier { .. } => return barriers::named(cluster, at, &inst.op, active),
        Op::ClusterBarrier {
            arrive,
            wait,
            aligned,
            semantics,
        } => return barriers::cluster(cluster, at, *arrive, *wait, *aligned, *semantics, active),
        Op::Mbarrier(op) => return barriers::mbarrier(cluster, at, op, active),

        Op::TmaLoad(load) => copies::tma_load(cluster, at, load, active)?,
        Op::LaunchControl(op) => launch_control::execute(cluster, at, op, active)?,
        Op::TensorMap(op) => return tensor_map::execute(cluster, at, op, active),
        Op::BulkCopy(copy) => copies::bulk(cluster, at, copy, active)?,
        Op::StoreAsync(store) => remote::store_async(cluster, at, store, active)?,
        Op::TmaStore(store) => stores::tensor(cluster, at, store, active)?,
        Op::BulkCommitGroup => stores::commit_group(cluster, at, active),
        Op::BulkWaitGroup { pending, read } => {
            return Ok(stores::wait_group(cluster, at, *pending, *read, active));
        }
        Op::CpAsync {
            destination,
            source,
            bytes,
            source_bytes,
        } => small_copies::copy(
            cluster,
            at,
            destination,
            source,
            *bytes,
            *source_bytes,
            active,
        )?,
        Op::CpAsyncCommitGroup => small_copies::commit_group(cluster, at, active),
        Op::CpAsyncWaitGroup { pending } => {
            return Ok(small_copies::wait_group(cluster, at, *pending, active));
        }

        Op::Matrix(op) => return matrix::execute(cluster, at, op, active),
        Op::Tcgen05(op) => return tensor::execute(cluster, at, op, active),

        Op::SetMaxRegisters {
            registers,
            increase,
        } => {
            let change = Change {
                registers: *registers,
                increase: *increase,
                line: at.line,
            };
            let wait = match converge(cluster, at, active)? {
                None => cluster.set_registers(at, change)?,
                waits => waits,
            };
            if let Some(wait) = wait {
                return Ok(Flow::Block(wait));
            }
        }
        Op::GridDependency { wait } => return Ok(dependency::execute(cluster, at, *wait)),
        Op::Nanosleep { .. } => return Ok(Flow::Yield),
    }
    Ok(Flow::Next)
}

fn warp<'c>(cluster: &'c mut Cluster, at: At) -> &'c mut Warp {
    &mut cluster.ctas[at.cta].warps[at.warp]
}

fn low_bits(bits: u32) -> u64 {
    u64::MAX.checked_shr(64 - bits.min(64)).unwrap_or(0)
}

/// Whether the lanes of `active` may execute an `.aligned` instruction: `Ok(None)` where they are
/// the whole warp, else what to wait for. Others may still be on their way to here; lanes that
/// exited will never come.
fn converge(cluster: &Cluster, at: At, active: u32) -> Step<Option<Wait>> {
    let warp = &cluster.ctas[at.cta].warps[at.warp];
    if warp.live != warp.populated {
        return Err(FailureKind::DivergentAligned {
            found: active,
            missing: warp.populated & !active,
        });
    }
    converge_live(cluster, at, active)
}

/// [`converge`] for barriers of the CTA, which do not wait for threads that exited (PTX ISA
/// §9.7.13.1).
fn converge_live(cluster: &Cluster, at: At, active: u32) -> Step<Option<Wait>> {
    let warp = &cluster.ctas[at.cta].warps[at.warp];
    // Lanes that are here and whose guard is false step over the instruction.
    let skipping = warp.groups[at.group].mask & !active;
    if skipping != 0 {
        return Err(FailureKind::DivergentAligned {
            found: active,
            missing: skipping,
        });
    }
    Ok((active != warp.live).then_some(Wait::Aligned { lanes: active }))
}

/// An operand that has to be the same in all lanes.
fn uniform(warp: &Warp, source: Src, active: u32, what: &'static str) -> Step<u64> {
    let mut values = lanes(active).map(|lane| warp.value(source, lane));
    let first = values.next().unwrap_or_default();
    match values.find(|value| *value != first) {
        None => Ok(first),
        Some(other) => Err(FailureKind::NotUniform { what, first, other }),
    }
}
