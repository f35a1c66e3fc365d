//! The modifiers of one instruction, taken one by one in any order; what remains is unknown.

use super::super::alu::{Format, IntType, Rounding};
use super::super::ir::{Scope, Semantics, Space, Type};
use super::Decoded;

pub(super) struct Modifiers<'a> {
    remaining: Vec<&'a str>,
}

/// A type as arithmetic sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueType {
    Predicate,
    /// `untyped`: written `.bN`.
    Int {
        ty: IntType,
        untyped: bool,
    },
    Float {
        format: Format,
        packed: bool,
    },
    /// `.u16x2`, `.s16x2`
    PackedInt {
        signed: bool,
    },
}

impl ValueType {
    /// Bits that one operand takes.
    pub fn bits(self) -> u32 {
        match self {
            ValueType::Predicate => 1,
            ValueType::Int { ty, .. } => ty.bits(),
            ValueType::Float {
                format,
                packed: false,
            } => format.bits(),
            ValueType::Float {
                format,
                packed: true,
            } => 2 * format.bits(),
            ValueType::PackedInt { .. } => 32,
        }
    }
}

fn value_type(name: &str) -> Option<ValueType> {
    let int = |ty, untyped| Some(ValueType::Int { ty, untyped });
    let float = |format, packed| Some(ValueType::Float { format, packed });
    match name {
        "pred" => Some(ValueType::Predicate),
        "b8" => int(IntType::U8, true),
        "b16" => int(IntType::U16, true),
        "b32" => int(IntType::U32, true),
        "b64" => int(IntType::U64, true),
        "u8" => int(IntType::U8, false),
        "u16" => int(IntType::U16, false),
        "u32" => int(IntType::U32, false),
        "u64" => int(IntType::U64, false),
        "s8" => int(IntType::S8, false),
        "s16" => int(IntType::S16, false),
        "s32" => int(IntType::S32, false),
        "s64" => int(IntType::S64, false),
        "f16" => float(Format::F16, false),
        "f16x2" => float(Format::F16, true),
        "bf16" => float(Format::Bf16, false),
        "bf16x2" => float(Format::Bf16, true),
        "f32" => float(Format::F32, false),
        "f32x2" => float(Format::F32, true),
        "f64" => float(Format::F64, false),
        "u16x2" => Some(ValueType::PackedInt { signed: false }),
        "s16x2" => Some(ValueType::PackedInt { signed: true }),
        _ => None,
    }
}

/// Types of memory elements and of collectives.
pub(super) fn ir_type(name: &str) -> Option<Type> {
    Some(match name {
        "pred" => Type::Pred,
        "b8" => Type::B8,
        "b16" => Type::B16,
        "b32" => Type::B32,
        "b64" => Type::B64,
        "b128" => Type::B128,
        "u8" => Type::U8,
        "u16" => Type::U16,
        "u32" => Type::U32,
        "u64" => Type::U64,
        "s8" => Type::S8,
        "s16" => Type::S16,
        "s32" => Type::S32,
        "s64" => Type::S64,
        "f16" => Type::F16,
        "f16x2" => Type::F16x2,
        "bf16" => Type::Bf16,
        "bf16x2" => Type::Bf16x2,
        "f32" => Type::F32,
        "f64" => Type::F64,
        _ => return None,
    })
}

/// Bits of a type that variables and registers are declared with.
pub(super) fn declared_bits(name: &str) -> Option<u32> {
    match name {
        "b128" => Some(128),
        _ => value_type(name).map(ValueType::bits),
    }
}

pub(super) const SPACES: &[(&str, Space)] = &[
    ("global", Space::Global),
    ("shared", Space::SharedCta),
    ("shared::cta", Space::SharedCta),
    ("shared::cluster", Space::SharedCluster),
    ("local", Space::Local),
    ("param", Space::Param),
    ("param::entry", Space::Param),
    ("param::func", Space::Param),
    ("const", Space::Const),
];

/// The spaces an mbarrier or a copy's end can be in.
pub(super) const SHARED_SPACES: &[(&str, Space)] = &[
    ("shared", Space::SharedCta),
    ("shared::cta", Space::SharedCta),
    ("shared::cluster", Space::SharedCluster),
];

const SCOPES: &[(&str, Scope)] = &[
    ("cta", Scope::Cta),
    ("cluster", Scope::Cluster),
    ("gpu", Scope::Gpu),
    ("sys", Scope::Sys),
];

const CTA_GROUPS: &[(&str, u8)] = &[("cta_group::1", 1), ("cta_group::2", 2)];

const ROUNDINGS: &[(&str, Rounding)] = &[
    ("rn", Rounding::NearestEven),
    ("rna", Rounding::NearestAway),
    ("rz", Rounding::TowardZero),
    ("rm", Rounding::TowardNegative),
    ("rp", Rounding::TowardPositive),
];

