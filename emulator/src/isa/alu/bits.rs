//! Logic, shifts and bit manipulation (PTX ISA §9.7.1.14–9.7.1.24, §9.7.8).

use super::integer::IntType;
use super::{BooleanOp, Lanes};

/// Functions of bit strings. `bits` is 16, 32 or 64 (1 for predicates).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BitsOp {
    And,
    Or,
    Xor,
    Not {
        bits: u32,
    },
    /// 1 where all bits are 0.
    LogicalNot {
        bits: u32,
    },
    /// Any function of three bits; bit `4a+2b+c` of `table` is its value.
    Lop3 {
        table: u8,
    },
    /// `dst2` = (result ≠ 0) combined with the fourth source.
    Lop3Predicate {
        table: u8,
        combine: BooleanOp,
    },
    ShiftLeft {
        bits: u32,
    },
    /// Arithmetic for signed types.
    ShiftRight {
        ty: IntType,
    },
    /// `shf`: the 64-bit value `b:a` shifted by `c`; the high word for `.l`, the low word for `.r`.
    Funnel {
        left: bool,
        wrap: bool,
    },
    Permute {
        mode: PermuteMode,
    },
    PopulationCount {
        bits: u32,
    },
    LeadingZeros {
        bits: u32,
    },
    Reverse {
        bits: u32,
    },
    /// Position of the most significant non-sign bit; with `shift_amount`, the left shift that
    /// brings it to the top.
    FindLeading {
        ty: IntType,
        shift_amount: bool,
    },
    FindNth,
    Extract {
        ty: IntType,
    },
    /// `a` into `b` at position `c` with length `d`.
    Insert {
        bits: u32,
    },
    Mask {
        wrap: bool,
    },
    SignOrZeroExtend {
        signed: bool,
        wrap: bool,
    },
    /// Four byte products plus `c`.
    Dot4 {
        a_signed: bool,
        b_signed: bool,
    },
    /// Two products of `a`'s halves with two of `b`'s bytes, plus `c`.
    Dot2 {
        a_signed: bool,
        b_signed: bool,
        high: bool,
    },
}

/// Modes of `prmt` (PTX ISA §9.7.9.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PermuteMode {
    /// Four independent selectors; a selector's top bit replicates the byte's sign.
    Generic,
    Forward4,
    Backward4,
    Replicate8,
    EdgeClampLeft,
    EdgeClampRight,
    Replicate16,
}

#[inline(always)]
fn mask(bits: u32) -> u64 {
    u64::MAX >> (64 - bits)
}

