//! `cargo xtask setup`: NVIDIA's assembler and disassembler, without a CUDA installation.
//!
//! Both come from NVIDIA's own PyPI wheels, at pinned versions and checksums. Compilers are not
//! fetched: they come from the system's package manager or from rustup, and `setup` says which one
//! the build will take or how to get one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use xshell::{Shell, cmd};

use crate::build_ptx::toolchain;
use crate::workspace;

#[derive(clap::Args)]
pub struct Arguments {
    /// Where no compiler is found, install Debian's with apt-get (needs root)
    #[arg(long)]
    install: bool,
}

/// One of NVIDIA's packages on PyPI, pinned.
pub struct Wheel {
    pub package: &'static str,
    pub version: &'static str,
    /// The Linux that the wheel is for, as pip says it, without the architecture.
    pub platform: &'static str,
    /// SHA-256 of the wheel, by the architecture of the machine that it is for.
    pub sha256: &'static [(&'static str, &'static str)],
}

/// One of NVIDIA's tools.
pub struct CudaTool {
    binary: &'static str,
    pub wheel: Wheel,
}

/// The judge of the PTX. The oldest release that knows sm_103f, and so the one whose verdict covers
/// the most drivers.
pub const PTXAS: CudaTool = CudaTool {
    binary: "ptxas",
    wheel: Wheel {
        package: "nvidia-cuda-nvcc",
        version: "13.0.88",
        platform: "manylinux2014",
        sha256: &[
            (
                "x86_64",
                "56fe502eb77625a12f25172caa3cdddb4e4c8ba2c8c17dba44b164761b380f03",
            ),
            (
                "aarch64",
                "c7ff28f86a24effdc6c034fa15230c549a273e4771b10a7fec14996f8cf3307f",
            ),
        ],
    },
};

/// PyPI has no nvdisasm older than 13.2; newer ones read ptxas 13.0's cubins.
pub const NVDISASM: CudaTool = CudaTool {
    binary: "nvdisasm",
    wheel: Wheel {
        package: "nvidia-cuda-nvdisasm",
        version: "13.5.37",
        platform: "manylinux2014",
        sha256: &[
            (
                "x86_64",
                "d3fdbdd49fa53e2e4aacd3db8259d052bd2b049ececdcb69e92e083c6728e7ca",
            ),
            (
                "aarch64",
                "a3a8248074edb9fba63b74c38a5416b712a91ab09e70b8ab37186c3d293fc605",
            ),
        ],
    },
};

impl CudaTool {
    fn path(&self) -> PathBuf {
        workspace::target_dir()
            .join("cuda-tools")
            .join(format!("{}-{}", self.binary, self.wheel.version))
    }

    /// The tool's path, if `setup` has fetched it.
    pub fn installed(&self) -> Result<PathBuf> {
        let path = self.path();
        ensure!(
            path.exists(),
            "{} {} is needed and {} does not exist; run `cargo xtask setup`",
            self.binary,
            self.wheel.version,
            workspace::shown(&path),
        );
        Ok(path)
    }

    fn install(&self, sh: &Shell) -> Result<PathBuf> {
        let path = self.path();
        if !path.exists() {
            let member = format!("bin/{}", self.binary);
            self.wheel.extract(sh, &[(&member, path.clone())])?;
        }
        Ok(path)
    }
}

impl Wheel {
    /// Puts files of the wheel's library folder into `dir`.
    pub fn install(&self, sh: &Shell, files: &[&str], dir: &Path) -> Result<()> {
        let members: Vec<_> = files.iter().map(|file| format!("lib/{file}")).collect();
        let wanted: Vec<_> = members
            .iter()
            .zip(files)
            .map(|(member, file)| (member.as_str(), dir.join(file)))
            .collect();
        match wanted.iter().all(|(_, path)| path.exists()) {
            true => Ok(()),
            false => self.extract(sh, &wanted),
        }
    }

    /// Fetches the wheel and takes files, named by the ends of their paths, out of it.
    fn extract(&self, sh: &Shell, files: &[(&str, PathBuf)]) -> Result<()> {
        let sha256 = self.sha256_here()?;
        let download_dir = workspace::target_dir().join("cuda-tools/download");
        if download_dir.exists() {
            fs::remove_dir_all(&download_dir)
                .with_context(|| format!("cannot clear {}", download_dir.display()))?;
        }
        let wheel = self.download(sh, &download_dir)?;
        check_sha256(&wheel, sha256)?;
        for (member, to) in files {
            extract_member(&wheel, member, to)?;
        }
        fs::remove_dir_all(&download_dir)
            .with_context(|| format!("cannot remove {}", download_dir.display()))
    }

