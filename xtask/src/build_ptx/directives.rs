//! What rustc cannot say about an entry, inserted into the PTX text from the contract.

use std::fmt::Write;

use anyhow::{Context, Result, ensure};
use nvfp4_dual_gemm_kernel::contract::Launch;

use super::ptx_text;

/// Raises the parameter block's alignment and adds the launch directives of every entry.
///
/// The entries of the PTX and of the contract must be the same ones.
pub fn insert(ptx: &str, contract: &[Launch]) -> Result<String> {
    let entries = ptx_text::entries(ptx)?;
    for kernel in contract {
        ensure!(
            entries.iter().any(|entry| entry.name == kernel.name),
            "the contract lists the entry {}, which the kernel crate does not define",
            kernel.name,
        );
    }
    let mut edited = String::with_capacity(ptx.len());
    let mut copied = 0;
    for entry in &entries {
        let kernel = contract
            .iter()
            .find(|kernel| kernel.name == entry.name)
            .with_context(|| format!("the contract does not list the entry {}", entry.name))?;
        edited.push_str(&ptx[copied..entry.parameters.start]);
        let parameters = &ptx[entry.parameters.clone()];
        edited.push_str(
            &raise_alignment(parameters, kernel.param_alignment)
                .with_context(|| format!("entry {}", entry.name))?,
        );
        edited.push_str(&launch_directives(kernel));
        copied = entry.parameters.end;
    }
    edited.push_str(&ptx[copied..]);
    Ok(edited)
}

/// rustc cannot align a by-value parameter above 16 bytes; tensor maps need 64 (PTX ISA §5.5.8).
fn raise_alignment(parameters: &str, alignment: u32) -> Result<String> {
    const ALIGN: &str = ".align ";
    let blocks = parameters.matches(ALIGN).count();
    ensure!(
        blocks == 1,
        "one parameter block is expected, and there are {blocks} aligned parameters: `{parameters}`",
    );
    let (before, after) = parameters
        .split_once(ALIGN)
        .context("no aligned parameter")?;
    let (found, after) = after.split_once(' ').context("`.align` without a number")?;
    let found: u32 = found
        .parse()
        .with_context(|| format!("`.align {found}` is no number"))?;
    Ok(format!("{before}{ALIGN}{} {after}", found.max(alignment)))
}

fn launch_directives(kernel: &Launch) -> String {
    let mut text = format!(
        "\n.reqntid {}\n.minnctapersm {}",
        kernel.threads_per_cta, kernel.min_ctas_per_sm
    );
    if kernel.cluster != [1, 1, 1] {
        let [x, y, z] = kernel.cluster;
        let _ = write!(text, "\n.reqnctapercluster {x}, {y}, {z}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use nvfp4_dual_gemm_kernel::contract::KERNELS;

    fn module(names: &[&str]) -> String {
        names
            .iter()
            .map(|name| {
                format!(
                    ".visible .entry {name}(\n\t.param .align 8 .b8 {name}_param_0[144]\n)\n{{\n\tret;\n}}\n"
                )
            })
            .collect()
    }

    #[test]
    fn entries_get_alignment_and_directives() -> Result<()> {
        let kernel = KERNELS[0].launch;
        let edited = insert(&module(&[kernel.name]), &[kernel])?;
        assert_eq!(
            edited,
            format!(
                ".visible .entry {0}(\n\t.param .align {1} .b8 {0}_param_0[144]\n)\n\
                 .reqntid {2}\n.minnctapersm {3}\n{{\n\tret;\n}}\n",
                kernel.name, kernel.param_alignment, kernel.threads_per_cta, kernel.min_ctas_per_sm
            )
        );
        Ok(())
    }

    #[test]
    fn a_cluster_is_required_where_there_is_one() -> Result<()> {
        let mut kernel = KERNELS[0].launch;
        kernel.cluster = [2, 1, 1];
        let edited = insert(&module(&[kernel.name]), &[kernel])?;
        assert!(edited.contains("\n.reqnctapercluster 2, 1, 1\n{"));
        Ok(())
    }

    #[test]
    fn the_contract_and_the_ptx_must_list_the_same_entries() {
        assert!(insert(&module(&["stranger"]), &[]).is_err());
        assert!(insert("", &[KERNELS[0].launch]).is_err());
    }
}
