//! Module scope: header, variables, entries and functions (PTX ISA §4.3.1 and §11).

use super::super::ast::{Directives, Function, Module};
use super::super::error::Problem;
use super::super::lexer::Kind;
use super::declaration::memory_space;
use super::{Parsed, Parser};

/// Directives that only stand at module scope: inside a body they mean that a `}` is missing.
pub(super) fn starts_item(directive: &str) -> bool {
    matches!(
        directive,
        "version"
            | "target"
            | "address_size"
            | "visible"
            | "extern"
            | "weak"
            | "common"
            | "entry"
            | "func"
    )
}

impl<'a> Parser<'a> {
    /// The whole text. All errors are recorded.
    pub(super) fn module(&mut self) -> Module {
        let mut module = Module {
            address_size: 64,
            ..Module::default()
        };
        if self.directive() != Some("version") {
            let error = self.unexpected("`.version`, with which a module begins");
            self.record(error);
        }
        while !self.at_end() {
            let start = self.next;
            if let Err(error) = self.item(&mut module) {
                self.record(error);
                self.skip_item(start);
            }
        }
        if module.target.is_empty() && self.errors.is_empty() {
            let error = self.unexpected("`.target` behind `.version`");
            self.record(error);
        }
        module
    }

    /// Skips the bad item that began at token `start`: behind its `;` or its body, or before what starts another.
    fn skip_item(&mut self, start: usize) {
        let failed = self.next;
        // A nesting error has ended the reading.
        if self.at_end() {
            return;
        }
        self.next = start;
        let mut open = 0u32;
        while !self.at_end() {
            let is_past = self.next >= failed;
            match self.text_of(self.peek()) {
                "{" => open += 1,
                "}" => {
                    open = open.saturating_sub(1);
                    if open == 0 && is_past {
                        self.advance();
                        self.eat_symbol(";");
                        return;
                    }
                }
                ";" if open == 0 && is_past => {
                    self.advance();
                    return;
                }
                _ if is_past && self.next > start && self.directive().is_some_and(starts_item) => {
                    return;
                }
                _ => {}
            }
            self.advance();
        }
    }

    fn item(&mut self, module: &mut Module) -> Parsed<()> {
        match self.directive() {
            Some("version") => {
                self.advance();
                module.version = self.version()?;
                Ok(())
            }
            Some("target") => {
                self.advance();
                module.target =
                    self.comma_separated(|p| Ok(p.expect_name("a target")?.to_owned()))?;
                Ok(())
            }
            Some("address_size") => {
                self.advance();
                module.address_size = self.address_size()?;
                Ok(())
            }
            Some("loc" | "file" | "section" | "pragma") => self.skip_debug_directive(),
            Some("alias") => self.skip_alias(),
            // LLVM marks the ends of debug sections with labels between them.
            None if self.is(self.peek_ahead(1), Kind::Symbol, ":") => {
                self.expect_name("a label")?;
                self.expect_symbol(":")
            }
            _ => self.definition(module),
        }
    }

    fn version(&mut self) -> Parsed<(u32, u32)> {
        let token = self.peek();
        let parts = self.text_of(token).split_once('.');
        let version = parts.and_then(|(major, minor)| {
            let is_number = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
            let parse = |s: &str| s.parse::<u32>().ok().filter(|_| is_number(s));
            Some((parse(major)?, parse(minor)?))
        });
        let Some(version) = version.filter(|_| token.kind == Kind::Number) else {
            return Err(self.unexpected("a version such as `8.8`"));
        };
        self.advance();
        Ok(version)
    }

    fn address_size(&mut self) -> Parsed<u32> {
        let token = self.peek();
        let bits = self.count()?;
        if !matches!(bits, 32 | 64) {
            return Err(self.bad_value(token, format!("`{bits}`"), "`32` or `64`"));
        }
        Ok(bits)
    }

    fn definition(&mut self, module: &mut Module) -> Parsed<()> {
        let mut is_extern = false;
        while let Some(name @ ("visible" | "extern" | "weak" | "common")) = self.directive() {
            is_extern |= name == "extern";
            self.advance();
        }
        match self.directive() {
            Some("entry") => module.functions.push(self.function(true)?),
            Some("func") => module.functions.push(self.function(false)?),
            Some(name) if let Some(space) = memory_space(name) => {
                self.advance();
                module.variables.extend(self.variables(space, is_extern)?);
                self.expect_symbol(";")?;
            }
            _ => return Err(self.unexpected("an entry, a function or a variable")),
        }
        Ok(())
    }

