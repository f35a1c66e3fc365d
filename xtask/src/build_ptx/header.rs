//! The comment at the top of the committed PTX: what it was built from and with.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::compile::{Flags, Target};
use super::toolchain::Version;
use crate::setup::hex;
use crate::workspace;

const RUSTC: &str = "// compiler: ";
const LLVM_TOOLS: &str = "// opt, llc: ";
const RUSTC_FLAGS: &str = "// rustc flags: ";
const OPT_FLAGS: &str = "// opt flags: ";
const LLC_FLAGS: &str = "// llc flags: ";
const SOURCES: &str = "// sources: sha256 ";

#[derive(Debug, PartialEq, Eq)]
pub struct Header {
    pub version: Version,
    pub flags: Flags,
    pub sources_sha256: String,
}

impl Header {
    pub fn text(&self, target: &Target) -> String {
        [
            &format!(
                "// {}: built from kernel-crate by `cargo xtask build-ptx`; do not edit.",
                target.file
            ),
            "// SPDX-License-Identifier: MIT OR Apache-2.0",
            &format!("{RUSTC}{}", self.version.rustc),
            &format!("{LLVM_TOOLS}{}", self.version.llvm_tools),
            &format!("{RUSTC_FLAGS}{}", self.flags.rustc.join(" ")),
            &format!("{OPT_FLAGS}{}", self.flags.opt.join(" ")),
            &format!("{LLC_FLAGS}{}", self.flags.llc.join(" ")),
            &format!("{SOURCES}{}", self.sources_sha256),
        ]
        .map(|line| format!("{line}\n"))
        .concat()
    }

    pub fn parse(ptx: &str) -> Result<Self> {
        let field = |key: &str| {
            ptx.lines()
                .take_while(|line| line.starts_with("//"))
                .find_map(|line| line.strip_prefix(key))
                .with_context(|| format!("its header has no line `{}`", key.trim_end()))
        };
        let flags = |key| -> Result<Vec<String>> {
            Ok(field(key)?.split(' ').map(str::to_owned).collect())
        };
        Ok(Self {
            version: Version {
                rustc: field(RUSTC)?.to_owned(),
                llvm_tools: field(LLVM_TOOLS)?.to_owned(),
            },
            flags: Flags {
                rustc: flags(RUSTC_FLAGS)?,
                opt: flags(OPT_FLAGS)?,
                llc: flags(LLC_FLAGS)?,
            },
            sources_sha256: field(SOURCES)?.to_owned(),
        })
    }
}

/// SHA-256 over path, length and content of every file that the device program is made of.
pub fn sources_sha256() -> Result<String> {
    let crate_dir = workspace::root().join("kernel-crate");
    let mut files = vec![crate_dir.join("Cargo.toml")];
    collect_files(&crate_dir.join("src"), &mut files)?;
    hash_files(&crate_dir, files)
}

fn hash_files(base: &Path, files: Vec<PathBuf>) -> Result<String> {
    let mut named: Vec<(String, PathBuf)> = files
        .into_iter()
        .map(|file| {
            let relative = file.strip_prefix(base).unwrap_or(&file);
            let parts: Vec<_> = relative
                .components()
                .map(|part| part.as_os_str().to_string_lossy())
                .collect();
            (parts.join("/"), file)
        })
        .collect();
    named.sort();
    let mut hash = Sha256::new();
    for (name, file) in named {
        let content = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        hash.update(format!("{name}\n{}\n", content.len()));
        hash.update(content);
    }
    Ok(hex(&hash.finalize()))
}

fn collect_files(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let context = || format!("cannot list {}", dir.display());
    for entry in fs::read_dir(dir).with_context(context)? {
        let path = entry.with_context(context)?.path();
        if path.is_dir() {
            collect_files(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// Fails when the committed PTX was built from other sources than those in the tree.
pub fn check_sources(target: &Target) -> Result<()> {
    let file = target.committed_file();
    let shown = workspace::shown(&file);
    let ptx = fs::read_to_string(&file)
        .with_context(|| format!("cannot read {shown}; `cargo xtask build-ptx` writes it"))?;
    let header = Header::parse(&ptx).with_context(|| format!("{shown} is not usable"))?;
    let found = sources_sha256()?;
    anyhow::ensure!(
        header.sources_sha256 == found,
        "{shown} is stale: it was built from sources with SHA-256 {}, and those in kernel-crate have {found}. \
         Run `cargo xtask setup`, then `cargo xtask build-ptx`, and commit what it writes with the sources.",
        header.sources_sha256,
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::compile::BLACKWELL;
    use super::*;

    #[test]
    fn committed_ptx_was_built_from_the_sources_in_the_tree() -> Result<()> {
        check_sources(&BLACKWELL)
    }

    #[test]
    fn a_header_reads_back() -> Result<()> {
        let header = Header {
            version: Version {
                rustc: "rustc 1.96.0 (ac68faa20 2026-05-25), LLVM 22.1.8".to_owned(),
                llvm_tools: "LLVM 22.1.8".to_owned(),
            },
            flags: Flags::new(&BLACKWELL),
            sources_sha256: "00ff".to_owned(),
        };
        let ptx = format!("{}\n.version 8.8\n", header.text(&BLACKWELL));
        assert_eq!(Header::parse(&ptx)?, header);
        assert!(Header::parse(".version 8.8\n").is_err());
        Ok(())
    }

    #[test]
    fn the_hash_depends_on_names_and_contents_only() -> Result<()> {
        let dir = std::env::temp_dir().join(format!("xtask-hash-{}", std::process::id()));
        fs::create_dir_all(&dir)?;
        let (a, b) = (dir.join("a.rs"), dir.join("b.rs"));
        fs::write(&a, "x")?;
        fs::write(&b, "")?;
        let forward = hash_files(&dir, vec![a.clone(), b.clone()])?;
        assert_eq!(forward, hash_files(&dir, vec![b.clone(), a.clone()])?);
        fs::write(&a, "")?;
        fs::write(&b, "x")?;
        assert_ne!(forward, hash_files(&dir, vec![a, b])?);
        fs::remove_dir_all(&dir)?;
        Ok(())
    }
}
