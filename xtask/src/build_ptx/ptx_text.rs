//! Just enough of PTX's syntax to audit and edit what `llc` writes.

use std::ops::Range;

use anyhow::{Context, Result, bail};

use super::collective;

/// An `.entry` of a PTX module, as byte ranges of its text.
#[derive(Clone, Debug)]
pub struct Entry {
    pub name: String,
    /// From `(` to `)`, both included.
    pub parameters: Range<usize>,
    /// Between `{` and `}`, both excluded.
    pub body: Range<usize>,
}

pub fn entries(ptx: &str) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut from = 0;
    while let Some(at) = ptx[from..].find(".entry ") {
        let name_start = from + at + ".entry ".len();
        let open = name_start
            + ptx[name_start..]
                .find('(')
                .context("`.entry` without `(`")?;
        let name = ptx[name_start..open].trim().to_owned();
        let close = open
            + ptx[open..]
                .find(')')
                .with_context(|| format!("the parameters of entry {name} have no end"))?;
        let body_start = close
            + ptx[close..]
                .find('{')
                .with_context(|| format!("entry {name} has no body"))?;
        let body_end = closing_brace(ptx, body_start)
            .with_context(|| format!("the body of entry {name} has no end"))?;
        entries.push(Entry {
            name,
            parameters: open..close + 1,
            body: body_start + 1..body_end,
        });
        from = body_end;
    }
    Ok(entries)
}

/// The position of the `}` that closes the `{` at `open`, not counting braces in comments.
fn closing_brace(ptx: &str, open: usize) -> Option<usize> {
    let mut depth = 0;
    let mut position = open;
    for line in ptx[open..].split_inclusive('\n') {
        for (offset, byte) in line.split("//").next()?.bytes().enumerate() {
            match byte {
                b'{' => depth += 1,
                b'}' => {
                    depth -= 1;
                    if depth == 0 {
                        return Some(position + offset);
                    }
                }
                _ => {}
            }
        }
        position += line.len();
    }
    None
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    Label(String),
    ScopeStart,
    ScopeEnd,
    Directive(String),
    Instruction(Instruction),
    /// `// collective N` at the end of an inline-asm block (see [`super::convergent`]).
    SiteComment(usize),
    AsmStart,
    AsmEnd,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Has a guard predicate `@p`.
    pub guarded: bool,
    pub opcode: String,
    pub operands: String,
}

/// The statements of an entry's body.
pub fn statements(body: &str) -> Result<Vec<Statement>> {
    let mut statements = Vec::new();
    let mut pending = String::new();
    for line in body.lines() {
        let (code, comment) = match line.split_once("//") {
            Some((code, comment)) => (code, comment.trim()),
            None => (line, ""),
        };
        scan_code(code, &mut pending, &mut statements)?;
        match comment {
            "begin inline asm" => statements.push(Statement::AsmStart),
            "end inline asm" => statements.push(Statement::AsmEnd),
            _ => {
                statements.extend(collective::site_of_comment(comment).map(Statement::SiteComment))
            }
        }
    }
    if !pending.trim().is_empty() {
        bail!("unfinished statement `{}`", pending.trim());
    }
    Ok(statements)
}

fn scan_code(code: &str, pending: &mut String, statements: &mut Vec<Statement>) -> Result<()> {
    let mut characters = code.chars().peekable();
    while let Some(c) = characters.next() {
        let idle = pending.trim().is_empty();
        match c {
            ';' => {
                statements.extend(statement(pending.trim())?);
                pending.clear();
            }
            '{' if idle => statements.push(Statement::ScopeStart),
            '}' if idle => statements.push(Statement::ScopeEnd),
            ':' if is_identifier(pending.trim()) && characters.peek() != Some(&':') => {
                statements.push(Statement::Label(pending.trim().to_owned()));
                pending.clear();
            }
            _ => pending.push(c),
        }
    }
    pending.push('\n');
    Ok(())
}

fn is_identifier(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '%'))
}

fn statement(text: &str) -> Result<Option<Statement>> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.starts_with('.') {
        return Ok(Some(Statement::Directive(text.to_owned())));
    }
    let (guarded, rest) = match text.strip_prefix('@') {
        Some(guard) => match guard.split_once(char::is_whitespace) {
            Some((_, rest)) => (true, rest.trim_start()),
            None => bail!("a guard without an instruction: `{text}`"),
        },
        None => (false, text),
    };
    let (opcode, operands) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    Ok(Some(Statement::Instruction(Instruction {
        guarded,
        opcode: opcode.to_owned(),
        operands: operands.trim().to_owned(),
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_with_their_parts() -> Result<()> {
        let ptx = ".visible .entry f(\n\t.param .b64 p // }\n)\n.reqntid 32\n{\n\tmov.b64 \t{%a, %b}, %c; // }\n\tret;\n}\n\
                   .visible .entry g()\n{\n}\n";
        let found = entries(ptx)?;
        let names: Vec<_> = found.iter().map(|e| e.name.as_str()).collect();
        assert_eq!(names, ["f", "g"]);
        assert!(ptx[found[0].parameters.clone()].starts_with('('));
        assert!(ptx[found[0].body.clone()].trim_end().ends_with("ret;"));
        Ok(())
    }

    #[test]
    fn statements_survive_asm_scopes_vectors_and_double_colons() -> Result<()> {
        let body = "// %bb.0:\n\t// begin inline asm\n\t{\n.reg .pred p;\nWAIT:\n\
                    mbarrier.try_wait.shared::cta.b64 p, [%r1], %r2;\n@!p bra WAIT;\n} // collective 7\n\
                    \t// end inline asm\n$L__BB0_1:\n\tmov.b64 \t{_, %r2}, %rd3;\n";
        let found = statements(body)?;
        let instruction = |guarded, opcode: &str, operands: &str| {
            Statement::Instruction(Instruction {
                guarded,
                opcode: opcode.to_owned(),
                operands: operands.to_owned(),
            })
        };
        assert_eq!(
            found,
            [
                Statement::AsmStart,
                Statement::ScopeStart,
                Statement::Directive(".reg .pred p".to_owned()),
                Statement::Label("WAIT".to_owned()),
                instruction(false, "mbarrier.try_wait.shared::cta.b64", "p, [%r1], %r2"),
                instruction(true, "bra", "WAIT"),
                Statement::ScopeEnd,
                Statement::SiteComment(7),
                Statement::AsmEnd,
                Statement::Label("$L__BB0_1".to_owned()),
                instruction(false, "mov.b64", "{_, %r2}, %rd3"),
            ]
        );
        Ok(())
    }
}
