//! What the compiled PTX must keep of its source, and must not contain.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

use super::collective::is_collective;
use super::convergent::{Function, Marked, Site};
use super::ptx_text::{self, Entry, Instruction, Statement};
use crate::graph::{Dominators, Graph};

/// Fails if a collective instruction was duplicated, or if anything but self-contained entries was
/// compiled.
///
/// `ptx` still has the site comments.
pub fn audit(ptx: &str, marked: &Marked) -> Result<()> {
    forbid_leftovers(ptx)?;
    for entry in ptx_text::entries(ptx)? {
        audit_entry(ptx, &entry, marked).with_context(|| format!("entry {}", entry.name))?;
    }
    Ok(())
}

fn forbid_leftovers(ptx: &str) -> Result<()> {
    let forbidden = [
        (
            "__local_depot",
            "a local array: index it by constants only, or have its loops unrolled",
        ),
        (
            ".local ",
            "local memory: index arrays by constants only, or have their loops unrolled",
        ),
        (
            ".func ",
            "a function: every helper of the kernel must be inlined, and none may be extern",
        ),
        ("call", "a call: every helper of the kernel must be inlined"),
    ];
    for (number, line) in ptx.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let word = code.split_whitespace().next().unwrap_or_default();
        for (text, meaning) in forbidden {
            let found = match text {
                "call" => word == "call" || word.starts_with("call."),
                _ => code.contains(text),
            };
            ensure!(
                !found,
                "line {} of the compiled PTX has {meaning}\n  {}",
                number + 1,
                line.trim(),
            );
        }
    }
    Ok(())
}

fn audit_entry(ptx: &str, entry: &Entry, marked: &Marked) -> Result<()> {
    let statements = ptx_text::statements(&ptx[entry.body.clone()])?;
    let copies = copies_of_sites(&statements, &marked.sites)?;
    let paths = call_paths(&entry.name, &marked.functions)?;
    let dominators = control_flow(&statements)?.dominators();
    let complaints: Vec<String> = copies
        .iter()
        .filter_map(|(&site, positions)| {
            let expected = paths.get(&site).copied().unwrap_or(0);
            let copies = Copies::count(positions, &dominators);
            (copies.in_separate_branches > expected)
                .then(|| copies.complaint(&marked.sites[site], expected))
        })
        .collect();
    ensure!(complaints.is_empty(), "{}", complaints.join("\n"));
    Ok(())
}

/// The copies of one site in the PTX.
struct Copies {
    total: u64,
    /// Those that dominate no other.
    ///
    /// A fully unrolled loop leaves copies of which each dominates the next: every thread that
    /// reached the first still executes all. A copy that went into one arm of a branch dominates no
    /// copy in the other.
    in_separate_branches: u64,
}

impl Copies {
    fn count(positions: &[usize], dominators: &Dominators) -> Self {
        let reachable: Vec<usize> = positions
            .iter()
            .copied()
            .filter(|&position| dominators.reachable(position))
            .collect();
        let dominates_none = |a: usize| {
            !reachable
                .iter()
                .any(|&b| a != b && dominators.dominates(a, b))
        };
        Self {
            total: reachable.len() as u64,
            in_separate_branches: reachable.iter().filter(|&&a| dominates_none(a)).count() as u64,
        }
    }

    fn complaint(&self, site: &Site, expected: u64) -> String {
        format!(
            "`{}` in {}: call paths in the source: {expected}; copies in the PTX: {}, in separate branches: {}. \
             The compiler duplicated an instruction that threads must execute together.",
            site.instructions.join("; "),
            site.function,
            self.total,
            self.in_separate_branches,
        )
    }
}

