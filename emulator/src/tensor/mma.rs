//! `tcgen05.mma` with block scaling: operands from shared and tensor memory, D in tensor memory (PTX ISA §9.7.16.10).

use std::ops::Range;

use thiserror::Error;

use super::arithmetic::{
    AccumulatorTile, GROUPS, OperandRows, ROW_BYTES, ScaledRow, multiply_tile,
};
use super::descriptor::{
    CHUNK_BYTES, DescriptorError, InstructionDescriptor, InstructionError, ScaleType,
    SmemDescriptor,
};
use super::layout::{Block, CtaMemory, DataPath, OwnedRow};
use super::memory::{PARTITION_LANES, TensorAddress, TensorMemory, TensorMemoryError};
use crate::isa::ir::MmaKind;

/// 16-byte chunks of an operand row: 64 elements of 4 bits.
const ROW_CHUNKS: u32 = ROW_BYTES as u32 / CHUNK_BYTES;

/// Rows of scale factors that share a column: the words of 32 lanes.
const SCALE_ROWS_PER_COLUMN: u32 = PARTITION_LANES as u32;

/// Flips the sign of both elements of a byte.
const SIGNS: u8 = 0x88;

/// Why an MMA cannot run.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MmaError {
    #[error(
        "tcgen05.mma with {what} is not emulated; .kind::mxf4nvf4 with .block16 and UE4M3 scales is"
    )]
    Unsupported { what: String },
    #[error("tcgen05.mma operand {operand}: {source}")]
    Descriptor {
        operand: char,
        source: DescriptorError,
    },
    #[error("tcgen05.mma: {0}")]
    Instruction(#[from] InstructionError),
    #[error("tcgen05.mma: {what} at lane {lane}; it must start at lane 0")]
    Lane { what: &'static str, lane: u32 },
    #[error(
        "tcgen05.mma: D in columns {}..{} overlaps the scale factors in {}..{}",
        .d.start, .d.end, .scales.start, .scales.end
    )]
    Overlap { d: Range<u32>, scales: Range<u32> },
    #[error(
        "tcgen05.mma operand {operand} reads shared memory up to {end:#x}; the CTA has {available:#x} bytes"
    )]
    SharedBounds {
        operand: char,
        end: u32,
        available: usize,
    },
    #[error(
        "tcgen05.mma: scale factors of {operand} in column {column} differ between lane {lane} ({first:#010x}) and lane \
         {other_lane} ({other:#010x}); all four 32-lane partitions must hold the same, as tcgen05.cp.32x128b.warpx4 \
         leaves them"
    )]
    ScalePartitions {
        operand: char,
        column: u32,
        lane: u32,
        first: u32,
        other_lane: u32,
        other: u32,
    },
    #[error(transparent)]
    Memory(#[from] TensorMemoryError),
}

/// Where A comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperandA {
    /// A shared-memory descriptor.
    Descriptor(u64),
    /// A tensor memory address.
    TensorMemory(u32),
}

/// The operands and qualifiers of one instruction, as the issuing thread gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MmaOperands {
    pub kind: MmaKind,
    pub cta_group: u8,
    /// Tensor memory address of D.
    pub d: u32,
    pub a: OperandA,
    pub b_descriptor: u64,
    pub instruction_descriptor: u32,
    /// Tensor memory addresses of the scale factors; `None` without block scaling.
    pub scale_a: Option<u32>,
    pub scale_b: Option<u32>,
    /// Elements of K that share a scale factor.
    pub scale_block: Option<u32>,
    /// `enable-input-d`: D = A·B + D rather than A·B.
    pub accumulate: bool,
}

/// What one MMA touches in each CTA of its group, at the same offsets and columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MmaFootprint {
    /// Ranges of shared memory that hold A and B.
    pub shared: [Range<u32>; 2],
    /// Columns of A's and B's scale factors, read in all lanes.
    pub scales: [Range<u32>; 2],
    /// Columns of D, written in all lanes.
    pub d: Range<u32>,
    /// Whether D is read as well.
    pub reads_d: bool,
}

