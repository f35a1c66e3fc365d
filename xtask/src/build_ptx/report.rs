//! The committed report: what ptxas makes of each entry.

use std::fmt::Write;

use super::Built;
use crate::ptxas::{self, Resources};
use crate::setup::PTXAS;
use anyhow::{Result, ensure};

pub const FILE: &str = "REPORT.md";

/// Assembles every target's PTX for its architectures and writes down what came out.
///
/// Spills or a stack frame in any entry are an error.
pub fn assemble(built: &[Built]) -> Result<String> {
    let mut text = format!(
        "# What ptxas makes of the kernels\n\n\
         Assembled by ptxas {}. Written by `cargo xtask build-ptx`; do not edit.\n\
         Shared memory is dynamic + static bytes per CTA. Stack and spills are checked to be zero.\n",
        PTXAS.wheel.version,
    );
    for one in built {
        let mut rows = Vec::new();
        for architecture in one.target.assembled_for {
            let cubin = one.file.with_file_name(format!("{architecture}.cubin"));
            for resources in ptxas::assemble(&one.file, architecture, &cubin)? {
                forbid_spills(&resources, architecture)?;
                rows.push((*architecture, resources));
            }
        }
        rows.sort_by(|a, b| a.1.entry.cmp(&b.1.entry));
        if one.target.ships() {
            render(&mut text, one, &rows);
        }
    }
    Ok(text)
}

fn forbid_spills(resources: &Resources, architecture: &str) -> Result<()> {
    let Resources {
        entry,
        stack_bytes,
        spill_store_bytes,
        spill_load_bytes,
        ..
    } = resources;
    ensure!(
        stack_bytes + spill_store_bytes + spill_load_bytes == 0,
        "entry {entry} for {architecture} has {stack_bytes} bytes of stack and spills {spill_store_bytes} bytes \
         (loads {spill_load_bytes}); all must be 0",
    );
    Ok(())
}

fn render(text: &mut String, built: &Built, rows: &[(&str, Resources)]) {
    let _ = write!(
        text,
        "\n`{}`\n\n\
         | entry | architecture | registers | shared memory | barriers | stack | spill stores | spill loads |\n\
         |---|---|--:|--:|--:|--:|--:|--:|\n",
        built.target.file,
    );
    let entries = (built.target.entries)();
    for (architecture, resources) in rows {
        let dynamic = entries
            .iter()
            .find(|entry| entry.name == resources.entry)
            .map_or(0, |entry| entry.dynamic_shared_bytes);
        let _ = writeln!(
            text,
            "| `{}` | {architecture} | {} | {dynamic} + {} | {} | {} | {} | {} |",
            resources.entry,
            resources.registers,
            resources.static_shared_bytes,
            resources.barriers,
            resources.stack_bytes,
            resources.spill_store_bytes,
            resources.spill_load_bytes,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spills_are_an_error_that_names_entry_and_bytes() {
        let spilling = Resources {
            entry: "k".to_owned(),
            registers: 255,
            spill_store_bytes: 8,
            ..Resources::default()
        };
        let error = forbid_spills(&spilling, "sm_100a").unwrap_err().to_string();
        assert!(error.contains("entry k for sm_100a"), "{error}");
        assert!(error.contains("spills 8 bytes"), "{error}");
    }
}
