//! `cp.async`, `cp.async.bulk` and `cp.async.bulk.tensor` (PTX ISA §9.7.9.25).

use super::super::alu::Function;
use super::super::ir::{AtomicOp, BulkCopy, MbarrierOp, Op, Space, Src, TmaLoad, TmaStore, Type};
use super::memory::ATOMIC_OPS;
use super::modifiers::{Modifiers, SHARED_SPACES};
use super::operands::{B16, B32, constant_u32, exactly, operand_count};
use super::remote::check_type;
use super::{Decoded, Decoder};
use crate::ptx::ast::Operand;

const DIMENSIONS: &[(&str, u32)] = &[("1d", 1), ("2d", 2), ("3d", 3), ("4d", 4), ("5d", 5)];

/// How a bulk copy tells that it is done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Completion {
    Barrier,
    Group,
}

const COMPLETIONS: &[(&str, Completion)] = &[
    ("mbarrier::complete_tx::bytes", Completion::Barrier),
    ("bulk_group", Completion::Group),
];

impl Decoder<'_> {
    pub fn copy(&mut self, m: &mut Modifiers, operands: &[Operand]) -> Decoded<()> {
        let reduces = m.flag("reduce");
        m.require("async")?;
        if m.flag("bulk") {
            return self.bulk(m, operands, reduces);
        }
        if reduces {
            return Err("needs `.bulk`".into());
        }
        if m.flag("mbarrier") {
            m.require("arrive")?;
            let no_inc = m.flag("noinc");
            let space = m.one_of(SHARED_SPACES).unwrap_or(Space::Generic);
            m.require("b64")?;
            let [barrier] = exactly(operands)?;
            let (barrier, space) = self.address_in(barrier, space)?;
            self.emit(Op::Mbarrier(MbarrierOp::CpAsyncArrive {
                barrier,
                space,
                no_inc,
            }));
            return Ok(());
        }
        if m.flag("commit_group") {
            operand_count(operands, 0, 0)?;
            self.emit(Op::CpAsyncCommitGroup);
            return Ok(());
        }
        if m.flag("wait_all") {
            operand_count(operands, 0, 0)?;
            self.emit(Op::CpAsyncWaitGroup { pending: None });
            return Ok(());
        }
        if m.flag("wait_group") {
            let [pending] = exactly(operands)?;
            let pending = Some(constant_u32(pending)?);
            self.emit(Op::CpAsyncWaitGroup { pending });
            return Ok(());
        }
        self.small_copy(m, operands)
    }

    /// `cp.async.ca.shared.global [dst], [src], size{, source size | ignore}{, policy}`
    fn small_copy(&mut self, m: &mut Modifiers, operands: &[Operand]) -> Decoded<()> {
        let policy = usize::from(m.cache_hints());
        m.one_of(&[("shared", ()), ("shared::cta", ())])
            .ok_or("needs `.shared` as destination")?;
        m.require("global")?;
        operand_count(operands, 3 + policy, 4 + policy)?;
        let (destination, _) = self.address_in(&operands[0], Space::SharedCta)?;
        let (source, _) = self.address_in(&operands[1], Space::Global)?;
        let bytes = constant_u32(&operands[2])?;
        if !matches!(bytes, 4 | 8 | 16) {
            return Err(format!("found a copy of {bytes} bytes, needs 4, 8 or 16"));
        }
        let source_bytes = match operands.get(3).filter(|_| operands.len() == 4 + policy) {
            Some(operand) => Some(self.source_bytes(operand, bytes)?),
            None => None,
        };
        self.emit(Op::CpAsync {
            destination,
            source,
            bytes,
            source_bytes,
        });
        Ok(())
    }

    /// The bytes to read, or a predicate that says to read none.
    fn source_bytes(&mut self, operand: &Operand, bytes: u32) -> Decoded<Src> {
        let is_predicate = match operand {
            Operand::NotName(_) => true,
            Operand::Name(name) => self.register(name).is_ok_and(|register| register.bits == 1),
            _ => false,
        };
        if !is_predicate {
            return self.src(operand, B32);
        }
        let (ignore, negated) = self.predicate(operand)?;
        let ignore = self.plain_predicate(ignore, negated);
        let slot = self.scopes.new_slot();
        let sources = [Src::Imm(0), Src::Imm(u64::from(bytes)), ignore];
        self.emit_alu(Function::Select, Some(slot), &sources);
        Ok(Src::Reg(slot))
    }

    fn bulk(&mut self, m: &mut Modifiers, operands: &[Operand], reduces: bool) -> Decoded<()> {
        if m.flag("commit_group") {
            operand_count(operands, 0, 0)?;
            self.emit(Op::BulkCommitGroup);
            return Ok(());
        }
        if m.flag("wait_group") {
            let read = m.flag("read");
            let [pending] = exactly(operands)?;
            let pending = constant_u32(pending)?;
            self.emit(Op::BulkWaitGroup { pending, read });
            return Ok(());
        }
        if m.flag("prefetch") {
            return self.bulk_prefetch(m, operands);
        }
        if m.flag("tensor") {
            return self.tensor_copy(m, operands, reduces);
        }
        self.linear_copy(m, operands, reduces)
    }

    fn bulk_prefetch(&mut self, m: &mut Modifiers, operands: &[Operand]) -> Decoded<()> {
        let policy = usize::from(m.cache_hints());
        let tensor = m.flag("tensor");
        m.require("L2")?;
        m.require("global")?;
        if tensor {
            let dimensions = m.require_one_of(DIMENSIONS)?;
            load_mode(m)?;
            operand_count(operands, 1 + policy, 1 + policy)?;
            let (address, _) = self.tensor(&operands[0], dimensions)?;
            self.emit(Op::Prefetch {
                space: Space::Generic,
                address,
                tensormap: true,
            });
        } else {
            operand_count(operands, 2 + policy, 2 + policy)?;
            let (address, space) = self.address_in(&operands[0], Space::Global)?;
            self.src(&operands[1], B32)?;
            self.emit(Op::Prefetch {
                space,
                address,
                tensormap: false,
            });
        }
        Ok(())
    }

    fn tensor_copy(
        &mut self,
        m: &mut Modifiers,
        operands: &[Operand],
        reduces: bool,
    ) -> Decoded<()> {
        let dimensions = m.require_one_of(DIMENSIONS)?;
        let policy = usize::from(m.cache_hints());
        load_mode(m)?;
        // The destination is written before the source.
        let to = m.space().ok_or("needs a destination space")?;
        let from = m.space().ok_or("needs a source space")?;
        match (to, from, m.one_of(COMPLETIONS)) {
            (Space::SharedCta | Space::SharedCluster, Space::Global, Some(Completion::Barrier))
                if !reduces =>
            {
                let multicast = usize::from(m.flag("multicast::cluster"));
                let cta_group = m.cta_group();
                let count = 3 + multicast + policy;
                operand_count(operands, count, count)?;
                let (destination, _) = self.address_in(&operands[0], Space::SharedCluster)?;
                let (map, coordinates) = self.tensor(&operands[1], dimensions)?;
                let (barrier, _) = self.address_in(&operands[2], Space::SharedCluster)?;
                let multicast = match multicast {
                    1 => Some(self.src(&operands[3], B16)?),
                    _ => None,
                };
                self.emit(Op::TmaLoad(TmaLoad {
                    map,
                    coordinates,
                    destination,
                    barrier,
                    multicast,
                    cta_group,
                }));
            }
            (Space::Global, Space::SharedCta, Some(Completion::Group)) => {
                let reduction = if reduces {
                    Some(m.require_one_of(REDUCTIONS)?)
                } else {
                    None
                };
                operand_count(operands, 2 + policy, 2 + policy)?;
                let (map, coordinates) = self.tensor(&operands[0], dimensions)?;
                let (source, _) = self.address_in(&operands[1], Space::SharedCta)?;
                self.emit(Op::TmaStore(TmaStore {
                    map,
                    coordinates,
                    source,
                    reduction,
                }));
            }
            (to, from, _) => {
                return Err(format!(
                    "a tensor copy from {from:?} to {to:?} with this completion is not supported"
                ));
            }
        }
        Ok(())
    }

    /// One-dimensional: `[dst], [src], bytes{, [barrier]}{, mask}{, policy}`.
    fn linear_copy(
        &mut self,
        m: &mut Modifiers,
        operands: &[Operand],
        reduces: bool,
    ) -> Decoded<()> {
        let policy = usize::from(m.cache_hints());
        let destination_space = m.space().ok_or("needs a destination space")?;
        let source_space = m.space().ok_or("needs a source space")?;
        let completion = m.require_one_of(COMPLETIONS)?;
        let multicast = m.flag("multicast::cluster");
        let reduction = if reduces {
            let op = m.require_one_of(REDUCTIONS)?;
            let noftz = m.flag("noftz");
            let ty = m.ir_type()?;
            check_noftz(op, ty, noftz)?;
            Some((op, ty))
        } else {
            None
        };
        let legal = match (destination_space, source_space) {
            (Space::SharedCta | Space::SharedCluster, Space::Global) => {
                completion == Completion::Barrier && !reduces
            }
            (Space::SharedCluster, Space::SharedCta) => completion == Completion::Barrier,
            (Space::Global, Space::SharedCta) => completion == Completion::Group,
            _ => false,
        };
        if !legal || (multicast && source_space != Space::Global) {
            return Err(format!(
                "a bulk copy from {source_space:?} to {destination_space:?} with this completion is not supported"
            ));
        }
        let barrier = usize::from(completion == Completion::Barrier);
        let count = 3 + barrier + usize::from(multicast) + policy;
        operand_count(operands, count, count)?;
        let (destination, destination_space) = self.address_in(&operands[0], destination_space)?;
        let (source, source_space) = self.address_in(&operands[1], source_space)?;
        let bytes = self.src(&operands[2], B32)?;
        let barrier = match completion {
            Completion::Barrier => Some(self.address_in(&operands[3], Space::SharedCluster)?.0),
            Completion::Group => None,
        };
        let multicast = match multicast {
            true => Some(self.src(&operands[4], B16)?),
            false => None,
        };
        match reduction {
            Some((op, ty)) if destination_space == Space::Global => check_reduction(op, ty)?,
            Some((op, ty)) => check_type(Some(op), ty)?,
            None => {}
        }
        self.emit(Op::BulkCopy(BulkCopy {
            destination,
            destination_space,
            source,
            source_space,
            bytes,
            barrier,
            multicast,
            reduction,
        }));
        Ok(())
    }
}

