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
            (Kind::Symbol, ";") => {
                self.advance();
            }
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
            && self.peek().line == token.line
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