pub(super) fn run(op: BitsOp, lanes: &mut Lanes) {
    match op {
        BitsOp::And => lanes.map2(|a, b| a & b),
        BitsOp::Or => lanes.map2(|a, b| a | b),
        BitsOp::Xor => lanes.map2(|a, b| a ^ b),
        BitsOp::Not { bits } => lanes.map1(|a| a ^ mask(bits)),
        BitsOp::LogicalNot { bits } => lanes.map1(|a| u64::from(a & mask(bits) == 0)),
        BitsOp::Lop3 { table } => {
            let select = lop3_masks(table);
            lanes.map3(|a, b, c| lop3(select, a, b, c));
        }
        BitsOp::Lop3Predicate { table, combine } => {
            let select = lop3_masks(table);
            lanes.map4_pair(|a, b, c, predicate| {
                let result = lop3(select, a, b, c);
                (
                    result,
                    u64::from(combine.apply(result != 0, predicate != 0)),
                )
            });
        }
        // Shifts by the width or more give 0, or the sign (PTX ISA §9.7.8.8, §9.7.8.9).
        BitsOp::ShiftLeft { bits } => lanes.map2(|a, b| match b as u32 {
            amount if amount >= bits => 0,
            amount => a << amount & mask(bits),
        }),
        BitsOp::ShiftRight { ty } => {
            let bits = ty.bits();
            if ty.signed() {
                lanes.map2(|a, b| {
                    let value = (a << (64 - bits)) as i64 >> (64 - bits);
                    (value >> (b as u32).min(bits - 1)) as u64 & mask(bits)
                });
            } else {
                lanes.map2(|a, b| match b as u32 {
                    amount if amount >= bits => 0,
                    amount => (a & mask(bits)) >> amount,
                });
            }
        }
        BitsOp::Funnel { left, wrap } => lanes.map3(|a, b, c| {
            let amount = if wrap { c & 31 } else { (c & mask(32)).min(32) };
            let value = b << 32 | a & mask(32);
            if left {
                (u128::from(value) << amount >> 32) as u64 & mask(32)
            } else {
                value >> amount & mask(32)
            }
        }),
        BitsOp::Permute { mode } => lanes.map3(|a, b, c| permute(mode, a, b, c)),
        BitsOp::PopulationCount { bits } => {
            lanes.map1(|a| u64::from((a & mask(bits)).count_ones()))
        }
        BitsOp::LeadingZeros { bits } => {
            lanes.map1(|a| u64::from((a & mask(bits)).leading_zeros() - (64 - bits)));
        }
        BitsOp::Reverse { bits } => lanes.map1(|a| a.reverse_bits() >> (64 - bits)),
        BitsOp::FindLeading { ty, shift_amount } => {
            lanes.map1(|a| find_leading(ty, shift_amount, a))
        }
        BitsOp::FindNth => lanes.map3(find_nth),
        BitsOp::Extract { ty } => lanes.map3(|a, b, c| extract(ty, a, b, c)),
        BitsOp::Insert { bits } => lanes.map4(|a, b, position, length| {
            let (position, length) = (position as u32 & 0xff, length as u32 & 0xff);
            let field = low_bits(length).checked_shl(position).unwrap_or(0) & mask(bits);
            b & !field | a.checked_shl(position).unwrap_or(0) & field
        }),
        BitsOp::Mask { wrap } => lanes.map2(|a, b| {
            let (position, length) = match wrap {
                true => (a as u32 & 31, b as u32 & 31),
                false => ((a as u32).min(32), (b as u32).min(32)),
            };
            low_bits(length) << position & mask(32)
        }),
        BitsOp::SignOrZeroExtend { signed, wrap } => lanes.map2(|a, b| {
            let width = if wrap {
                b as u32 & 31
            } else {
                (b as u32).min(32)
            };
            let low = a & low_bits(width);
            let negative = signed && width > 0 && a >> (width - 1) & 1 == 1;
            if negative {
                (low | !low_bits(width)) & mask(32)
            } else {
                low
            }
        }),
        BitsOp::Dot4 { a_signed, b_signed } => lanes.map3(|a, b, c| {
            let terms = (0..4).map(|i| byte(a, i, a_signed).wrapping_mul(byte(b, i, b_signed)));
            u64::from(terms.fold(c as u32, |sum, term| sum.wrapping_add(term as u32)))
        }),
        BitsOp::Dot2 {
            a_signed,
            b_signed,
            high,
        } => lanes.map3(|a, b, c| {
            let half = |i: u32| match a_signed {
                true => i32::from((a >> (16 * i)) as i16),
                false => i32::from((a >> (16 * i)) as u16),
            };
            let first = if high { 2 } else { 0 };
            let terms = (0..2).map(|i| half(i).wrapping_mul(byte(b, first + i, b_signed)));
            u64::from(terms.fold(c as u32, |sum, term| sum.wrapping_add(term as u32)))
        }),
    }
}

/// Bit `i` of the table, spread over a word, for each of the eight input combinations.
fn lop3_masks(table: u8) -> [u64; 8] {
    std::array::from_fn(|index| {
        if table >> index & 1 == 1 {
            u64::from(u32::MAX)
        } else {
            0
        }
    })
}

#[inline(always)]
fn lop3(select: [u64; 8], a: u64, b: u64, c: u64) -> u64 {
    let c_choice = |i: usize| (select[i + 1] & c) | (select[i] & !c);
    let b_choice = |i: usize| (c_choice(i + 2) & b) | (c_choice(i) & !b);
    ((b_choice(4) & a) | (b_choice(0) & !a)) & mask(32)
}

#[inline(always)]
fn low_bits(count: u32) -> u64 {
    if count >= 64 {
        u64::MAX
    } else {
        (1 << count) - 1
    }
}

#[inline(always)]
fn byte(word: u64, index: u32, signed: bool) -> i32 {
    let byte = (word >> (8 * index)) as u8;
    if signed {
        i32::from(byte as i8)
    } else {
        i32::from(byte)
    }
}

fn permute(mode: PermuteMode, a: u64, b: u64, c: u64) -> u64 {
    let bytes = (b << 32) | a & mask(32);
    let start = c & 3;
    let selector = |i: u64| match mode {
        PermuteMode::Generic => c >> (4 * i) & 0xf,
        PermuteMode::Forward4 => start + i,
        PermuteMode::Backward4 => (start + 8 - i) & 7,
        PermuteMode::Replicate8 => start,
        PermuteMode::EdgeClampLeft => i.max(start),
        PermuteMode::EdgeClampRight => i.min(start),
        PermuteMode::Replicate16 => 2 * (start & 1) + (i & 1),
    };
    (0..4).fold(0, |result, i| {
        let selector = selector(i);
        let byte = (bytes >> (8 * (selector & 7))) as u8;
        let byte = if selector & 8 != 0 {
            (byte as i8 >> 7) as u8
        } else {
            byte
        };
        result | u64::from(byte) << (8 * i)
    })
}

