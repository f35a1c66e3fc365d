//! Comparison and selection (PTX ISA §9.7.6, §9.7.7) and `testp`.

use super::Lanes;
use super::float::flush;
use super::format::{Format, Value};
use super::integer::IntType;

/// What is compared and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Integer {
        operator: Operator,
        ty: IntType,
    },
    /// `unordered`: true where an operand is NaN (`equ`, `ltu`, …); otherwise false there.
    Float {
        operator: Operator,
        unordered: bool,
        format: Format,
        ftz: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    /// Both operands are numbers.
    Num,
    /// An operand is NaN.
    Nan,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BooleanOp {
    And,
    Or,
    Xor,
}

/// What `set` writes for true; 0 for false.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SetResult {
    /// All ones, in each half where the comparison is packed.
    Ones { bits: u32 },
    /// 1.0
    One { format: Format },
}

/// `testp`'s classes (PTX ISA §9.7.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FloatClass {
    Finite,
    Infinite,
    Number,
    NotANumber,
    Normal,
    Subnormal,
}

impl BooleanOp {
    #[inline(always)]
    pub(super) fn apply(self, a: bool, b: bool) -> bool {
        match self {
            BooleanOp::And => a & b,
            BooleanOp::Or => a | b,
            BooleanOp::Xor => a ^ b,
        }
    }
}

#[inline(always)]
fn ordered<T: PartialOrd>(operator: Operator, a: T, b: T) -> bool {
    match operator {
        Operator::Eq => a == b,
        Operator::Ne => a != b,
        Operator::Lt => a < b,
        Operator::Le => a <= b,
        Operator::Gt => a > b,
        Operator::Ge => a >= b,
        Operator::Num => true,
        Operator::Nan => false,
    }
}

/// Codes of any format as numbers that compare alike; NaN as `None`. −0 and +0 get the same key.
#[inline(always)]
fn key(format: Format, ftz: bool, code: u64) -> Option<i64> {
    let bits = format.bits();
    let code = if ftz { flush(format, code) } else { code };
    let magnitude = (code & (u64::MAX >> (65 - bits))) as i64;
    let nan = match format {
        Format::F64 => magnitude > 0x7ff0_0000_0000_0000,
        Format::F32 => magnitude > 0x7f80_0000,
        Format::Bf16 => magnitude > 0x7f80,
        _ => magnitude > 0x7c00,
    };
    match nan {
        true => None,
        false if code >> (bits - 1) & 1 == 1 => Some(-magnitude),
        false => Some(magnitude),
    }
}

impl Comparison {
    #[inline(always)]
    fn holds(self, a: u64, b: u64) -> bool {
        match self {
            Comparison::Integer { operator, ty } => {
                let bits = ty.bits();
                let extended = |slot: u64| slot << (64 - bits);
                match ty.signed() {
                    true => ordered(operator, extended(a) as i64, extended(b) as i64),
                    false => ordered(operator, extended(a), extended(b)),
                }
            }
            Comparison::Float {
                operator,
                unordered,
                format,
                ftz,
            } => match (key(format, ftz, a), key(format, ftz, b)) {
                (Some(a), Some(b)) => ordered(operator, a, b),
                _ => unordered || operator == Operator::Nan,
            },
        }
    }
}

/// Runs `body` with the comparison as a closure whose operator and type are constants of the loop.
macro_rules! specialised {
    ($comparison:expr, $holds:ident => $body:expr) => {{
        macro_rules! integers {
            ($ty:expr, $operator:expr) => {
                match $operator {
                    Operator::Eq => with!($ty, Operator::Eq),
                    Operator::Ne => with!($ty, Operator::Ne),
                    Operator::Lt => with!($ty, Operator::Lt),
                    Operator::Le => with!($ty, Operator::Le),
                    Operator::Gt => with!($ty, Operator::Gt),
                    Operator::Ge => with!($ty, Operator::Ge),
                    _ => general!(),
                }
            };
        }
        macro_rules! with {
            ($ty:expr, $constant:expr) => {{
                let comparison = Comparison::Integer {
                    operator: $constant,
                    ty: $ty,
                };
                let $holds = |a: u64, b: u64| comparison.holds(a, b);
                $body
            }};
        }
        macro_rules! general {
            () => {{
                let comparison = $comparison;
                let $holds = |a: u64, b: u64| comparison.holds(a, b);
                $body
            }};
        }
        match $comparison {
            Comparison::Integer {
                operator,
                ty: IntType::U32,
            } => integers!(IntType::U32, operator),
            Comparison::Integer {
                operator,
                ty: IntType::S32,
            } => integers!(IntType::S32, operator),
            _ => general!(),
        }
    }};
}

