//! `cargo xtask sass`: what ptxas made of the K loops.
//!
//! On Blackwell the MMA warp is one thread that feeds the tensor core. Whatever else its loop executes
//! delays the next instruction of it, so `--check` allows nothing there but tensor, barrier, address and
//! branch instructions. On Hopper the loop also prepares operands in registers; `--check` holds it to what
//! [`wgmma`] lists.

mod listing;
mod wgmma;

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use nvfp4_dual_gemm_kernel::contract::{self, KernelEntry, hopper};

use crate::build_ptx::{BLACKWELL, HOPPER, Target};
use crate::ptxas;
use crate::setup::NVDISASM;
use crate::workspace;
use listing::{Class, Instruction, Listing};

#[derive(clap::Args)]
pub struct Arguments {
    /// Print the whole SASS of this entry, too. Default: the K loops of every entry
    #[arg(long, value_name = "NAME")]
    entry: Option<String>,
    /// The architecture to assemble for. Default: each that a PTX file is for, without its family
    #[arg(long)]
    arch: Option<String>,
    /// Print one line per loop; fail if a loop that feeds the tensor core has what delays it
    #[arg(long)]
    check: bool,
}

/// The kernels of one PTX file.
struct Family {
    target: &'static Target,
    architecture: &'static str,
    kernels: &'static [KernelEntry],
    roles: &'static [Role],
}

const FAMILIES: [Family; 2] = [
    Family {
        target: &BLACKWELL,
        architecture: "sm_100a",
        kernels: contract::KERNELS,
        roles: &[LOAD, MMA],
    },
    Family {
        target: &HOPPER,
        architecture: "sm_90a",
        kernels: hopper::KERNELS,
        roles: &[LOAD, MULTIPLY],
    },
];

/// A warp's role, recognised by the instruction that only its K loop has.
struct Role {
    name: &'static str,
    opcode: &'static str,
    /// What a loop of an entry comes to, if there is more to say than what kinds of instructions it has.
    examine: fn(&KernelEntry, &[&Instruction]) -> wgmma::Findings,
}

const LOAD: Role = Role {
    name: "load",
    opcode: "UTMALDG",
    examine: |_, _| wgmma::Findings::default(),
};

const MMA: Role = Role {
    name: "MMA",
    opcode: "UTCOMMA",
    examine: |_, instructions| only_tensor_work(instructions),
};

const MULTIPLY: Role = Role {
    name: "multiply",
    opcode: wgmma::OPCODE,
    examine: |_, instructions| wgmma::examine(instructions, WGMMAS_IN_LOOP),
};

/// The instructions of a warpgroup in one pass of the loop over K.
const WGMMAS_IN_LOOP: u32 = hopper::STAGES_PER_ROUND * hopper::STAGE_K / hopper::WGMMA_K;

fn only_tensor_work(instructions: &[&Instruction]) -> wgmma::Findings {
    let allowed = [Class::Tensor, Class::Barrier, Class::Address, Class::Branch];
    let others = instructions
        .iter()
        .filter(|i| !allowed.contains(&i.class()));
    let others: Vec<&str> = others.map(|i| i.text.as_str()).collect();
    let complaint = || {
        let others = others.join("; ");
        format!("neither tensor, barrier, address nor branch: {others}")
    };
    wgmma::Findings {
        complaints: (!others.is_empty()).then(complaint).into_iter().collect(),
        ..wgmma::Findings::default()
    }
}

pub fn run(arguments: Arguments) -> Result<()> {
    let mut complaints = Vec::new();
    let mut shown = 0;
    for family in &FAMILIES {
        let architecture = arguments.arch.as_deref().unwrap_or(family.architecture);
        let wanted = |kernel: &&KernelEntry| {
            let name = arguments.entry.as_deref();
            name.is_none_or(|name| name == kernel.launch.name)
        };
        let kernels: Vec<_> = family.kernels.iter().filter(wanted).collect();
        if kernels.is_empty() || !family.target.assembled_for.contains(&architecture) {
            continue;
        }
        let listings = disassemble(family.target, architecture)?;
        for kernel in kernels {
            let name = kernel.launch.name;
            let listing = listings
                .get(name)
                .with_context(|| format!("{} has no entry {name}", family.target.file))?;
            if arguments.entry.is_some() && !arguments.check {
                print_instructions(listing.instructions());
            }
            for role in family.roles {
                let title = format!("{name} ({architecture}), {} loop", role.name);
                let found = show_loops(&title, kernel, listing, role, arguments.check)?;
                complaints.extend(found.into_iter().map(|text| format!("{title}: {text}")));
            }
            shown += 1;
        }
    }
    ensure!(shown > 0, "{}", nothing_fits());
    if arguments.check && !complaints.is_empty() {
        bail!("{}", complaints.join("\n"));
    }
    Ok(())
}

fn nothing_fits() -> String {
    let families = FAMILIES.iter().map(|family| {
        let names = family.kernels.iter().map(|kernel| kernel.launch.name);
        format!(
            "for {}: {}",
            family.target.assembled_for.join(", "),
            names.collect::<Vec<_>>().join(", ")
        )
    });
    let families: Vec<_> = families.collect();
    format!(
        "there is no such entry for this architecture; there are, {}",
        families.join("; ")
    )
}

/// Assembles the committed PTX; the SASS of each entry, by name.
fn disassemble(target: &Target, architecture: &str) -> Result<BTreeMap<String, Listing>> {
    let nvdisasm = NVDISASM.installed()?;
    let dir = workspace::target_dir().join("sass");
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let cubin = dir.join(format!("{architecture}.cubin"));
    let ptx = workspace::ptx_dir().join(target.file);
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
    title: &str,
    kernel: &KernelEntry,
    listing: &Listing,
    role: &Role,
    briefly: bool,
) -> Result<Vec<String>> {
    let loops = listing.innermost_loops_with(role.opcode)?;
    if loops.is_empty() {
        println!("{title}: none found");
        return Ok(vec![format!("no loop contains {}", role.opcode)]);
    }
    let repeated = listing.loops_over_threads_with(role.opcode)?;
    if repeated > 0 {
        println!(
            "{title}: ptxas repeats {repeated} {} for every thread of the warp",
            role.opcode
        );
    }
    let mut complaints = Vec::new();
    for instructions in loops {
        println!("{title}: {}", summary(&instructions));
        let findings = (role.examine)(kernel, &instructions);
        if !findings.summary.is_empty() {
            println!("    {}", findings.summary);
        }
        if !briefly {
            print_instructions(instructions.iter().copied());
        }
        complaints.extend(findings.complaints);
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
