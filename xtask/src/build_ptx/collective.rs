//! Instructions that a whole warp or CTA must reach together, and the comments that number their
//! call sites.

use super::ptx_text::{self, Statement};

const SITE_COMMENT: &str = "collective ";

/// Whether all threads of a warp (`.aligned`), or those named by a mask or a barrier (`.sync`),
/// must execute it together.
///
/// `bar.sync`, `bar.red` and `bar.arrive` are `.aligned` by definition (PTX ISA §9.7.13.1).
pub fn is_collective(opcode: &str) -> bool {
    let mut parts = opcode.split('.');
    opcode.starts_with("bar.") || parts.any(|part| part == "aligned" || part == "sync")
}

/// The collective opcodes of an inline-asm text.
pub fn in_asm(text: &str) -> Vec<String> {
    // A template that cannot be read as statements (a fragment, say) is looked at word by word: too
    // much is found rather than too little.
    match ptx_text::statements(text) {
        Ok(statements) => statements
            .into_iter()
            .filter_map(|statement| match statement {
                Statement::Instruction(instruction) => Some(instruction.opcode),
                _ => None,
            })
            .filter(|opcode| is_collective(opcode))
            .collect(),
        Err(_) => text
            .split(|c: char| c.is_whitespace() || c == ';')
            .filter(|word| is_collective(word))
            .map(str::to_owned)
            .collect(),
    }
}

pub fn site_comment(site: usize) -> String {
    format!("// {SITE_COMMENT}{site}")
}

/// The number in what follows `//`.
pub fn site_of_comment(comment: &str) -> Option<usize> {
    comment.trim().strip_prefix(SITE_COMMENT)?.parse().ok()
}

/// The text without the numbers, as it ships.
pub fn strip_site_comments(ptx: &str) -> String {
    ptx.lines()
        .map(|line| match line.rsplit_once("//") {
            Some((code, comment)) if site_of_comment(comment).is_some() => code.trim_end(),
            _ => line,
        })
        .flat_map(|line| [line, "\n"])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collective_means_aligned_sync_or_bar() {
        for opcode in [
            "bar.sync",
            "bar.arrive",
            "elect.sync",
            "setmaxnreg.dec.sync.aligned.u32",
            "tcgen05.ld.sync.aligned.16x256b.x1.b32",
        ] {
            assert!(is_collective(opcode), "{opcode}");
        }
        for opcode in [
            "tcgen05.mma.cta_group::1.kind::mxf4nvf4.block_scale.block16",
            "mbarrier.arrive.shared::cta.b64",
            "fence.proxy.async",
        ] {
            assert!(!is_collective(opcode), "{opcode}");
        }
    }

    #[test]
    fn stripping_restores_the_text() {
        let ptx = "\tbar.sync 0;\n\tret; // collective nothing\n";
        let tagged = "\tbar.sync 0; // collective 12\n\tret; // collective nothing\n";
        assert_eq!(strip_site_comments(tagged), ptx);
    }
}
