//! `tcgen05.mma`: operands from shared and tensor memory, D in tensor memory (PTX ISA §9.7.16.10).

use std::ops::Range;

use thiserror::Error;

use super::arithmetic::{
    AccumulatorTile, DotResult, DotRule, DotVector, Mxfp4Row, OperandRows, ScaledRow,
    decode_integer, dot, integer_dot, multiply_tile, mxfp4_dot,
};
use super::descriptor::{DescriptorError, SmemDescriptor};
use super::instruction::{Elements, InstructionDescriptor, InstructionError, ScaleType, Scaling};
use super::layout::{Block, CtaMemory, DataPath};
use super::memory::{TensorAddress, TensorMemoryError};
use super::operand::{RowBytes, SharedOperand, TENSOR_COLUMNS, codes, tensor_row};
use super::scales::{PartitionError, ScaleFactors};
use crate::isa::alu::Format;
use crate::isa::ir::MmaKind;
use crate::tma::Swizzle;

/// Flips the sign of both elements of a byte.
const SIGNS: u8 = 0x88;

/// Why an MMA cannot run.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MmaError {
    #[error("tcgen05.mma with {what} is not emulated")]
    Unsupported { what: String },
    #[error("tcgen05.mma operand {operand}: {source}")]
    Descriptor {
        operand: char,
        source: DescriptorError,
    },
    #[error("tcgen05.mma: {0}")]
    Instruction(#[from] InstructionError),
    #[error(
        "tcgen05.mma operand {operand}: the {swizzle:?} swizzle does not go with {major}-major elements of {bits} bits"
    )]
    Swizzle {
        operand: char,
        swizzle: Swizzle,
        major: &'static str,
        bits: u32,
    },
    #[error(
        "tcgen05.mma operand {operand}: leading offset {leading} is not a multiple of the {swizzle:?} pattern's {period} \
         bytes"
    )]
    LeadingOffset {
        operand: char,
        leading: u32,
        swizzle: Swizzle,
        period: u32,
    },
    #[error("tcgen05.mma: {what} at lane {lane}; it must start at lane {legal}")]
    Lane {
        what: &'static str,
        lane: u32,
        legal: &'static str,
    },
    #[error(
        "tcgen05.mma: D in columns {}..{} overlaps {what} in {}..{}",
        .d.start, .d.end, .other.start, .other.end
    )]
    Overlap {
        d: Range<u32>,
        what: &'static str,
        other: Range<u32>,
    },
    #[error(
        "tcgen05.mma operand {operand} reads shared memory up to {end:#x}; the CTA has {available:#x} bytes"
    )]
    SharedBounds {
        operand: char,
        end: u32,
        available: usize,
    },
    #[error("tcgen05.mma: {0}")]
    ScalePartitions(#[from] PartitionError),
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
    /// `scale-input-d`: D counts 2^-`scale_d` times.
    pub scale_d: u32,
    /// `disable-output-lane`: one bit per lane, 128 of each CTA of the group, of those that are left alone.
    pub disabled_lanes: [u128; 2],
}

/// Columns of tensor memory that an MMA reads or writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorUse {
    pub what: &'static str,
    pub columns: Range<u32>,
    /// One bit per 16 lanes.
    pub lanes: u8,
}

/// What one MMA touches in each CTA of its group, at the same offsets and columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MmaFootprint {
    /// A, unless it lies in tensor memory, and B.
    pub shared: Vec<SharedOperand>,
    /// A in tensor memory, and the scale factors.
    pub reads: Vec<TensorUse>,
    pub d: TensorUse,
    /// Whether D is read as well.
    pub reads_d: bool,
}

/// A's rows.
#[derive(Clone, Debug, PartialEq, Eq)]
enum A {
    Shared(SharedOperand),
    /// From this column on; row and lane correspond as in D.
    Tensor(u32),
}

/// A checked MMA, ready to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mma {
    shape: InstructionDescriptor,
    path: DataPath,
    a: A,
    b: SharedOperand,
    /// Of A and of B.
    scales: Option<[ScaleFactors; 2]>,
    d: Range<u32>,
    /// The first lane of half-height layouts: 0 or 16.
    lane: u32,
    accumulate: bool,
    scale_d: u32,
    disabled_lanes: [u128; 2],
}