    fn function(&mut self, is_entry: bool) -> Parsed<Function> {
        let line = self.advance().line;
        while self.directive() == Some("attribute") {
            self.skip_attribute()?;
        }
        let mut directives = Directives::default();
        let return_params = if !is_entry && self.at_symbol("(") {
            self.parameters()?
        } else {
            Vec::new()
        };
        let name = self.expect_name("a function's name")?.to_owned();
        let params = if self.at_symbol("(") {
            self.parameters()?
        } else {
            Vec::new()
        };
        self.function_directives(&mut directives)?;
        let body = if self.eat_symbol(";") {
            None
        } else if self.at_symbol("{") {
            Some(self.block()?)
        } else {
            return Err(self.unexpected("`{`, `;` or a performance-tuning directive"));
        };
        Ok(Function {
            name,
            is_entry,
            return_params,
            params,
            directives,
            body,
            line,
        })
    }

    fn function_directives(&mut self, directives: &mut Directives) -> Parsed<()> {
        while let Some(name) = self.directive() {
            if name == "pragma" {
                self.skip_debug_directive()?;
                continue;
            }
            let token = self.advance();
            match name {
                "reqntid" => directives.reqntid = Some(self.extents()?),
                "maxntid" => directives.maxntid = Some(self.extents()?),
                "reqnctapercluster" => directives.reqnctapercluster = Some(self.extents()?),
                "minnctapersm" => directives.minnctapersm = Some(self.count()?),
                "maxnreg" => directives.maxnreg = Some(self.count()?),
                "maxclusterrank" => directives.maxclusterrank = Some(self.count()?),
                "explicitcluster" => directives.explicitcluster = true,
                "noreturn" => directives.noreturn = true,
                _ => {
                    return Err(self.error_at(
                        token,
                        Problem::Syntax {
                            found: self.describe(token),
                            expected: "a launch directive such as `.reqntid`, `{` or `;`".into(),
                        },
                    ));
                }
            }
        }
        Ok(())
    }

    /// `x`, `x, y` or `x, y, z`; what is not written is 1.
    fn extents(&mut self) -> Parsed<[u32; 3]> {
        let mut extents = [self.count()?, 1, 1];
        for extent in &mut extents[1..] {
            if !self.eat_symbol(",") {
                break;
            }
            *extent = self.count()?;
        }
        Ok(extents)
    }

    /// `.alias name, aliasee;`
    fn skip_alias(&mut self) -> Parsed<()> {
        self.advance();
        self.expect_name("a function's name")?;
        self.expect_symbol(",")?;
        self.expect_name("a function's name")?;
        self.expect_symbol(";")
    }

    /// `.file`, `.loc` and `.section`, which have no `;`, and `.pragma` (PTX ISA §11.3, §11.5): they change no result.
    pub(super) fn skip_debug_directive(&mut self) -> Parsed<()> {
        let name = self.directive();
        self.advance();
        match name {
            Some("file") => {
                self.count()?;
                self.expect_string()?;
                while self.eat_symbol(",") {
                    self.literal()?;
                }
                Ok(())
            }
            Some("loc") => self.skip_location(),
            Some("section") => self.skip_section(),
            _ => {
                self.comma_separated(Self::expect_string)?;
                self.expect_symbol(";")
            }
        }
    }

    /// `1 24 0, function_name $L__info_string0 + 4, inlined_at 1 20 3`
    fn skip_location(&mut self) -> Parsed<()> {
        self.skip_position()?;
        while self.eat_symbol(",") {
            match self.expect_name("`function_name` or `inlined_at`")? {
                "function_name" => {
                    self.expect_name("a label")?;
                    if self.eat_symbol("+") {
                        self.count()?;
                    }
                }
                _ => self.skip_position()?,
            }
        }
        Ok(())
    }

    /// File, line and column.
    fn skip_position(&mut self) -> Parsed<()> {
        for _ in 0..3 {
            self.count()?;
        }
        Ok(())
    }

    /// `.debug_abbrev { … }` holds data and labels, and no braces.
    fn skip_section(&mut self) -> Parsed<()> {
        if !matches!(self.peek().kind, Kind::Directive | Kind::Word) {
            return Err(self.unexpected("a section's name"));
        }
        self.advance();
        self.expect_symbol("{")?;
        while !self.eat_symbol("}") {
            if self.at_end() {
                return Err(self.unexpected("`}`"));
            }
            self.advance();
        }
        Ok(())
    }
}
