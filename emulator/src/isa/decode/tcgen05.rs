//! The fifth-generation tensor core (PTX ISA §9.7.16).

use super::super::ir::{
    CopyShape, MmaKind, MmaOperandA, Op, Space, Tcgen05Mma, Tcgen05Op, TmemShape,
};
use super::modifiers::{Modifiers, SHARED_SPACES};
use super::operands::{B16, B32, B64, constant, constant_u32, exactly, operand_count};
use super::{Decoded, Decoder};
use crate::ptx::ast::Operand;

const TMEM_SHAPES: &[(&str, TmemShape)] = &[
    ("32x32b", TmemShape::S32x32b),
    ("16x64b", TmemShape::S16x64b),
    ("16x128b", TmemShape::S16x128b),
    ("16x256b", TmemShape::S16x256b),
    ("16x32bx2", TmemShape::S16x32bx2),
];

const COPY_SHAPES: &[(&str, CopyShape)] = &[
    ("128x256b", CopyShape::S128x256b),
    ("128x128b", CopyShape::S128x128b),
    ("4x256b", CopyShape::S4x256b),
    ("64x128b", CopyShape::S64x128bWarpx2_02_13),
    ("32x128b", CopyShape::S32x128bWarpx4),
];

const REPEATS: &[(&str, u32)] = &[
    ("x1", 1),
    ("x2", 2),
    ("x4", 4),
    ("x8", 8),
    ("x16", 16),
    ("x32", 32),
    ("x64", 64),
    ("x128", 128),
];

