//! Integer arithmetic (PTX ISA §9.7.1) and extended-precision arithmetic (§9.7.2).

use super::Lanes;

/// An integer type; `.bN` types count as unsigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IntType {
    U8,
    S8,
    U16,
    S16,
    U32,
    S32,
    U64,
    S64,
}

impl IntType {
    pub const fn bits(self) -> u32 {
        match self {
            IntType::U8 | IntType::S8 => 8,
            IntType::U16 | IntType::S16 => 16,
            IntType::U32 | IntType::S32 => 32,
            IntType::U64 | IntType::S64 => 64,
        }
    }

    pub const fn signed(self) -> bool {
        matches!(
            self,
            IntType::S8 | IntType::S16 | IntType::S32 | IntType::S64
        )
    }

    /// The value in the low bits of `slot`.
    pub const fn value(self, slot: u64) -> i128 {
        match self {
            IntType::U8 => slot as u8 as i128,
            IntType::S8 => slot as i8 as i128,
            IntType::U16 => slot as u16 as i128,
            IntType::S16 => slot as i16 as i128,
            IntType::U32 => slot as u32 as i128,
            IntType::S32 => slot as i32 as i128,
            IntType::U64 => slot as i128,
            IntType::S64 => slot as i64 as i128,
        }
    }

    pub const fn min(self) -> i128 {
        if self.signed() {
            -(1 << (self.bits() - 1))
        } else {
            0
        }
    }

    pub const fn max(self) -> i128 {
        if self.signed() {
            (1 << (self.bits() - 1)) - 1
        } else {
            (1 << self.bits()) - 1
        }
    }
}

/// Functions of integers of one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IntegerOp {
    Add,
    /// `.sat`
    AddSaturating,
    Sub,
    SubSaturating,
    MulLow,
    MulHigh,
    /// The whole product, twice as wide as the operands.
    MulWide,
    MadLow,
    MadHigh,
    /// `mad.hi.sat.s32`
    MadHighSaturating,
    /// `c` and the result are twice as wide as `a` and `b`.
    MadWide,
    Mul24Low,
    Mul24High,
    Mad24Low,
    Mad24High,
    Mad24HighSaturating,
    /// `|a − b| + c`
    SumAbsoluteDifference,
    Div,
    Rem,
    Abs,
    Neg,
    Min,
    Max,
    /// `.relu`: the minimum, at least 0.
    MinRelu,
    MaxRelu,
}

/// Functions with a carry. `In` reads it; every one can write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CarryOp {
    /// `a + b + carry`; the carry is the third source.
    Add,
    /// `a − b − borrow`
    Sub,
    /// `low(a · b) + c + carry`; the carry is the fourth source.
    MadLow,
    MadHigh,
}

/// A host integer as the contents of a register slot.
trait SlotInt: Copy {
    fn load(slot: u64) -> Self;
    fn slot(self) -> u64;
}

macro_rules! slot_ints {
    ($($int:ty as $unsigned:ty),*) => {$(
        impl SlotInt for $int {
            #[inline(always)]
            fn load(slot: u64) -> Self {
                slot as $int
            }
            #[inline(always)]
            fn slot(self) -> u64 {
                self as $unsigned as u64
            }
        }
    )*};
}
slot_ints!(
    u8 as u8, i8 as u8, u16 as u16, i16 as u16, u32 as u32, i32 as u32, u64 as u64, i64 as u64
);

