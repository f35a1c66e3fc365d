//! Warp collectives with a member mask (PTX ISA §9.7.9.6, §9.7.13.2, §9.7.13.9–14): they execute when all
//! members are there.

use super::{Flow, uniform};
use crate::isa::alu::extremum_f32;
use crate::isa::ir::{LANES, Op, ReduxOp, ShuffleMode, Src, Type, VoteMode};
use crate::machine::Mode;
use crate::machine::cluster::{At, Cluster};
use crate::machine::report::{FailureKind, Step};
use crate::machine::warp::{State, Wait, Warp, lanes};

/// Executes the collective once its last members come; members that exited are not waited for.
pub fn execute(cluster: &mut Cluster, at: At, op: &Op, active: u32) -> Step<Flow> {
    let mode = cluster.context.launch.options.mode;
    let warp = &mut cluster.ctas[at.cta].warps[at.warp];
    let members = uniform(warp, members(op), active, "the member mask")? as u32;
    if active & !members != 0 {
        return Err(FailureKind::NotAMember {
            lanes: active & !members,
            members,
        });
    }
    let required = members & warp.live;
    if active == required {
        apply(warp, op, active, mode)?;
        meet(cluster, at, active);
        return Ok(Flow::Next);
    }
    let pc = warp.groups[at.group].pc;
    let code = &cluster.context.kernel.code;
    // Any `bar.warp.sync` with this mask will do (PTX ISA §9.7.13.2); the others exchange values,
    // so their members have to meet at one instruction.
    let is_same = |other: u32| match op {
        Op::WarpSync { .. } => {
            let other = code.get(other as usize);
            other.is_some_and(|inst| matches!(inst.op, Op::WarpSync { .. }))
        }
        _ => other == pc,
    };
    let is_there = |index: usize, warp: &Warp| match warp.groups[index].state {
        State::Blocked(Wait::Collective { lanes, members: m })
            if index != at.group && is_same(warp.groups[index].pc) && m == members =>
        {
            lanes
        }
        _ => 0,
    };
    let others = (0..warp.groups.len()).fold(0, |mask, index| mask | is_there(index, warp));
    if active | others != required {
        return Ok(Flow::Block(Wait::Collective {
            lanes: active,
            members,
        }));
    }
    apply(warp, op, required, mode)?;
    for index in 0..warp.groups.len() {
        if is_there(index, warp) != 0 {
            warp.release(index);
        }
    }
    meet(cluster, at, required);
    Ok(Flow::Rejoin)
}

fn meet(cluster: &mut Cluster, at: At, lanes: u32) {
    if let Some(order) = &mut cluster.order {
        order.lanes_meet(at.issuer(0), lanes);
    }
}

fn members(op: &Op) -> Src {
    match op {
        Op::Shuffle { members, .. }
        | Op::Vote { members, .. }
        | Op::Match { members, .. }
        | Op::Redux { members, .. }
        | Op::Elect { members, .. }
        | Op::WarpSync { members } => *members,
        _ => Src::Imm(0),
    }
}