impl Mma {
    /// Checks the operands at issue.
    pub fn new(operands: &MmaOperands) -> Result<Mma, MmaError> {
        let unsupported = |what: String| Err(MmaError::Unsupported { what });
        let shape = InstructionDescriptor::decode(
            operands.instruction_descriptor,
            operands.kind,
            operands.cta_group,
            operands.scale_block,
        )?;
        let path = DataPath::new(operands.cta_group, shape.m, shape.n);
        if path.halves_n() && shape.scaling.is_some() {
            // No public source tells which lanes hold the scale factors of the odd CTA's rows.
            return unsupported("block scaling, cta_group::2 and M = 128".into());
        }
        let [a_bits, b_bits] = shape.elements.bits();
        let lane = TensorAddress::from_bits(operands.d).lane;
        path.check_lane("D", lane)?;
        let a = match operands.a {
            OperandA::Descriptor(bits) => {
                let transposed = shape.transpose_a.then_some(a_bits / 8);
                A::Shared(shared('A', bits, path.a_rows(), transposed, a_bits)?)
            }
            OperandA::TensorMemory(address) => {
                if path.halves_n() {
                    return unsupported("A in tensor memory, cta_group::2 and M = 128".into());
                }
                if a_bits < 8 && shape.elements != Elements::Fp4 {
                    // Where a 6- or 4-bit element lies in its byte of tensor memory is published in figures only.
                    return unsupported(format!("A in tensor memory of {a_bits}-bit elements"));
                }
                if shape.transpose_a {
                    return unsupported("M-major A in tensor memory".into());
                }
                let at = TensorAddress::from_bits(address);
                path.check_lane("A", at.lane)?;
                if at.lane != lane {
                    return Err(MmaError::Lane {
                        what: "A",
                        lane: at.lane,
                        legal: "0 or 16, the same as D",
                    });
                }
                A::Tensor(at.column)
            }
        };
        let b_transposed = shape.transpose_b.then_some(b_bits / 8);
        let b = shared(
            'B',
            operands.b_descriptor,
            path.b_rows(),
            b_transposed,
            b_bits,
        )?;
        let mma = Mma {
            scales: scale_factors(operands, &shape, path)?,
            d: columns(operands.d, path.d_columns()),
            shape,
            path,
            a,
            b,
            lane,
            accumulate: operands.accumulate,
            scale_d: operands.scale_d,
            disabled_lanes: operands.disabled_lanes,
        };
        let footprint = mma.footprint();
        for other in footprint.reads {
            let apart = other.columns.end <= mma.d.start || mma.d.end <= other.columns.start;
            if !apart && other.lanes & mma.lanes() != 0 {
                return Err(MmaError::Overlap {
                    d: mma.d.clone(),
                    what: other.what,
                    other: other.columns,
                });
            }
        }
        Ok(mma)
    }

    /// How the MMA spreads over the CTAs of its group.
    pub fn path(&self) -> DataPath {
        self.path
    }

    /// The lanes of D, and of A in tensor memory: one bit per 16 of them.
    fn lanes(&self) -> u8 {
        self.path.lanes() << (self.lane / 16)
    }

    /// What the MMA touches in each CTA of its group.
    pub fn footprint(&self) -> MmaFootprint {
        const ALL_LANES: u8 = 0xff;
        let mut shared = Vec::new();
        let mut reads = Vec::new();
        match &self.a {
            A::Shared(a) => shared.push(a.clone()),
            A::Tensor(column) => reads.push(TensorUse {
                what: "tcgen05.mma A",
                columns: *column..column + TENSOR_COLUMNS,
                lanes: self.lanes(),
            }),
        }
        shared.push(self.b.clone());
        for scales in self.scales.iter().flatten() {
            reads.push(TensorUse {
                what: "the scale factors",
                columns: scales.columns.clone(),
                lanes: ALL_LANES,
            });
        }
        MmaFootprint {
            shared,
            reads,
            d: TensorUse {
                what: "tcgen05.mma D",
                columns: self.d.clone(),
                lanes: self.lanes(),
            },
            reads_d: self.accumulate,
        }
    }

