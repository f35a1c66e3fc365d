//! Literals and constant expressions (PTX ISA §4.5): 64-bit integers, signed unless written or computed unsigned, and
//! f64. Results wrap modulo 2⁶⁴ as §4.5.5 defines them; what it leaves open (division by zero, shifts by 64 or more)
//! is refused.

use super::super::error::Problem;
use super::super::lexer::{Kind, Token};
use super::constant::{Constant, apply, decode_literal};
use super::{Parsed, Parser};

/// Threads of a warp on every target so far (PTX ISA §4.5.1).
const WARP_SZ: u64 = 32;

/// Binary operators from loose to tight, as in C.
const PRECEDENCE: [&[&str]; 10] = [
    &["||"],
    &["&&"],
    &["|"],
    &["^"],
    &["&"],
    &["==", "!="],
    &["<", "<=", ">", ">="],
    &["<<", ">>"],
    &["+", "-"],
    &["*", "/", "%"],
];

impl<'a> Parser<'a> {
    /// A constant expression down to the conditional operator.
    pub(super) fn constant(&mut self) -> Parsed<Constant> {
        let condition = self.binary(0)?;
        let question = self.peek();
        if !self.eat_symbol("?") {
            return Ok(condition);
        }
        let condition = self.bits_of(condition, question)?;
        let then = self.nested(Self::constant)?;
        let colon = self.peek();
        self.expect_symbol(":")?;
        let otherwise = self.nested(Self::constant)?;
        // §4.5.5 converts both to unsigned where one is; ptxas keeps the type of the one chosen.
        if !matches!((then, otherwise), (Constant::F64(_), Constant::F64(_))) {
            self.integer_of(then, colon)?;
            self.integer_of(otherwise, colon)?;
        }
        Ok(if condition != 0 { then } else { otherwise })
    }

    /// A constant expression with an integer value.
    pub(super) fn integer_as<T: TryFrom<i128>>(&mut self, expected: &str) -> Parsed<T> {
        let first = self.peek();
        let value = self.constant()?;
        let value = self.integer_of(value, first)?;
        T::try_from(value).map_err(|_| self.bad_value(first, format!("`{value}`"), expected))
    }

    /// A literal that counts something: no expression, since a `>` can follow it.
    pub(super) fn count(&mut self) -> Parsed<u32> {
        const EXPECTED: &str = "a number below 2^32";
        let token = self.peek();
        if token.kind != Kind::Number {
            return Err(self.unexpected(EXPECTED));
        }
        let value = self.literal()?.as_integer();
        let count = value.and_then(|value| u32::try_from(value).ok());
        count.ok_or_else(|| self.bad_value(token, self.describe(token), EXPECTED))
    }

    /// `+ expression` behind the name of a register or a symbol. There is no `-` here (PTX ISA §6.4.1); ptxas too
    /// refuses it.
    pub(super) fn byte_offset(&mut self) -> Parsed<Option<i64>> {
        if self.at_symbol("-") {
            return Err(self.unexpected("`+`: a negative offset is written `+-4`"));
        }
        if !self.eat_symbol("+") {
            return Ok(None);
        }
        self.integer_as("an offset that fits a signed 64-bit integer")
            .map(Some)
    }

    pub(super) fn at_warp_size(&self) -> bool {
        self.is(self.peek(), Kind::Word, "WARP_SZ")
    }

    fn integer_of(&self, value: Constant, place: Token) -> Parsed<i128> {
        value.as_integer().ok_or_else(|| {
            self.bad_value(
                place,
                "a floating-point constant".into(),
                "an integer constant",
            )
        })
    }

    fn bits_of(&self, value: Constant, place: Token) -> Parsed<u64> {
        self.integer_of(value, place).map(|value| value as u64)
    }

    fn binary(&mut self, loosest: usize) -> Parsed<Constant> {
        let mut left = self.unary()?;
        loop {
            let operator = self.peek();
            let text = self.text_of(operator);
            let Some(level) = PRECEDENCE[loosest..]
                .iter()
                .position(|level| operator.kind == Kind::Symbol && level.contains(&text))
            else {
                return Ok(left);
            };
            self.advance();
            let right = if loosest + level + 1 == PRECEDENCE.len() {
                self.unary()?
            } else {
                self.binary(loosest + level + 1)?
            };
            left = apply(text, left, right).map_err(|(found, expected)| {
                self.bad_value(operator, found.to_owned(), expected)
            })?;
        }
    }

