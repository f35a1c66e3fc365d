//! Operands of the tensor core that are read when the operation is issued.
//!
//! A device may read them at any time from there to the completion. Reading them late shows who overwrites them too
//! early, reading them early who has not waited for them; what an operation of the tensor pipe is about to write is read
//! when it is its turn, as the pipe executes in order (PTX ISA §9.7.16.6.2).

use std::ops::Range;

use super::cluster::{Cluster, Cta};
use super::footprint::{Footprint, Memory, Region};
use super::operation::{Issuer, Work};
use super::warp::Slot;
use crate::isa::ir::{Op, Reg};
use crate::isa::matrix::{MatrixOp, WarpgroupA};
use crate::tensor::memory::COLUMNS;

/// What operands held at some time.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    shared: Vec<(Region, Vec<u8>)>,
    tensor: Vec<(Region, Vec<u32>)>,
    registers: Vec<(Reg, Slot)>,
}

/// Lanes of tensor memory in half of a warp's partition, the unit of a region's cells.
const HALF: usize = 16;

impl Cluster<'_> {
    /// What the operands of `work` hold now, if the schedule wants them to be read now.
    pub fn read_at_issue(
        &mut self,
        issuer: Issuer,
        work: &Work,
        footprint: &Footprint,
    ) -> Option<Box<Snapshot>> {
        let is_tensor_core = matches!(
            work,
            Work::Mma(_) | Work::TensorCopy { .. } | Work::WarpgroupMma(_)
        );
        if !is_tensor_core || !self.engine.reads_at_issue() {
            return None;
        }
        let pending = self.engine.operations().iter();
        let pending = pending.map(|operation| &operation.footprint);
        let written: Vec<&Region> = pending
            .chain([footprint])
            .flat_map(|footprint| &footprint.writes)
            .filter(|region| region.memory() == Memory::Tensor)
            .collect();
        let mut snapshot = Snapshot::default();
        for region in &footprint.reads {
            let cta = &self.ctas[region.cta() as usize];
            match region.memory() {
                Memory::Shared => {
                    let bytes = cta.shared.window()[byte_range(region)].to_vec();
                    snapshot.shared.push((region.clone(), bytes));
                }
                Memory::Tensor if written.iter().all(|other| region.overlap(other).is_none()) => {
                    let rows =
                        rows(region).flat_map(|(lane, columns)| &cta.tensor.row(lane)[columns]);
                    snapshot
                        .tensor
                        .push((region.clone(), rows.copied().collect()));
                }
                _ => {}
            }
        }
        if let Work::WarpgroupMma(operands) = work
            && let Op::Matrix(MatrixOp::WarpgroupMma(mma)) =
                &self.context.kernel.code[operands.pc as usize].op
            && let WarpgroupA::Registers(registers) = &mma.a
        {
            let warp = &self.ctas[issuer.cta as usize].warps[issuer.warp as usize];
            let registers = registers
                .iter()
                .filter(|register| !mma.d.contains(register));
            snapshot.registers = registers
                .map(|register| (*register, warp.registers[*register as usize]))
                .collect();
        }
        Some(Box::new(snapshot))
    }
}

impl Snapshot {
    /// Puts what the operands held in their place, and what is there into the snapshot. A second call undoes the first.
    pub fn swap(&mut self, ctas: &mut [Cta], issuer: Issuer) {
        // Operands may overlap: what is put there last has to be taken away first.
        self.shared.reverse();
        for (region, bytes) in &mut self.shared {
            let window = ctas[region.cta() as usize].shared.window_mut();
            window[byte_range(region)].swap_with_slice(bytes);
        }
        self.tensor.reverse();
        for (region, words) in &mut self.tensor {
            let tensor = &mut ctas[region.cta() as usize].tensor;
            let mut words = words.as_mut_slice();
            for (lane, columns) in rows(region) {
                let (row, rest) = words.split_at_mut(columns.len());
                tensor.row_mut(lane)[columns].swap_with_slice(row);
                words = rest;
            }
        }
        let warp = &mut ctas[issuer.cta as usize].warps[issuer.warp as usize];
        for (register, slot) in &mut self.registers {
            std::mem::swap(&mut warp.registers[*register as usize], slot);
        }
    }
}

fn byte_range(region: &Region) -> Range<usize> {
    let Range { start, end } = region.range();
    start as usize..end as usize
}

/// The lanes of a region of tensor memory, and the columns in each.
fn rows(region: &Region) -> impl Iterator<Item = (usize, Range<usize>)> {
    region.cells().flat_map(|cells| {
        let half = cells.start / COLUMNS;
        let columns = cells.start - half * COLUMNS..cells.end - half * COLUMNS;
        (HALF * half..HALF * (half + 1)).map(move |lane| (lane, columns.clone()))
    })
}
