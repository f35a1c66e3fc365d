//! What atomic operations and reductions compute (PTX ISA §9.7.13.5, §9.7.13.6, §9.7.9.25.4.2).

use super::report::{FailureKind, Step};
use crate::isa::alu::{FloatFunction, FloatOp, Format, Rounding};
use crate::isa::ir::{AtomicOp, Type};

/// Bytes of one element in memory.
pub fn element_bytes(ty: Type) -> Step<u32> {
    Ok(match ty {
        Type::B8 | Type::U8 | Type::S8 => 1,
        Type::B16 | Type::U16 | Type::S16 | Type::F16 | Type::Bf16 => 2,
        Type::B32 | Type::U32 | Type::S32 | Type::F32 | Type::F16x2 | Type::Bf16x2 => 4,
        Type::B64 | Type::U64 | Type::S64 | Type::F64 => 8,
        Type::B128 => return Err(FailureKind::unsupported("128-bit elements")),
        Type::Pred => return Err(FailureKind::unsupported("predicates in memory")),
    })
}

/// An element of up to 8 bytes, zero-extended.
pub fn element(bytes: &[u8]) -> u64 {
    let mut value = [0; 8];
    value[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(value)
}

/// The new value; the caller cuts it to the element's width.
pub fn combine(op: AtomicOp, ty: Type, old: u64, a: u64, b: u64) -> u64 {
    if let Some((format, packed)) = floating(ty)
        && let AtomicOp::Add | AtomicOp::Min | AtomicOp::Max = op
    {
        return float(op, format, packed, false, old, a);
    }
    match (op, ty) {
        (AtomicOp::Add, _) => old.wrapping_add(a),
        (AtomicOp::Min, Type::S32) => (old as i32).min(a as i32) as u64,
        (AtomicOp::Max, Type::S32) => (old as i32).max(a as i32) as u64,
        (AtomicOp::Min, Type::S64) => (old as i64).min(a as i64) as u64,
        (AtomicOp::Max, Type::S64) => (old as i64).max(a as i64) as u64,
        (AtomicOp::Min, _) => old.min(a),
        (AtomicOp::Max, _) => old.max(a),
        (AtomicOp::And, _) => old & a,
        (AtomicOp::Or, _) => old | a,
        (AtomicOp::Xor, _) => old ^ a,
        (AtomicOp::Inc, _) if old >= a => 0,
        (AtomicOp::Inc, _) => old + 1,
        (AtomicOp::Dec, _) if old == 0 || old > a => a,
        (AtomicOp::Dec, _) => old - 1,
        (AtomicOp::Exchange, _) => a,
        (AtomicOp::CompareAndSwap, _) if old == a => b,
        (AtomicOp::CompareAndSwap, _) => old,
    }
}

/// [`combine`], but `.add.f32` takes and leaves subnormals as zeros of their sign: as `atom` and `red` do on global
/// memory, not on shared memory (PTX ISA §9.7.13.5), and reductions of tensors whose type says so.
pub fn combine_flushed(op: AtomicOp, ty: Type, old: u64, a: u64, b: u64) -> u64 {
    match (op, ty) {
        (AtomicOp::Add, Type::F32) => float(op, Format::F32, false, true, old, a),
        _ => combine(op, ty, old, a, b),
    }
}

fn floating(ty: Type) -> Option<(Format, bool)> {
    match ty {
        Type::F16 => Some((Format::F16, false)),
        Type::F16x2 => Some((Format::F16, true)),
        Type::Bf16 => Some((Format::Bf16, false)),
        Type::Bf16x2 => Some((Format::Bf16, true)),
        Type::F32 => Some((Format::F32, false)),
        Type::F64 => Some((Format::F64, false)),
        _ => None,
    }
}

/// As the instructions of the same name: sums round to nearest even, minima and maxima ignore a NaN beside a number.
fn float(op: AtomicOp, format: Format, packed: bool, ftz: bool, old: u64, a: u64) -> u64 {
    let op = match op {
        AtomicOp::Min => FloatOp::Min {
            nan: false,
            xor_sign: false,
        },
        AtomicOp::Max => FloatOp::Max {
            nan: false,
            xor_sign: false,
        },
        _ => FloatOp::Add,
    };
    let function = FloatFunction {
        op,
        format,
        packed,
        rounding: Rounding::NearestEven,
        ftz,
        saturate: false,
        relu: false,
    };
    function.evaluate(old, a)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_round_to_nearest_even_and_keep_subnormals() {
        let add = |ty, a, b| combine(AtomicOp::Add, ty, a, b, 0);
        // 2048 + 1 in f16 is a tie: the even neighbour is 2048.
        assert_eq!(add(Type::F16, 0x6800, 0x3C00), 0x6800);
        assert_eq!(add(Type::F16, 0x0001, 0x0001), 0x0002);
        // 256 + 1 in bf16 is a tie: 256.
        assert_eq!(add(Type::Bf16, 0x4380, 0x3F80), 0x4380);
        assert_eq!(add(Type::F16x2, 0x3C00_0001, 0x4000_0002), 0x4200_0003);
    }

    #[test]
    fn a_number_wins_against_a_nan() {
        for (op, expected) in [(AtomicOp::Min, 0xBC00), (AtomicOp::Max, 0x3C00)] {
            assert_eq!(combine(op, Type::F16, 0x3C00, 0xBC00, 0), expected);
            assert_eq!(combine(op, Type::F16, 0x7E00, 0x3C00, 0), 0x3C00);
            assert_eq!(combine(op, Type::F16, 0x3C00, 0x7E00, 0), 0x3C00);
        }
    }

    #[test]
    fn sums_of_f32_flush_in_global_memory_alone() {
        let least = 1u64;
        assert_eq!(combine(AtomicOp::Add, Type::F32, least, least, 0), 2);
        assert_eq!(
            combine_flushed(AtomicOp::Add, Type::F32, least, least, 0),
            0
        );
        let negative = 0x8000_0001;
        assert_eq!(
            combine_flushed(AtomicOp::Add, Type::F32, negative, negative, 0),
            0x8000_0000
        );
    }
}
