//! The committed report: what ptxas makes of each entry.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nvfp4_dual_gemm_kernel::contract::KERNELS;

use super::compile::Target;
use crate::ptxas::{self, Resources};
use crate::setup::PTXAS;
use crate::workspace;

pub const FILE: &str = "REPORT.md";

/// Assembles `ptx` for every architecture of `target` and writes down what came out.
///
/// Spills or a stack frame in any entry are an error.
pub fn assemble(ptx: &Path, target: &Target) -> Result<String> {
    let cubin_dir = workspace::target_dir()
        .join("ptx")
        .join(target.architecture);
    fs::create_dir_all(&cubin_dir)
        .with_context(|| format!("cannot create {}", cubin_dir.display()))?;
    let mut rows = Vec::new();
    for architecture in target.assembled_for {
        let cubin = cubin_dir.join(format!("{architecture}.cubin"));
        for resources in ptxas::assemble(ptx, architecture, &cubin)? {
            forbid_spills(&resources, architecture)?;
            rows.push((*architecture, resources));
        }
    }
    rows.sort_by(|a, b| a.1.entry.cmp(&b.1.entry));
    Ok(render(target, &rows))
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

fn render(target: &Target, rows: &[(&str, Resources)]) -> String {
    let mut text = format!(
        "# What ptxas makes of the kernels\n\n\
         `{}`, assembled by ptxas {}. Written by `cargo xtask build-ptx`; do not edit.\n\
         Shared memory is dynamic + static bytes per CTA. Stack and spills are checked to be zero.\n\n\
         | entry | architecture | registers | shared memory | barriers | stack | spill stores | spill loads |\n\
         |---|---|--:|--:|--:|--:|--:|--:|\n",
        target.file, PTXAS.wheel.version,
    );
    for (architecture, resources) in rows {
        let dynamic = KERNELS
            .iter()
            .find(|kernel| kernel.name == resources.entry)
            .map_or(0, |kernel| kernel.dynamic_shared_bytes);
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
    text
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