impl Decoder<'_> {
    pub fn tcgen05(&mut self, m: &mut Modifiers, operands: &[Operand]) -> Decoded<()> {
        let op = match m.take(Some).ok_or("found no tcgen05 operation")? {
            "alloc" => {
                let cta_group = warp_collective(m)?;
                let space = m.one_of(SHARED_SPACES).unwrap_or(Space::Generic);
                m.require("b32")?;
                let [destination, columns] = exactly(operands)?;
                let (destination, space) = self.address_in(destination, space)?;
                let columns = self.src(columns, B32)?;
                Tcgen05Op::Alloc {
                    destination,
                    space,
                    columns,
                    cta_group,
                }
            }
            "dealloc" => {
                let cta_group = warp_collective(m)?;
                m.require("b32")?;
                let [address, columns] = exactly(operands)?;
                let address = self.src(address, B32)?;
                Tcgen05Op::Dealloc {
                    address,
                    columns: self.src(columns, B32)?,
                    cta_group,
                }
            }
            "relinquish_alloc_permit" => {
                operand_count(operands, 0, 0)?;
                Tcgen05Op::RelinquishAllocPermit {
                    cta_group: warp_collective(m)?,
                }
            }
            "ld" => self.tmem_load(m, operands)?,
            "st" => self.tmem_store(m, operands)?,
            verb @ ("wait::ld" | "wait::st") => {
                m.require("sync")?;
                m.require("aligned")?;
                operand_count(operands, 0, 0)?;
                if verb == "wait::ld" {
                    Tcgen05Op::WaitLoad
                } else {
                    Tcgen05Op::WaitStore
                }
            }
            "cp" => self.tmem_copy(m, operands)?,
            "mma" => Tcgen05Op::Mma(self.mma(m, operands)?),
            "commit" => self.commit(m, operands)?,
            "fence::before_thread_sync" => {
                operand_count(operands, 0, 0)?;
                Tcgen05Op::FenceBeforeThreadSync
            }
            "fence::after_thread_sync" => {
                operand_count(operands, 0, 0)?;
                Tcgen05Op::FenceAfterThreadSync
            }
            other => return Err(format!("`tcgen05.{other}` is not supported")),
        };
        self.emit(Op::Tcgen05(op));
        Ok(())
    }

    fn tmem_load(&mut self, m: &mut Modifiers, operands: &[Operand]) -> Decoded<Tcgen05Op> {
        if m.flag("red") {
            return Err("`.red` exists on sm_101 and sm_103 only".into());
        }
        m.require("sync")?;
        m.require("aligned")?;
        let (shape, repeat) = fragment(m)?;
        let pack16 = m.flag("pack::16b");
        m.require("b32")?;
        let split = usize::from(shape == TmemShape::S16x32bx2);
        operand_count(operands, 2 + split, 2 + split)?;
        let dsts = self.dsts(&operands[0])?;
        check_registers(shape, repeat, dsts.len())?;
        let address = self.address_value(&operands[1])?;
        let half_split_offset = half_split_offset(operands.get(2))?;
        Ok(Tcgen05Op::Load {
            shape,
            repeat,
            pack16,
            dsts,
            address,
            half_split_offset,
        })
    }

    fn tmem_store(&mut self, m: &mut Modifiers, operands: &[Operand]) -> Decoded<Tcgen05Op> {
        m.require("sync")?;
        m.require("aligned")?;
        let (shape, repeat) = fragment(m)?;
        let unpack16 = m.flag("unpack::16b");
        m.require("b32")?;
        let split = usize::from(shape == TmemShape::S16x32bx2);
        operand_count(operands, 2 + split, 2 + split)?;
        let address = self.address_value(&operands[0])?;
        let half_split_offset = half_split_offset(operands.get(1).filter(|_| split == 1))?;
        let srcs = self.srcs(&operands[1 + split], B32)?;
        check_registers(shape, repeat, srcs.len())?;
        Ok(Tcgen05Op::Store {
            shape,
            repeat,
            unpack16,
            srcs,
            address,
            half_split_offset,
        })
    }

    fn tmem_copy(&mut self, m: &mut Modifiers, operands: &[Operand]) -> Decoded<Tcgen05Op> {
        let cta_group = m.require_cta_group()?;
        // Real code puts `.warpx4` before the shape as well as behind it.
        let shape = match m.require_one_of(COPY_SHAPES)? {
            CopyShape::S64x128bWarpx2_02_13 => m.require_one_of(&[
                ("warpx2::02_13", CopyShape::S64x128bWarpx2_02_13),
                ("warpx2::01_23", CopyShape::S64x128bWarpx2_01_23),
            ])?,
            CopyShape::S32x128bWarpx4 => {
                m.require("warpx4")?;
                CopyShape::S32x128bWarpx4
            }
            shape => shape,
        };
        let [address, descriptor] = exactly(operands)?;
        let address = self.address_value(address)?;
        let descriptor = self.src(descriptor, B64)?;
        Ok(Tcgen05Op::Copy {
            shape,
            address,
            descriptor,
            cta_group,
        })
    }

    fn commit(&mut self, m: &mut Modifiers, operands: &[Operand]) -> Decoded<Tcgen05Op> {
        let cta_group = m.require_cta_group()?;
        m.require("mbarrier::arrive::one")?;
        let space = m.one_of(SHARED_SPACES).unwrap_or(Space::Generic);
        let multicast = m.flag("multicast::cluster");
        m.require("b64")?;
        let count = 1 + usize::from(multicast);
        operand_count(operands, count, count)?;
        let (barrier, space) = self.address_in(&operands[0], space)?;
        let multicast = match multicast {
            true => Some(self.src(&operands[1], B16)?),
            false => None,
        };
        Ok(Tcgen05Op::Commit {
            barrier,
            space,
            multicast,
            cta_group,
        })
    }

    /// `[d], a, b, idesc, {[scale a], [scale b] | disabled lanes,} enable {, scale d}`.
    fn mma(&mut self, m: &mut Modifiers, operands: &[Operand]) -> Decoded<Tcgen05Mma> {
        for (form, what) in [
            ("sp", "sparse matrices"),
            ("ws", "weights-stationary MMAs"),
            ("ashift", "shifted rows of A"),
        ] {
            if m.flag(form) {
                return Err(format!("`.{form}` is not emulated: {what}"));
            }
        }
        let cta_group = m.require_cta_group()?;
        let kind = m.require_one_of(&[
            ("kind::f16", MmaKind::F16),
            ("kind::tf32", MmaKind::Tf32),
            ("kind::f8f6f4", MmaKind::F8f6f4),
            ("kind::i8", MmaKind::I8),
            ("kind::mxf8f6f4", MmaKind::Mxf8f6f4),
            ("kind::mxf4", MmaKind::Mxf4),
            ("kind::mxf4nvf4", MmaKind::Mxf4nvf4),
        ])?;
        let scale_block = scale_block(m, kind)?;
        // Keeping A at hand for the next MMA changes no result.
        m.one_of(&[
            ("collector::a::fill", ()),
            ("collector::a::use", ()),
            ("collector::a::lastuse", ()),
            ("collector::a::discard", ()),
        ]);
        let (least, most) = match kind {
            _ if scale_block.is_some() => (7, 7),
            MmaKind::F16 | MmaKind::Tf32 => (5, 7),
            _ => (5, 6),
        };
        operand_count(operands, least, most)?;
        let d = self.address_value(&operands[0])?;
        let a = match &operands[1] {
            address @ Operand::Address { .. } => {
                MmaOperandA::TensorMemory(self.address_value(address)?)
            }
            descriptor => MmaOperandA::Descriptor(self.src(descriptor, B64)?),
        };
        let b_descriptor = self.src(&operands[2], B64)?;
        let instruction_descriptor = self.src(&operands[3], B32)?;
        let (scale_a, scale_b) = match scale_block {
            Some(_) => (
                Some(self.address_value(&operands[4])?),
                Some(self.address_value(&operands[5])?),
            ),
            None => (None, None),
        };
        let mut rest = &operands[if scale_block.is_some() { 6 } else { 4 }..];
        let mut disabled_lanes = Vec::new();
        if let [mask @ Operand::Vector(_), others @ ..] = rest {
            disabled_lanes = self.srcs(mask, B32)?;
            let needed = 4 * usize::from(cta_group);
            if disabled_lanes.len() != needed {
                let found = disabled_lanes.len();
                return Err(format!(
                    "found {found} words of disabled lanes, needs {needed}"
                ));
            }
            rest = others;
        }
        let (enable, scale_d) = match rest {
            [enable] => (enable, 0),
            [enable, scale] => (enable, constant_u32(scale)?),
            _ => return Err("needs a predicate that enables the input D".into()),
        };
        if scale_d > 15 {
            return Err(format!("the scale of D is {scale_d}; it can be 0 to 15"));
        }
        if scale_d != 0 && !matches!(kind, MmaKind::F16 | MmaKind::Tf32) {
            return Err(format!("{kind:?} cannot scale the input D"));
        }
        let (accumulate, accumulate_negated) = self.predicate(enable)?;
        Ok(Tcgen05Mma {
            kind,
            cta_group,
            d,
            a,
            b_descriptor,
            instruction_descriptor,
            scale_a,
            scale_b,
            scale_block,
            accumulate,
            accumulate_negated,
            disabled_lanes,
            scale_d,
        })
    }
}