pub(super) fn run(op: IntegerOp, ty: IntType, lanes: &mut Lanes) {
    macro_rules! with {
        ($narrow:ty, $wide:ty) => {
            run_typed!(op, lanes, $narrow, $wide)
        };
    }
    // `$wide` holds every product and sum of products of `$narrow`.
    macro_rules! run_typed {
        ($op:expr, $lanes:expr, $narrow:ty, $wide:ty) => {{
            type N = $narrow;
            type W = $wide;
            let n = |slot: u64| <N as SlotInt>::load(slot);
            const BITS: u32 = N::BITS;
            #[allow(clippy::unnecessary_cast)]
            let high = |a: u64, b: u64| ((n(a) as W).wrapping_mul(n(b) as W) >> BITS) as N;
            match $op {
                IntegerOp::Add => $lanes.map2(|a, b| n(a).wrapping_add(n(b)).slot()),
                IntegerOp::AddSaturating => $lanes.map2(|a, b| n(a).saturating_add(n(b)).slot()),
                IntegerOp::Sub => $lanes.map2(|a, b| n(a).wrapping_sub(n(b)).slot()),
                IntegerOp::SubSaturating => $lanes.map2(|a, b| n(a).saturating_sub(n(b)).slot()),
                IntegerOp::MulLow => $lanes.map2(|a, b| n(a).wrapping_mul(n(b)).slot()),
                IntegerOp::MulHigh => $lanes.map2(|a, b| high(a, b).slot()),
                IntegerOp::MadLow => {
                    $lanes.map3(|a, b, c| n(a).wrapping_mul(n(b)).wrapping_add(n(c)).slot())
                }
                IntegerOp::MadHigh => $lanes.map3(|a, b, c| high(a, b).wrapping_add(n(c)).slot()),
                IntegerOp::MadHighSaturating => {
                    $lanes.map3(|a, b, c| high(a, b).saturating_add(n(c)).slot())
                }
                IntegerOp::MulWide => $lanes
                    .map2(|a, b| wide_slot((n(a) as W).wrapping_mul(n(b) as W) as u128, 2 * BITS)),
                IntegerOp::MadWide => $lanes.map3(|a, b, c| {
                    let product = (n(a) as W).wrapping_mul(n(b) as W) as u128;
                    wide_slot(product.wrapping_add(u128::from(c)), 2 * BITS)
                }),
                IntegerOp::SumAbsoluteDifference => {
                    $lanes.map3(|a, b, c| (n(a).abs_diff(n(b)) as N).wrapping_add(n(c)).slot())
                }
                // Division by zero is "unspecified" (PTX ISA §9.7.1.8); NVIDIA GPUs give all ones,
                // and the dividend as remainder.
                IntegerOp::Div => $lanes.map2(|a, b| match n(b) {
                    0 => (!(0 as N)).slot(),
                    divisor => n(a).wrapping_div(divisor).slot(),
                }),
                IntegerOp::Rem => $lanes.map2(|a, b| match n(b) {
                    0 => n(a).slot(),
                    divisor => n(a).wrapping_rem(divisor).slot(),
                }),
                #[allow(unused_comparisons)]
                IntegerOp::Abs => $lanes.map1(|a| {
                    if n(a) < 0 {
                        (0 as N).wrapping_sub(n(a)).slot()
                    } else {
                        n(a).slot()
                    }
                }),
                IntegerOp::Neg => $lanes.map1(|a| (0 as N).wrapping_sub(n(a)).slot()),
                IntegerOp::Min => $lanes.map2(|a, b| n(a).min(n(b)).slot()),
                IntegerOp::Max => $lanes.map2(|a, b| n(a).max(n(b)).slot()),
                IntegerOp::MinRelu => $lanes.map2(|a, b| n(a).min(n(b)).max(0).slot()),
                IntegerOp::MaxRelu => $lanes.map2(|a, b| n(a).max(n(b)).max(0).slot()),
                IntegerOp::Mul24Low => $lanes.map2(|a, b| low24(ty, a, b)),
                IntegerOp::Mul24High => $lanes.map2(|a, b| high24(ty, a, b)),
                IntegerOp::Mad24Low => {
                    $lanes.map3(|a, b, c| n(low24(ty, a, b)).wrapping_add(n(c)).slot())
                }
                IntegerOp::Mad24High => {
                    $lanes.map3(|a, b, c| n(high24(ty, a, b)).wrapping_add(n(c)).slot())
                }
                IntegerOp::Mad24HighSaturating => {
                    $lanes.map3(|a, b, c| n(high24(ty, a, b)).saturating_add(n(c)).slot())
                }
            }
        }};
    }
    match ty {
        IntType::U8 => with!(u8, u16),
        IntType::S8 => with!(i8, i16),
        IntType::U16 => with!(u16, u32),
        IntType::S16 => with!(i16, i32),
        IntType::U32 => with!(u32, u64),
        IntType::S32 => with!(i32, i64),
        IntType::U64 => with!(u64, u128),
        IntType::S64 => with!(i64, i128),
    }
}

#[inline(always)]
fn wide_slot(product: u128, bits: u32) -> u64 {
    if bits >= 64 {
        product as u64
    } else {
        product as u64 & ((1 << bits) - 1)
    }
}

/// The 48-bit product of the low 24 bits of `a` and `b`.
#[inline(always)]
fn product24(ty: IntType, a: u64, b: u64) -> i64 {
    let operand = |slot: u64| {
        if ty.signed() {
            i64::from((slot as i32) << 8 >> 8)
        } else {
            (slot & 0xff_ffff) as i64
        }
    };
    operand(a) * operand(b)
}

fn low24(ty: IntType, a: u64, b: u64) -> u64 {
    u64::from(product24(ty, a, b) as u32)
}

