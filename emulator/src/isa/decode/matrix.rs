//! Matrix instructions of warps and warpgroups (PTX ISA §9.7.14, §9.7.15).

use super::super::alu::Format;
use super::super::ir::{Dst, Op, Reg, Space, Src};
use super::super::matrix::{
    Accumulator, MatrixElement, MatrixOp, WarpMma, WarpgroupA, WarpgroupMma,
};
use super::modifiers::{Modifiers, SHARED_SPACES};
use super::operands::{B32, B64, constant, constant_u32, exactly, operand_count};
use super::{Decoded, Decoder};
use crate::ptx::ast::Operand;

const ELEMENTS: &[(&str, MatrixElement)] = &[
    ("f16", MatrixElement::Float(Format::F16)),
    ("bf16", MatrixElement::Float(Format::Bf16)),
    ("tf32", MatrixElement::Float(Format::Tf32)),
    ("e4m3", MatrixElement::Float(Format::E4m3)),
    ("e5m2", MatrixElement::Float(Format::E5m2)),
    ("s8", MatrixElement::Byte { signed: true }),
    ("u8", MatrixElement::Byte { signed: false }),
];

/// Bits of K that a warp's `mma.sync` can take, and the only ones of a warpgroup's.
const MMA_K_BITS: [u32; 2] = [128, 256];