    fn unary(&mut self) -> Parsed<Constant> {
        let token = self.peek();
        match (token.kind, self.text_of(token)) {
            (Kind::Number, _) => self.literal(),
            (Kind::Word, "WARP_SZ") => {
                self.advance();
                Ok(Constant::Signed(WARP_SZ as i64))
            }
            (Kind::Symbol, operator @ ("-" | "+" | "!" | "~")) => {
                self.advance();
                let operand = self.nested(Self::unary)?;
                self.apply_unary(operator, operand, token)
            }
            (Kind::Symbol, "(") => {
                self.advance();
                if let Some(ty @ ("s64" | "u64")) = self.directive() {
                    self.advance();
                    self.expect_symbol(")")?;
                    let operand = self.nested(Self::unary)?;
                    let bits = self.bits_of(operand, token)?;
                    return Ok(if ty == "s64" {
                        Constant::Signed(bits as i64)
                    } else {
                        Constant::Unsigned(bits)
                    });
                }
                let value = self.nested(Self::constant)?;
                self.expect_symbol(")")?;
                Ok(value)
            }
            _ => Err(self.unexpected("a constant")),
        }
    }

    fn apply_unary(&self, operator: &str, operand: Constant, place: Token) -> Parsed<Constant> {
        Ok(match (operator, operand) {
            (_, Constant::F32(_)) => {
                let found = "an operator on an exact `0f` constant".to_owned();
                return Err(self.bad_value(place, found, "the constant alone"));
            }
            ("+", value) => value,
            ("-", Constant::Signed(value)) => Constant::Signed(value.wrapping_neg()),
            ("-", Constant::Unsigned(value)) => Constant::Unsigned(value.wrapping_neg()),
            ("-", Constant::F64(value)) => Constant::F64(-value),
            ("!", value) => Constant::Signed((self.bits_of(value, place)? == 0).into()),
            (_, value) => Constant::Unsigned(!self.bits_of(value, place)?),
        })
    }

