//! Loads, stores, atomics, fences and cache control (PTX ISA §9.7.9, §9.7.13).

use super::super::alu::Function;
use super::super::ir::{Address, AtomicOp, FenceKind, Op, Scope, Semantics, Space, Src, Type};
use super::modifiers::{Modifiers, SPACES};
use super::operands::{bits_type, operand_count};
use super::{Decoded, Decoder};
use crate::ptx::ast::Operand;

pub(super) const ATOMIC_OPS: &[(&str, AtomicOp)] = &[
    ("add", AtomicOp::Add),
    ("min", AtomicOp::Min),
    ("max", AtomicOp::Max),
    ("and", AtomicOp::And),
    ("or", AtomicOp::Or),
    ("xor", AtomicOp::Xor),
    ("inc", AtomicOp::Inc),
    ("dec", AtomicOp::Dec),
    ("exch", AtomicOp::Exchange),
    ("cas", AtomicOp::CompareAndSwap),
];

pub(super) fn type_bits(ty: Type) -> u32 {
    match ty {
        Type::Pred => 1,
        Type::B8 | Type::U8 | Type::S8 => 8,
        Type::B16 | Type::U16 | Type::S16 | Type::F16 | Type::Bf16 => 16,
        Type::B32 | Type::U32 | Type::S32 | Type::F32 | Type::F16x2 | Type::Bf16x2 => 32,
        Type::B64 | Type::U64 | Type::S64 | Type::F64 => 64,
        Type::B128 => 128,
    }
}

/// The modifiers of a load or a store.
struct Access {
    space: Space,
    semantics: Semantics,
    scope: Scope,
    /// Elements of the vector.
    length: usize,
    ty: Type,
}