fn apply(warp: &mut Warp, op: &Op, active: u32, mode: Mode) -> Step<()> {
    match op {
        Op::Shuffle { .. } => shuffle(warp, op, active, mode),
        Op::Vote {
            mode,
            dst,
            predicate,
            negated,
            ..
        } => {
            let holds = lanes(active)
                .filter(|lane| (warp.value(*predicate, *lane) != 0) != *negated)
                .fold(0u32, |mask, lane| mask | 1 << lane);
            let result = match mode {
                VoteMode::All => (holds == active).into(),
                VoteMode::Any => (holds != 0).into(),
                VoteMode::Uni => (holds == active || holds == 0).into(),
                VoteMode::Ballot => holds.into(),
            };
            for lane in lanes(active) {
                warp.set(*dst, lane, result);
            }
            Ok(())
        }
        Op::Match {
            all,
            dst,
            predicate,
            value,
            ..
        } => {
            let mut values = [0; LANES];
            for lane in lanes(active) {
                values[lane] = warp.value(*value, lane);
            }
            for lane in lanes(active) {
                let equal = lanes(active)
                    .filter(|other| values[*other] == values[lane])
                    .fold(0u32, |mask, other| mask | 1 << other);
                let result = if *all && equal != active { 0 } else { equal };
                warp.set(*dst, lane, result.into());
                warp.set(*predicate, lane, (equal == active).into());
            }
            Ok(())
        }
        Op::Redux {
            op, ty, dst, value, ..
        } => {
            let mut values = lanes(active).map(|lane| warp.value(*value, lane) as u32);
            let first = values.next().unwrap_or_default();
            // Once with itself, which makes a lone NaN canonical and takes a lone magnitude.
            let first = match op {
                ReduxOp::Float { .. } => reduce(*op, *ty, first, first),
                _ => first,
            };
            let result = values.fold(first, |a, b| reduce(*op, *ty, a, b));
            for lane in lanes(active) {
                warp.set(*dst, lane, result.into());
            }
            Ok(())
        }
        Op::Elect {
            leader, predicate, ..
        } => {
            let elected = active.trailing_zeros();
            for lane in lanes(active) {
                warp.set(*leader, lane, elected.into());
                warp.set(*predicate, lane, (lane as u32 == elected).into());
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn reduce(op: ReduxOp, ty: Type, a: u32, b: u32) -> u32 {
    let signed = ty == Type::S32;
    match op {
        ReduxOp::Add => a.wrapping_add(b),
        ReduxOp::And => a & b,
        ReduxOp::Or => a | b,
        ReduxOp::Xor => a ^ b,
        ReduxOp::Min if signed => (a as i32).min(b as i32) as u32,
        ReduxOp::Max if signed => (a as i32).max(b as i32) as u32,
        ReduxOp::Min => a.min(b),
        ReduxOp::Max => a.max(b),
        ReduxOp::Float {
            largest,
            magnitude,
            nan,
        } => {
            let value = |bits: u32| {
                let value = f32::from_bits(bits);
                if magnitude { value.abs() } else { value }
            };
            extremum_f32(largest, value(a), value(b), nan)
        }
    }
}

/// What a lane gets from a lane that does not take part: undefined (PTX ISA §9.7.9.6), zero on an H100.
const FROM_OUTSIDE: u64 = 0;

/// PTX ISA §9.7.9.6. Reading a lane that does not take part is only wrong where the value is used, and compilers
/// write shuffles of partial warps whose excess they discard.
fn shuffle(warp: &mut Warp, op: &Op, active: u32, mode: Mode) -> Step<()> {
    let Op::Shuffle {
        mode: direction,
        dst,
        in_range,
        value,
        lane: offset,
        clamp,
        ..
    } = op
    else {
        return Ok(());
    };
    let mut values = [0; LANES];
    let mut sources = [(0, false); LANES];
    for lane in lanes(active) {
        values[lane] = warp.value(*value, lane);
        let b = (warp.value(*offset, lane) & 31) as i32;
        let c = warp.value(*clamp, lane);
        let (bound, segment) = ((c & 31) as i32, (c >> 8 & 31) as i32);
        let own = lane as i32;
        let first = own & segment;
        let last = first | (bound & !segment);
        let (source, valid) = match direction {
            ShuffleMode::Up => (own - b, own - b >= last),
            ShuffleMode::Down => (own + b, own + b <= last),
            ShuffleMode::Bfly => (own ^ b, own ^ b <= last),
            ShuffleMode::Idx => {
                let source = first | (b & !segment);
                (source, source <= last)
            }
        };
        sources[lane] = (if valid { source as usize } else { lane }, valid);
    }
    for lane in lanes(active) {
        let (source, valid) = sources[lane];
        let takes_part = active & 1 << source != 0;
        if !takes_part && mode == Mode::Strict {
            return Err(FailureKind::IllegalOperand(format!(
                "lane {lane} reads lane {source}, which does not take part in the shuffle"
            )));
        }
        let value = if takes_part {
            values[source]
        } else {
            FROM_OUTSIDE
        };
        warp.set(*dst, lane, value);
        warp.set(*in_range, lane, valid.into());
    }
    Ok(())
}