    /// Multiplies. `ctas` are the CTAs of the group, the even one first. Nothing is written on an error.
    ///
    /// Each CTA scales with the factors in its own tensor memory: those of its rows of A, and those of all rows of B.
    pub fn execute(&self, ctas: &mut [CtaMemory]) -> Result<(), MmaError> {
        self.check_memories(ctas)?;
        let blocks: Vec<_> = self
            .path
            .blocks()
            .map(|block| Ok((self.gather(&block, ctas)?, block)))
            .collect::<Result<_, MmaError>>()?;
        for (rows, block) in blocks {
            let column = self.d.start + block.column;
            let first_lane = block.lane + self.lane;
            let memory = &mut ctas[block.cta].tensor;
            let kept: Vec<_> = (0..block.m.len() as u32)
                .map(|i| first_lane + i)
                .filter(|lane| self.disabled_lanes[block.cta] >> lane & 1 != 0)
                .map(|lane| (lane, *memory.row(lane as usize)))
                .collect();
            let (words, pitch) = memory.words_from(column as usize);
            let words = &mut words[first_lane as usize * pitch..];
            self.multiply(&rows, AccumulatorTile { words, pitch });
            for (lane, row) in kept {
                *memory.row_mut(lane as usize) = row;
            }
        }
        Ok(())
    }

    fn check_memories(&self, ctas: &[CtaMemory]) -> Result<(), MmaError> {
        let MmaFootprint { reads, d, .. } = self.footprint();
        let in_shared = |operand, shared: &SharedOperand, cta: &CtaMemory| {
            let end = shared.footprint().end;
            match end as usize > cta.shared.len() {
                true => Err(MmaError::SharedBounds {
                    operand,
                    end,
                    available: cta.shared.len(),
                }),
                false => Ok(()),
            }
        };
        for cta in ctas {
            for used in reads.iter().chain([&d]) {
                cta.tensor.check_columns(used.what, used.columns.clone())?;
            }
            if let A::Shared(a) = &self.a {
                in_shared('A', a, cta)?;
            }
            in_shared('B', &self.b, cta)?;
        }
        Ok(())
    }

    /// The rows of A and B that a block of D needs.
    fn gather(&self, block: &Block, ctas: &[CtaMemory]) -> Result<Rows, MmaError> {
        let a = block.m.clone().enumerate().map(|(i, m)| {
            let owned = self.path.a_row(m);
            let cta = &ctas[owned.cta];
            match &self.a {
                A::Shared(a) => a.row(owned.row, cta.shared),
                A::Tensor(column) => {
                    let lane = block.lane + self.lane + i as u32;
                    tensor_row(cta.tensor, lane, *column)
                }
            }
        });
        let b = block.n.clone().map(|n| {
            let owned = self.path.b_row(n);
            self.b.row(owned.row, ctas[owned.cta].shared)
        });
        let tensor = &*ctas[block.cta].tensor;
        let mut scales = [Vec::new(), Vec::new()];
        if let Some([scales_a, scales_b]) = &self.scales {
            // Scale factors of A are those of the CTA's own rows.
            let own = block.m.clone().map(|m| self.path.a_row(m).row);
            scales[0] = own
                .map(|row| scales_a.row(row, tensor))
                .collect::<Result<_, _>>()?;
            scales[1] = block
                .n
                .clone()
                .map(|row| scales_b.row(row, tensor))
                .collect::<Result<_, _>>()?;
        }
        Ok(Rows {
            a: a.collect(),
            b: b.collect(),
            scales,
        })
    }