impl Decoder<'_> {
    pub fn memory(&mut self, opcode: &str, m: &mut Modifiers, operands: &[Operand]) -> Decoded<()> {
        match opcode {
            // `ldu` loads from an address that is uniform in the warp: a hint.
            "ld" | "ldu" => self.load(m, operands),
            "st" => self.store(m, operands),
            "atom" => self.atomic(m, operands, true),
            "red" => self.atomic(m, operands, false),
            "fence" => self.fence(m, operands),
            "membar" => self.membar(m, operands),
            _ => self.cache_control(opcode, m, operands),
        }
    }

    /// What the modifiers of a load or a store say; both have two operands and perhaps a cache policy.
    fn access(m: &mut Modifiers, operands: &[Operand]) -> Decoded<Access> {
        let space = m.space().unwrap_or(Space::Generic);
        // Weak accesses have no scope to speak of.
        let semantics = m.semantics().unwrap_or(Semantics::Weak);
        let widest = match semantics {
            Semantics::Weak => Scope::Cta,
            _ => Scope::Sys,
        };
        let scope = m.scope().unwrap_or(widest);
        let count = 2 + usize::from(m.cache_hints());
        let length = Self::vector_length(m);
        let ty = m.ir_type()?;
        operand_count(operands, count, count)?;
        Ok(Access {
            space,
            semantics,
            scope,
            length,
            ty,
        })
    }

    fn vector_length(m: &mut Modifiers) -> usize {
        m.one_of(&[("v2", 2), ("v4", 4), ("v8", 8)]).unwrap_or(1)
    }

    fn load(&mut self, m: &mut Modifiers, operands: &[Operand]) -> Decoded<()> {
        let Access {
            space,
            semantics,
            scope,
            length,
            ty,
        } = Self::access(m, operands)?;
        let (address, space) = self.address_in(&operands[1], space)?;
        let elements = self.elements(&operands[0]);
        check_length(elements.len(), length)?;
        if ty == Type::B128 {
            let halves = self.wide_access(elements, semantics)?;
            self.emit(Op::Load {
                space,
                ty: Type::B64,
                register_bits: 64,
                dsts: halves.map(Some).to_vec(),
                address,
                semantics,
                scope,
            });
            return Ok(());
        }
        let mut register_bits = type_bits(ty);
        let mut dsts = Vec::new();
        for element in elements {
            let register = self.destination(element)?;
            if let Some(register) = register {
                if register.bits < type_bits(ty) {
                    let (found, needed) = (register.bits, type_bits(ty));
                    return Err(format!("found a {found}-bit register, needs {needed} bits"));
                }
                register_bits = register.bits;
            }
            dsts.push(register.map(|register| register.slot));
        }
        self.emit(Op::Load {
            space,
            ty,
            register_bits,
            dsts,
            address,
            semantics,
            scope,
        });
        Ok(())
    }

    fn store(&mut self, m: &mut Modifiers, operands: &[Operand]) -> Decoded<()> {
        if m.flag("async") {
            return self.store_async(m, operands, false);
        }
        let Access {
            space,
            semantics,
            scope,
            length,
            ty,
        } = Self::access(m, operands)?;
        let (address, space) = self.address_in(&operands[0], space)?;
        check_length(self.elements(&operands[1]).len(), length)?;
        let (ty, srcs) = match ty {
            Type::B128 => {
                let halves = self.wide_access(self.elements(&operands[1]), semantics)?;
                (Type::B64, halves.map(Src::Reg).to_vec())
            }
            _ => {
                for element in self.elements(&operands[1]) {
                    self.check_least_width(element, type_bits(ty))?;
                }
                (ty, self.srcs(&operands[1], memory_operand(ty))?)
            }
        };
        self.emit(Op::Store {
            space,
            ty,
            srcs,
            address,
            semantics,
            scope,
        });
        Ok(())
    }

    fn atomic(&mut self, m: &mut Modifiers, operands: &[Operand], returns: bool) -> Decoded<()> {
        if !returns && m.flag("async") {
            return self.store_async(m, operands, true);
        }
        let space = m.space().unwrap_or(Space::Generic);
        // Relaxed at GPU scope unless written otherwise (PTX ISA §9.7.13.5).
        let semantics = m.semantics().unwrap_or(Semantics::Relaxed);
        let scope = m.scope().unwrap_or(Scope::Gpu);
        let op = m.require_one_of(ATOMIC_OPS)?;
        let noftz = m.flag("noftz");
        let policy = usize::from(m.cache_hints());
        let length = Self::vector_length(m);
        let ty = m.ir_type()?;
        let values = if op == AtomicOp::CompareAndSwap { 2 } else { 1 };
        let expected = usize::from(returns) + 1 + values + policy;
        operand_count(operands, expected, expected)?;
        check_atomic(op, ty, length, noftz)?;
        let (destination, rest) = match returns {
            true => (Some(&operands[0]), &operands[1..]),
            false => (None, operands),
        };
        let (address, space) = self.address_in(&rest[0], space)?;
        if ty == Type::B128 {
            let strength = (semantics, scope);
            return self.wide_atomic(op, destination, address, space, &rest[1..=values], strength);
        }
        if length > 1 && !matches!(space, Space::Global | Space::Generic) {
            return Err("vectors are updated in global memory only".into());
        }
        let dsts = match destination {
            Some(destination) => self.dsts(destination)?,
            None => vec![None; length],
        };
        let mut a = self.srcs(&rest[1], memory_operand(ty))?;
        check_length(dsts.len(), length)?;
        check_length(a.len(), length)?;
        let b = match values {
            2 => Some(self.src(&rest[2], memory_operand(ty))?),
            _ => None,
        };
        if length > 1 && returns {
            // One element's result may be the next one's operand.
            for source in &mut a {
                let slot = self.scopes.new_slot();
                self.emit_alu(Function::Mov, Some(slot), &[*source]);
                *source = Src::Reg(slot);
            }
        }
        // Each element of a vector is updated on its own (PTX ISA §9.7.13.5).
        let bytes = type_bits(ty) / 8;
        for (index, (dst, a)) in dsts.into_iter().zip(a).enumerate() {
            let step = i64::from(bytes) * index as i64;
            self.emit(Op::Atomic {
                space,
                op,
                ty,
                dst,
                address: Address {
                    offset: address.offset.wrapping_add(step),
                    ..address
                },
                a,
                b,
                alignment: if index == 0 {
                    bytes * length as u32
                } else {
                    bytes
                },
                semantics,
                scope,
            });
        }
        Ok(())
    }

    /// `atom.exch.b128` and `atom.cas.b128`
    fn wide_atomic(
        &mut self,
        op: AtomicOp,
        destination: Option<&Operand>,
        address: Address,
        space: Space,
        values: &[Operand],
        (semantics, scope): (Semantics, Scope),
    ) -> Decoded<()> {
        let destination = destination.ok_or("`red` does not take 128 bits")?;
        let dsts = match destination {
            Operand::Name(name) if name == "_" => [None; 2],
            register => self.wide_register(register)?.map(Some),
        };
        let a = self.wide_register(&values[0])?.map(Src::Reg);
        let b = match op {
            AtomicOp::CompareAndSwap => Some(self.wide_register(&values[1])?.map(Src::Reg)),
            _ => None,
        };
        self.emit(Op::WideAtomic {
            space,
            dsts,
            address,
            a,
            b,
            semantics,
            scope,
        });
        Ok(())
    }

    fn fence(&mut self, m: &mut Modifiers, operands: &[Operand]) -> Decoded<()> {
        if m.flag("mbarrier_init") {
            m.require("release")?;
            m.require("cluster")?;
            operand_count(operands, 0, 0)?;
            self.emit(Op::Fence {
                kind: FenceKind::MbarrierInit,
                scope: Scope::Cluster,
            });
            return Ok(());
        }
        if m.flag("proxy") {
            return self.proxy_fence(m, operands);
        }
        let semantics = m.semantics().unwrap_or(Semantics::AcqRel);
        if matches!(
            semantics,
            Semantics::Weak | Semantics::Relaxed | Semantics::Volatile
        ) {
            return Err("needs `.sc`, `.acq_rel`, `.acquire` or `.release`".into());
        }
        // `.sync_restrict::…` narrows what is ordered; ordering everything is allowed.
        m.take(|name| name.starts_with("sync_restrict::").then_some(()));
        let scope = m.scope().ok_or("needs a scope")?;
        operand_count(operands, 0, 0)?;
        self.emit(Op::Fence {
            kind: FenceKind::Memory,
            scope,
        });
        Ok(())
    }

    fn proxy_fence(&mut self, m: &mut Modifiers, operands: &[Operand]) -> Decoded<()> {
        if m.flag("tensormap::generic") {
            return self.tensor_map_fence(m, operands);
        }
        let kind = m.require_one_of(&[
            ("alias", FenceKind::ProxyAlias),
            ("async", FenceKind::ProxyAsync),
            ("async::generic", FenceKind::ProxyAsync),
        ])?;
        if kind == FenceKind::ProxyAsync {
            m.one_of(SPACES);
            m.semantics();
            m.take(|name| name.starts_with("sync_restrict::").then_some(()));
        }
        let scope = m.scope().unwrap_or(Scope::Cta);
        operand_count(operands, 0, 0)?;
        self.emit(Op::Fence { kind, scope });
        Ok(())
    }

    fn membar(&mut self, m: &mut Modifiers, operands: &[Operand]) -> Decoded<()> {
        operand_count(operands, 0, 0)?;
        if m.flag("proxy") {
            return self.proxy_fence(m, operands);
        }
        let scope =
            m.require_one_of(&[("cta", Scope::Cta), ("gl", Scope::Gpu), ("sys", Scope::Sys)])?;
        self.emit(Op::Fence {
            kind: FenceKind::Memory,
            scope,
        });
        Ok(())
    }

    fn cache_control(
        &mut self,
        opcode: &str,
        m: &mut Modifiers,
        operands: &[Operand],
    ) -> Decoded<()> {
        let space = m.space().unwrap_or(Space::Generic);
        let tensormap = opcode == "prefetch" && m.flag("tensormap");
        if !tensormap {
            m.one_of(&[("L1", ()), ("L2", ())]);
            m.cache_hints();
        }
        let most = if matches!(opcode, "applypriority" | "discard") {
            2
        } else {
            1
        };
        operand_count(operands, most, most)?;
        let (address, space) = self.address_in(&operands[0], space)?;
        self.emit(Op::Prefetch {
            space,
            address,
            tensormap,
        });
        Ok(())
    }
}