    pub(super) fn literal(&mut self) -> Parsed<Constant> {
        let token = self.peek();
        let value = decode_literal(self.text_of(token)).map_err(|expected| {
            let found = self.describe(token);
            let expected = expected.to_owned();
            self.error_at(token, Problem::Syntax { found, expected })
        })?;
        self.advance();
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluate(text: &str) -> Result<Constant, String> {
        let mut parser = Parser::new(text);
        let value = parser.constant().map_err(|e| e.to_string())?;
        assert!(
            parser.at_end(),
            "left over: {}",
            parser.describe(parser.peek())
        );
        Ok(value)
    }

    #[track_caller]
    fn check(text: &str, expected: Constant) {
        assert_eq!(evaluate(text), Ok(expected), "{text}");
    }

    #[test]
    fn integer_literals() {
        use Constant::*;
        check("0", Signed(0));
        check("0U", Unsigned(0));
        check("42", Signed(42));
        check("42U", Unsigned(42));
        check("0x1F", Signed(31));
        check("0XffU", Unsigned(255));
        check("0b101", Signed(5));
        check("017", Signed(15));
        check("9223372036854775807", Signed(i64::MAX));
        check("9223372036854775808", Unsigned(1 << 63));
        check("0xffffffffffffffff", Unsigned(u64::MAX));
        check("WARP_SZ", Signed(32));
    }

    #[test]
    fn floating_literals() {
        use Constant::*;
        check("0f3F800000", F32(0x3F80_0000));
        // A signalling NaN keeps its bits.
        check("0F7f800001", F32(0x7F80_0001));
        check("0d3FF8000000000000", F64(1.5));
        check("1.0", F64(1.0));
        check("2.", F64(2.0));
        check(".5e1", F64(5.0));
        check("1e3", F64(1000.0));
        check("25.0e-2", F64(0.25));
        check("-1.5", F64(-1.5));
        check("(1.0 + 0.5) * 2.0 / 3.0 - 1.0", F64(0.0));
        check("1.0 < 2.0", Signed(1));
    }

    #[test]
    fn malformed_literals_say_what_they_should_be() {
        for (text, expected) in [
            ("12abc", "an integer or floating-point literal"),
            ("0x", "an integer or floating-point literal"),
            ("0b12", "an integer or floating-point literal"),
            ("09", "an integer or floating-point literal"),
            ("18446744073709551616", "an integer below 2^64"),
            ("0f3F8000", "`0f` and 8 hexadecimal digits"),
            ("0d3FF80000", "`0d` and 16 hexadecimal digits"),
            ("1.2.3", "a floating-point literal"),
            ("1e", "a floating-point literal"),
        ] {
            let message = format!("line 1, column 1: found `{text}`, expected {expected}");
            assert_eq!(evaluate(text), Err(message));
        }
    }

    #[test]
    fn precedence_and_grouping_are_those_of_c() {
        use Constant::*;
        check("(1 << 4) + 3", Signed(19));
        check("1 << 4 + 3", Signed(128));
        check("1 + 2 * 3 - 4 / 2", Signed(5));
        check("10 - 4 - 3", Signed(3));
        check("4 | 2 ^ 3 & 1", Signed(7));
        check("1 < 2 == 2 > 1", Signed(1));
        check("0 && 1 || 1", Signed(1));
        check("0 ? 1 : 0 ? 2 : 3", Signed(3));
        check("1 ? 2 : 3", Signed(2));
        check("0 ? 1.0 : 2.0", F64(2.0));
        check("- -3", Signed(3));
        check("!5 + !0", Signed(1));
    }

    /// PTX ISA §4.5.5.
    #[test]
    fn signedness_decides_division_comparison_and_right_shift() {
        use Constant::*;
        check("-6 / 2", Signed(-3));
        check("-6 / 2U", Unsigned((6u64.wrapping_neg()) / 2));
        check("-1 < 1", Signed(1));
        check("-1 < 1U", Signed(0));
        check("-8 >> 1", Signed(-4));
        check("(.u64)-8 >> 60", Unsigned(15));
        check("(.s64)0xffffffffffffffff", Signed(-1));
        check("-1U", Unsigned(u64::MAX));
        check("~0", Unsigned(u64::MAX));
        check("-1 % 16", Unsigned(15));
        check("(7 % 4) - 5 < 0", Signed(0));
        check("(63U != 5U) - 2 < 0", Signed(1));
        check("1 ? -1 : 0U", Signed(-1));
        check("-9223372036854775808", Unsigned(1 << 63));
        check("(.s64)0x8000000000000000 / -1", Signed(i64::MIN));
        check("9223372036854775807 + 1", Signed(i64::MIN));
    }

    #[test]
    fn undefined_results_are_refused() {
        for (text, message) in [
            (
                "1 / 0",
                "column 3: found a division by zero, expected a divisor other than 0",
            ),
            (
                "1 % 0",
                "column 3: found a division by zero, expected a divisor other than 0",
            ),
            (
                "1 << 64",
                "column 3: found a shift by 64 or more, expected a shift by at most 63",
            ),
            (
                "1 >> -1",
                "column 3: found a shift by 64 or more, expected a shift by at most 63",
            ),
            (
                "1 + 1.0",
                "column 3: found an operator on a floating-point constant and another \
                         kind, expected two integers or two f64 constants",
            ),
            (
                "1.0 & 1.0",
                "column 5: found an integer operator on f64 constants, expected `+ - * \
                           /` or a comparison",
            ),
            (
                "-0f3F800000",
                "column 1: found an operator on an exact `0f` constant, expected the \
                             constant alone",
            ),
            (
                "~1.0",
                "column 1: found a floating-point constant, expected an integer constant",
            ),
            (
                "1 +",
                "column 4: found the end of the text, expected a constant",
            ),
            ("(1", "column 3: found the end of the text, expected `)`"),
        ] {
            assert_eq!(evaluate(text), Err(format!("line 1, {message}")), "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |levels: usize| format!("{}1{}", "(".repeat(levels), ")".repeat(levels));
        check(&nested(64), Constant::Signed(1));
        assert!(evaluate(&nested(65)).unwrap_err().contains("64 levels"));
        assert!(
            evaluate(&"-".repeat(1_000_000))
                .unwrap_err()
                .contains("64 levels")
        );
        let conditionals = "1 ? 1 : ".repeat(100_000);
        assert!(evaluate(&conditionals).unwrap_err().contains("64 levels"));
        // The deepest recursion per level: one operator of each precedence.
        let deepest = "1 || 1 && 1 | 1 ^ 1 & 1 == 1 < 1 << 1 + 1 * (".repeat(300);
        assert!(evaluate(&deepest).unwrap_err().contains("64 levels"));
    }
}