pub(super) fn run(
    comparison: Comparison,
    combine: Option<BooleanOp>,
    negate: bool,
    lanes: &mut Lanes,
) {
    let Some(combine) = combine else {
        if lanes.op.dst2.is_none() {
            return specialised!(comparison, holds => lanes.map2(|a, b| u64::from(holds(a, b))));
        }
        return lanes.map4_pair(|a, b, _, _| {
            let holds = comparison.holds(a, b);
            (u64::from(holds), u64::from(!holds))
        });
    };
    lanes.map4_pair(|a, b, c, _| {
        let holds = comparison.holds(a, b);
        let c = (c != 0) != negate;
        (
            u64::from(combine.apply(holds, c)),
            u64::from(combine.apply(!holds, c)),
        )
    });
}

pub(super) fn run_packed(
    comparison: Comparison,
    combine: Option<BooleanOp>,
    negate: bool,
    lanes: &mut Lanes,
) {
    let combined = |holds: bool, c: u64| match combine {
        Some(combine) => u64::from(combine.apply(holds, (c != 0) != negate)),
        None => u64::from(holds),
    };
    lanes.map4_pair(|a, b, c, _| {
        (
            combined(comparison.holds(a, b), c),
            combined(comparison.holds(a >> 16, b >> 16), c),
        )
    });
}

pub(super) fn run_set(
    comparison: Comparison,
    packed: bool,
    combine: Option<BooleanOp>,
    negate: bool,
    result: SetResult,
    lanes: &mut Lanes,
) {
    let truth = match result {
        SetResult::Ones { bits } => u64::MAX >> (64 - bits),
        SetResult::One {
            format: Format::F16,
        } => 0x3c00,
        SetResult::One {
            format: Format::Bf16,
        } => 0x3f80,
        SetResult::One { .. } => 0x3f80_0000,
    };
    let value = |a: u64, b: u64, c: u64| {
        let holds = comparison.holds(a, b);
        let holds = match combine {
            Some(combine) => combine.apply(holds, (c != 0) != negate),
            None => holds,
        };
        if holds { truth } else { 0 }
    };
    if packed {
        lanes.map3(|a, b, c| value(a, b, c) | value(a >> 16, b >> 16, c) << 16);
    } else {
        lanes.map3(value);
    }
}

pub(super) fn select_sign(float: bool, ftz: bool, lanes: &mut Lanes) {
    if float {
        // NaN selects `b`; −0 counts as ≥ 0 (PTX ISA §9.7.6.4).
        lanes.map3(|a, b, c| match key(Format::F32, ftz, c) {
            Some(0..) => a,
            _ => b,
        });
    } else {
        lanes.map3(|a, b, c| if c as i32 >= 0 { a } else { b });
    }
}

