//! Declarations of variables and parameters (PTX ISA §5.4).

use super::super::ast::{Initializer, Space, Variable};
use super::super::lexer::Kind;
use super::constant::Constant;
use super::{Parsed, Parser};

/// A fundamental type and how many of it form an element.
pub(super) struct ElementType {
    pub ty: String,
    /// Elements of a `.v2` or `.v4`; 1 for scalars.
    pub vector: u32,
    /// Of the whole vector.
    pub bytes: u32,
    /// `.align`, where written.
    pub align: Option<u32>,
}

/// State spaces of variables outside of `.reg`.
pub(super) fn memory_space(directive: &str) -> Option<Space> {
    Some(match directive {
        "param" => Space::Param,
        "const" => Space::Const,
        "global" => Space::Global,
        "shared" => Space::Shared,
        "local" => Space::Local,
        _ => return None,
    })
}

/// In bytes. A predicate has no size in memory; it counts as one byte.
fn size_of_type(ty: &str) -> Option<u32> {
    Some(match ty {
        "pred" | "b8" | "u8" | "s8" => 1,
        "b16" | "u16" | "s16" | "f16" | "bf16" => 2,
        "b32" | "u32" | "s32" | "f32" | "f16x2" | "bf16x2" => 4,
        "b64" | "u64" | "s64" | "f64" => 8,
        "b128" => 16,
        _ => return None,
    })
}

impl<'a> Parser<'a> {
    /// What follows the state space in a declaration, up to its `;`, which stays.
    pub(super) fn variables(&mut self, space: Space, is_extern: bool) -> Parsed<Vec<Variable>> {
        let element = self.element_type()?;
        self.comma_separated(|parser| {
            let mut variable = parser.declarator(space, &element)?;
            variable.is_extern = is_extern;
            if parser.eat_symbol("=") {
                variable.initializer = Some(parser.initializer()?);
            }
            Ok(variable)
        })
    }

    /// `(parameter, …)` of an entry or function, possibly empty.
    pub(super) fn parameters(&mut self) -> Parsed<Vec<Variable>> {
        self.expect_symbol("(")?;
        if self.eat_symbol(")") {
            return Ok(Vec::new());
        }
        let parameters = self.comma_separated(Self::parameter)?;
        self.expect_symbol(")")?;
        Ok(parameters)
    }

    fn parameter(&mut self) -> Parsed<Variable> {
        let space = match self.directive() {
            Some("param") => Space::Param,
            Some("reg") => Space::Reg,
            _ => return Err(self.unexpected("`.param`")),
        };
        self.advance();
        let mut element = self.element_type()?;
        // ptxas takes the alignment on either side of the type.
        if self.eat_directive("align") {
            element.align = Some(self.alignment()?);
        }
        self.skip_pointer_attributes()?;
        self.declarator(space, &element)
    }

    /// `.ptr .global .align 16` behind a parameter's type describes what the pointer points to, not the parameter.
    fn skip_pointer_attributes(&mut self) -> Parsed<()> {
        if self.eat_directive("ptr") {
            if self
                .directive()
                .is_some_and(|name| memory_space(name).is_some())
            {
                self.advance();
            }
            if self.eat_directive("align") {
                self.alignment()?;
            }
        }
        Ok(())
    }

    /// `.align 16 .v4 .f32`, with `.attribute(…)` skipped.
    pub(super) fn element_type(&mut self) -> Parsed<ElementType> {
        let mut align = None;
        let mut vector = 1;
        loop {
            match self.directive() {
                Some("align") => {
                    self.advance();
                    align = Some(self.alignment()?);
                }
                Some(width @ ("v2" | "v4")) => {
                    self.advance();
                    vector = u32::from(width.as_bytes()[1] - b'0');
                }
                Some("attribute") => self.skip_attribute()?,
                Some(ty) => {
                    let Some(size) = size_of_type(ty) else {
                        return Err(self.unexpected("a fundamental type such as `.b32`"));
                    };
                    self.advance();
                    return Ok(ElementType {
                        ty: ty.to_owned(),
                        vector,
                        bytes: size * vector,
                        align,
                    });
                }
                None => return Err(self.unexpected("a type")),
            }
        }
    }

