//! Entries and device functions with their launch directives (PTX ISA §11.2, §11.4).

use super::super::ast::{Directives, Function};
use super::{Parsed, Parser};

const AFTER_SIGNATURE: &str = "a launch directive such as `.reqntid`, `{` or `;`";

impl<'a> Parser<'a> {
    pub(super) fn function(&mut self, is_entry: bool) -> Parsed<Function> {
        let line = self.advance().line;
        while self.directive() == Some("attribute") {
            self.skip_attribute()?;
        }
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
        let mut directives = Directives::default();
        self.function_directives(&mut directives)?;
        let body = if self.eat_symbol(";") {
            None
        } else if self.at_symbol("{") {
            Some(self.block()?)
        } else {
            return Err(self.unexpected(AFTER_SIGNATURE));
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
            let start = self.next;
            self.advance();
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
                    self.next = start;
                    return Err(self.unexpected(AFTER_SIGNATURE));
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
}

#[cfg(test)]
mod tests {
    use super::super::super::ast::{Block, Space, Variable};
    use super::super::super::parse;
    use super::super::declaration::tests::variable;
    use super::*;

    fn functions(text: &str) -> Vec<Function> {
        parse(&format!(".version 8.8 .target sm_100a\n{text}"))
            .unwrap()
            .functions
    }

    fn parameter(ty: &str, align: u32, name: &str) -> Variable {
        Variable {
            line: 2,
            ..variable(Space::Param, align, ty, name)
        }
    }

    #[test]
    fn an_entry_with_every_directive() {
        let text = ".visible .entry k(.param .align 64 .b8 k_param_0[128], .param .u64 k_param_1)\n\
                    .reqntid 192, 1, 1 .maxntid 256\n.minnctapersm 1 .maxnreg 168 .pragma \"x\";\
                    .reqnctapercluster 2, 4 .maxclusterrank 8 .explicitcluster\n{ }";
        let expected = Function {
            name: "k".into(),
            is_entry: true,
            return_params: vec![],
            params: vec![
                Variable {
                    dims: vec![Some(128)],
                    ..parameter("b8", 64, "k_param_0")
                },
                parameter("u64", 8, "k_param_1"),
            ],
            directives: Directives {
                reqntid: Some([192, 1, 1]),
                maxntid: Some([256, 1, 1]),
                minnctapersm: Some(1),
                maxnreg: Some(168),
                reqnctapercluster: Some([2, 4, 1]),
                explicitcluster: true,
                maxclusterrank: Some(8),
                noreturn: false,
            },
            body: Some(Block::default()),
            line: 2,
        };
        assert_eq!(functions(text), [expected]);
    }

    #[test]
    fn device_functions() {
        let functions = functions(
            ".extern .func (.param .b32 func_retval0) vprintf(.param .b64 a) ; \
             .func abort .noreturn { trap; } .weak .entry e { }",
        );
        let [vprintf, abort, entry] = &functions[..] else {
            panic!("three functions");
        };
        assert_eq!(vprintf.return_params, [parameter("b32", 4, "func_retval0")]);
        assert_eq!(vprintf.params, [parameter("b64", 8, "a")]);
        assert!(!vprintf.is_entry && vprintf.body.is_none());
        assert!(abort.directives.noreturn);
        assert_eq!(abort.body.as_ref().unwrap().statements.len(), 1);
        assert!(entry.is_entry && entry.params.is_empty() && entry.name == "e");
    }
}