pub(super) fn memory_operand(ty: Type) -> super::modifiers::ValueType {
    use super::super::alu::Format;
    use super::modifiers::ValueType;
    match ty {
        Type::F32 => ValueType::Float {
            format: Format::F32,
            packed: false,
        },
        Type::F64 => ValueType::Float {
            format: Format::F64,
            packed: false,
        },
        _ => bits_type(type_bits(ty)),
    }
}

pub(super) fn check_length(found: usize, needed: usize) -> Decoded<()> {
    if found == needed {
        Ok(())
    } else {
        Err(format!(
            "found a vector of {found} elements, needs {needed}"
        ))
    }
}

/// The combinations of PTX ISA §9.7.13.5 and §9.7.13.6.
fn check_atomic(op: AtomicOp, ty: Type, length: usize, noftz: bool) -> Decoded<()> {
    use AtomicOp as A;
    let half = matches!(ty, Type::F16 | Type::Bf16);
    let packed = matches!(ty, Type::F16x2 | Type::Bf16x2);
    let legal = match (op, length) {
        (A::Add, 1) => {
            matches!(
                ty,
                Type::U32 | Type::S32 | Type::U64 | Type::F32 | Type::F64
            ) || half
                || packed
        }
        (A::Min | A::Max, 1) => matches!(ty, Type::U32 | Type::S32 | Type::U64 | Type::S64),
        (A::And | A::Or | A::Xor, 1) => matches!(ty, Type::B32 | Type::B64),
        (A::Inc | A::Dec, 1) => ty == Type::U32,
        (A::Exchange, 1) => matches!(ty, Type::B32 | Type::B64 | Type::B128),
        (A::CompareAndSwap, 1) => {
            matches!(ty, Type::B16 | Type::B32 | Type::B64 | Type::B128)
        }
        (A::Add, 2 | 4) => ty == Type::F32 || half || packed,
        (A::Min | A::Max, 2 | 4) => half || packed,
        (A::Add | A::Min | A::Max, 8) => half,
        _ => false,
    };
    if !legal {
        let vector = match length {
            1 => String::new(),
            length => format!(" in vectors of {length}"),
        };
        return Err(format!("{op:?} on {ty:?}{vector} is not supported"));
    }
    match noftz == (half || packed) {
        true => Ok(()),
        false if noftz => Err(format!("{op:?} on {ty:?} takes no `.noftz`")),
        false => Err(format!("{op:?} on {ty:?} needs `.noftz`")),
    }
}