    fn alignment(&mut self) -> Parsed<u32> {
        const EXPECTED: &str = "a power of two below 2^32";
        let token = self.peek();
        let align: u32 = self.integer_as(EXPECTED)?;
        if !align.is_power_of_two() {
            return Err(self.bad_value(token, format!("`{align}`"), EXPECTED));
        }
        Ok(align)
    }

    /// `.attribute(.managed, .unified(1, 2))`: of no concern to an emulator.
    pub(super) fn skip_attribute(&mut self) -> Parsed<()> {
        self.advance();
        self.expect_symbol("(")?;
        let mut open = 1u32;
        while open > 0 {
            match self.text_of(self.peek()) {
                "(" => open += 1,
                ")" => open -= 1,
                ";" | "" => return Err(self.unexpected("`)`")),
                _ => {}
            }
            self.advance();
        }
        Ok(())
    }

    /// `name[4][]`.
    fn declarator(&mut self, space: Space, element: &ElementType) -> Parsed<Variable> {
        let name_token = self.peek();
        let name = self.expect_name("a variable's name")?.to_owned();
        let mut dims = Vec::new();
        let mut bytes = i64::from(element.bytes);
        while self.eat_symbol("[") {
            let token = self.peek();
            if dims.is_empty() && self.eat_symbol("]") {
                dims.push(None);
                continue;
            }
            let length: u64 = self.integer_as("a length below 2^64")?;
            // A length of 0 leaves nothing to overflow.
            bytes = i64::try_from(length)
                .ok()
                .and_then(|length| bytes.checked_mul(length))
                .ok_or_else(|| {
                    let found = format!("a length of {length}");
                    self.bad_value(token, found, "an array of less than 2^63 bytes")
                })?;
            self.expect_symbol("]")?;
            dims.push(Some(length));
        }
        Ok(Variable {
            space,
            align: element.align.unwrap_or(element.bytes),
            ty: element.ty.clone(),
            vector: element.vector,
            name,
            dims,
            initializer: None,
            is_extern: false,
            line: name_token.line,
        })
    }

    fn initializer(&mut self) -> Parsed<Initializer> {
        if self.eat_symbol("{") {
            if self.eat_symbol("}") {
                return Ok(Initializer::List(Vec::new()));
            }
            let values = self.nested(|parser| parser.comma_separated(Self::initializer))?;
            self.expect_symbol("}")?;
            return Ok(Initializer::List(values));
        }
        if self.peek().kind == Kind::Word && !self.at_warp_size() {
            return self.symbol_initializer();
        }
        Ok(match self.constant()? {
            Constant::Signed(value) => Initializer::Int(value.into()),
            Constant::Unsigned(value) => Initializer::Int(value.into()),
            Constant::F32(bits) => Initializer::F32(bits),
            Constant::F64(value) => Initializer::F64(value.to_bits()),
        })
    }