/// A checked block-scaled MMA of M × N × 64, ready to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockScaledMma {
    a: SmemDescriptor,
    b: SmemDescriptor,
    shape: InstructionDescriptor,
    path: DataPath,
    scales_a: Range<u32>,
    scales_b: Range<u32>,
    d: Range<u32>,
    accumulate: bool,
}

impl BlockScaledMma {
    /// Checks the operands at issue.
    pub fn new(operands: &MmaOperands) -> Result<BlockScaledMma, MmaError> {
        let unsupported = |what: String| Err(MmaError::Unsupported { what });
        if operands.kind != MmaKind::Mxf4nvf4 {
            return unsupported(format!(".kind {:?}", operands.kind));
        }
        let OperandA::Descriptor(a_descriptor) = operands.a else {
            return unsupported("A in tensor memory".into());
        };
        let (Some(scale_a), Some(scale_b), Some(block)) =
            (operands.scale_a, operands.scale_b, operands.scale_block)
        else {
            return unsupported("no scale factors".into());
        };
        let shape = InstructionDescriptor::decode(
            operands.instruction_descriptor,
            operands.kind,
            operands.cta_group,
            block,
        )?;
        if shape.scale_type != ScaleType::Ue4m3 {
            return unsupported(format!("{:?} scales", shape.scale_type));
        }
        if operands.cta_group == 2 && shape.m == 128 {
            // No public source tells which lanes hold the scale factors of the odd CTA's rows.
            return unsupported("block scaling, cta_group::2 and M = 128".into());
        }
        let path = DataPath::new(operands.cta_group, shape.m, shape.n);
        let descriptor = |operand, bits| {
            SmemDescriptor::decode(bits).map_err(|source| MmaError::Descriptor { operand, source })
        };
        let mma = BlockScaledMma {
            a: descriptor('A', a_descriptor)?,
            b: descriptor('B', operands.b_descriptor)?,
            shape,
            path,
            scales_a: columns("scale-factor A", scale_a, scale_columns(path.a_rows()))?,
            scales_b: columns("scale-factor B", scale_b, scale_columns(shape.n))?,
            d: columns("D", operands.d, path.d_columns())?,
            accumulate: operands.accumulate,
        };
        for scales in [&mma.scales_a, &mma.scales_b] {
            if scales.start < mma.d.end && mma.d.start < scales.end {
                return Err(MmaError::Overlap {
                    d: mma.d.clone(),
                    scales: scales.clone(),
                });
            }
        }
        Ok(mma)
    }

    /// How the MMA spreads over the CTAs of its group.
    pub fn path(&self) -> DataPath {
        self.path
    }

    /// What the MMA touches in each CTA of its group.
    pub fn footprint(&self) -> MmaFootprint {
        MmaFootprint {
            shared: [
                self.a.footprint(self.path.a_rows(), ROW_CHUNKS),
                self.b.footprint(self.path.b_rows(), ROW_CHUNKS),
            ],
            scales: [self.scales_a.clone(), self.scales_b.clone()],
            d: self.d.clone(),
            reads_d: self.accumulate,
        }
    }

    /// Multiplies. `ctas` are the CTAs of the group, the even one first. Nothing is written on an error.
    ///
    /// Each CTA scales with the factors in its own tensor memory: those of its rows of A, and those of all rows of B.
    pub fn execute(&self, ctas: &mut [CtaMemory]) -> Result<(), MmaError> {
        for cta in ctas.iter() {
            cta.tensor.check_columns("tcgen05.mma D", self.d.clone())?;
            for scales in [&self.scales_a, &self.scales_b] {
                cta.tensor
                    .check_columns("tcgen05.mma scale factors", scales.clone())?;
            }
        }
        let blocks: Vec<_> = self
            .path
            .blocks()
            .map(|block| {
                let a = self.rows_of_a(&block, ctas)?;
                let b = self.rows_of_b(&block, ctas)?;
                Ok((block, a, b))
            })
            .collect::<Result<_, MmaError>>()?;
        for (block, a, b) in blocks {
            let column = self.d.start + block.column;
            let (words, pitch) = ctas[block.cta].tensor.words_from(column as usize);
            let words = &mut words[block.lane as usize * pitch..];
            multiply_tile(&a, &b, self.accumulate, AccumulatorTile { words, pitch });
        }
        Ok(())
    }