fn high24(ty: IntType, a: u64, b: u64) -> u64 {
    u64::from((product24(ty, a, b) >> 16) as u32)
}

pub(super) fn run_packed(op: IntegerOp, signed: bool, lanes: &mut Lanes) {
    #[inline(always)]
    fn halves(a: u64, b: u64, f: impl Fn(u16, u16) -> u16) -> u64 {
        u64::from(f(a as u16, b as u16)) | u64::from(f((a >> 16) as u16, (b >> 16) as u16)) << 16
    }
    #[inline(always)]
    fn signed_halves(a: u64, b: u64, f: impl Fn(i16, i16) -> i16) -> u64 {
        halves(a, b, |a, b| f(a as i16, b as i16) as u16)
    }
    match (op, signed) {
        (IntegerOp::Sub, _) => lanes.map2(|a, b| halves(a, b, u16::wrapping_sub)),
        (IntegerOp::MulLow, _) => lanes.map2(|a, b| halves(a, b, u16::wrapping_mul)),
        (IntegerOp::Neg, _) => lanes.map1(|a| halves(a, a, |a, _| a.wrapping_neg())),
        (IntegerOp::Abs, _) => lanes.map1(|a| signed_halves(a, a, |a, _| a.wrapping_abs())),
        (IntegerOp::Min, false) => lanes.map2(|a, b| halves(a, b, u16::min)),
        (IntegerOp::Max, false) => lanes.map2(|a, b| halves(a, b, u16::max)),
        (IntegerOp::Min, true) => lanes.map2(|a, b| signed_halves(a, b, i16::min)),
        (IntegerOp::Max, true) => lanes.map2(|a, b| signed_halves(a, b, i16::max)),
        (IntegerOp::MinRelu, _) => {
            lanes.map2(|a, b| signed_halves(a, b, |a, b| a.min(b).max(0)));
        }
        (IntegerOp::MaxRelu, _) => {
            lanes.map2(|a, b| signed_halves(a, b, |a, b| a.max(b).max(0)));
        }
        // The decoder builds no other packed operation.
        _ => lanes.map2(|a, b| halves(a, b, u16::wrapping_add)),
    }
}

