//! Finding a rustc with its library source, and `opt` and `llc` of the same LLVM.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// The setting that names a compiler, besides `--compiler`.
pub const COMPILER_VARIABLE: &str = "NVFP4_KERNEL_RUSTC";

/// The oldest LLVM that this build is known to work with; sm_100f itself came with LLVM 21.
const MIN_LLVM_MAJOR: u32 = 22;

pub const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "rust-web-src", "llvm-22"];

pub const INSTALL_HELP: &str = "\
No compiler here can build the kernels. Install one of these:
  Debian:  apt-get install rustc-web rust-web-src llvm-22
  rustup:  rustup toolchain install nightly --component rust-src --component llvm-tools
or name a rustc that has its library source with --compiler PATH or NVFP4_KERNEL_RUSTC=PATH.";

/// A compiler that can build the kernels.
#[derive(Debug)]
pub struct Toolchain {
    pub rustc: PathBuf,
    pub cargo: PathBuf,
    pub opt: PathBuf,
    pub llc: PathBuf,
    pub version: Version,
}

/// What determines the PTX text besides sources and flags; recorded in the PTX.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// `rustc 1.96.0 (ac68faa20 2026-05-25), LLVM 22.1.8`
    pub rustc: String,
    /// `LLVM 22.1.8`
    pub llvm_tools: String,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}; opt and llc of {}", self.rustc, self.llvm_tools)
    }
}

/// One place that was looked at and why it was passed over.
pub struct Skipped {
    origin: String,
    reason: String,
}

pub struct Search {
    pub skipped: Vec<Skipped>,
    pub found: Option<(String, Toolchain)>,
}

impl Search {
    pub fn print(&self) {
        for Skipped { origin, reason } in &self.skipped {
            println!("passed over {origin}: {reason}");
        }
        if let Some((origin, toolchain)) = &self.found {
            println!(
                "compiler  {}: {} ({})",
                origin,
                toolchain.version,
                toolchain.rustc.display()
            );
        }
    }
}

/// The first usable compiler: the explicit one, else a rustup nightly, else one on `PATH` or in
/// `/usr/bin`. A usable one of the `preferred` version goes before all others.
///
/// An explicit setting is binding: where it does not work, nothing else is tried.
pub fn search(explicit: Option<&Path>, preferred: Option<&Version>) -> Search {
    let mut search = Search {
        skipped: Vec::new(),
        found: None,
    };
    for (origin, rustc) in candidates(explicit, &mut search.skipped) {
        match probe(&rustc) {
            Ok(toolchain) if preferred.is_some_and(|version| *version == toolchain.version) => {
                let earlier = search.found.replace((origin, toolchain));
                search
                    .skipped
                    .extend(earlier.map(|(origin, other)| Skipped {
                        origin,
                        reason: format!("{} is not the compiler wanted here", other.version.rustc),
                    }));
                break;
            }
            Ok(toolchain) => {
                search.found.get_or_insert((origin, toolchain));
                if preferred.is_none() {
                    break;
                }
            }
            Err(reason) => search.skipped.push(Skipped {
                origin,
                reason: format!("{reason:#}"),
            }),
        }
    }
    search
}

/// As [`search`], printing the way to it; without any compiler an error that says how to get one.
pub fn find(explicit: Option<&Path>, preferred: Option<&Version>) -> Result<Toolchain> {
    let search = search(explicit, preferred);
    search.print();
    match search.found {
        Some((_, toolchain)) => Ok(toolchain),
        None => bail!(INSTALL_HELP),
    }
}

fn candidates(explicit: Option<&Path>, skipped: &mut Vec<Skipped>) -> Vec<(String, PathBuf)> {
    if let Some(rustc) = explicit {
        return vec![("--compiler".to_owned(), rustc.to_owned())];
    }
    if let Some(rustc) = std::env::var_os(COMPILER_VARIABLE) {
        return vec![(COMPILER_VARIABLE.to_owned(), rustc.into())];
    }
    let mut candidates = Vec::new();
    let nightlies = rustup_nightlies();
    if nightlies.is_empty() {
        skipped.push(Skipped {
            origin: "rustup".to_owned(),
            reason: "no nightly toolchain".to_owned(),
        });
    }
    for name in nightlies {
        match capture("rustup", &["which", "--toolchain", &name, "rustc"]) {
            Ok(path) => candidates.push((format!("rustup {name}"), path.trim().into())),
            Err(error) => skipped.push(Skipped {
                origin: format!("rustup {name}"),
                reason: format!("{error:#}"),
            }),
        }
    }
    let mut system: Vec<PathBuf> = Vec::new();
    let path = std::env::var_os("PATH").unwrap_or_default();
    for dir in std::env::split_paths(&path).chain(["/usr/bin".into()]) {
        let rustc = dir.join("rustc");
        // A merged /usr shows the same file under /bin too.
        let same = |seen: &PathBuf| seen.canonicalize().ok() == rustc.canonicalize().ok();
        if rustc.is_file() && !system.iter().any(same) {
            system.push(rustc);
        }
    }
    candidates.extend(
        system
            .into_iter()
            .map(|rustc| (format!("system {}", rustc.display()), rustc)),
    );
    candidates
}

fn rustup_nightlies() -> Vec<String> {
    let list = capture("rustup", &["toolchain", "list"]).unwrap_or_default();
    list.lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| name.starts_with("nightly"))
        .map(str::to_owned)
        .collect()
}

