//! Instruction operands (PTX ISA §6).

use super::super::ast::Operand;
use super::super::lexer::Kind;
use super::constant::Constant;
use super::{Parsed, Parser};

impl<'a> Parser<'a> {
    /// The operands up to the `;`, which stays. Only a `call` has parenthesised lists: elsewhere parentheses belong
    /// to constant expressions.
    pub(super) fn operands(&mut self, is_call: bool) -> Parsed<Vec<Operand>> {
        if self.at_symbol(";") {
            return Ok(Vec::new());
        }
        self.comma_separated(|parser| {
            if is_call && parser.at_symbol("(") {
                parser.tuple()
            } else {
                parser.operand()
            }
        })
    }

    fn tuple(&mut self) -> Parsed<Operand> {
        self.expect_symbol("(")?;
        if self.eat_symbol(")") {
            return Ok(Operand::Tuple(Vec::new()));
        }
        let elements = self.comma_separated(Self::element)?;
        self.expect_symbol(")")?;
        Ok(Operand::Tuple(elements))
    }

    fn operand(&mut self) -> Parsed<Operand> {
        let token = self.peek();
        match (token.kind, self.text_of(token)) {
            (Kind::Symbol, "{") => self.vector().map(Operand::Vector),
            (Kind::Symbol, "[") => self.address(),
            (Kind::Symbol, "!") if self.peek_ahead(1).kind == Kind::Word => self.negated_name(),
            (Kind::Word, _) if !self.at_warp_size() => self.named(),
            (Kind::Symbol, "(" | "+" | "-" | "!" | "~") | (Kind::Number | Kind::Word, _) => {
                self.immediate()
            }
            _ => Err(self.unexpected("a constant, a name, `[` or `{`")),
        }
    }

    fn immediate(&mut self) -> Parsed<Operand> {
        Ok(match self.constant()? {
            Constant::Signed(value) => Operand::Int(value.into()),
            Constant::Unsigned(value) => Operand::Int(value.into()),
            Constant::F32(bits) => Operand::F32(bits),
            Constant::F64(value) => Operand::F64(value.to_bits()),
        })
    }

    fn vector(&mut self) -> Parsed<Vec<Operand>> {
        self.expect_symbol("{")?;
        let elements = self.comma_separated(Self::element)?;
        self.expect_symbol("}")?;
        Ok(elements)
    }

    /// Vectors and argument lists hold names and constants.
    fn element(&mut self) -> Parsed<Operand> {
        match self.peek().kind {
            Kind::Word if !self.at_warp_size() => self.named(),
            _ => self.immediate(),
        }
    }

    fn negated_name(&mut self) -> Parsed<Operand> {
        self.advance();
        let name = self.advance();
        Ok(Operand::NotName(self.text_of(name).to_owned()))
    }

    /// A name with what can follow it: `a|b`, `a[4]`, `a + 4`.
    fn named(&mut self) -> Parsed<Operand> {
        let token = self.advance();
        let name = self.text_of(token).to_owned();
        if self.eat_symbol("|") {
            let second = self.peek();
            if second.kind != Kind::Word {
                return Err(self.unexpected("the second register of a pair"));
            }
            self.advance();
            let second = Operand::Name(self.text_of(second).to_owned());
            return Ok(Operand::Pair(
                Box::new(Operand::Name(name)),
                Box::new(second),
            ));
        }
        if self.eat_symbol("[") {
            let index = self.integer_as("an index that fits 64 bits")?;
            self.expect_symbol("]")?;
            return Ok(Operand::Element { name, index });
        }
        Ok(match self.byte_offset()? {
            None => Operand::Name(name),
            Some(offset) => Operand::NameOffset { name, offset },
        })
    }