/// Tiles alone are modelled: `.tile` is the default mode.
fn load_mode(m: &mut Modifiers) -> Decoded<()> {
    let other = m.take(|name| {
        let is_other = name.starts_with("im2col") || name.starts_with("tile::");
        is_other.then_some(name)
    });
    match other {
        Some(name) => Err(format!(
            "tensor copies in the mode `.{name}` are not supported; `.tile` is"
        )),
        None => {
            m.flag("tile");
            Ok(())
        }
    }
}

/// `cp.reduce` has no exchange and no compare-and-swap.
const REDUCTIONS: &[(&str, AtomicOp)] = ATOMIC_OPS.split_at(8).0;

/// Sums of halves keep subnormals, and say so (PTX ISA §9.7.9.25.4.2).
fn check_noftz(op: AtomicOp, ty: Type, noftz: bool) -> Decoded<()> {
    let needed = op == AtomicOp::Add && matches!(ty, Type::F16 | Type::Bf16);
    match (needed, noftz) {
        (true, false) => Err(format!("{op:?} on {ty:?} needs `.noftz`")),
        (false, true) => Err(format!("{op:?} on {ty:?} takes no `.noftz`")),
        _ => Ok(()),
    }
}

fn check_reduction(op: AtomicOp, ty: Type) -> Decoded<()> {
    let legal = match op {
        AtomicOp::And | AtomicOp::Or | AtomicOp::Xor => matches!(ty, Type::B32 | Type::B64),
        AtomicOp::Inc | AtomicOp::Dec => ty == Type::U32,
        AtomicOp::Min | AtomicOp::Max => matches!(
            ty,
            Type::U32 | Type::S32 | Type::U64 | Type::S64 | Type::F16 | Type::Bf16
        ),
        _ => matches!(
            ty,
            Type::U32 | Type::S32 | Type::U64 | Type::F16 | Type::Bf16 | Type::F32 | Type::F64
        ),
    };
    if legal {
        Ok(())
    } else {
        Err(format!("{op:?} on {ty:?} is not supported"))
    }
}