/// Where each site's asm blocks are. Fails on a collective instruction that no site accounts for.
fn copies_of_sites(
    statements: &[Statement],
    sites: &[Site],
) -> Result<BTreeMap<usize, Vec<usize>>> {
    let mut copies: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut pending: Vec<&str> = Vec::new();
    for (position, statement) in statements.iter().enumerate() {
        match statement {
            Statement::Instruction(Instruction { opcode, .. }) if is_collective(opcode) => {
                pending.push(opcode);
            }
            Statement::SiteComment(site) => {
                let known = sites
                    .get(*site)
                    .with_context(|| format!("the PTX names site {site}, which does not exist"))?;
                ensure!(
                    known.instructions.iter().eq(pending.iter()),
                    "asm site {site} ({}) holds {pending:?} in the PTX",
                    known.instructions.join("; "),
                );
                pending.clear();
                copies.entry(*site).or_default().push(position);
            }
            Statement::AsmStart | Statement::AsmEnd => unaccounted(&pending)?,
            _ => {}
        }
    }
    unaccounted(&pending)?;
    Ok(copies)
}

fn unaccounted(pending: &[&str]) -> Result<()> {
    ensure!(
        pending.is_empty(),
        "`{}` does not come from `asm!`: collective instructions must, or nothing stops the compiler from moving them",
        pending.join("; "),
    );
    Ok(())
}

/// How many distinct call paths lead from `entry` to each site: the copies that inlining everything
/// leaves.
fn call_paths(entry: &str, functions: &BTreeMap<String, Function>) -> Result<BTreeMap<usize, u64>> {
    ensure!(
        functions.contains_key(entry),
        "it is not defined in the LLVM IR"
    );
    let mut known = BTreeMap::new();
    paths_from(entry, functions, &mut known, &mut Vec::new())?;
    Ok(known.remove(entry).unwrap_or_default())
}

fn paths_from<'a>(
    name: &'a str,
    functions: &'a BTreeMap<String, Function>,
    known: &mut BTreeMap<&'a str, BTreeMap<usize, u64>>,
    stack: &mut Vec<&'a str>,
) -> Result<()> {
    let Some(function) = functions.get(name) else {
        return Ok(());
    };
    if known.contains_key(name) {
        return Ok(());
    }
    if stack.contains(&name) {
        // Recursion in `core`'s formatting code is dead here; a recursive kernel would leave a call
        // in the PTX.
        return Ok(());
    }
    stack.push(name);
    let mut paths: BTreeMap<usize, u64> = BTreeMap::new();
    for &site in &function.sites {
        *paths.entry(site).or_default() += 1;
    }
    for callee in &function.callees {
        paths_from(callee, functions, known, stack)?;
        for (&site, &count) in known.get(callee.as_str()).into_iter().flatten() {
            let total = paths.entry(site).or_default();
            *total = total.saturating_add(count);
        }
    }
    stack.pop();
    known.insert(name, paths);
    Ok(())
}

/// The control flow between statements. Labels are local to the `{ }` scope that they stand in.
fn control_flow(statements: &[Statement]) -> Result<Graph> {
    let scopes = Scopes::new(statements);
    let mut successors = Vec::with_capacity(statements.len());
    for (position, statement) in statements.iter().enumerate() {
        let next = (position + 1 < statements.len()).then_some(position + 1);
        let Statement::Instruction(instruction) = statement else {
            successors.push(next.into_iter().collect());
            continue;
        };
        let opcode = instruction.opcode.split('.').next().unwrap_or_default();
        let mut targets: Vec<usize> = match opcode {
            "bra" => vec![scopes.resolve(&instruction.operands, position)?],
            "brx" => bail!("indirect branches (`brx`) are not understood"),
            _ => Vec::new(),
        };
        let falls_through =
            instruction.guarded || !matches!(opcode, "bra" | "ret" | "exit" | "trap");
        if falls_through {
            targets.extend(next);
        }
        successors.push(targets);
    }
    Ok(Graph::new(successors))
}

struct Scopes<'a> {
    /// The enclosing scope of each scope; scope 0 is the body.
    parents: Vec<usize>,
    /// The scope of each statement.
    scope_of: Vec<usize>,
    labels: BTreeMap<(usize, &'a str), usize>,
}

