//! Marking inline asm `convergent` in LLVM IR.
//!
//! rustc puts the attribute on functions but not on `asm!` calls, so LLVM may sink, duplicate or
//! unroll a `bar.sync` into divergent branches, which is undefined for every `.aligned`
//! instruction. Each collective call site also gets a number as a PTX comment, by which the audit
//! recognises its copies in the finished PTX.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

use super::collective;

/// IR whose inline-asm calls are convergent and whose collective ones are numbered.
pub struct Marked {
    pub ir: String,
    pub functions: BTreeMap<String, Function>,
    /// Indexed by site number.
    pub sites: Vec<Site>,
}

/// What the audit wants to know of a function: its calls and its collective asm.
#[derive(Debug, Default)]
pub struct Function {
    pub callees: Vec<String>,
    pub sites: Vec<usize>,
}

/// One `asm!` that holds collective instructions, before inlining.
#[derive(Debug)]
pub struct Site {
    pub function: String,
    pub instructions: Vec<String>,
}

pub fn mark(ir: &str) -> Result<Marked> {
    let mut marked = Marked {
        ir: String::with_capacity(ir.len() + ir.len() / 16),
        functions: BTreeMap::new(),
        sites: Vec::new(),
    };
    let mut current: Option<String> = None;
    for line in ir.lines() {
        if line.starts_with("define ") {
            let name = symbol_before_parenthesis(line)
                .with_context(|| format!("no function name in `{line}`"))?;
            marked.functions.insert(name.clone(), Function::default());
            current = Some(name);
        } else if line == "}" {
            current = None;
        } else if let Some(name) = &current {
            if let Some(call) = AsmCall::find(line)? {
                let marked_line = marked.mark_asm(&call, name);
                marked.ir.push_str(&marked_line);
                marked.ir.push('\n');
                continue;
            }
            if is_call(line)
                && let Some(callee) = symbol_before_parenthesis(line)
            {
                marked.function(name).callees.push(callee);
            }
        }
        marked.ir.push_str(line);
        marked.ir.push('\n');
    }
    Ok(marked)
}

impl Marked {
    fn function(&mut self, name: &str) -> &mut Function {
        self.functions.entry(name.to_owned()).or_default()
    }

    fn mark_asm(&mut self, call: &AsmCall, function: &str) -> String {
        let instructions = collective::in_asm(&unescape(call.template));
        let mut tag = String::new();
        if !instructions.is_empty() {
            let site = self.sites.len();
            tag = format!(" {}", collective::site_comment(site));
            self.function(function).sites.push(site);
            self.sites.push(Site {
                function: function.to_owned(),
                instructions,
            });
        }
        let AsmCall {
            before,
            template,
            operands,
            after,
        } = call;
        format!("{before}{template}{tag}{operands} convergent{after}")
    }
}

fn is_call(line: &str) -> bool {
    let head = line.split('@').next().unwrap_or_default();
    head.split_whitespace()
        .any(|word| word == "call" || word == "invoke")
}

/// An inline-asm call cut at the two places where something is inserted.
struct AsmCall<'a> {
    before: &'a str,
    template: &'a str,
    operands: &'a str,
    after: &'a str,
}

impl<'a> AsmCall<'a> {
    /// `%0 = call i32 asm sideeffect "TEMPLATE", "CONSTRAINTS"(i32 %x), !srcloc !2`
    fn find(line: &'a str) -> Result<Option<Self>> {
        let Some(open) = line.find('"') else {
            return Ok(None);
        };
        let mut words = line[..open].split_whitespace();
        if !words.any(|word| word == "asm") || line.trim_start().starts_with(';') {
            return Ok(None);
        }
        if !is_call(&line[..open]) {
            bail!("inline asm with labels as operands is not for device code: `{line}`");
        }
        let malformed = || format!("cannot read the inline-asm call `{line}`");
        let template_start = open + 1;
        let template_end =
            template_start + line[template_start..].find('"').with_context(malformed)?;
        let operands_end = closing_parenthesis(line, template_end + 1).with_context(malformed)?;
        Ok(Some(Self {
            before: &line[..template_start],
            template: &line[template_start..template_end],
            operands: &line[template_end..operands_end],
            after: &line[operands_end..],
        }))
    }
}