fn find_leading(ty: IntType, shift_amount: bool, a: u64) -> u64 {
    let bits = ty.bits();
    let value = ty.value(a);
    let magnitude = (if value < 0 { !value } else { value }) as u64 & mask(bits);
    match magnitude {
        0 => u64::from(u32::MAX),
        _ => {
            let position = 63 - magnitude.leading_zeros();
            u64::from(if shift_amount {
                bits - 1 - position
            } else {
                position
            })
        }
    }
}

/// `fns`: the position of the `|offset|`-th set bit of `word` at or after (before, for a negative
/// offset) `base`.
fn find_nth(word: u64, base: u64, offset: u64) -> u64 {
    let (word, base, offset) = (word as u32, base as u32, offset as i32);
    let none = u64::from(u32::MAX);
    if base > 31 {
        return none;
    }
    let set = |position: &u32| word >> position & 1 == 1;
    let count = offset.unsigned_abs() as usize;
    let found = match offset {
        0 => Some(base).filter(set),
        1.. => (base..32).filter(set).nth(count - 1),
        _ => (0..=base).rev().filter(set).nth(count - 1),
    };
    found.map_or(none, u64::from)
}

/// `bfe`: bits beyond the operand's top are its sign for signed types, else zero (PTX ISA
/// §9.7.1.19).
fn extract(ty: IntType, a: u64, position: u64, length: u64) -> u64 {
    let bits = ty.bits();
    let (position, length) = (position as u32 & 0xff, length as u32 & 0xff);
    if length == 0 {
        return 0;
    }
    let value = ty.value(a);
    let shifted = value >> position.min(127);
    let kept = length.min(bits) as i128;
    let sign_position = (position + length - 1).min(bits - 1);
    let negative = ty.signed() && value >> sign_position & 1 == 1;
    let low = shifted & ((1i128 << kept) - 1);
    let extended = if negative {
        low | (-1i128 << kept)
    } else {
        low
    };
    extended as u64 & mask(bits)
}

#[cfg(test)]
mod tests {
    use super::super::{Function, testing};
    use super::*;
    use proptest::prelude::*;

    fn run(op: BitsOp, sources: &[u64]) -> u64 {
        testing::run(Function::Bits(op), sources)
    }

    #[test]
    fn permute_modes() {
        let (a, b) = (0x3322_1100, 0x7766_5544);
        let permute = |mode, c| run(BitsOp::Permute { mode }, &[a, b, c]);
        assert_eq!(permute(PermuteMode::Generic, 0x7531), 0x7755_3311);
        assert_eq!(
            run(
                BitsOp::Permute {
                    mode: PermuteMode::Generic
                },
                &[0x80, 0, 0x8888]
            ),
            0xffff_ffff
        );
        // The rows of PTX ISA table "prmt modes", least significant byte last.
        assert_eq!(permute(PermuteMode::Forward4, 1), 0x4433_2211);
        assert_eq!(permute(PermuteMode::Forward4, 3), 0x6655_4433);
        assert_eq!(permute(PermuteMode::Backward4, 0), 0x5566_7700);
        assert_eq!(permute(PermuteMode::Backward4, 2), 0x7700_1122);
        assert_eq!(permute(PermuteMode::Replicate8, 2), 0x2222_2222);
        assert_eq!(permute(PermuteMode::EdgeClampLeft, 1), 0x3322_1111);
        assert_eq!(permute(PermuteMode::EdgeClampRight, 2), 0x2222_1100);
        assert_eq!(permute(PermuteMode::Replicate16, 0), 0x1100_1100);
        assert_eq!(permute(PermuteMode::Replicate16, 1), 0x3322_3322);
    }

    #[test]
    fn find_nth_set_bit() {
        let fns = |mask: u64, base: u64, offset: i32| {
            run(BitsOp::FindNth, &[mask, base, u64::from(offset as u32)])
        };
        assert_eq!(fns(0b1010, 0, 1), 1);
        assert_eq!(fns(0b1010, 0, 2), 3);
        assert_eq!(fns(0b1010, 3, -2), 1);
        assert_eq!(fns(0b1010, 1, 0), 1);
        assert_eq!(fns(0b1010, 2, 0), u64::from(u32::MAX));
        assert_eq!(fns(0b1010, 0, 3), u64::from(u32::MAX));
    }

