//! The values of literals, and arithmetic on them (PTX ISA §4.5).

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Constant {
    Signed(i64),
    Unsigned(u64),
    /// `0fXXXXXXXX`: exact bits that take part in no expression (§4.5.2).
    F32(u32),
    F64(f64),
}

impl Constant {
    pub fn as_integer(self) -> Option<i128> {
        match self {
            Self::Signed(value) => Some(value.into()),
            Self::Unsigned(value) => Some(value.into()),
            Self::F32(_) | Self::F64(_) => None,
        }
    }

    /// The 64 bits of an integer.
    fn bits(self) -> Option<u64> {
        self.as_integer().map(|value| value as u64)
    }
}

/// The value of a token that starts with a digit, or what it should have looked like.
pub(super) fn decode_literal(text: &str) -> Result<Constant, &'static str> {
    let prefixed = |prefixes: [&str; 2]| prefixes.iter().find_map(|p| text.strip_prefix(p));
    if let Some(digits) = prefixed(["0f", "0F"]) {
        let bits = exact_bits(digits, 8).ok_or("`0f` and 8 hexadecimal digits")?;
        return Ok(Constant::F32(bits as u32));
    }
    if let Some(digits) = prefixed(["0d", "0D"]) {
        let bits = exact_bits(digits, 16).ok_or("`0d` and 16 hexadecimal digits")?;
        return Ok(Constant::F64(f64::from_bits(bits)));
    }
    let (digits, radix) = if let Some(digits) = prefixed(["0x", "0X"]) {
        (digits, 16)
    } else if let Some(digits) = prefixed(["0b", "0B"]) {
        (digits, 2)
    } else if text.contains(['.', 'e', 'E']) {
        return text
            .parse()
            .map(Constant::F64)
            .map_err(|_| "a floating-point literal");
    } else if text.len() > 1 && text.starts_with('0') && text != "0U" {
        (&text[1..], 8)
    } else {
        (text, 10)
    };
    let (digits, is_unsigned) = match digits.strip_suffix('U') {
        Some(digits) => (digits, true),
        None => (digits, false),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return Err("an integer or floating-point literal");
    }
    let value = u64::from_str_radix(digits, radix).map_err(|_| "an integer below 2^64")?;
    Ok(match i64::try_from(value) {
        Ok(value) if !is_unsigned => Constant::Signed(value),
        _ => Constant::Unsigned(value),
    })
}

fn exact_bits(digits: &str, count: usize) -> Option<u64> {
    let is_exact = digits.len() == count && digits.bytes().all(|b| b.is_ascii_hexdigit());
    is_exact
        .then(|| u64::from_str_radix(digits, 16).ok())
        .flatten()
}

/// The usual arithmetic conversions make both operands unsigned where one is.
fn is_unsigned(left: Constant, right: Constant) -> bool {
    matches!(left, Constant::Unsigned(_)) || matches!(right, Constant::Unsigned(_))
}

/// What was found, and what was expected in its place.
pub(super) type Refusal = (&'static str, &'static str);

pub(super) fn apply(operator: &str, left: Constant, right: Constant) -> Result<Constant, Refusal> {
    if let (Constant::F64(a), Constant::F64(b)) = (left, right) {
        return apply_f64(operator, a, b);
    }
    let (Some(a), Some(b)) = (left.bits(), right.bits()) else {
        return Err((
            "an operator on a floating-point constant and another kind",
            "two integers or two f64 constants",
        ));
    };
    match operator {
        // The type of a shift is that of its left operand; its amount is unsigned (§4.5.5).
        "<<" | ">>" => {
            let amount = u32::try_from(b).ok().filter(|&amount| amount < 64);
            let amount = amount.ok_or(("a shift by 64 or more", "a shift by at most 63"))?;
            Ok(match (operator, left) {
                ("<<", Constant::Signed(value)) => Constant::Signed(value << amount),
                (_, Constant::Signed(value)) => Constant::Signed(value >> amount),
                ("<<", _) => Constant::Unsigned(a << amount),
                _ => Constant::Unsigned(a >> amount),
            })
        }
        // Unlike in C, the operands of a remainder are unsigned (§4.5.5). So is the result in ptxas, against the
        // `.s64` of §4.5.6: it folds `(7 % 4) - 5 < 0` to 0.
        "%" => a.checked_rem(b).map(Constant::Unsigned).ok_or(BY_ZERO),
        "/" if b == 0 => Err(BY_ZERO),
        "&&" => Ok(Constant::Signed((a != 0 && b != 0).into())),
        "||" => Ok(Constant::Signed((a != 0 || b != 0).into())),
        _ if is_unsigned(left, right) => Ok(apply_unsigned(operator, a, b)),
        _ => Ok(apply_signed(operator, a as i64, b as i64)),
    }
}

const BY_ZERO: Refusal = ("a division by zero", "a divisor other than 0");

fn apply_f64(operator: &str, a: f64, b: f64) -> Result<Constant, Refusal> {
    let value = match operator {
        "+" => a + b,
        "-" => a - b,
        "*" => a * b,
        "/" if b == 0.0 => return Err(BY_ZERO),
        "/" => a / b,
        _ => {
            let Some(holds) = compare(operator, &a, &b) else {
                return Err((
                    "an integer operator on f64 constants",
                    "`+ - * /` or a comparison",
                ));
            };
            return Ok(Constant::Signed(holds.into()));
        }
    };
    Ok(Constant::F64(value))
}

/// The operators on which signedness bears, for unsigned operands; `b` is not 0 in a division.
fn apply_unsigned(operator: &str, a: u64, b: u64) -> Constant {
    if let Some(holds) = compare(operator, &a, &b) {
        return Constant::Signed(holds.into());
    }
    Constant::Unsigned(match operator {
        "/" => a / b,
        _ => modular(operator, a, b),
    })
}

/// As [`apply_unsigned`], for signed operands.
fn apply_signed(operator: &str, a: i64, b: i64) -> Constant {
    if let Some(holds) = compare(operator, &a, &b) {
        return Constant::Signed(holds.into());
    }
    Constant::Signed(match operator {
        "/" => a.wrapping_div(b),
        _ => modular(operator, a as u64, b as u64) as i64,
    })
}

/// The operators whose 64 result bits do not depend on signedness.
fn modular(operator: &str, a: u64, b: u64) -> u64 {
    match operator {
        "*" => a.wrapping_mul(b),
        "+" => a.wrapping_add(b),
        "-" => a.wrapping_sub(b),
        "&" => a & b,
        "^" => a ^ b,
        "|" => a | b,
        _ => unreachable!("every binary operator is handled before or here"),
    }
}

fn compare<T: PartialOrd>(operator: &str, a: &T, b: &T) -> Option<bool> {
    Some(match operator {
        "==" => a == b,
        "!=" => a != b,
        "<" => a < b,
        "<=" => a <= b,
        ">" => a > b,
        ">=" => a >= b,
        _ => return None,
    })
}
