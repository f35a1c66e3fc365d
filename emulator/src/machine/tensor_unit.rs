//! Where the machine meets the tensor core: operands are gathered and checked at issue, and become work with a
//! footprint.

use std::ops::Range;

use super::cluster::Cta;
use super::footprint::{ALL_PARTITIONS, Footprint, Region};
use super::operation::Work;
use super::pair::group;
use super::report::{FailureKind, Step};
use super::warp::Warp;
use crate::isa::ir::{CopyShape, MmaOperandA, Src, Tcgen05Mma};
use crate::tensor::mma::{OperandA, TensorUse};
use crate::tensor::{Mma, MmaError, MmaFootprint, MmaOperands, TensorCopy};

/// Rows of operands start at multiples of 16 bytes (PTX ISA §9.7.16.4).
const CHUNK_BYTES: u32 = 16;

/// A `tcgen05.cp` by one thread of `cta`. Each CTA of the group copies, from the same offsets of its own shared memory to
/// the same columns of its own tensor memory (CUTLASS `copy_traits_sm100.hpp`). `exact`: gaps between what is read do not count as read.
pub fn copy(
    ctas: &[Cta],
    cta: usize,
    cta_group: u8,
    shape: CopyShape,
    address: u32,
    descriptor: u64,
    exact: bool,
) -> Step<(Work, Footprint)> {
    let copy = TensorCopy::new(shape, address, descriptor).map_err(FailureKind::tensor)?;
    let mut footprint = Footprint::default();
    for index in group(cta, cta_group) {
        let cta = &ctas[index];
        let index = index as u32;
        cta.tensor
            .check_columns("tcgen05.cp", copy.columns())
            .map_err(FailureKind::tensor)?;
        let bytes = copy.shared_footprint();
        let chunks = exact.then(|| copy.chunk_addresses());
        footprint.reads.push(operand(cta, index, bytes, chunks)?);
        let written = Region::tensor(index, copy.columns(), ALL_PARTITIONS);
        footprint.writes.push(written);
    }
    Ok((Work::TensorCopy { copy, cta_group }, footprint))
}

/// A `tcgen05.mma` by one thread of a CTA, with `group` of the cluster's CTAs: its own, or its pair.
/// `exact`: as for [`copy`].
pub fn mma(
    ctas: &[Cta],
    group: Range<usize>,
    instruction: &Tcgen05Mma,
    warp: &Warp,
    lane: usize,
    exact: bool,
) -> Step<(Work, Footprint)> {
    let value = |source| warp.value(source, lane);
    let operands = MmaOperands {
        kind: instruction.kind,
        cta_group: instruction.cta_group,
        d: value(instruction.d) as u32,
        a: match instruction.a {
            MmaOperandA::Descriptor(source) => OperandA::Descriptor(value(source)),
            MmaOperandA::TensorMemory(source) => OperandA::TensorMemory(value(source) as u32),
        },
        b_descriptor: value(instruction.b_descriptor),
        instruction_descriptor: value(instruction.instruction_descriptor) as u32,
        scale_a: instruction.scale_a.map(|source| value(source) as u32),
        scale_b: instruction.scale_b.map(|source| value(source) as u32),
        scale_block: instruction.scale_block,
        accumulate: (value(instruction.accumulate) != 0) != instruction.accumulate_negated,
        scale_d: instruction.scale_d,
        disabled_lanes: disabled_lanes(&instruction.disabled_lanes, value),
    };
    let mma = Mma::new(&operands).map_err(|error| match error {
        MmaError::Unsupported { .. } => FailureKind::unsupported(error),
        _ => FailureKind::tensor(error),
    })?;
    let MmaFootprint {
        shared,
        reads,
        d,
        reads_d,
    } = mma.footprint();
    let mut footprint = Footprint::default();
    for index in group {
        let cta = &ctas[index];
        let index = index as u32;
        let tensor = |used: &TensorUse| {
            cta.tensor
                .check_columns(used.what, used.columns.clone())
                .map_err(FailureKind::tensor)?;
            Ok::<_, FailureKind>(Region::tensor(index, used.columns.clone(), used.lanes))
        };
        for shared in &shared {
            let chunks = exact.then(|| shared.chunk_addresses());
            let region = operand(cta, index, shared.footprint(), chunks)?;
            footprint.reads.push(region);
        }
        for used in &reads {
            footprint.reads.push(tensor(used)?);
        }
        let d = tensor(&d)?;
        footprint.reads.extend(reads_d.then(|| d.clone()));
        footprint.writes.push(d);
    }
    Ok((Work::Mma(Box::new(mma)), footprint))
}

/// The lanes of up to two CTAs, from words of 32.
fn disabled_lanes(words: &[Src], value: impl Fn(Src) -> u64) -> [u128; 2] {
    let mut lanes = [0; 2];
    for (i, word) in words.iter().enumerate() {
        lanes[i / 4] |= u128::from(value(*word) as u32) << (i % 4 * 32);
    }
    lanes
}

/// An operand in shared memory, which has to lie in the CTA's own part of it. `chunks`: what of `bytes` is read, where
/// it has to be known.
pub fn operand(
    cta: &Cta,
    index: u32,
    bytes: Range<u32>,
    chunks: Option<impl Iterator<Item = u32>>,
) -> Step<Region> {
    cta.shared
        .check(bytes.start, bytes.len() as u32, CHUNK_BYTES)?;
    Ok(match chunks {
        None => Region::shared(index, bytes),
        Some(chunks) => Region::scattered(index, bytes, chunks.collect()),
    })
}