    /// `symbol + 4` or `generic(symbol) + 4`.
    fn symbol_initializer(&mut self) -> Parsed<Initializer> {
        let mut name = self.expect_name("a symbol")?;
        let generic = name == "generic" && self.eat_symbol("(");
        if generic {
            name = self.expect_name("a symbol")?;
            self.expect_symbol(")")?;
        }
        Ok(Initializer::Symbol {
            name: name.to_owned(),
            offset: self.byte_offset()?.unwrap_or(0),
            generic,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn variables(text: &str) -> Result<Vec<Variable>, String> {
        let mut parser = Parser::new(text);
        let space = parser.directive().and_then(memory_space).unwrap();
        parser.advance();
        let variables = parser.variables(space, false).map_err(|e| e.to_string())?;
        parser.expect_symbol(";").map_err(|e| e.to_string())?;
        Ok(variables)
    }

    /// A scalar on line 1.
    pub(in super::super) fn variable(space: Space, align: u32, ty: &str, name: &str) -> Variable {
        Variable {
            space,
            align,
            ty: ty.into(),
            vector: 1,
            name: name.into(),
            dims: vec![],
            initializer: None,
            is_extern: false,
            line: 1,
        }
    }

    #[test]
    fn alignment_defaults_to_the_element() {
        assert_eq!(
            variables(".global .u32 a, b;").unwrap(),
            [
                variable(Space::Global, 4, "u32", "a"),
                variable(Space::Global, 4, "u32", "b")
            ]
        );
        assert_eq!(
            variables(".const .v4 .f32 a;").unwrap(),
            [Variable {
                vector: 4,
                ..variable(Space::Const, 16, "f32", "a")
            }]
        );
        assert_eq!(
            variables(".local .align 8 .b8 __local_depot0[24];").unwrap(),
            [Variable {
                dims: vec![Some(24)],
                ..variable(Space::Local, 8, "b8", "__local_depot0")
            }]
        );
    }

    #[test]
    fn dimensions_and_attributes() {
        assert_eq!(
            variables(".global .attribute(.managed, .unified(1,2)) .align 4 .b32 a[][1 << 4];")
                .unwrap(),
            [Variable {
                dims: vec![None, Some(16)],
                ..variable(Space::Global, 4, "b32", "a")
            }]
        );
    }

    #[test]
    fn initializers() {
        let initializer = |text: &str| {
            let variables = variables(&format!(".global .u64 x = {text};")).unwrap();
            variables.into_iter().next().unwrap().initializer.unwrap()
        };
        let symbol = |offset, generic| Initializer::Symbol {
            name: "sym".into(),
            offset,
            generic,
        };
        assert_eq!(initializer("-1"), Initializer::Int(-1));
        assert_eq!(initializer("sym"), symbol(0, false));
        assert_eq!(
            initializer("{1, 0x2, 0f3f800000, 1.5, sym+-4, generic(sym)+4}"),
            Initializer::List(vec![
                Initializer::Int(1),
                Initializer::Int(2),
                Initializer::F32(0x3F80_0000),
                Initializer::F64(1.5f64.to_bits()),
                symbol(-4, false),
                symbol(4, true),
            ])
        );
        assert_eq!(
            initializer("{{1}, {}}"),
            Initializer::List(vec![
                Initializer::List(vec![Initializer::Int(1)]),
                Initializer::List(vec![]),
            ])
        );
    }

    #[test]
    fn parameters_of_every_shape() {
        let text = "(.param .align 64 .b8 map[128], .param .u64 .ptr .global .align 16 p, \
                    .param .b64 .ptr .align 1 q, .param .f32 alpha, .reg .b32 %r, \
                    .param .b8 .align 16 s[4])";
        let parameters = Parser::new(text).parameters().unwrap();
        assert_eq!(
            parameters,
            [
                Variable {
                    dims: vec![Some(128)],
                    ..variable(Space::Param, 64, "b8", "map")
                },
                variable(Space::Param, 8, "u64", "p"),
                variable(Space::Param, 8, "b64", "q"),
                variable(Space::Param, 4, "f32", "alpha"),
                variable(Space::Reg, 4, "b32", "%r"),
                Variable {
                    dims: vec![Some(4)],
                    ..variable(Space::Param, 16, "b8", "s")
                },
            ]
        );
        assert_eq!(Parser::new("()").parameters(), Ok(vec![]));
    }

    #[test]
    fn malformed_declarations() {
        for (text, message) in [
            (
                ".global .b31 x;",
                "9: found `.b31`, expected a fundamental type such as `.b32`",
            ),
            (".global x;", "9: found `x`, expected a type"),
            (
                ".global .b8 5;",
                "13: found `5`, expected a variable's name",
            ),
            (
                ".global .align 3 .b8 x;",
                "16: found `3`, expected a power of two below 2^32",
            ),
            (
                ".global .b8 x[-1];",
                "15: found `-1`, expected a length below 2^64",
            ),
            (".global .b8 x[2][];", "18: found `]`, expected a constant"),
            (
                ".global .b64 x[0x1000000000000000];",
                "16: found a length of 1152921504606846976, expected an array of less than 2^63 bytes",
            ),
            (
                ".global .b8 x = {1,,2};",
                "20: found `,`, expected a constant",
            ),
            (".global .b8 x = 0xFF(y);", "21: found `(`, expected `;`"),
            (
                ".global .attribute(.managed .b8 x;",
                "34: found `;`, expected `)`",
            ),
        ] {
            assert_eq!(
                variables(text),
                Err(format!("line 1, column {message}")),
                "{text}"
            );
        }
    }
}
