//! Matrix instructions of one warp (PTX ISA §9.7.14); those of warpgroups are in [`super::warpgroup`].

use super::{Flow, converge, warpgroup};
use crate::isa::ir::{Address, Dst, LANES, Space, Src};
use crate::isa::matrix::{MatrixOp, WarpMma};
use crate::machine::cluster::{At, Cluster};
use crate::machine::footprint::SharedAddress;
use crate::machine::report::Step;
use crate::machine::warp::Warp;
use crate::tensor::arithmetic::{DotRule, dot, dot_in_halves};
use crate::tensor::warp::{self as fragment, FloatDot, Lines};

/// Rows of an 8×8 matrix of 16-bit elements, and bytes of each.
const MATRIX_ROWS: usize = 8;
const ROW_BYTES: u32 = 16;

/// The 16-bit elements of an 8×8 matrix by row and column.
type Matrix = [[u16; 8]; MATRIX_ROWS];

pub fn execute(cluster: &mut Cluster, at: At, op: &MatrixOp, active: u32) -> Step<Flow> {
    if let Some(wait) = converge(cluster, at, active)? {
        return Ok(Flow::Block(wait));
    }
    match op {
        MatrixOp::Load {
            dsts,
            transpose,
            address,
            space,
        } => load(cluster, at, dsts, *transpose, address, *space)?,
        MatrixOp::Store {
            srcs,
            transpose,
            address,
            space,
        } => store(cluster, at, srcs, *transpose, address, *space)?,
        MatrixOp::Transpose { dst, src } => {
            let warp = &mut cluster.ctas[at.cta].warps[at.warp];
            let matrix = to_matrix(&words(warp, *src), false);
            write(warp, *dst, &to_fragment(&matrix, true));
        }
        MatrixOp::Mma(mma) => multiply(&mut cluster.ctas[at.cta].warps[at.warp], mma),
        MatrixOp::WarpgroupMma(_)
        | MatrixOp::WarpgroupFence
        | MatrixOp::WarpgroupCommit
        | MatrixOp::WarpgroupWait { .. } => return warpgroup::execute(cluster, at, op),
    }
    Ok(Flow::Next)
}

pub fn words(warp: &Warp, source: Src) -> [u32; LANES] {
    std::array::from_fn(|lane| warp.value(source, lane) as u32)
}

pub fn write(warp: &mut Warp, dst: Dst, words: &[u32; LANES]) {
    for (lane, word) in words.iter().enumerate() {
        warp.set(dst, lane, (*word).into());
    }
}

/// Lane 4·i + j holds the elements 2j and 2j + 1 of row i; of the transpose if so.
fn to_fragment(matrix: &Matrix, transpose: bool) -> [u32; LANES] {
    std::array::from_fn(|lane| {
        let (line, first) = (lane / 4, 2 * (lane % 4));
        let element = |k: usize| match transpose {
            false => matrix[line][first + k],
            true => matrix[first + k][line],
        };
        u32::from(element(0)) | u32::from(element(1)) << 16
    })
}

/// The inverse of [`to_fragment`].
fn to_matrix(words: &[u32; LANES], transpose: bool) -> Matrix {
    std::array::from_fn(|row| {
        std::array::from_fn(|column| {
            let (line, k) = if transpose {
                (column, row)
            } else {
                (row, column)
            };
            (words[4 * line + k / 2] >> (16 * (k % 2))) as u16
        })
    })
}

/// The row addresses of matrix `index`: those of lanes 8·`index` and up, in order (PTX ISA §9.7.14.5.15).
fn row_addresses(
    cluster: &mut Cluster,
    at: At,
    address: &Address,
    space: Space,
    index: usize,
    writes: bool,
) -> Step<[SharedAddress; MATRIX_ROWS]> {
    let mut rows = [SharedAddress { cta: 0, offset: 0 }; MATRIX_ROWS];
    for (row, place) in rows.iter_mut().enumerate() {
        let lane = MATRIX_ROWS * index + row;
        let bits = cluster.ctas[at.cta].warps[at.warp].address(address, lane);
        *place = cluster.shared_address(at, space, bits)?;
        cluster.check_shared(at.issuer(lane), *place, ROW_BYTES, ROW_BYTES, writes)?;
    }
    Ok(rows)
}

fn load(
    cluster: &mut Cluster,
    at: At,
    dsts: &[Dst],
    transpose: bool,
    address: &Address,
    space: Space,
) -> Step<()> {
    let mut fragments = Vec::with_capacity(dsts.len());
    for index in 0..dsts.len() {
        let rows = row_addresses(cluster, at, address, space, index, false)?;
        let matrix: Matrix = rows.map(|SharedAddress { cta, offset }| {
            let shared = &cluster.ctas[cta as usize].shared;
            std::array::from_fn(|column| shared.load(offset + 2 * column as u32, 2) as u16)
        });
        fragments.push(to_fragment(&matrix, transpose));
    }
    let warp = &mut cluster.ctas[at.cta].warps[at.warp];
    for (dst, fragment) in dsts.iter().zip(&fragments) {
        write(warp, *dst, fragment);
    }
    Ok(())
}

fn store(
    cluster: &mut Cluster,
    at: At,
    srcs: &[Src],
    transpose: bool,
    address: &Address,
    space: Space,
) -> Step<()> {
    for (index, source) in srcs.iter().enumerate() {
        let rows = row_addresses(cluster, at, address, space, index, true)?;
        let matrix = to_matrix(
            &words(&cluster.ctas[at.cta].warps[at.warp], *source),
            transpose,
        );
        for (SharedAddress { cta, offset }, row) in rows.into_iter().zip(matrix) {
            let shared = &mut cluster.ctas[cta as usize].shared;
            for (column, element) in row.into_iter().enumerate() {
                shared.store(offset + 2 * column as u32, 2, element.into());
            }
        }
    }
    Ok(())
}

fn multiply(warp: &mut Warp, mma: &WarpMma) {
    let gather = |sources: &[Src]| -> Vec<[u32; LANES]> {
        sources.iter().map(|source| words(warp, *source)).collect()
    };
    let k = mma.k as usize;
    let a = Lines::of_a(mma.a_type, false, k, &gather(&mma.a));
    let b = Lines::of_b(mma.b_type, k, &gather(&mma.b));
    let mut d = gather(&mma.c);
    let float_dot: FloatDot = match mma.a_type.bits() {
        8 => |result, a, b, c| dot_in_halves(DotRule::wide(result), a, b, c),
        _ => |result, a, b, c| dot(DotRule::wide(result), a, b, c),
    };
    fragment::accumulate(mma.accumulator, float_dot, &a, &b, true, &mut d);
    for (dst, words) in mma.d.iter().zip(&d) {
        write(warp, *dst, words);
    }
}