    fn multiply(&self, rows: &Rows, d: AccumulatorTile) {
        let [scales_a, scales_b] = &rows.scales;
        let InstructionDescriptor {
            negate_a, negate_b, ..
        } = self.shape;
        match self.shape.elements {
            Elements::Fp4 => {
                let scaled = |rows: &[RowBytes], scales: &[[u8; 4]], negate: bool| {
                    let signs = if negate { SIGNS } else { 0 };
                    rows.iter()
                        .zip(scales)
                        .map(|(row, scales)| ScaledRow {
                            elements: row.map(|byte| byte ^ signs),
                            scales: *scales,
                        })
                        .collect::<Vec<_>>()
                };
                let a = scaled(&rows.a, scales_a, negate_a);
                let b = scaled(&rows.b, scales_b, negate_b);
                if self.scale_type() == Some(ScaleType::Ue4m3) {
                    let (a, b) = (OperandRows::new(a), OperandRows::new(b));
                    return multiply_tile(&a, &b, self.accumulate, d);
                }
                let decoded = |rows: Vec<ScaledRow>| -> Vec<Mxfp4Row> {
                    let rows = rows.iter();
                    rows.map(|row| Mxfp4Row::new(&row.elements, row.scales))
                        .collect()
                };
                self.each(&decoded(a), &decoded(b), d, mxfp4_dot);
            }
            Elements::Float { a, b, d: result } => {
                let rule = DotRule::wide(result).scaling_c(self.scale_d);
                let a = vectors(a, &rows.a, scales_a, negate_a);
                let b = vectors(b, &rows.b, scales_b, negate_b);
                let low_half = |word: u32| match result {
                    DotResult::F16 => word & 0xffff,
                    _ => word,
                };
                self.each(&a, &b, d, |a, b, c| dot(rule, a, b, low_half(c)));
            }
            Elements::Integer {
                a_signed,
                b_signed,
                saturate,
            } => {
                let decoded = |rows: &[RowBytes], signed| -> Vec<Vec<i16>> {
                    let row =
                        |row: &RowBytes| row.map(|byte| decode_integer(byte, signed)).to_vec();
                    rows.iter().map(row).collect()
                };
                let a = decoded(&rows.a, a_signed);
                let b = decoded(&rows.b, b_signed);
                self.each(&a, &b, d, |a, b, c| integer_dot(a, b, c, saturate));
            }
        }
    }

    fn scale_type(&self) -> Option<ScaleType> {
        self.shape.scaling.map(|scaling| scaling.scale_type)
    }

    /// D[m, n] becomes `dot`(a[m], b[n], D[m, n]), or of zero without `enable-input-d`.
    fn each<T>(&self, a: &[T], b: &[T], d: AccumulatorTile, dot: impl Fn(&T, &T, u32) -> u32) {
        for (a, words) in a.iter().zip(d.words.chunks_mut(d.pitch)) {
            for (b, word) in b.iter().zip(words) {
                let c = if self.accumulate { *word } else { 0 };
                *word = dot(a, b, c);
            }
        }
    }
}

/// Operand rows of one block of D.
struct Rows {
    a: Vec<RowBytes>,
    b: Vec<RowBytes>,
    /// Of A and of B; empty without block scaling.
    scales: [Vec<[u8; 4]>; 2],
}

/// Rows of floating-point elements, each with at most one scale factor.
fn vectors(format: Format, rows: &[RowBytes], scales: &[[u8; 4]], negate: bool) -> Vec<DotVector> {
    rows.iter()
        .enumerate()
        .map(|(i, row)| {
            let vector = DotVector::new(format, codes(format, row), negate);
            match scales.get(i) {
                Some(scales) => vector.scaled(scales[0]),
                None => vector,
            }
        })
        .collect()
}

/// Decodes a descriptor, and checks what PTX ISA §9.7.16.10.3 says of swizzles.
fn shared(
    operand: char,
    bits: u64,
    rows: u32,
    transposed: Option<u32>,
    element_bits: u32,
) -> Result<SharedOperand, MmaError> {
    let descriptor =
        SmemDescriptor::decode(bits).map_err(|source| MmaError::Descriptor { operand, source })?;
    let swizzle = descriptor.swizzle;
    // 32-bit elements are transposed with 32-byte atoms, and others without. K-major matrices of such atoms are not
    // among the published layouts (PTX ISA §9.7.16.10.6, table 58).
    let needs_atoms = transposed == Some(4);
    if (swizzle == Swizzle::B128Atom32) != needs_atoms {
        return Err(MmaError::Swizzle {
            operand,
            swizzle,
            major: if transposed.is_some() { "MN" } else { "K" },
            bits: element_bits,
        });
    }
    if let (Some(element), Some(span)) = (transposed, swizzle.span())
        && rows * element > span
        && !descriptor.leading.is_multiple_of(swizzle.period())
    {
        return Err(MmaError::LeadingOffset {
            operand,
            leading: descriptor.leading,
            swizzle,
            period: swizzle.period(),
        });
    }
    Ok(SharedOperand {
        descriptor,
        rows,
        transposed,
    })
}