const INTEGER_ROUNDINGS: &[(&str, Rounding)] = &[
    ("rni", Rounding::NearestEven),
    ("rzi", Rounding::TowardZero),
    ("rmi", Rounding::TowardNegative),
    ("rpi", Rounding::TowardPositive),
];

impl<'a> Modifiers<'a> {
    pub fn new(modifiers: &'a [String]) -> Self {
        Modifiers {
            remaining: modifiers.iter().map(String::as_str).collect(),
        }
    }

    /// Takes the first modifier for which `map` has a value.
    pub fn take<T>(&mut self, mut map: impl FnMut(&'a str) -> Option<T>) -> Option<T> {
        let (index, value) = self
            .remaining
            .iter()
            .enumerate()
            .find_map(|(index, modifier)| map(modifier).map(|value| (index, value)))?;
        self.remaining.remove(index);
        Some(value)
    }

    pub fn flag(&mut self, name: &str) -> bool {
        self.take(|modifier| (modifier == name).then_some(()))
            .is_some()
    }

    pub fn one_of<T: Copy>(&mut self, table: &[(&str, T)]) -> Option<T> {
        self.take(|modifier| {
            table
                .iter()
                .find(|(name, _)| *name == modifier)
                .map(|(_, value)| *value)
        })
    }

    pub fn require(&mut self, name: &str) -> Decoded<()> {
        if self.flag(name) {
            Ok(())
        } else {
            Err(format!("found no `.{name}`, which is needed"))
        }
    }

    pub fn require_one_of<T: Copy>(&mut self, table: &[(&str, T)]) -> Decoded<T> {
        self.one_of(table).ok_or_else(|| {
            let names: Vec<String> = table.iter().map(|(name, _)| format!("`.{name}`")).collect();
            format!("needs one of {}", names.join(", "))
        })
    }

    pub fn value_type(&mut self) -> Decoded<ValueType> {
        self.take(value_type)
            .ok_or_else(|| "found no supported type among the modifiers".into())
    }

    pub fn ir_type(&mut self) -> Decoded<Type> {
        self.take(ir_type)
            .ok_or_else(|| "found no supported type among the modifiers".into())
    }

    /// An integer or bit-string type.
    pub fn int_type(&mut self) -> Decoded<IntType> {
        match self.value_type()? {
            ValueType::Int { ty, .. } => Ok(ty),
            _ => Err("needs an integer type".into()),
        }
    }

    pub fn rounding(&mut self) -> Option<Rounding> {
        self.one_of(ROUNDINGS)
    }

    pub fn integer_rounding(&mut self) -> Option<Rounding> {
        self.one_of(INTEGER_ROUNDINGS)
    }

    pub fn space(&mut self) -> Option<Space> {
        self.one_of(SPACES)
    }

    pub fn scope(&mut self) -> Option<Scope> {
        self.one_of(SCOPES)
    }

    pub fn semantics(&mut self) -> Option<Semantics> {
        self.one_of(&[
            ("weak", Semantics::Weak),
            ("relaxed", Semantics::Relaxed),
            ("acquire", Semantics::Acquire),
            ("release", Semantics::Release),
            ("acq_rel", Semantics::AcqRel),
            ("sc", Semantics::SeqCst),
            ("volatile", Semantics::Volatile),
            // Accesses to memory-mapped I/O are relaxed at system scope and never merged (PTX ISA §8.4.2).
            ("mmio", Semantics::Volatile),
        ])
    }

    pub fn cta_group(&mut self) -> Option<u8> {
        self.one_of(CTA_GROUPS)
    }

    pub fn require_cta_group(&mut self) -> Decoded<u8> {
        self.require_one_of(CTA_GROUPS)
    }

    /// Takes cache operators and eviction and prefetch hints, none of which changes a result. True where a
    /// `.L2::cache_hint` brings a policy operand.
    pub fn cache_hints(&mut self) -> bool {
        const OPERATORS: &[&str] = &["ca", "cg", "cs", "lu", "cv", "wb", "wt", "unified", "nc"];
        const HINTS: &[&str] = &[
            "evict_normal",
            "evict_unchanged",
            "evict_first",
            "evict_last",
            "evict_normal_demote",
            "no_allocate",
            "64B",
            "128B",
            "256B",
        ];
        let policy = self.flag("L2::cache_hint");
        self.remaining.retain(|modifier| {
            let hint = modifier
                .strip_prefix("L1::")
                .or_else(|| modifier.strip_prefix("L2::"));
            !(OPERATORS.contains(modifier) || hint.is_some_and(|hint| HINTS.contains(&hint)))
        });
        policy
    }

    /// Every modifier must have been taken.
    pub fn finish(self) -> Decoded<()> {
        if self.remaining.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = self
            .remaining
            .iter()
            .map(|name| format!("`.{name}`"))
            .collect();
        Err(format!("{} is not supported here", names.join(", ")))
    }
}