fn warp_collective(m: &mut Modifiers) -> Decoded<u8> {
    let cta_group = m.require_cta_group()?;
    m.require("sync")?;
    m.require("aligned")?;
    Ok(cta_group)
}

fn fragment(m: &mut Modifiers) -> Decoded<(TmemShape, u32)> {
    Ok((m.require_one_of(TMEM_SHAPES)?, m.require_one_of(REPEATS)?))
}

fn check_registers(shape: TmemShape, repeat: u32, found: usize) -> Decoded<()> {
    match shape.registers() * repeat {
        needed @ 129.. => Err(format!("{needed} registers per thread are more than 128")),
        needed if needed as usize == found => Ok(()),
        needed => Err(format!("found {found} registers, needs {needed}")),
    }
}

fn half_split_offset(operand: Option<&Operand>) -> Decoded<Option<i64>> {
    let Some(operand) = operand else {
        return Ok(None);
    };
    let value = constant(operand)?;
    i64::try_from(value)
        .map(Some)
        .map_err(|_| format!("offset {value} is out of range"))
}

/// Elements along K per scale factor: from the qualifier, or the only one that the kind has (PTX ISA §9.7.16.10.7).
fn scale_block(m: &mut Modifiers, kind: MmaKind) -> Decoded<Option<u32>> {
    let block_scale = m.flag("block_scale");
    let qualifier = m.one_of(&[
        ("scale_vec::1X", "1X"),
        ("scale_vec::2X", "2X"),
        ("scale_vec::4X", "4X"),
        ("block16", "block16"),
        ("block32", "block32"),
    ]);
    let block = match (kind, qualifier) {
        (kind, None) if !kind.is_block_scaled() && !block_scale => return Ok(None),
        (MmaKind::Mxf8f6f4, None | Some("1X" | "block32")) => 32,
        (MmaKind::Mxf4, None | Some("2X" | "block32")) => 32,
        (MmaKind::Mxf4nvf4, Some("2X" | "block32")) => 32,
        (MmaKind::Mxf4nvf4, Some("4X" | "block16")) => 16,
        (MmaKind::Mxf4nvf4, None) => return Err("needs `.scale_vec` or `.block`".into()),
        _ => return Err("this kind does not go with this scaling".into()),
    };
    if block_scale {
        Ok(Some(block))
    } else {
        Err("needs `.block_scale`".into())
    }
}