    fn rows_of_a(&self, block: &Block, ctas: &[CtaMemory]) -> Result<OperandRows, MmaError> {
        let owner = |m| self.path.a_row(m);
        // Scale factors of A are those of the CTA's own rows.
        let index = |m| self.path.a_row(m).row;
        let scales = (self.scales_a.start, ctas[block.cta].tensor as &TensorMemory);
        let source = Source {
            operand: 'A',
            descriptor: &self.a,
            rows: self.path.a_rows(),
            negate: self.shape.negate_a,
        };
        source.gather(block.m.clone(), owner, index, scales, ctas)
    }

    fn rows_of_b(&self, block: &Block, ctas: &[CtaMemory]) -> Result<OperandRows, MmaError> {
        let owner = |n| self.path.b_row(n);
        let scales = (self.scales_b.start, ctas[block.cta].tensor as &TensorMemory);
        let source = Source {
            operand: 'B',
            descriptor: &self.b,
            rows: self.path.b_rows(),
            negate: self.shape.negate_b,
        };
        source.gather(block.n.clone(), owner, |n| n, scales, ctas)
    }
}

/// An operand in the shared memories of the group.
struct Source<'m> {
    operand: char,
    descriptor: &'m SmemDescriptor,
    /// Rows in each CTA.
    rows: u32,
    negate: bool,
}

impl Source<'_> {
    /// Rows `wanted`: elements from the CTA that owns each, scale factor `index(row)` of the CTA that multiplies.
    fn gather(
        &self,
        wanted: Range<u32>,
        owner: impl Fn(u32) -> OwnedRow,
        index: impl Fn(u32) -> u32,
        (base, tensor): (u32, &TensorMemory),
        ctas: &[CtaMemory],
    ) -> Result<OperandRows, MmaError> {
        let end = self.descriptor.footprint(self.rows, ROW_CHUNKS).end;
        if let Some(cta) = ctas.iter().find(|cta| end as usize > cta.shared.len()) {
            return Err(MmaError::SharedBounds {
                operand: self.operand,
                end,
                available: cta.shared.len(),
            });
        }
        let signs = if self.negate { SIGNS } else { 0 };
        let row = |row| {
            let OwnedRow { cta, row: local } = owner(row);
            let elements = row_elements(self.descriptor, local, ctas[cta].shared);
            Ok(ScaledRow {
                elements: elements.map(|byte| byte ^ signs),
                scales: row_scales(self.operand, index(row), base, tensor)?,
            })
        };
        Ok(OperandRows::new(
            wanted.map(row).collect::<Result<_, MmaError>>()?,
        ))
    }
}

fn row_elements(descriptor: &SmemDescriptor, row: u32, shared: &[u8]) -> [u8; ROW_BYTES] {
    let mut elements = [0; ROW_BYTES];
    for (chunk, bytes) in elements.chunks_exact_mut(CHUNK_BYTES as usize).enumerate() {
        let at = descriptor.chunk_address(row, chunk as u32) as usize;
        bytes.copy_from_slice(&shared[at..at + CHUNK_BYTES as usize]);
    }
    elements
}

/// The scales of row i: byte j of lane i % 32, column base + i / 32, is that of K block j. All partitions must agree.
fn row_scales(
    operand: char,
    row: u32,
    base: u32,
    memory: &TensorMemory,
) -> Result<[u8; GROUPS], MmaError> {
    let column = base + row / SCALE_ROWS_PER_COLUMN;
    let lane = row % SCALE_ROWS_PER_COLUMN;
    let word = |lane: u32| memory.row(lane as usize)[column as usize];
    let first = word(lane);
    for partition in 1..4 {
        let other_lane = lane + partition * PARTITION_LANES as u32;
        let other = word(other_lane);
        if other != first {
            return Err(MmaError::ScalePartitions {
                operand,
                column,
                lane,
                first,
                other_lane,
                other,
            });
        }
    }
    Ok(first.to_le_bytes())
}