impl Decoder<'_> {
    /// PTX ISA §9.7.15: of all targets, sm_90a alone has `wgmma`.
    pub fn can_have_wgmma(&self) -> bool {
        self.tree.target.iter().any(|target| target == "sm_90a")
    }

    pub fn matrix(&mut self, opcode: &str, m: &mut Modifiers, operands: &[Operand]) -> Decoded<()> {
        let op = match opcode {
            "ldmatrix" => self.load_matrix(m, operands)?,
            "stmatrix" => self.store_matrix(m, operands)?,
            "movmatrix" => {
                for modifier in ["sync", "aligned", "m8n8", "trans", "b16"] {
                    m.require(modifier)?;
                }
                let [dst, src] = exactly(operands)?;
                self.check_width(dst, 32)?;
                let dst = self.dst(dst)?;
                let src = self.word(src)?;
                MatrixOp::Transpose { dst, src }
            }
            "mma" => MatrixOp::Mma(Box::new(self.warp_mma(m, operands)?)),
            _ => self.warpgroup(m, operands)?,
        };
        self.emit(Op::Matrix(op));
        Ok(())
    }

    /// Number of matrices, and whether they are transposed.
    fn matrices(&mut self, m: &mut Modifiers) -> Decoded<(usize, bool, Space)> {
        m.require("sync")?;
        m.require("aligned")?;
        if let Some(shape) =
            m.one_of(&[("m16n16", "m16n16"), ("m8n16", "m8n16"), ("m16n8", "m16n8")])
        {
            return Err(format!(
                "`.{shape}` (8-bit and narrower elements) is not supported"
            ));
        }
        m.require("m8n8")?;
        let count = m.require_one_of(&[("x1", 1), ("x2", 2), ("x4", 4)])?;
        let transpose = m.flag("trans");
        let space = m.one_of(SHARED_SPACES).unwrap_or(Space::Generic);
        if space == Space::SharedCluster {
            return Err("needs `.shared::cta`".into());
        }
        m.require("b16")?;
        Ok((count, transpose, space))
    }

    fn load_matrix(&mut self, m: &mut Modifiers, operands: &[Operand]) -> Decoded<MatrixOp> {
        let (count, transpose, space) = self.matrices(m)?;
        let [dsts, address] = exactly(operands)?;
        let dsts = self.words(dsts)?;
        check_registers("destinations", dsts.len(), count)?;
        let (address, space) = self.address_in(address, space)?;
        Ok(MatrixOp::Load {
            dsts,
            transpose,
            address,
            space,
        })
    }

    fn store_matrix(&mut self, m: &mut Modifiers, operands: &[Operand]) -> Decoded<MatrixOp> {
        let (count, transpose, space) = self.matrices(m)?;
        let [address, srcs] = exactly(operands)?;
        let (address, space) = self.address_in(address, space)?;
        let srcs = self.word_sources(srcs)?;
        check_registers("sources", srcs.len(), count)?;
        Ok(MatrixOp::Store {
            srcs,
            transpose,
            address,
            space,
        })
    }

    /// `mma.sync.aligned.m16n8kK.row.col{.kind::f8f6f4}.dtype.atype.btype.ctype{.satfinite} d, a, b, c`
    fn warp_mma(&mut self, m: &mut Modifiers, operands: &[Operand]) -> Decoded<WarpMma> {
        if m.flag("block_scale") {
            return Err(
                "block-scaled `mma.sync` exists on sm_120 and later only and is not supported"
                    .into(),
            );
        }
        if m.flag("sp") || m.flag("sp::ordered_metadata") {
            return Err("sparse `mma` is not supported".into());
        }
        m.require("sync")?;
        m.require("aligned")?;
        let k = m.require_one_of(&[
            ("m16n8k4", 4),
            ("m16n8k8", 8),
            ("m16n8k16", 16),
            ("m16n8k32", 32),
        ])?;
        m.require("row")?;
        m.require("col")?;
        let d_type = accumulator(m)?;
        let a_type = m.require_one_of(ELEMENTS)?;
        let b_type = m.require_one_of(ELEMENTS)?;
        let c_type = accumulator(m)?;
        if d_type != c_type {
            return Err("C and D of different types are not supported".into());
        }
        let accumulator = saturation(m, d_type);
        check_types(a_type, b_type, accumulator)?;
        if !MMA_K_BITS.contains(&(k * a_type.bits())) {
            return Err(format!("`.m16n8k{k}` does not go with these types"));
        }
        let [d, a, b, c] = exactly(operands)?;
        let a_registers = (k * a_type.bits() / 64) as usize;
        let c_registers = 4 / accumulator.per_register() as usize;
        let mma = WarpMma {
            k,
            a_type,
            b_type,
            accumulator,
            d: self.words(d)?,
            a: self.word_sources(a)?,
            b: self.word_sources(b)?,
            c: self.word_sources(c)?,
        };
        check_registers("registers of D", mma.d.len(), c_registers)?;
        check_registers("registers of A", mma.a.len(), a_registers)?;
        check_registers("registers of B", mma.b.len(), a_registers / 2)?;
        check_registers("registers of C", mma.c.len(), c_registers)?;
        Ok(mma)
    }

    fn warpgroup(&mut self, m: &mut Modifiers, operands: &[Operand]) -> Decoded<MatrixOp> {
        if !self.can_have_wgmma() {
            return Err("`wgmma` needs `.target sm_90a`".into());
        }
        let verb = m.take(Some).ok_or("found no wgmma operation")?;
        m.require("sync")?;
        m.require("aligned")?;
        match verb {
            "mma_async" => Ok(MatrixOp::WarpgroupMma(Box::new(
                self.warpgroup_mma(m, operands)?,
            ))),
            "fence" => {
                operand_count(operands, 0, 0)?;
                Ok(MatrixOp::WarpgroupFence)
            }
            "commit_group" => {
                operand_count(operands, 0, 0)?;
                Ok(MatrixOp::WarpgroupCommit)
            }
            "wait_group" => {
                let [pending] = exactly(operands)?;
                Ok(MatrixOp::WarpgroupWait {
                    pending: constant_u32(pending)?,
                })
            }
            other => Err(format!("`wgmma.{other}` is not supported")),
        }
    }

    /// `wgmma.mma_async.sync.aligned.m64nNkK.dtype.atype.btype{.satfinite}
    /// d, a, b-desc, scale-d{, imm-scale-a, imm-scale-b{, imm-trans-a}{, imm-trans-b}}`: floating-point types have the
    /// scales, 16-bit ones the transposes too, of A only where it is in shared memory.
    fn warpgroup_mma(&mut self, m: &mut Modifiers, operands: &[Operand]) -> Decoded<WarpgroupMma> {
        if m.flag("sp") {
            return Err("sparse `wgmma` is not supported".into());
        }
        let (n, k) = m.take(warpgroup_shape).ok_or("needs a shape `.m64nNkK`")?;
        let d_type = accumulator(m)?;
        let a_type = m.require_one_of(ELEMENTS)?;
        let b_type = m.require_one_of(ELEMENTS)?;
        let accumulator = saturation(m, d_type);
        check_types(a_type, b_type, accumulator)?;
        if k != MMA_K_BITS[1] / a_type.bits() {
            return Err(format!("K = {k} does not go with these types"));
        }
        let is_integer = matches!(a_type, MatrixElement::Byte { .. });
        // PTX ISA §9.7.15.2: integer forms have steps of 16 from N = 32 on.
        let is_legal_n = n % 8 == 0
            && (8..=256).contains(&n)
            && (!is_integer || n % 16 == 0 || matches!(n, 8 | 24));
        if !is_legal_n {
            return Err(format!("N = {n} does not go with these types"));
        }
        let a_in_registers = matches!(operands.get(1), Some(Operand::Vector(_)));
        let scales = if is_integer { 0 } else { 2 };
        let transposes = match (a_type.bits(), a_in_registers) {
            (16, true) => 1,
            (16, false) => 2,
            _ => 0,
        };
        let count = 4 + scales + transposes;
        operand_count(operands, count, count)?;
        let (scale_operands, transpose_operands) = operands[4..].split_at(scales);
        let mut negations = [false; 2];
        for (negation, operand) in negations.iter_mut().zip(scale_operands) {
            *negation = match constant(operand)? {
                1 => false,
                -1 => true,
                other => return Err(format!("found scale {other}, needs 1 or -1")),
            };
        }
        let mut transposed = [false; 2];
        for (transpose, operand) in transposed
            .iter_mut()
            .skip(2 - transposes)
            .zip(transpose_operands)
        {
            *transpose = match constant(operand)? {
                0 => false,
                1 => true,
                other => return Err(format!("found transpose {other}, needs 0 or 1")),
            };
        }
        let d = self.named_words(&operands[0])?;
        check_registers(
            "registers of D",
            d.len(),
            (n / 2 / accumulator.per_register()) as usize,
        )?;
        let a = if a_in_registers {
            let registers = self.named_words(&operands[1])?;
            check_registers("registers of A", registers.len(), 4)?;
            WarpgroupA::Registers(registers)
        } else {
            self.check_width(&operands[1], 64)?;
            WarpgroupA::Descriptor {
                descriptor: self.src(&operands[1], B64)?,
                transpose: transposed[0],
            }
        };
        self.check_width(&operands[2], 64)?;
        let b_descriptor = self.src(&operands[2], B64)?;
        let (accumulate, accumulate_negated) = self.predicate(&operands[3])?;
        Ok(WarpgroupMma {
            n,
            k,
            a_type,
            b_type,
            accumulator,
            d,
            a,
            b_descriptor,
            accumulate,
            accumulate_negated,
            negate_a: negations[0],
            negate_b: negations[1],
            transpose_b: transposed[1],
        })
    }

    /// Destination registers of 32 bits.
    fn words(&mut self, operand: &Operand) -> Decoded<Vec<Dst>> {
        for element in self.elements(operand) {
            self.check_width(element, 32)?;
        }
        self.dsts(operand)
    }

    fn word_sources(&mut self, operand: &Operand) -> Decoded<Vec<Src>> {
        for element in self.elements(operand) {
            self.check_width(element, 32)?;
        }
        self.srcs(operand, B32)
    }

    /// Registers of 32 bits, none of which may be the sink.
    fn named_words(&mut self, operand: &Operand) -> Decoded<Vec<Reg>> {
        self.words(operand)?
            .into_iter()
            .map(|register| register.ok_or_else(|| "the sink `_` cannot be used here".into()))
            .collect()
    }
}