pub(super) fn classify(class: FloatClass, format: Format, code: u64) -> bool {
    let value = format.decode(code);
    let subnormal = !value.is_zero() && Format::decode(format, flush(format, code)).is_zero();
    match class {
        FloatClass::Finite => matches!(value, Value::Finite(_)),
        FloatClass::Infinite => matches!(value, Value::Infinity { .. }),
        FloatClass::Number => value != Value::Nan,
        FloatClass::NotANumber => value == Value::Nan,
        FloatClass::Normal => matches!(value, Value::Finite(_)) && !value.is_zero() && !subnormal,
        FloatClass::Subnormal => subnormal,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Function, testing};
    use super::*;
    use proptest::prelude::*;

    const OPERATORS: [Operator; 6] = [
        Operator::Eq,
        Operator::Ne,
        Operator::Lt,
        Operator::Le,
        Operator::Gt,
        Operator::Ge,
    ];

    fn compare(comparison: Comparison, a: u64, b: u64) -> (u64, u64) {
        let function = Function::Compare {
            comparison,
            combine: None,
            negate_combined: false,
        };
        testing::run1(function, &[a, b])
    }

    #[test]
    fn combination_applies_to_both_predicates() {
        let comparison = Comparison::Integer {
            operator: Operator::Lt,
            ty: IntType::S32,
        };
        for (combine, negate, c, want) in [
            (BooleanOp::And, false, 1, (1, 0)),
            (BooleanOp::And, true, 1, (0, 0)),
            (BooleanOp::Or, false, 1, (1, 1)),
            (BooleanOp::Xor, false, 1, (0, 1)),
        ] {
            let function = Function::Compare {
                comparison,
                combine: Some(combine),
                negate_combined: negate,
            };
            let got = testing::run1(function, &[u64::from(u32::MAX), 0, c]);
            assert_eq!(got, want, "{combine:?} {negate}");
        }
    }

    #[test]
    fn packed_comparison_gives_one_predicate_per_half() {
        let comparison = Comparison::Float {
            operator: Operator::Gt,
            unordered: false,
            format: Format::F16,
            ftz: false,
        };
        let function = Function::ComparePacked {
            comparison,
            combine: None,
            negate_combined: false,
        };
        // low: 2 > 1; high: NaN > 1
        assert_eq!(testing::run1(function, &[0x7e00_4000, 0x3c00_3c00]), (1, 0));
    }

    #[test]
    fn set_writes_ones_or_one() {
        let comparison = Comparison::Integer {
            operator: Operator::Eq,
            ty: IntType::U32,
        };
        let set = |result| {
            let function = Function::Set {
                comparison,
                packed: false,
                combine: None,
                negate_combined: false,
                result,
            };
            testing::run(function, &[5, 5])
        };
        assert_eq!(set(SetResult::Ones { bits: 32 }), 0xffff_ffff);
        assert_eq!(
            set(SetResult::One {
                format: Format::F32
            }),
            0x3f80_0000
        );
    }

    #[test]
    fn sign_selection() {
        let slct =
            |float, c: u64| testing::run(Function::SelectSign { float, ftz: false }, &[1, 2, c]);
        assert_eq!(slct(true, 0x8000_0000), 1);
        assert_eq!(slct(false, 0x8000_0000), 2);
        assert_eq!(slct(true, 0x7fc0_0000), 2);
        assert_eq!(slct(true, 0xbf80_0000), 2);
    }

    #[test]
    fn classes() {
        let class = |class, x: f32| classify(class, Format::F32, u64::from(x.to_bits()));
        assert!(class(FloatClass::Subnormal, 1e-40) && !class(FloatClass::Normal, 1e-40));
        assert!(class(FloatClass::Normal, 1.0) && !class(FloatClass::Subnormal, 0.0));
        assert!(!class(FloatClass::Normal, 0.0) && class(FloatClass::Finite, 0.0));
        assert!(
            class(FloatClass::Number, f32::INFINITY) && class(FloatClass::NotANumber, f32::NAN)
        );
    }

    proptest! {
        #[test]
        fn integers_compare_like_i128(a: u64, b: u64, signed: bool) {
            for ty in if signed { [IntType::S16, IntType::S32, IntType::S64] } else { [IntType::U16, IntType::U32, IntType::U64] } {
                for operator in OPERATORS {
                    let want = ordered(operator, ty.value(a), ty.value(b));
                    let got = compare(Comparison::Integer { operator, ty }, a, b);
                    prop_assert_eq!(got, (u64::from(want), u64::from(!want)));
                }
            }
        }

        #[test]
        fn floats_compare_like_the_host(a: u32, b: u32, same: bool) {
            let b = if same { a ^ 0x8000_0000 } else { b };
            let (x, y) = (f32::from_bits(a), f32::from_bits(b));
            for operator in OPERATORS {
                for unordered in [false, true] {
                    let nan = x.is_nan() || y.is_nan();
                    let want = if nan { unordered } else { ordered(operator, x, y) };
                    let comparison = Comparison::Float { operator, unordered, format: Format::F32, ftz: false };
                    prop_assert_eq!(compare(comparison, u64::from(a), u64::from(b)).0, u64::from(want));
                }
            }
        }
    }
}
