//! `tensormap.replace` and `tensormap.cp_fenceproxy` (PTX ISA §9.7.9.28, §9.7.13.16).

use super::super::ir::{Op, Space, TensorMapOp};
use super::modifiers::{Modifiers, SPACES};
use super::operands::{B32, B64, constant, constant_u32, exactly, operand_count};
use super::{Decoded, Decoder};
use crate::ptx::ast::Operand;
use crate::tma::Field;
use crate::tma::tensor_map::TENSOR_MAP_BYTES;

/// Fields that take an ordinal, as functions of it, and those that do not.
type Ordinal = fn(usize) -> Field;

const ORDINAL_FIELDS: &[(&str, Ordinal)] = &[
    ("box_dim", Field::BoxDim),
    ("global_dim", Field::GlobalDim),
    ("global_stride", Field::GlobalStride),
    ("element_stride", Field::ElementStride),
];

const FIELDS: &[(&str, Field)] = &[
    ("global_address", Field::GlobalAddress),
    ("rank", Field::Rank),
    ("elemtype", Field::ElementType),
    ("interleave_layout", Field::InterleaveLayout),
    ("swizzle_mode", Field::SwizzleMode),
    ("swizzle_atomicity", Field::SwizzleAtomicity),
    ("fill_mode", Field::FillMode),
];

impl Decoder<'_> {
    pub fn tensor_map(&mut self, m: &mut Modifiers, operands: &[Operand]) -> Decoded<()> {
        if m.flag("replace") {
            self.replace_field(m, operands)
        } else {
            m.require("cp_fenceproxy")?;
            self.copy_map(m, operands)
        }
    }

    /// `[map], {ordinal, }value`
    fn replace_field(&mut self, m: &mut Modifiers, operands: &[Operand]) -> Decoded<()> {
        m.require("tile")?;
        let space = m
            .one_of(&[("global", Space::Global), ("shared::cta", Space::SharedCta)])
            .unwrap_or(Space::Generic);
        m.require("b1024")?;
        let (field, value) = match m.one_of(ORDINAL_FIELDS) {
            Some(field) => {
                let [_, ordinal, value] = exactly(operands)?;
                (field(constant_u32(ordinal)? as usize), value)
            }
            None => {
                let [_, value] = exactly(operands)?;
                (m.require_one_of(FIELDS)?, value)
            }
        };
        if !field.exists() {
            return Err("the ordinal is beyond what a tensor map has".into());
        }
        let ty = match field {
            Field::GlobalAddress | Field::GlobalStride(_) => {
                m.require("b64")?;
                B64
            }
            _ => {
                m.require("b32")?;
                B32
            }
        };
        if matches!(
            field,
            Field::ElementType
                | Field::InterleaveLayout
                | Field::SwizzleMode
                | Field::SwizzleAtomicity
                | Field::FillMode
        ) {
            constant(value)?;
        }
        self.check_width(value, ty.bits())?;
        let value = self.src(value, ty)?;
        let (map, space) = self.address_in(&operands[0], space)?;
        self.emit(Op::TensorMap(TensorMapOp::Replace {
            map,
            space,
            field,
            value,
        }));
        Ok(())
    }

    /// `[destination], [source], 128`: copies a map from shared to global memory, and releases it.
    fn copy_map(&mut self, m: &mut Modifiers, operands: &[Operand]) -> Decoded<()> {
        m.require("global")?;
        m.require("shared::cta")?;
        m.require("tensormap::generic")?;
        m.require("release")?;
        m.scope().ok_or("needs a scope")?;
        m.require("sync")?;
        m.require("aligned")?;
        let [destination, source, bytes] = exactly(operands)?;
        map_bytes(bytes)?;
        let (destination, _) = self.address_in(destination, Space::Global)?;
        let (source, _) = self.address_in(source, Space::SharedCta)?;
        self.emit(Op::TensorMap(TensorMapOp::Copy {
            destination,
            source,
        }));
        Ok(())
    }

    /// `fence.proxy.tensormap::generic`, of which `acquire` names the map.
    pub fn tensor_map_fence(&mut self, m: &mut Modifiers, operands: &[Operand]) -> Decoded<()> {
        let acquires = m.require_one_of(&[("acquire", true), ("release", false)])?;
        m.one_of(SPACES);
        m.scope().ok_or("needs a scope")?;
        let fence = if acquires {
            let [map, bytes] = exactly(operands)?;
            map_bytes(bytes)?;
            let map = self.address_in(map, Space::Generic)?.0;
            TensorMapOp::Acquire { map }
        } else {
            operand_count(operands, 0, 0)?;
            TensorMapOp::Release
        };
        self.emit(Op::TensorMap(fence));
        Ok(())
    }
}

fn map_bytes(operand: &Operand) -> Decoded<()> {
    match constant_u32(operand)? as usize {
        TENSOR_MAP_BYTES => Ok(()),
        found => Err(format!("found a size of {found} bytes, needs 128")),
    }
}
