//! Running ptxas, and reading what it says about each entry.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::setup::PTXAS;
use crate::workspace;

/// What `ptxas -v` tells of one entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    pub entry: String,
    pub registers: u32,
    pub barriers: u32,
    pub static_shared_bytes: u32,
    pub stack_bytes: u32,
    pub spill_store_bytes: u32,
    pub spill_load_bytes: u32,
}

/// Assembles `ptx` for `architecture` into `cubin`. Warnings are errors: each known one costs
/// correctness or speed (serialised tensor instructions, ignored directives).
pub fn assemble(ptx: &Path, architecture: &str, cubin: &Path) -> Result<Vec<Resources>> {
    let ptxas = PTXAS.installed()?;
    let output = Command::new(&ptxas)
        .args(["--verbose", "--gpu-name", architecture])
        .arg(ptx)
        .arg("--output-file")
        .arg(cubin)
        .output()
        .with_context(|| format!("cannot run {}", ptxas.display()))?;
    // It reports on standard error on success, and on either otherwise.
    let log = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let shown = workspace::shown(ptx);
    ensure!(
        output.status.success(),
        "ptxas {} rejects {shown} for {architecture}:\n{log}",
        PTXAS.wheel.version,
    );
    if let Some(warning) = log
        .lines()
        .find(|line| line.contains("warning") || line.contains("Performance Loss"))
    {
        bail!(
            "ptxas {} on {shown} for {architecture}: {warning}",
            PTXAS.wheel.version
        );
    }
    parse_log(&log)
}

fn parse_log(log: &str) -> Result<Vec<Resources>> {
    let mut entries: Vec<Resources> = Vec::new();
    for line in log.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            let (name, _) = rest.split_once('\'').context("ptxas names no entry")?;
            entries.push(Resources {
                entry: name.to_owned(),
                ..Resources::default()
            });
        }
        let Some(entry) = entries.last_mut() else {
            continue;
        };
        if line.contains("bytes stack frame") {
            entry.stack_bytes = number_before(line, " bytes stack frame")?;
            entry.spill_store_bytes = number_before(line, " bytes spill stores")?;
            entry.spill_load_bytes = number_before(line, " bytes spill loads")?;
        } else if line.contains("Used ") && line.contains(" registers") {
            entry.registers = number_before(line, " registers")?;
            entry.barriers = number_before(line, " barriers").unwrap_or(0);
            entry.static_shared_bytes = number_before(line, " bytes smem").unwrap_or(0);
        }
    }
    for entry in &entries {
        ensure!(
            entry.registers > 0,
            "ptxas -v tells no register count of {}",
            entry.entry
        );
    }
    entries.sort_by(|a, b| a.entry.cmp(&b.entry));
    Ok(entries)
}

fn number_before(line: &str, unit: &str) -> Result<u32> {
    let (before, _) = line
        .split_once(unit)
        .with_context(|| format!("`{unit}` is missing in `{line}`"))?;
    let digits = before.rsplit([' ', ',']).next().unwrap_or_default();
    digits
        .parse()
        .with_context(|| format!("no number before `{unit}` in `{line}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'b' for 'sm_100a'
ptxas info    : Function properties for b
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 56 registers, used 1 barriers
ptxas info    : Compile time = 22.232 ms
ptxas info    : Compiling entry function 'a' for 'sm_100a'
ptxas info    : Function properties for a
    64 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 255 registers, 1024 bytes smem, 4 bytes cmem[2]
";

    #[test]
    fn a_log_becomes_one_line_per_entry() -> Result<()> {
        let entries = parse_log(LOG)?;
        assert_eq!(
            entries,
            [
                Resources {
                    entry: "a".to_owned(),
                    registers: 255,
                    barriers: 0,
                    static_shared_bytes: 1024,
                    stack_bytes: 64,
                    spill_store_bytes: 8,
                    spill_load_bytes: 12,
                },
                Resources {
                    entry: "b".to_owned(),
                    registers: 56,
                    barriers: 1,
                    ..Resources::default()
                },
            ]
        );
        Ok(())
    }

    #[test]
    fn a_log_without_registers_is_an_error() {
        assert!(parse_log("ptxas info : Compiling entry function 'b' for 'sm_100a'\n").is_err());
    }
}
