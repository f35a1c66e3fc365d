//! The statements of a function body (PTX ISA §4.3).

use super::super::ast::{Block, Guard, Instruction, Statement};
use super::super::lexer::Kind;
use super::declaration::memory_space;
use super::module::starts_item;
use super::{Parsed, Parser};

impl<'a> Parser<'a> {
    /// `{ … }`. Fails only where it cannot start; errors inside are recorded.
    pub(super) fn block(&mut self) -> Parsed<Block> {
        self.expect_symbol("{")?;
        self.nested(|parser| {
            let mut block = Block::default();
            while !parser.eat_symbol("}") {
                if parser.at_end() || parser.directive().is_some_and(starts_item) {
                    let error = parser.unexpected("`}`");
                    parser.record(error);
                    break;
                }
                let start = parser.next;
                if let Err(error) = parser.statement(&mut block.statements) {
                    parser.record(error);
                    parser.skip_statement(start);
                }
            }
            Ok(block)
        })
    }

    /// Skips the bad statement that began at token `start`: behind its `;`, or before the `}` of its block.
    fn skip_statement(&mut self, start: usize) {
        let failed = self.next;
        // A nesting error has ended the reading.
        if self.at_end() {
            return;
        }
        self.next = start;
        let mut open = 0u32;
        while !self.at_end() {
            // Braces of vectors close before the `;`, unless they are what is wrong.
            match self.text_of(self.peek()) {
                "{" => open += 1,
                "}" if open == 0 => return,
                "}" => open -= 1,
                ";" if self.next >= failed => {
                    self.advance();
                    return;
                }
                _ => {}
            }
            self.advance();
        }
    }

    fn statement(&mut self, statements: &mut Vec<Statement>) -> Parsed<()> {
        let token = self.peek();
        match (token.kind, self.text_of(token)) {
            (Kind::Symbol, "{") => statements.push(Statement::Block(self.block()?)),
            (Kind::Symbol, "@") => {
                let guard = self.guard()?;
                statements.push(Statement::Instruction(self.instruction(Some(guard))?));
            }
            (Kind::Directive, _) => self.body_directive(statements)?,
            (Kind::Word, _) if self.is(self.peek_ahead(1), Kind::Symbol, ":") => {
                statements.push(self.label()?);
            }
            _ => statements.push(Statement::Instruction(self.instruction(None)?)),
        }
        Ok(())
    }

    fn body_directive(&mut self, statements: &mut Vec<Statement>) -> Parsed<()> {
        match self.directive() {
            Some("reg") => {
                self.advance();
                self.registers(statements)?;
            }
            Some("loc" | "file" | "section" | "pragma") => return self.skip_debug_directive(),
            Some(name) if let Some(space) = memory_space(name) => {
                self.advance();
                let variables = self.variables(space, false)?;
                statements.extend(variables.into_iter().map(Statement::Variable));
            }
            _ => return Err(self.unexpected("an instruction, a declaration or a label")),
        }
        self.expect_symbol(";")
    }

    /// `.b32 %r<17>, %s` behind `.reg`.
    fn registers(&mut self, statements: &mut Vec<Statement>) -> Parsed<()> {
        let element = self.element_type()?;
        let registers = self.comma_separated(|parser| {
            let line = parser.peek().line;
            let name = parser.expect_name("a register's name")?;
            let count = if parser.eat_symbol("<") {
                let count = parser.count()?;
                parser.expect_symbol(">")?;
                Some(count)
            } else {
                None
            };
            Ok(Statement::Register {
                ty: element.ty.clone(),
                vector: element.vector,
                name: name.to_owned(),
                count,
                line,
            })
        })?;
        statements.extend(registers);
        Ok(())
    }

    fn label(&mut self) -> Parsed<Statement> {
        let line = self.peek().line;
        let name = self.expect_name("a label")?.to_owned();
        self.expect_symbol(":")?;
        match self.directive() {
            Some("branchtargets") => {
                self.advance();
                let labels = self.comma_separated(|p| Ok(p.expect_name("a label")?.to_owned()))?;
                self.expect_symbol(";")?;
                Ok(Statement::BranchTargets { name, labels, line })
            }
            Some("callprototype") => {
                while !self.at_symbol(";") {
                    if self.at_end() {
                        return Err(self.unexpected("`;`"));
                    }
                    self.advance();
                }
                self.advance();
                Ok(Statement::CallPrototype { name, line })
            }
            _ => Ok(Statement::Label { name, line }),
        }
    }

    /// `@!%p`.
    fn guard(&mut self) -> Parsed<Guard> {
        self.expect_symbol("@")?;
        let negated = self.eat_symbol("!");
        let register = self.expect_name("a predicate register")?.to_owned();
        Ok(Guard { negated, register })
    }

