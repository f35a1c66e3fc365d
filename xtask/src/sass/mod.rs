//! `cargo xtask sass`: what ptxas made of the K loops.
//!
//! The MMA warp is one thread that feeds the tensor core. Whatever else its loop executes delays
//! the next instruction of it, so `--check` allows nothing there but tensor, barrier, address and
//! branch instructions.

mod listing;

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use nvfp4_dual_gemm_kernel::contract::KERNELS;

use crate::build_ptx::BLACKWELL;
use crate::ptxas;
use crate::setup::NVDISASM;
use crate::workspace;
use listing::{Class, Instruction, Listing};

#[derive(clap::Args)]
pub struct Arguments {
    /// Print the whole SASS of this entry, too. Default: the K loops of every entry
    #[arg(long, value_name = "NAME")]
    entry: Option<String>,
    /// The architecture to assemble for
    #[arg(long, default_value = "sm_100a")]
    arch: String,
    /// Print one line per loop; fail if an MMA loop has other than tensor, barrier, address and
    /// branch instructions
    #[arg(long)]
    check: bool,
}

/// A warp's role, recognised by the instruction that only its K loop has.
struct Role {
    name: &'static str,
    opcode: &'static str,
    /// Whether [`Class::Other`] instructions in its loop are an error.
    strict: bool,
}

const ROLES: [Role; 2] = [
    Role {
        name: "load",
        opcode: "UTMALDG",
        strict: false,
    },
    Role {
        name: "MMA",
        opcode: "UTCOMMA",
        strict: true,
    },
];

pub fn run(arguments: Arguments) -> Result<()> {
    let listings = disassemble(&arguments.arch)?;
    let names: Vec<&str> = match &arguments.entry {
        Some(name) => vec![name],
        None => KERNELS.iter().map(|kernel| kernel.launch.name).collect(),
    };
    let mut complaints = Vec::new();
    for name in names {
        let listing = listings.get(name).with_context(|| {
            let known: Vec<_> = listings.keys().map(String::as_str).collect();
            format!("the PTX has no entry {name}; it has {}", known.join(", "))
        })?;
        if arguments.entry.is_some() && !arguments.check {
            print_instructions(listing.instructions());
        }
        for role in &ROLES {
            complaints.extend(show_loops(name, listing, role, &arguments)?);
        }
    }
    if arguments.check && !complaints.is_empty() {
        bail!("{}", complaints.join("\n"));
    }
    Ok(())
}

/// Assembles the committed PTX; the SASS of each entry, by name.
fn disassemble(architecture: &str) -> Result<BTreeMap<String, Listing>> {
    let nvdisasm = NVDISASM.installed()?;
    let dir = workspace::target_dir().join("sass");
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let cubin = dir.join(format!("{architecture}.cubin"));
    let ptx = workspace::ptx_dir().join(BLACKWELL.file);
    ptxas::assemble(&ptx, architecture, &cubin)?;
    let output = Command::new(&nvdisasm)
        .arg("--print-code")
        .arg(&cubin)
        .output()
        .with_context(|| format!("cannot run {}", nvdisasm.display()))?;
    ensure!(
        output.status.success(),
        "nvdisasm {} cannot read ptxas' output: {}",
        NVDISASM.wheel.version,
        String::from_utf8_lossy(&output.stderr).trim(),
    );
    listing::parse(&String::from_utf8_lossy(&output.stdout))
}

/// Prints the loops of `role` and returns what is wrong with them.
fn show_loops(
    entry: &str,
    listing: &Listing,
    role: &Role,
    arguments: &Arguments,
) -> Result<Vec<String>> {
    let loops = listing.innermost_loops_with(role.opcode)?;
    let title = format!("{entry} ({}), {} loop", arguments.arch, role.name);
    if loops.is_empty() {
        println!("{title}: none found");
        return Ok(vec![format!("{title}: no loop contains {}", role.opcode)]);
    }
    let mut complaints = Vec::new();
    for instructions in loops {
        println!("{title}: {}", summary(&instructions));
        if !arguments.check {
            print_instructions(instructions.iter().copied());
        }
        let foreign: Vec<&str> = instructions
            .iter()
            .filter(|instruction| role.strict && instruction.class() == Class::Other)
            .map(|instruction| instruction.text.as_str())
            .collect();
        if !foreign.is_empty() {
            complaints.push(format!(
                "{title}: neither tensor, barrier, address nor branch: {}",
                foreign.join("; ")
            ));
        }
    }
    Ok(complaints)
}

fn summary(instructions: &[&Instruction]) -> String {
    let mut counts: BTreeMap<Class, usize> = BTreeMap::new();
    for instruction in instructions {
        *counts.entry(instruction.class()).or_default() += 1;
    }
    let parts: Vec<_> = counts
        .iter()
        .map(|(class, count)| format!("{count} {}", class.name()))
        .collect();
    format!("{} instructions: {}", instructions.len(), parts.join(", "))
}

fn print_instructions<'a>(instructions: impl Iterator<Item = &'a Instruction>) {
    for instruction in instructions {
        println!(
            "  {:05x}  {:8}  {}",
            instruction.address,
            instruction.class().name(),
            instruction.text
        );
    }
}