    fn sha256_here(&self) -> Result<&'static str> {
        let arch = std::env::consts::ARCH;
        let known = self.sha256.iter().find(|(known, _)| *known == arch);
        match known {
            Some((_, sha256)) if cfg!(target_os = "linux") => Ok(sha256),
            _ => {
                let known: Vec<_> = self.sha256.iter().map(|(arch, _)| *arch).collect();
                bail!(
                    "{} is pinned for Linux on {}; this is {} on {arch}",
                    self.package,
                    known.join(" and "),
                    std::env::consts::OS,
                )
            }
        }
    }

    fn download(&self, sh: &Shell, into: &Path) -> Result<PathBuf> {
        let platform = format!("{}_{}", self.platform, std::env::consts::ARCH);
        let requirement = format!("{}=={}", self.package, self.version);
        println!("fetching {requirement} from PyPI");
        cmd!(
            sh,
            "python3 -m pip --disable-pip-version-check download --quiet --no-deps --only-binary=:all:
             --platform {platform} --dest {into} {requirement}"
        )
        .quiet()
        .run()
        .with_context(|| format!("cannot download {requirement} from PyPI"))?;
        let mut files = fs::read_dir(into)
            .with_context(|| format!("pip left nothing in {}", into.display()))?
            .collect::<io::Result<Vec<_>>>()?;
        match (files.pop(), files.is_empty()) {
            (Some(wheel), true) => Ok(wheel.path()),
            _ => bail!("expected one wheel in {}", into.display()),
        }
    }
}

pub fn check_sha256(file: &Path, expected: &str) -> Result<()> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let found = hex(&Sha256::digest(bytes));
    ensure!(
        found == expected,
        "{} has SHA-256 {found}, but {expected} is pinned: not using it",
        file.display(),
    );
    Ok(())
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Takes the file whose path ends so out of the wheel. It appears under its final name only when
/// complete.
fn extract_member(wheel: &Path, end: &str, to: &Path) -> Result<()> {
    let context = || format!("cannot extract {end} from {}", wheel.display());
    let mut archive =
        zip::ZipArchive::new(fs::File::open(wheel).with_context(context)?).with_context(context)?;
    let suffix = format!("/{end}");
    let member = archive
        .file_names()
        .find(|name| name.ends_with(&suffix))
        .map(str::to_owned)
        .with_context(|| format!("{} holds no file *{suffix}", wheel.display()))?;
    let mut reader = archive.by_name(&member).with_context(context)?;
    let partial = to.with_added_extension("partial");
    let mut file = fs::File::create(&partial).with_context(context)?;
    io::copy(&mut reader, &mut file).with_context(context)?;
    make_executable(&file).with_context(context)?;
    drop(file);
    fs::rename(&partial, to).with_context(context)
}

#[cfg(unix)]
fn make_executable(file: &fs::File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn make_executable(_: &fs::File) -> io::Result<()> {
    Ok(())
}

pub fn run(arguments: Arguments) -> Result<()> {
    let sh = Shell::new()?;
    let tools = [PTXAS, NVDISASM];
    if tools.iter().any(|tool| tool.installed().is_err()) {
        require_pip(&sh)?;
    }
    for tool in &tools {
        let path = tool.install(&sh)?;
        println!(
            "{:9} {:8} {}",
            tool.binary,
            tool.wheel.version,
            workspace::shown(&path)
        );
    }
    report_compiler(&sh, arguments.install)
}

pub fn require_pip(sh: &Shell) -> Result<()> {
    let pip = cmd!(sh, "python3 -m pip --version")
        .quiet()
        .ignore_stderr()
        .read();
    ensure!(
        pip.is_ok(),
        "NVIDIA's tools are fetched with `python3 -m pip`, which does not run here; \
         install it (Debian: apt-get install python3-pip) and try again",
    );
    Ok(())
}

fn report_compiler(sh: &Shell, install: bool) -> Result<()> {
    let mut search = toolchain::search(None, None);
    if search.found.is_none() && install {
        install_debian_compiler(sh)?;
        search = toolchain::search(None, None);
    }
    search.print();
    if search.found.is_none() {
        println!("\n{}", toolchain::INSTALL_HELP);
        ensure!(!install, "no usable compiler after the installation");
    }
    Ok(())
}

fn install_debian_compiler(sh: &Shell) -> Result<()> {
    let uid = cmd!(sh, "id -u").quiet().read()?;
    let has_apt = cmd!(sh, "apt-get --version")
        .quiet()
        .ignore_stdout()
        .run()
        .is_ok();
    ensure!(
        has_apt && uid == "0",
        "--install needs root on a machine with apt-get.\n{}",
        toolchain::INSTALL_HELP,
    );
    cmd!(sh, "apt-get update --quiet").run()?;
    let packages = toolchain::DEBIAN_PACKAGES;
    cmd!(
        sh,
        "apt-get install --quiet --yes --no-install-recommends {packages...}"
    )
    .env("DEBIAN_FRONTEND", "noninteractive")
    .run()
    .context("apt-get could not install the compiler")
}