/// The scale factors of A and B, if the kind has any.
fn scale_factors(
    operands: &MmaOperands,
    shape: &InstructionDescriptor,
    path: DataPath,
) -> Result<Option<[ScaleFactors; 2]>, MmaError> {
    let (Some(scaling), Some(a), Some(b)) = (shape.scaling, operands.scale_a, operands.scale_b)
    else {
        return Ok(None);
    };
    let Scaling {
        block, id_a, id_b, ..
    } = scaling;
    let k = match shape.elements {
        Elements::Fp4 => 64,
        _ => 32,
    };
    let factors = |operand, what, address, rows, first| {
        let lane = TensorAddress::from_bits(address).lane;
        if lane != 0 {
            return Err(MmaError::Lane {
                what,
                lane,
                legal: "0",
            });
        }
        Ok(ScaleFactors {
            operand,
            columns: columns(address, ScaleFactors::column_count(rows)),
            first,
            count: k / block,
        })
    };
    Ok(Some([
        factors('A', "scale-factor A", a, path.a_rows(), id_a)?,
        factors('B', "scale-factor B", b, shape.n, id_b)?,
    ]))
}

fn columns(address: u32, count: u32) -> Range<u32> {
    let column = TensorAddress::from_bits(address).column;
    column..column + count
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::TestRng;

    use super::super::arithmetic::dot64_reference;
    use super::super::copy::TensorCopy;
    use super::super::memory::TensorMemory;
    use super::*;
    use crate::isa::ir::CopyShape;
    use crate::tensor::ChunkSet;

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
            scale_d: 0,
            disabled_lanes: [0; 2],
        }
    }

    fn execute(mma: &Mma, shared: &[u8], tensor: &mut TensorMemory) -> Result<(), MmaError> {
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
        let footprint = Mma::new(&operands(256, 0)).unwrap().footprint();
        let a = &footprint.shared[0];
        assert_eq!(a.footprint(), 0x400..0x4400);
        // The first 32 bytes of each of 128 rows, in the 128-byte swizzle.
        let chunks: ChunkSet = a.chunk_addresses().collect();
        let rows = (0..128).flat_map(|row| {
            let at = 0x400 + row * 128 + ((row % 8 * 16) & !31);
            [at, at + 16]
        });
        assert_eq!(chunks, rows.collect());
        let scales: Vec<_> = footprint
            .reads
            .into_iter()
            .map(|used| used.columns)
            .collect();
        assert_eq!(scales, [0..4, 5..13]);
        assert_eq!((footprint.d.columns, footprint.d.lanes), (128..384, 0xff));
        assert!(footprint.reads_d);
    }

    #[test]
    fn unsound_operands_are_refused() {
        let good = operands(128, 0);
        let error = |operands: MmaOperands| Mma::new(&operands).unwrap_err();
        // Which lanes hold the scale factors of the odd CTA's rows is not published.
        let pair = MmaOperands {
            cta_group: 2,
            ..good
        };
        assert!(matches!(error(pair), MmaError::Unsupported { .. }));
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
                lane: 16,
                ..
            }
        ));
        assert!(matches!(
            error(MmaOperands { d: 8, ..good }),
            MmaError::Overlap { .. }
        ));
    }

    #[test]
    fn unsound_memories_are_refused() {
        let mma = Mma::new(&operands(128, 0)).unwrap();
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
            Err(MmaError::ScalePartitions(PartitionError {
                operand: 'B',
                column: 6,
                lane: 7,
                other_lane: 71,
                other: 1,
                ..
            }))
        ));
        let beyond = Mma::new(&MmaOperands {
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
            let mma = Mma::new(&operands).unwrap();
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