impl<'a> Scopes<'a> {
    fn new(statements: &'a [Statement]) -> Self {
        let mut scopes = Self {
            parents: vec![0],
            scope_of: Vec::with_capacity(statements.len()),
            labels: BTreeMap::new(),
        };
        let mut current = 0;
        for (position, statement) in statements.iter().enumerate() {
            match statement {
                Statement::ScopeStart => {
                    scopes.parents.push(current);
                    current = scopes.parents.len() - 1;
                }
                Statement::ScopeEnd => current = scopes.parents[current],
                Statement::Label(name) => {
                    scopes.labels.insert((current, name), position);
                }
                _ => {}
            }
            scopes.scope_of.push(current);
        }
        scopes
    }

    fn resolve(&self, label: &'a str, from: usize) -> Result<usize> {
        let mut scope = self.scope_of[from];
        loop {
            if let Some(&position) = self.labels.get(&(scope, label)) {
                return Ok(position);
            }
            ensure!(scope != 0, "a branch to the unknown label `{label}`");
            scope = self.parents[scope];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(callees: &[&str]) -> Marked {
        let function = |callees: &[&str], sites: &[usize]| Function {
            callees: callees.iter().map(|&name| name.to_owned()).collect(),
            sites: sites.to_vec(),
        };
        Marked {
            ir: String::new(),
            functions: BTreeMap::from([
                ("k".to_owned(), function(callees, &[])),
                ("helper".to_owned(), function(&["barrier"], &[])),
                ("barrier".to_owned(), function(&[], &[0])),
            ]),
            sites: vec![Site {
                function: "barrier".to_owned(),
                instructions: vec!["bar.sync".to_owned()],
            }],
        }
    }

    const BARRIER: &str = "// begin inline asm\nbar.sync 0; // collective 0\n// end inline asm\n";

    fn entry(body: &str) -> String {
        format!(
            ".visible .entry k()\n{{\n{}\nret;\n}}\n",
            body.replace("BARRIER", BARRIER)
        )
    }

    fn verdict(body: &str, callees: &[&str]) -> std::result::Result<(), String> {
        audit(&entry(body), &marked(callees)).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn as_many_copies_as_call_paths() {
        let two_arms = "@%p1 bra $L1;\nBARRIER bra $L2;\n$L1:\nBARRIER $L2:";
        assert_eq!(verdict(two_arms, &["helper", "barrier"]), Ok(()));
        let error = verdict(two_arms, &["helper"]).unwrap_err();
        assert!(error.contains("bar.sync"), "{error}");
        assert!(error.contains("in the source: 1;"), "{error}");
        assert!(error.contains("in the PTX: 2,"), "{error}");
    }

    #[test]
    fn a_fully_unrolled_loop_is_no_duplication() {
        let body = "BARRIER @%p1 bra $L1;\nadd.s32 %r1, %r1, 1;\n$L1:\nBARRIER BARRIER";
        assert_eq!(verdict(body, &["helper"]), Ok(()));
    }

    #[test]
    fn spin_loops_inside_asm_keep_their_labels_apart() {
        let spin = "{\nWAIT:\n@!p bra WAIT;\n}\n";
        let body = format!("{spin}BARRIER{spin}");
        assert_eq!(verdict(&body, &["helper"]), Ok(()));
    }

    #[test]
    fn a_collective_instruction_outside_asm_is_refused() {
        let error = verdict("bar.sync 0;", &["helper"]).unwrap_err();
        assert!(error.contains("does not come from `asm!`"), "{error}");
    }

    #[test]
    fn stack_calls_and_functions_are_refused() {
        for text in [
            "\t.local .align 4 .b8 \t__local_depot0[128];",
            "call.uni f, ();",
            ".extern .func f\n();",
        ] {
            assert!(verdict(text, &["helper"]).is_err(), "{text}");
        }
        assert_eq!(verdict("ret; // call it a day", &["helper"]), Ok(()));
    }
}