fn probe(rustc: &Path) -> Result<Toolchain> {
    let verbose = capture(rustc, &["-vV"])?;
    let description = RustcDescription::parse(&verbose)?;
    let sysroot = PathBuf::from(capture(rustc, &["--print", "sysroot"])?.trim());
    let library = sysroot.join("lib/rustlib/src/rust/library");
    ensure!(
        library.join("core/Cargo.toml").is_file(),
        "{} has no library source (rustup: component rust-src; Debian: package rust-web-src)",
        description.release_line,
    );
    let major = major(&description.llvm)?;
    ensure!(
        major >= MIN_LLVM_MAJOR,
        "{} has LLVM {}, older than {MIN_LLVM_MAJOR}",
        description.release_line,
        description.llvm,
    );
    let (opt, llc, llvm_tools) = llvm_tools(&sysroot, &description.host, major)?;
    Ok(Toolchain {
        rustc: own_rustc(&sysroot, rustc),
        cargo: own_cargo(&sysroot),
        opt,
        llc,
        version: Version {
            rustc: format!("{}, LLVM {}", description.release_line, description.llvm),
            llvm_tools: format!("LLVM {llvm_tools}"),
        },
    })
}

/// The compiler itself where `rustc` is rustup's proxy.
fn own_rustc(sysroot: &Path, rustc: &Path) -> PathBuf {
    let own = sysroot.join("bin/rustc");
    if own.is_file() { own } else { rustc.to_owned() }
}

/// A rustup toolchain's own cargo; else the one that runs this program, as a distribution's is
/// often too old for a new library source.
fn own_cargo(sysroot: &Path) -> PathBuf {
    let own = sysroot.join("bin/cargo");
    if sysroot.starts_with("/usr") || !own.is_file() {
        return std::env::var_os("CARGO").unwrap_or("cargo".into()).into();
    }
    own
}

struct RustcDescription {
    /// `rustc 1.96.0 (ac68faa20 2026-05-25)`, without what a distribution adds.
    release_line: String,
    host: String,
    llvm: String,
}

impl RustcDescription {
    fn parse(verbose: &str) -> Result<Self> {
        let field = |key: &str| {
            verbose
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
                .map(str::to_owned)
                .with_context(|| format!("`rustc -vV` does not tell its {key}"))
        };
        let first = verbose.lines().next().unwrap_or_default();
        let release_line = match first.find(')') {
            Some(end) => &first[..=end],
            None => first,
        };
        Ok(Self {
            release_line: release_line.to_owned(),
            host: field("host")?,
            llvm: field("LLVM version")?,
        })
    }
}

fn major(version: &str) -> Result<u32> {
    let digits = version.split('.').next().unwrap_or_default();
    digits
        .parse()
        .with_context(|| format!("`{version}` is no version number"))
}

/// `opt` and `llc` of LLVM `major`, and their version.
fn llvm_tools(sysroot: &Path, host: &str, major: u32) -> Result<(PathBuf, PathBuf, String)> {
    let rustup_dir = sysroot.join("lib/rustlib").join(host).join("bin");
    let debian_dir = PathBuf::from(format!("/usr/lib/llvm-{major}/bin"));
    let candidates = [
        (rustup_dir.join("opt"), rustup_dir.join("llc")),
        (debian_dir.join("opt"), debian_dir.join("llc")),
        (format!("opt-{major}").into(), format!("llc-{major}").into()),
        ("opt".into(), "llc".into()),
    ];
    for (opt, llc) in candidates {
        let (Ok(opt_version), Ok(llc_version)) = (llvm_version(&opt), llvm_version(&llc)) else {
            continue;
        };
        if opt_version == llc_version && self::major(&opt_version)? == major {
            return Ok((opt, llc, opt_version));
        }
    }
    bail!(
        "it is built on LLVM {major}, and no `opt` and `llc` of LLVM {major} are installed \
         (rustup: component llvm-tools; Debian: package llvm-{major})"
    )
}

fn llvm_version(tool: &Path) -> Result<String> {
    let text = capture(tool, &["--version"])?;
    text.lines()
        .find_map(|line| line.trim().split_once("LLVM version "))
        .map(|(_, version)| version.trim().to_owned())
        .with_context(|| format!("{} does not tell its LLVM version", tool.display()))
}

fn capture(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Result<String> {
    let program = program.as_ref();
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    ensure!(
        output.status.success(),
        "{} {} failed: {}",
        program.display(),
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim(),
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_line_drops_what_a_distribution_adds() -> Result<()> {
        let text = "rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)\n\
                    binary: rustc\nhost: x86_64-unknown-linux-gnu\nLLVM version: 22.1.8\n";
        let description = RustcDescription::parse(text)?;
        assert_eq!(
            description.release_line,
            "rustc 1.96.0 (ac68faa20 2026-05-25)"
        );
        assert_eq!(description.host, "x86_64-unknown-linux-gnu");
        assert_eq!(major(&description.llvm)?, 22);
        Ok(())
    }

    #[test]
    fn a_rustc_without_llvm_version_is_refused() {
        assert!(RustcDescription::parse("rustc 1.0.0\nhost: x\n").is_err());
    }

    #[test]
    fn an_explicit_compiler_that_does_not_run_is_not_replaced() {
        let search = search(Some(Path::new("/nonexistent/rustc")), None);
        assert!(search.found.is_none());
        assert_eq!(search.skipped.len(), 1);
    }
}