    fn instruction(&mut self, guard: Option<Guard>) -> Parsed<Instruction> {
        let token = self.peek();
        let text = self.text_of(token);
        if token.kind != Kind::Word || !text.starts_with(|c: char| c.is_ascii_lowercase()) {
            return Err(self.unexpected(match guard {
                Some(_) => "an instruction",
                None => "an instruction, a declaration or a label",
            }));
        }
        self.advance();
        let mut parts = text.split('.').map(str::to_owned);
        let opcode = parts.next().unwrap_or_default();
        let mut modifiers: Vec<String> = parts.collect();
        // `ld.global .u32`, but not a directive behind a forgotten `;`.
        while let Some(modifier) = self.directive()
            && !matches!(modifier, "reg" | "loc" | "file" | "section" | "pragma")
        {
            modifiers.push(modifier.to_owned());
            self.advance();
        }
        let operands = self.operands(opcode == "call")?;
        self.expect_symbol(";")?;
        Ok(Instruction {
            guard,
            opcode,
            modifiers,
            operands,
            line: token.line,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::ast::{Operand, Space, Variable};
    use super::*;

    /// The statements between braces, or all errors.
    fn body(text: &str) -> Result<Vec<Statement>, Vec<String>> {
        let text = format!("{{{text}}}");
        let mut parser = Parser::new(&text);
        let block = parser.block().unwrap();
        if parser.errors.is_empty() {
            assert!(parser.at_end());
            Ok(block.statements)
        } else {
            Err(parser.errors.iter().map(ToString::to_string).collect())
        }
    }

    #[track_caller]
    fn check(text: &str, expected: &[Statement]) {
        assert_eq!(body(text).as_deref(), Ok(expected), "{text}");
    }

    fn instruction(opcode: &str, modifiers: &[&str], operands: &[&str]) -> Instruction {
        Instruction {
            guard: None,
            opcode: opcode.into(),
            modifiers: modifiers.iter().map(|&m| m.to_owned()).collect(),
            operands: operands
                .iter()
                .map(|&name| Operand::Name(name.into()))
                .collect(),
            line: 1,
        }
    }

    fn register(ty: &str, name: &str, count: Option<u32>) -> Statement {
        Statement::Register {
            ty: ty.into(),
            vector: 1,
            name: name.into(),
            count,
            line: 1,
        }
    }

    fn label(name: &str) -> Statement {
        Statement::Label {
            name: name.into(),
            line: 1,
        }
    }

    #[test]
    fn register_declarations() {
        check(
            ".reg .b32 %r<17>; .reg.pred p, q<3>; .reg .b64 %SP;",
            &[
                register("b32", "%r", Some(17)),
                register("pred", "p", None),
                register("pred", "q", Some(3)),
                register("b64", "%SP", None),
            ],
        );
        check(
            ".reg .v4 .f32 v;",
            &[Statement::Register {
                ty: "f32".into(),
                vector: 4,
                name: "v".into(),
                count: None,
                line: 1,
            }],
        );
    }

    #[test]
    fn register_counts_fit_32_bits() {
        check(
            ".reg .b32 %r<4294967295>;",
            &[register("b32", "%r", Some(u32::MAX))],
        );
        assert_eq!(
            body(".reg .b32 %r<4294967296>;").unwrap_err(),
            ["line 1, column 15: found `4294967296`, expected a number below 2^32"]
        );
    }

    #[test]
    fn modifiers_are_kept_as_written() {
        for (text, opcode, modifiers) in [
            ("ret;", "ret", &[][..]),
            ("ld.global\n.u32 a;", "ld", &["global", "u32"]),
            (
                "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.\
                 multicast::cluster.cta_group::2.L2::cache_hint a;",
                "cp",
                &[
                    "async",
                    "bulk",
                    "tensor",
                    "2d",
                    "shared::cluster",
                    "global",
                    "tile",
                    "mbarrier::complete_tx::bytes",
                    "multicast::cluster",
                    "cta_group::2",
                    "L2::cache_hint",
                ],
            ),
            (
                "tcgen05.mma.cta_group::1.kind::mxf4nvf4.block_scale.scale_vec::4X.\
                 collector::a::fill a;",
                "tcgen05",
                &[
                    "mma",
                    "cta_group::1",
                    "kind::mxf4nvf4",
                    "block_scale",
                    "scale_vec::4X",
                    "collector::a::fill",
                ],
            ),
            (
                "tcgen05.ld.sync.aligned.16x256b.x4.b32 a;",
                "tcgen05",
                &["ld", "sync", "aligned", "16x256b", "x4", "b32"],
            ),
        ] {
            let operands: &[&str] = if opcode == "ret" { &[] } else { &["a"] };
            let expected = Statement::Instruction(instruction(opcode, modifiers, operands));
            check(text, &[expected]);
        }
    }

    #[test]
    fn guards() {
        let guarded = |negated| {
            Statement::Instruction(Instruction {
                guard: Some(Guard {
                    negated,
                    register: "%p1".into(),
                }),
                ..instruction("bra", &["uni"], &["$L__BB0_1"])
            })
        };
        check(
            "@%p1 bra.uni $L__BB0_1; @!%p1 bra.uni $L__BB0_1;",
            &[guarded(false), guarded(true)],
        );
    }

    #[test]
    fn calls() {
        let list = |name: &str| Operand::Tuple(vec![Operand::Name(name.into())]);
        check(
            "call.uni (retval0),\nf,\n(\nparam0\n)\n;",
            &[Statement::Instruction(Instruction {
                operands: vec![list("retval0"), Operand::Name("f".into()), list("param0")],
                ..instruction("call", &["uni"], &[])
            })],
        );
    }

    #[test]
    fn scopes_of_inline_asm() {
        check(
            "{ .reg .pred p; L: @!p bra L; { L: } }",
            &[Statement::Block(Block {
                statements: vec![
                    register("pred", "p", None),
                    label("L"),
                    Statement::Instruction(Instruction {
                        guard: Some(Guard {
                            negated: true,
                            register: "p".into(),
                        }),
                        ..instruction("bra", &[], &["L"])
                    }),
                    Statement::Block(Block {
                        statements: vec![label("L")],
                    }),
                ],
            })],
        );
    }

    #[test]
    fn labels_with_directives() {
        check(
            "$L_T: .branchtargets $L_1, $L_2; P : .callprototype (.param .b32 _) _ (); $L_1: ret;",
            &[
                Statement::BranchTargets {
                    name: "$L_T".into(),
                    labels: vec!["$L_1".into(), "$L_2".into()],
                    line: 1,
                },
                Statement::CallPrototype {
                    name: "P".into(),
                    line: 1,
                },
                label("$L_1"),
                Statement::Instruction(instruction("ret", &[], &[])),
            ],
        );
    }

    #[test]
    fn local_variables() {
        check(
            ".param .align 16 .b8 param0[32];",
            &[Statement::Variable(Variable {
                space: Space::Param,
                align: 16,
                ty: "b8".into(),
                vector: 1,
                name: "param0".into(),
                dims: vec![Some(32)],
                initializer: None,
                is_extern: false,
                line: 1,
            })],
        );
    }

    #[test]
    fn debug_directives_are_skipped() {
        check(
            ".loc 1 24 0\n.loc 1 24 0, function_name $L__info_string0 + 4, inlined_at 1 20 3\n\
             .pragma \"nounroll\"; .file 1 \"a.cu\", 0, 0\n.section .debug_str { .b8 1, 2 L: }",
            &[],
        );
    }

    #[test]
    fn every_error_of_a_body_is_reported() {
        let text = "\nadd.s32 %r1, %r2 %r3;\nmov.b64 {%r1 %r2}, %rd1;\n%r1 = 4;\n@5 ret;\n\
                    .branchtargets L;\n{ mul.s32 %r1,; }\nmov.b32 {%r1, %r2;\nret;\nfoo";
        assert_eq!(
            body(text).unwrap_err(),
            [
                "line 2, column 18: found `%r3`, expected `;`",
                "line 3, column 14: found `%r2`, expected `}`",
                "line 4, column 1: found `%r1`, expected an instruction, a declaration or a label",
                "line 5, column 2: found `5`, expected a predicate register",
                "line 6, column 1: found `.branchtargets`, expected an instruction, a declaration \
                 or a label",
                "line 7, column 15: found `;`, expected a constant, a name, `[` or `{`",
                "line 8, column 18: found `;`, expected `}`",
                "line 10, column 4: found `}`, expected a constant, a name, `[` or `{`",
            ]
        );
    }

    #[test]
    fn a_directive_behind_a_missing_semicolon_is_no_modifier() {
        assert_eq!(
            body("ret\n.reg .b32 x;").unwrap_err(),
            ["line 2, column 1: found `.reg`, expected a constant, a name, `[` or `{`"]
        );
    }

    #[test]
    fn nested_scopes_are_bounded() {
        let nested = |levels: usize| "{".repeat(levels) + &"}".repeat(levels);
        // `body` adds one.
        assert!(body(&nested(63)).is_ok());
        for levels in [64, 1_000_000] {
            assert_eq!(
                body(&nested(levels)).unwrap_err(),
                [
                    "line 1, column 66: found more than 64 levels of nesting, expected fewer: \
                  flatten the text"
                ]
            );
        }
    }
}