pub(super) fn run_carry(op: CarryOp, ty: IntType, lanes: &mut Lanes) {
    let bits = ty.bits();
    let mask = u128::from(u64::MAX >> (64 - bits));
    let split = move |sum: u128| ((sum & mask) as u64, (sum >> bits & 1) as u64);
    let product = move |a, b| ty.value(a).wrapping_mul(ty.value(b)) as u128;
    match op {
        CarryOp::Add => lanes.map4_pair(|a, b, carry, _| {
            split((u128::from(a) & mask) + (u128::from(b) & mask) + u128::from(carry))
        }),
        CarryOp::Sub => lanes.map4_pair(|a, b, borrow, _| {
            let subtrahend = (u128::from(b) & mask) + u128::from(borrow);
            split((u128::from(a) & mask).wrapping_sub(subtrahend))
        }),
        CarryOp::MadLow => lanes.map4_pair(|a, b, c, carry| {
            split((product(a, b) & mask) + (u128::from(c) & mask) + u128::from(carry))
        }),
        CarryOp::MadHigh => lanes.map4_pair(|a, b, c, carry| {
            split((product(a, b) >> bits & mask) + (u128::from(c) & mask) + u128::from(carry))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Function, testing};
    use super::*;
    use proptest::prelude::*;

    const TYPES: [IntType; 8] = [
        IntType::U8,
        IntType::S8,
        IntType::U16,
        IntType::S16,
        IntType::U32,
        IntType::S32,
        IntType::U64,
        IntType::S64,
    ];

    fn truncate(value: i128, bits: u32) -> u64 {
        (value as u128 & ((1 << bits) - 1)) as u64
    }

    fn run(op: IntegerOp, ty: IntType, sources: &[u64]) -> u64 {
        testing::run(Function::Integer { op, ty }, sources)
    }

    proptest! {
        #[test]
        fn arithmetic_agrees_with_i128(a: u64, b: u64, c: u64, which in 0usize..8) {
            let ty = TYPES[which];
            let bits = ty.bits();
            let [x, y, z] = [a, b, c].map(|slot| ty.value(slot));
            let check = |op, want: i128| {
                let got = run(op, ty, &[a, b, c]);
                prop_assert_eq!(got, truncate(want, bits), "{:?} {:?}", op, ty);
                Ok(())
            };
            check(IntegerOp::Add, x + y)?;
            check(IntegerOp::Sub, x - y)?;
            check(IntegerOp::AddSaturating, (x + y).clamp(ty.min(), ty.max()))?;
            check(IntegerOp::SubSaturating, (x - y).clamp(ty.min(), ty.max()))?;
            let product = x.wrapping_mul(y);
            check(IntegerOp::MulLow, product)?;
            // u64 · u64 fills 128 bits: take the high half unsigned.
            let high = if ty.signed() { product >> bits } else { (product as u128 >> bits) as i128 };
            check(IntegerOp::MulHigh, high)?;
            check(IntegerOp::MadLow, product.wrapping_add(z))?;
            check(IntegerOp::MadHigh, high + z)?;
            check(IntegerOp::SumAbsoluteDifference, (x - y).abs() + z)?;
            check(IntegerOp::Min, x.min(y))?;
            check(IntegerOp::Max, x.max(y))?;
            check(IntegerOp::Abs, x.abs())?;
            check(IntegerOp::Neg, -x)?;
            if y != 0 {
                check(IntegerOp::Div, x / y)?;
                check(IntegerOp::Rem, x % y)?;
            }
            if bits <= 32 {
                let wide = run(IntegerOp::MulWide, ty, &[a, b]);
                prop_assert_eq!(wide, truncate(product, 2 * bits));
                let sum = run(IntegerOp::MadWide, ty, &[a, b, c]);
                prop_assert_eq!(sum, truncate(product.wrapping_add(i128::from(c)), 2 * bits));
            }
        }

        /// 128-bit sums and products out of 32-bit pieces.
        #[test]
        fn carry_chains_compute_wide_results(a: u128, b: u128) {
            let limb = |value: u128, index: u32| u64::from((value >> (32 * index)) as u32);
            for (op, want) in [
                (CarryOp::Add, a.wrapping_add(b)),
                (CarryOp::Sub, a.wrapping_sub(b)),
            ] {
                let (mut got, mut carry) = (0u128, 0);
                for index in 0..4 {
                    let function = Function::Carry { op, ty: IntType::U32 };
                    let (sum, out) =
                        testing::run1(function, &[limb(a, index), limb(b, index), carry]);
                    got |= u128::from(sum) << (32 * index);
                    carry = out;
                }
                prop_assert_eq!(got, want);
            }
        }

        #[test]
        fn mad_with_carry_multiplies_64_by_64(a: u64, b: u64, c: u64) {
            let mad = |op, a, b, c, carry| {
                testing::run1(Function::Carry { op, ty: IntType::U64 }, &[a, b, c, carry])
            };
            let (low, carry) = mad(CarryOp::MadLow, a, b, c, 0);
            let (high, _) = mad(CarryOp::MadHigh, a, b, 0, carry);
            let want = u128::from(a) * u128::from(b) + u128::from(c);
            prop_assert_eq!(u128::from(high) << 64 | u128::from(low), want);
        }

        #[test]
        fn products_of_24_bits(a: u32, b: u32) {
            let [x, y] = [a, b].map(|v| i64::from((v << 8) as i32 >> 8));
            let run = |op| run(op, IntType::S32, &[u64::from(a), u64::from(b)]);
            prop_assert_eq!(run(IntegerOp::Mul24Low), u64::from((x * y) as u32));
            prop_assert_eq!(run(IntegerOp::Mul24High), u64::from(((x * y) >> 16) as u32));
        }
    }

    #[test]
    fn overflowing_quotient_wraps() {
        let min = u64::from(i32::MIN as u32);
        assert_eq!(
            run(IntegerOp::Div, IntType::S32, &[min, u64::from(u32::MAX)]),
            min
        );
        assert_eq!(
            run(IntegerOp::Rem, IntType::S32, &[min, u64::from(u32::MAX)]),
            0
        );
    }

    #[test]
    fn packed_halves_do_not_carry_into_each_other() {
        let packed = |op, signed, a, b| testing::run(Function::Packed16 { op, signed }, &[a, b]);
        assert_eq!(
            packed(IntegerOp::Add, false, 0x0001_ffff, 0x0001_0001),
            0x0002_0000
        );
        assert_eq!(
            packed(IntegerOp::Min, true, 0xffff_0001, 0x0001_ffff),
            0xffff_ffff
        );
        assert_eq!(
            packed(IntegerOp::Min, false, 0xffff_0001, 0x0001_ffff),
            0x0001_0001
        );
        assert_eq!(
            packed(IntegerOp::MaxRelu, true, 0xffff_0001, 0xfffe_0003),
            0x0000_0003
        );
    }
}