fn scale_columns(rows: u32) -> u32 {
    rows.div_ceil(SCALE_ROWS_PER_COLUMN)
}

fn columns(what: &'static str, address: u32, count: u32) -> Result<Range<u32>, MmaError> {
    let TensorAddress { lane, column } = TensorAddress::from_bits(address);
    if lane != 0 {
        return Err(MmaError::Lane { what, lane });
    }
    Ok(column..column + count)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::TestRng;

    use super::super::arithmetic::dot64_reference;
    use super::super::copy::TensorCopy;
    use super::*;
    use crate::isa::ir::CopyShape;

    const SW128: u64 = 0x4000_4040_0001_0000;
    const SCALES: u64 = 0x0000_4008_0000_0000;
    const A_AT: u32 = 0x400;
    const B_AT: u32 = 0x4400;
    const SFA_AT: u32 = 0xc400;
    const SFB_AT: u32 = 0xc600;

    fn operands(n: u32, k_step: u64) -> MmaOperands {
        MmaOperands {
            kind: MmaKind::Mxf4nvf4,
            cta_group: 1,
            d: 128,
            a: OperandA::Descriptor(SW128 | (u64::from(A_AT >> 4) + 2 * k_step)),
            b_descriptor: SW128 | (u64::from(B_AT >> 4) + 2 * k_step),
            instruction_descriptor: 0x0800_0480 | (n / 8) << 17,
            scale_a: Some(0),
            scale_b: Some(0xc000_0000 | 5),
            scale_block: Some(16),
            accumulate: true,
        }
    }

    fn execute(
        mma: &BlockScaledMma,
        shared: &[u8],
        tensor: &mut TensorMemory,
    ) -> Result<(), MmaError> {
        mma.execute(&mut [CtaMemory { shared, tensor }])
    }

    fn allocated() -> TensorMemory {
        let mut memory = TensorMemory::new();
        memory.allocate(512).unwrap();
        memory
    }

    /// Random operand tiles as TMA leaves them, and random scales copied as a kernel copies them.
    fn filled(rng: &mut TestRng) -> (Vec<u8>, TensorMemory) {
        let mut shared = vec![0; 0xca00];
        rng.fill_bytes(&mut shared);
        let mut memory = allocated();
        for (at, column, tiles) in [(SFA_AT, 0, 1), (SFB_AT, 5, 2)] {
            for tile in 0..tiles {
                let descriptor = SCALES | u64::from(at + tile * 512) >> 4;
                TensorCopy::new(CopyShape::S32x128bWarpx4, column + 4 * tile, descriptor)
                    .unwrap()
                    .execute(&shared, &mut memory)
                    .unwrap();
            }
        }
        for lane in 0..128 {
            for word in &mut memory.row_mut(lane)[128..384] {
                *word = rng.next_u32();
            }
        }
        (shared, memory)
    }

    /// The inputs of D[m, n], found by the published layouts and not through descriptors.
    fn expected(shared: &[u8], memory: &TensorMemory, m: usize, n: usize, k_step: usize) -> u32 {
        let row = |base: u32, row: usize| -> [u8; 32] {
            std::array::from_fn(|byte| {
                let at = base as usize + row * 128 + k_step * 32 + byte;
                shared[at ^ (at >> 7 & 7) << 4]
            })
        };
        let scales = |base: u32, row: usize| -> [u8; 4] {
            std::array::from_fn(|k| {
                let tile = base as usize + row / 128 * 512;
                shared[tile + row % 32 * 16 + row % 128 / 32 * 4 + k]
            })
        };
        dot64_reference(
            &row(A_AT, m),
            &row(B_AT, n),
            scales(SFA_AT, m),
            scales(SFB_AT, n),
            memory.row(m)[128 + n],
        )
    }

    #[test]
    fn footprints_name_everything_touched() {
        let footprint = BlockScaledMma::new(&operands(256, 0)).unwrap().footprint();
        assert_eq!(footprint.shared[0], 0x400..0x4400);
        assert_eq!(footprint.scales, [0..4, 5..13]);
        assert_eq!(footprint.d, 128..384);
        assert!(footprint.reads_d);
    }

    #[test]
    fn unsound_operands_are_refused() {
        let good = operands(128, 0);
        let error = |operands: MmaOperands| BlockScaledMma::new(&operands).unwrap_err();
        for bad in [
            MmaOperands {
                kind: MmaKind::F16,
                ..good
            },
            MmaOperands {
                kind: MmaKind::Mxf4,
                ..good
            },
            MmaOperands {
                cta_group: 2,
                ..good
            },
            MmaOperands {
                a: OperandA::TensorMemory(0),
                ..good
            },
            MmaOperands {
                scale_b: None,
                ..good
            },
            MmaOperands {
                instruction_descriptor: 0x08a0_0480,
                ..good
            },
        ] {
            assert!(
                matches!(error(bad), MmaError::Unsupported { .. }),
                "{bad:?}"
            );
        }
        assert!(matches!(
            error(MmaOperands {
                scale_block: Some(32),
                ..good
            }),
            MmaError::Instruction(_)
        ));
        assert!(matches!(
            error(MmaOperands {
                b_descriptor: 0,
                ..good
            }),
            MmaError::Descriptor { operand: 'B', .. }
        ));
        assert!(matches!(
            error(MmaOperands {
                d: 16 << 16 | 128,
                ..good
            }),
            MmaError::Lane {
                what: "D",
                lane: 16
            }
        ));
        assert!(matches!(
            error(MmaOperands { d: 8, ..good }),
            MmaError::Overlap { .. }
        ));
    }

    #[test]
    fn unsound_memories_are_refused() {
        let mma = BlockScaledMma::new(&operands(128, 0)).unwrap();
        let shared = vec![0; 0xca00];
        assert!(matches!(
            execute(&mma, &shared[..0x800], &mut allocated()),
            Err(MmaError::SharedBounds { operand: 'A', .. })
        ));
        assert!(matches!(
            execute(&mma, &shared, &mut TensorMemory::new()),
            Err(MmaError::Memory(TensorMemoryError::Unallocated { .. }))
        ));
        let mut memory = allocated();
        memory.row_mut(64 + 7)[6] = 1;
        assert!(matches!(
            execute(&mma, &shared, &mut memory),
            Err(MmaError::ScalePartitions {
                operand: 'B',
                column: 6,
                lane: 7,
                other_lane: 71,
                other: 1,
                ..
            })
        ));
        let beyond = BlockScaledMma::new(&MmaOperands {
            d: 400,
            ..operands(128, 0)
        })
        .unwrap();
        assert!(matches!(
            execute(&beyond, &shared, &mut allocated()),
            Err(MmaError::Memory(TensorMemoryError::Columns { .. }))
        ));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        #[test]
        fn every_element_reads_its_own_operands(
            n in (1u32..=32).prop_map(|n| 8 * n),
            k_step in 0u64..4,
            accumulate: bool,
            negate_a: bool,
            seed in any::<[u8; 32]>(),
        ) {
            let mut rng = TestRng::from_seed(prop::test_runner::RngAlgorithm::ChaCha, &seed);
            let (shared, mut memory) = filled(&mut rng);
            let before = memory.clone();
            let mut operands = MmaOperands { accumulate, ..operands(n, k_step) };
            operands.instruction_descriptor |= u32::from(negate_a) << 13;
            let mma = BlockScaledMma::new(&operands).unwrap();
            execute(&mma, &shared, &mut memory).unwrap();

            let mut zeroed = before.clone();
            zeroed.poison(128..384, 0);
            let mut flipped = shared.clone();
            flipped[A_AT as usize..B_AT as usize].iter_mut().for_each(|b| *b ^= 0x88);
            let c = if accumulate { &before } else { &zeroed };
            let source = if negate_a { &flipped } else { &shared };
            for m in 0..128 {
                for i in 0..512usize {
                    let expected = match i.checked_sub(128) {
                        Some(j) if j < n as usize => expected(source, c, m, j, k_step as usize),
                        _ => before.row(m)[i],
                    };
                    prop_assert_eq!(memory.row(m)[i], expected, "lane {} column {}", m, i);
                }
            }
        }
    }
}