    #[test]
    fn extraction_beyond_the_top_bit_gives_the_sign() {
        let bfe = |ty, a: u64, pos, len| run(BitsOp::Extract { ty }, &[a, pos, len]);
        assert_eq!(bfe(IntType::U32, 0x8765_4321, 4, 8), 0x32);
        assert_eq!(bfe(IntType::S32, 0x8000_0000, 28, 8), 0xffff_fff8);
        assert_eq!(bfe(IntType::S32, 0x8000_0000, 40, 8), 0xffff_ffff);
        assert_eq!(bfe(IntType::U32, 0x8000_0000, 40, 8), 0);
        assert_eq!(bfe(IntType::S32, 0xff, 0, 0), 0);
        assert_eq!(bfe(IntType::S64, 0x80, 4, 4), 0xffff_ffff_ffff_fff8);
    }

    #[test]
    fn dot_products() {
        let dot4 = BitsOp::Dot4 {
            a_signed: true,
            b_signed: false,
        };
        assert_eq!(
            run(dot4, &[0xff01_0203, 0xff01_0101, 10]),
            u64::from((-255 + 6 + 10) as u32)
        );
        let dot2 = BitsOp::Dot2 {
            a_signed: true,
            b_signed: true,
            high: true,
        };
        assert_eq!(
            run(dot2, &[0xffff_0002, 0xff03_0000, 1]),
            u64::from((6 + 1 + 1) as u32)
        );
    }

    proptest! {
        #[test]
        fn lop3_is_its_table(table: u8, a: u32, b: u32, c: u32) {
            let got = run(BitsOp::Lop3 { table }, &[a, b, c].map(u64::from));
            let bit = |word: u32, i: u32| word >> i & 1;
            let want = (0..32).fold(0u64, |word, i| {
                let index = bit(a, i) * 4 + bit(b, i) * 2 + bit(c, i);
                word | u64::from(table >> index & 1) << i
            });
            prop_assert_eq!(got, want);
        }

        #[test]
        fn shifts_clamp(a: u32, amount in 0u64..80) {
            let wide = u128::from(a);
            let left = run(BitsOp::ShiftLeft { bits: 32 }, &[u64::from(a), amount]);
            prop_assert_eq!(left, (wide << amount) as u64 & 0xffff_ffff);
            let right = run(BitsOp::ShiftRight { ty: IntType::U32 }, &[u64::from(a), amount]);
            prop_assert_eq!(right, (wide >> amount) as u64);
            let signed = run(BitsOp::ShiftRight { ty: IntType::S32 }, &[u64::from(a), amount]);
            prop_assert_eq!(signed, u64::from((i128::from(a as i32) >> amount) as u32));
        }

        #[test]
        fn funnel_shifts(a: u32, b: u32, c in 0u64..70) {
            let value = u128::from(b) << 32 | u128::from(a);
            let funnel = |left, wrap| run(BitsOp::Funnel { left, wrap }, &[u64::from(a), u64::from(b), c]);
            for (wrap, n) in [(true, c & 31), (false, c.min(32))] {
                prop_assert_eq!(funnel(true, wrap), u64::from((value << n >> 32) as u32));
                prop_assert_eq!(funnel(false, wrap), u64::from((value >> n) as u32));
            }
        }

        #[test]
        fn insert_then_extract_is_the_field(a: u64, b: u64, position in 0u64..64, length in 1u64..65) {
            let length = length.min(64 - position);
            let inserted = run(BitsOp::Insert { bits: 64 }, &[a, b, position, length]);
            let field = run(BitsOp::Extract { ty: IntType::U64 }, &[inserted, position, length]);
            prop_assert_eq!(field, a & low_bits(length as u32));
            let outside = !(low_bits(length as u32) << position);
            prop_assert_eq!(inserted & outside, b & outside);
        }

        #[test]
        fn counts(a: u64) {
            prop_assert_eq!(run(BitsOp::PopulationCount { bits: 32 }, &[a]), u64::from((a as u32).count_ones()));
            prop_assert_eq!(run(BitsOp::LeadingZeros { bits: 32 }, &[a]), u64::from((a as u32).leading_zeros()));
            prop_assert_eq!(run(BitsOp::Reverse { bits: 32 }, &[a]), u64::from((a as u32).reverse_bits()));
            let find = run(BitsOp::FindLeading { ty: IntType::S64, shift_amount: true }, &[a]);
            let magnitude = if (a as i64) < 0 { !a } else { a };
            let want = if magnitude == 0 { u64::from(u32::MAX) } else { u64::from(magnitude.leading_zeros()) };
            prop_assert_eq!(find, want);
        }

        #[test]
        fn extension_matches_shifts(a: u32, width in 1u64..33) {
            let shift = 32 - width as u32;
            let szext = |signed| run(BitsOp::SignOrZeroExtend { signed, wrap: false }, &[u64::from(a), width]);
            prop_assert_eq!(szext(true), u64::from(((a << shift) as i32 >> shift) as u32));
            prop_assert_eq!(szext(false), u64::from(a << shift >> shift));
        }
    }
}