    fn address(&mut self) -> Parsed<Operand> {
        self.expect_symbol("[")?;
        let token = self.peek();
        let (base, offset) = if token.kind == Kind::Word && !self.at_warp_size() {
            self.advance();
            let base = self.text_of(token).to_owned();
            (Some(base), self.byte_offset()?.unwrap_or(0))
        } else {
            (None, self.integer_as("an address below 2^63")?)
        };
        let coordinates = if self.eat_symbol(",") {
            Some(self.vector()?)
        } else {
            None
        };
        self.expect_symbol("]")?;
        Ok(Operand::Address {
            base,
            offset,
            coordinates,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operands_of(text: &str, is_call: bool) -> Result<Vec<Operand>, String> {
        let text = format!("{text};");
        let mut parser = Parser::new(&text);
        let operands = parser.operands(is_call).map_err(|e| e.to_string())?;
        parser.expect_symbol(";").map_err(|e| e.to_string())?;
        Ok(operands)
    }

    fn name(name: &str) -> Operand {
        Operand::Name(name.into())
    }

    fn address(base: Option<&str>, offset: i64) -> Operand {
        Operand::Address {
            base: base.map(Into::into),
            offset,
            coordinates: None,
        }
    }

    #[track_caller]
    fn check(text: &str, expected: &[Operand]) {
        assert_eq!(operands_of(text, false).as_deref(), Ok(expected), "{text}");
    }

    #[test]
    fn names_and_constants() {
        check("", &[]);
        check(
            "%r1, _, %tid.x, $str, foo, v.x",
            &["%r1", "_", "%tid.x", "$str", "foo", "v.x"].map(name),
        );
        check("!%p1", &[Operand::NotName("%p1".into())]);
        check(
            "-1, 0xFFU, (1 << 4) + 3, WARP_SZ, !0",
            &[-1, 255, 19, 32, 1].map(Operand::Int),
        );
        check(
            "0f3F800000, 0d3FF0000000000000, -2.5",
            &[
                Operand::F32(0x3F80_0000),
                Operand::F64(0x3FF0_0000_0000_0000),
                Operand::F64((-2.5f64).to_bits()),
            ],
        );
    }

    #[test]
    fn pairs_offsets_and_elements() {
        let pair = |a, b| Operand::Pair(Box::new(name(a)), Box::new(name(b)));
        check("%p|%q, _|%p", &[pair("%p", "%q"), pair("_", "%p")]);
        let offset = |offset| Operand::NameOffset {
            name: "a".into(),
            offset,
        };
        check(
            "a+4, a+-4, a+8-4, a + 2*3, a+1<<2",
            &[4, -4, 4, 6, 4].map(offset),
        );
        let element = Operand::Element {
            name: "a".into(),
            index: 4,
        };
        check("a[4], a[2 + 2]", &[element.clone(), element]);
    }

    #[test]
    fn vectors() {
        check(
            "{%f0, _}, {1, %r2}",
            &[
                Operand::Vector(vec![name("%f0"), name("_")]),
                Operand::Vector(vec![Operand::Int(1), name("%r2")]),
            ],
        );
    }

    #[test]
    fn addresses() {
        check("[%rd1]", &[address(Some("%rd1"), 0)]);
        check(
            "[%rd1+-4], [%rd1 + -8/2]",
            &[-4, -4].map(|o| address(Some("%rd1"), o)),
        );
        check(
            "[sym+8], [sym + 0x10]",
            &[8, 16].map(|o| address(Some("sym"), o)),
        );
        check("[4], [WARP_SZ + 4]", &[4, 36].map(|o| address(None, o)));
    }

    #[test]
    fn tensor_addresses_keep_their_coordinates() {
        let tensor = Operand::Address {
            base: Some("%rd5".into()),
            offset: 128,
            coordinates: Some(vec![name("%r1"), Operand::Int(0), name("%r3")]),
        };
        check(
            "[%rd1], [%rd5+128, {%r1, 0, %r3}], [%r4], {%rs1, %rs2}",
            &[
                address(Some("%rd1"), 0),
                tensor,
                address(Some("%r4"), 0),
                Operand::Vector(vec![name("%rs1"), name("%rs2")]),
            ],
        );
    }

    #[test]
    fn call_lists() {
        assert_eq!(
            operands_of("(retval0), vprintf, (param0, 4), proto", true).unwrap(),
            [
                Operand::Tuple(vec![name("retval0")]),
                name("vprintf"),
                Operand::Tuple(vec![name("param0"), Operand::Int(4)]),
                name("proto"),
            ]
        );
        assert_eq!(
            operands_of("f, ()", true).unwrap(),
            [name("f"), Operand::Tuple(vec![])]
        );
    }

    #[test]
    fn malformed_operands() {
        for (text, message) in [
            (
                "%r1,",
                "column 5: found `;`, expected a constant, a name, `[` or `{`",
            ),
            ("[%rd1", "column 6: found `;`, expected `]`"),
            ("[%rd1, %r2]", "column 8: found `%r2`, expected `{`"),
            (
                "[%rd1-4]",
                "column 6: found `-`, expected `+`: a negative offset is written `+-4`",
            ),
            ("[%rd1+%r2]", "column 7: found `%r2`, expected a constant"),
            ("{}", "column 2: found `}`, expected a constant"),
            ("{%r1 %r2}", "column 6: found `%r2`, expected `}`"),
            ("a[%r1]", "column 3: found `%r1`, expected a constant"),
            (
                "%p|1",
                "column 4: found `1`, expected the second register of a pair",
            ),
            ("%r1 %r2", "column 5: found `%r2`, expected `;`"),
            ("(%r1)", "column 2: found `%r1`, expected a constant"),
            (
                "a+0xffffffffffffffff",
                "column 3: found `18446744073709551615`, expected an offset that fits a signed \
                 64-bit integer",
            ),
            (
                "[0xffffffffffffffff]",
                "column 2: found `18446744073709551615`, expected an address below 2^63",
            ),
        ] {
            let message = format!("line 1, {message}");
            assert_eq!(operands_of(text, false), Err(message), "{text}");
        }
    }
}
