//! Module scope: header, variables, entries and functions (PTX ISA §4.3.1 and §11).

use super::super::ast::Module;
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

#[cfg(test)]
mod tests {
    use super::super::super::ast::{Initializer, Space, Variable};
    use super::super::super::parse;
    use super::*;

    const HEADER: &str = ".version 8.8 .target sm_100a .address_size 64\n";

    fn module(items: &str) -> Module {
        parse(&format!("{HEADER}{items}")).unwrap()
    }

    fn errors(items: &str) -> Vec<String> {
        let errors = parse(&format!("{HEADER}{items}")).unwrap_err();
        errors.to_string().lines().map(str::to_owned).collect()
    }

    #[test]
    fn header() {
        let module = parse(".version 8.6 // x\n.target sm_90a, debug\n.address_size 32").unwrap();
        assert_eq!(module.version, (8, 6));
        assert_eq!(module.target, ["sm_90a", "debug"]);
        assert_eq!(module.address_size, 32);
        assert_eq!(
            parse(".version 7.0 .target sm_80").unwrap().address_size,
            64
        );
    }

    #[test]
    fn a_module_begins_with_its_version_and_target() {
        for (text, message) in [
            (
                "",
                "1: found the end of the text, expected `.version`, with which a module begins",
            ),
            (
                ".target sm_90",
                "1: found `.target`, expected `.version`, with which a module begins",
            ),
            (
                ".version 8.8",
                "13: found the end of the text, expected `.target` behind `.version`",
            ),
            (
                ".version 8 .target sm_90",
                "10: found `8`, expected a version such as `8.8`",
            ),
            (
                ".version 8.x .target sm_90",
                "10: found `8.x`, expected a version such as `8.8`",
            ),
            (
                ".version 8.8 .target sm_90 .address_size 16",
                "42: found `16`, expected `32` or `64`",
            ),
        ] {
            let errors = parse(text).unwrap_err();
            assert_eq!(
                errors.to_string(),
                format!("line 1, column {message}"),
                "{text}"
            );
        }
    }

    #[test]
    fn module_variables() {
        let module = module(
            ".extern .shared .align 1024 .b8 SMEM[];\n\
             .visible .const .align 4 .u32 table[2] = {1, 2}, size = 2;",
        );
        let smem = Variable {
            space: Space::Shared,
            align: 1024,
            ty: "b8".into(),
            vector: 1,
            name: "SMEM".into(),
            dims: vec![None],
            initializer: None,
            is_extern: true,
            line: 2,
        };
        let size = Variable {
            space: Space::Const,
            align: 4,
            ty: "u32".into(),
            vector: 1,
            name: "size".into(),
            dims: vec![],
            initializer: Some(Initializer::Int(2)),
            is_extern: false,
            line: 3,
        };
        let table = Variable {
            name: "table".into(),
            dims: vec![Some(2)],
            initializer: Some(Initializer::List(vec![
                Initializer::Int(1),
                Initializer::Int(2),
            ])),
            ..size.clone()
        };
        assert_eq!(module.variables, [smem, table, size]);
    }

    #[test]
    fn debug_information_is_skipped() {
        let module = module(
            ".file 1 \"a b.cu\", 1700000000, 42\n.pragma \"a\", \"b\";\n.alias f, g;\n\
             .section .debug_abbrev { .b8 1\n$L__s: .b64 $L__a-$L__b\n.b8 84,255 }\n\
             $L__sec_end0:\n.section .debug_macinfo { }\n.entry e { }",
        );
        assert_eq!(module.functions.len(), 1);
    }

    #[test]
    fn every_error_of_a_module_is_reported() {
        assert_eq!(
            errors(
                ".global .b8 x[2] = {1,,2};\n.global .b8 y = ;\n\
                 .entry a(.param .b32) { bad %r1 %r2; }\n.entry b() .fast { ret; }\n\
                 .entry c() { ret\n}\nstray;\n}\n.func d() { add; sub %; "
            ),
            [
                "line 2, column 23: found `,`, expected a constant",
                "line 3, column 17: found `;`, expected a constant",
                "line 4, column 21: found `)`, expected a variable's name",
                "line 5, column 12: found `.fast`, expected a launch directive such as \
                 `.reqntid`, `{` or `;`",
                "line 7, column 1: found `}`, expected a constant, a name, `[` or `{`",
                "line 8, column 1: found `stray`, expected an entry, a function or a variable",
                "line 9, column 1: found `}`, expected an entry, a function or a variable",
                "line 10, column 22: found `%`, expected a constant, a name, `[` or `{`",
                "line 10, column 25: found the end of the text, expected `}`",
            ]
        );
    }

    #[test]
    fn a_missing_brace_ends_at_the_next_function() {
        let text = ".entry a() { ret;\n.visible .entry b() { ret; }\n.entry c() { + }";
        assert_eq!(
            errors(text),
            [
                "line 3, column 1: found `.visible`, expected `}`",
                "line 4, column 14: found `+`, expected an instruction, a declaration or a label",
            ]
        );
    }

    #[test]
    fn text_that_does_not_end() {
        assert_eq!(
            errors(".entry a() { ret; /* }"),
            [
                "line 2, column 19: found a comment without its `*/`, expected an instruction, a \
                 declaration or a label",
                "line 2, column 23: found the end of the text, expected `}`",
            ]
        );
        assert_eq!(
            errors(".pragma \"a;\n.entry a() { }"),
            ["line 2, column 9: found a string without its closing quote, expected a string"]
        );
        let long = format!("{}\u{e9}", "x".repeat(59)).repeat(2);
        assert!(errors(&long)[0].contains(&format!("found `{}`, ", "x".repeat(59))));
        assert!(errors(&"x".repeat(61))[0].contains(&format!("found `{}…`, ", "x".repeat(60))));
    }
}