fn check_registers(what: &str, found: usize, needed: usize) -> Decoded<()> {
    if found == needed {
        Ok(())
    } else {
        Err(format!("found {found} {what}, needs {needed}"))
    }
}

fn accumulator(m: &mut Modifiers) -> Decoded<Accumulator> {
    m.require_one_of(&[
        ("f16", Accumulator::F16),
        ("f32", Accumulator::F32),
        ("s32", Accumulator::S32 { saturate: false }),
    ])
}

fn saturation(m: &mut Modifiers, accumulator: Accumulator) -> Accumulator {
    match accumulator {
        Accumulator::S32 { .. } => Accumulator::S32 {
            saturate: m.flag("satfinite"),
        },
        float => float,
    }
}

/// PTX ISA §9.7.14.5, §9.7.15.3: the 8-bit formats mix, and so do signs of integers; only F16 and the 8-bit formats have
/// F16 accumulators.
fn check_types(a: MatrixElement, b: MatrixElement, accumulator: Accumulator) -> Decoded<()> {
    use MatrixElement::{Byte, Float};
    let is_8_bit = |format| matches!(format, Format::E4m3 | Format::E5m2);
    let is_legal = match (a, b, accumulator) {
        (Byte { .. }, Byte { .. }, Accumulator::S32 { .. }) => true,
        (Float(a), Float(b), Accumulator::F32) => a == b || is_8_bit(a) && is_8_bit(b),
        (Float(Format::F16), Float(Format::F16), Accumulator::F16) => true,
        (Float(a), Float(b), Accumulator::F16) => is_8_bit(a) && is_8_bit(b),
        _ => false,
    };
    if is_legal {
        Ok(())
    } else {
        Err("these types of A, B and D do not go together".into())
    }
}

/// N and K of `m64nNkK`.
fn warpgroup_shape(modifier: &str) -> Option<(u32, u32)> {
    let (n, k) = modifier.strip_prefix("m64n")?.split_once('k')?;
    Some((n.parse().ok()?, k.parse().ok()?))
}
