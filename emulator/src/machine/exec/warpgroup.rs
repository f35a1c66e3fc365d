//! `wgmma` (PTX ISA §9.7.15). Each warp of a warpgroup does its own 16 rows, so that an instruction is in flight once for
//! each warp; that all four execute the same one is checked as they come.

use super::{Flow, uniform};
use crate::isa::ir::{LANES, Src};
use crate::isa::matrix::{MatrixOp, WarpgroupA, WarpgroupMma};
use crate::machine::cluster::{At, Cluster};
use crate::machine::footprint::Footprint;
use crate::machine::operation::Work;
use crate::machine::report::{FailureKind, Step};
use crate::machine::tensor_unit::operand;
use crate::machine::warp::Wait;
use crate::machine::warpgroup::{Operands, WARPS};
use crate::tensor::arithmetic::{DotRule, dot};
use crate::tensor::descriptor::enclosing;
use crate::tensor::warp::{self as fragment, FloatDot, Lines, ROWS};
use crate::tensor::warpgroup::WarpgroupTile;

const ALL_LANES: u32 = u32::MAX;

/// Rows of A and D.
const M: u32 = (WARPS * ROWS) as u32;

pub fn execute(cluster: &mut Cluster, at: At, op: &MatrixOp) -> Step<Flow> {
    let kernel = cluster.context.kernel;
    let first = at.warp / WARPS * WARPS;
    let warps = &cluster.ctas[at.cta].warps;
    let is_whole = warps
        .get(first..first + WARPS)
        .is_some_and(|warps| warps.iter().all(|warp| warp.populated == ALL_LANES));
    if !is_whole {
        return Err(FailureKind::IllegalOperand(
            "wgmma in a warpgroup of fewer than 128 threads".to_owned(),
        ));
    }
    let warp = &mut cluster.ctas[at.cta].warps[at.warp];
    match op {
        MatrixOp::WarpgroupMma(mma) => issue(cluster, at, mma)?,
        MatrixOp::WarpgroupFence => warp.warpgroup.fence(),
        MatrixOp::WarpgroupCommit => {
            warp.warpgroup.commit();
            if let Some(order) = &mut cluster.order {
                order.commit_warpgroup_mmas(at.issuer(0));
            }
        }
        MatrixOp::WarpgroupWait { pending } if !warp.warpgroup.wait(kernel, *pending) => {
            return Ok(Flow::Block(Wait::WarpgroupMma { allowed: *pending }));
        }
        MatrixOp::WarpgroupWait { pending } => {
            if let Some(order) = &mut cluster.order {
                order.wait_warpgroup_mmas(at.issuer(0), *pending);
            }
        }
        _ => {}
    }
    Ok(Flow::Next)
}

fn issue(cluster: &mut Cluster, at: At, mma: &WarpgroupMma) -> Step<()> {
    let kernel = cluster.context.kernel;
    let warp = &cluster.ctas[at.cta].warps[at.warp];
    let pc = warp.groups[at.group].pc;
    let value = |source: Src, what| uniform(warp, source, ALL_LANES, what);
    let a_descriptor = match mma.a {
        WarpgroupA::Registers(_) => None,
        WarpgroupA::Descriptor { descriptor, .. } => Some(value(descriptor, "A's descriptor")?),
    };
    let operands = Operands {
        pc,
        a_descriptor,
        b_descriptor: value(mma.b_descriptor, "B's descriptor")?,
        accumulate: (value(mma.accumulate, "scale-d")? != 0) != mma.accumulate_negated,
    };
    let cta = &cluster.ctas[at.cta];
    let exact = cluster.engine.checks_order();
    let region = |tile: WarpgroupTile, lines| {
        let chunks = || tile.chunk_addresses(lines, mma.k);
        operand(cta, at.cta as u32, enclosing(chunks()), exact.then(chunks))
    };
    let mut reads = vec![region(tile_b(mma, &operands)?, mma.n)?];
    if let Some(tile) = tile_a(mma, &operands)? {
        reads.push(region(tile, M)?);
    }
    let first = at.warp / WARPS * WARPS;
    let warps = &mut cluster.ctas[at.cta].warps;
    let number = warps[at.warp].warpgroup.issued();
    let finished = (first..first + WARPS).map(|warp| warps[warp].warpgroup.issued());
    let finished = finished.min().unwrap_or(0);
    warps[first].warpgroup.compare(number, operands, finished)?;
    warps[at.warp].warpgroup.issue(kernel, pc, mma)?;
    let footprint = Footprint::of_reads(reads);
    cluster.issue(at, 0, Work::WarpgroupMma(operands), footprint)
}

fn tile_b(mma: &WarpgroupMma, operands: &Operands) -> Step<WarpgroupTile> {
    let bits = mma.b_type.bits();
    WarpgroupTile::decode(operands.b_descriptor, mma.transpose_b, bits).map_err(FailureKind::tensor)
}

fn tile_a(mma: &WarpgroupMma, operands: &Operands) -> Step<Option<WarpgroupTile>> {
    match (&mma.a, operands.a_descriptor) {
        (WarpgroupA::Descriptor { transpose, .. }, Some(descriptor)) => {
            WarpgroupTile::decode(descriptor, *transpose, mma.a_type.bits())
                .map(Some)
                .map_err(FailureKind::tensor)
        }
        _ => Ok(None),
    }
}

/// Executes the part of warp `warp_index` of an instruction in flight.
pub fn complete(
    cluster: &mut Cluster,
    cta: usize,
    warp_index: usize,
    operands: &Operands,
) -> Step<()> {
    let kernel = cluster.context.kernel;
    let crate::isa::ir::Op::Matrix(MatrixOp::WarpgroupMma(mma)) =
        &kernel.code[operands.pc as usize].op
    else {
        return Ok(());
    };
    let cta = &mut cluster.ctas[cta];
    let shared = cta.shared.window();
    let k = mma.k as usize;
    let warp = &mut cta.warps[warp_index];
    let gather = |registers: &[u32]| -> Vec<[u32; LANES]> {
        registers
            .iter()
            .map(|register| super::matrix::words(warp, Src::Reg(*register)))
            .collect()
    };
    let first_row = (warp_index % WARPS * ROWS) as u32;
    let a = match (&mma.a, tile_a(mma, operands)?) {
        (WarpgroupA::Registers(registers), _) => {
            Lines::of_a(mma.a_type, mma.negate_a, k, &gather(registers))
        }
        (_, Some(tile)) => Lines::new(mma.a_type, mma.negate_a, ROWS, k, |row, k| {
            tile.code(shared, first_row + row as u32, k as u32)
        }),
        (WarpgroupA::Descriptor { .. }, None) => return Ok(()),
    };
    let tile = tile_b(mma, operands)?;
    let b = Lines::new(mma.b_type, mma.negate_b, mma.n as usize, k, |column, k| {
        tile.code(shared, column as u32, k as u32)
    });
    let float_dot: FloatDot = match mma.a_type.bits() {
        8 => |result, a, b, c| dot(DotRule::short(result), a, b, c),
        _ => |result, a, b, c| dot(DotRule::wide(result), a, b, c),
    };
    let mut d = gather(&mma.d);
    fragment::accumulate(
        mma.accumulator,
        float_dot,
        &a,
        &b,
        operands.accumulate,
        &mut d,
    );
    for (register, words) in mma.d.iter().zip(&d) {
        super::matrix::write(warp, Some(*register), words);
    }
    warp.warpgroup.complete();
    warp.retry(|wait| matches!(wait, Wait::WarpgroupMma { .. }));
    Ok(())
}