/// The position after the `)` that closes the first `(` at or after `from`. IR strings hold no bare
/// quotes.
fn closing_parenthesis(line: &str, from: usize) -> Option<usize> {
    let mut depth = 0;
    let mut quoted = false;
    for (offset, byte) in line[from..].bytes().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b'(' if !quoted => depth += 1,
            b')' if !quoted => {
                depth -= 1;
                if depth == 0 {
                    return Some(from + offset + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// `NAME` of the first `@NAME(` or `@"NAME"(`.
fn symbol_before_parenthesis(line: &str) -> Option<String> {
    line.match_indices('@').find_map(|(at, _)| {
        let rest = &line[at + 1..];
        let (name, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => rest.split_at(rest.find(|c: char| !is_symbol_char(c))?),
        };
        after.starts_with('(').then(|| name.to_owned())
    })
}

fn is_symbol_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '$' | '-')
}

/// IR strings write a byte as `\XX`, and inline asm a dollar sign as `$$`.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        let code = rest
            .get(at + 1..at + 3)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match code {
            Some(byte) => {
                plain.push(char::from(byte));
                rest = &rest[at + 3..];
            }
            None => {
                plain.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    plain.push_str(rest);
    plain.replace("$$", "$")
}

#[cfg(test)]
mod tests {
    use super::*;

    const IR: &str = r#"module asm ".extern .shared .align 1024 .b8 smem[];"
@text = constant [3 x i8] c"asm"
define internal void @helper(ptr %p) unnamed_addr #0 {
start:
  %0 = call i32 asm sideeffect alignstack "mov.u32 ${0}, %tid.x;", "=&r,~{memory}"(), !srcloc !2
  call void asm sideeffect alignstack "{\0A.reg .pred %p;\0Abar.sync 0;\0A}", "~{memory}"() #9, !srcloc !6
  ret void
}
define ptx_kernel void @entry([18 x i64] %0) unnamed_addr #0 {
  call void @helper(ptr %p) #25
  %1 = call { i32, i32 } asm "shfl.sync.bfly.b32 $0|p, $2, 1, 31, -1;", "=r,=r,r"(i32 bitcast (float 1.0 to i32))
  call void @"quoted name"(ptr @helper), !range !1
  ret void
}
"#;

    #[test]
    fn every_asm_call_becomes_convergent_and_nothing_else_changes() -> Result<()> {
        let marked = mark(IR)?;
        let lines: Vec<_> = marked.ir.lines().collect();
        assert_eq!(
            lines.iter().filter(|l| l.contains(" convergent")).count(),
            3
        );
        assert!(lines[4].ends_with(r#""=&r,~{memory}"() convergent, !srcloc !2"#));
        assert!(lines[5].contains(r#"\0A} // collective 0", "~{memory}"() convergent #9"#));
        assert!(lines[10].ends_with("to i32)) convergent"));
        let changed = lines.iter().zip(IR.lines()).filter(|(a, b)| *a != b);
        assert_eq!(changed.count(), 3);
        Ok(())
    }

    #[test]
    fn calls_and_collective_sites_belong_to_their_function() -> Result<()> {
        let marked = mark(IR)?;
        let entry = &marked.functions["entry"];
        assert_eq!(entry.callees, ["helper", "quoted name"]);
        assert_eq!(entry.sites, [1]);
        assert_eq!(marked.functions["helper"].sites, [0]);
        assert_eq!(marked.sites[0].instructions, ["bar.sync"]);
        assert_eq!(marked.sites[1].instructions, ["shfl.sync.bfly.b32"]);
        Ok(())
    }

    #[test]
    fn asm_goto_is_refused() {
        let ir = "define void @f() {\n  callbr void asm \"bra $0;\", \"!i\"() to label %a [label %b]\n}\n";
        assert!(mark(ir).is_err());
    }
}
