//! Runs the conformance cases on a GPU and keeps what it computes, or compares with what was kept.
//!
//! ```text
//! conform record DIR     on a real Hopper GPU: writes DIR/golden.txt and DIR/words.bin
//! conform emulate DIR    on the emulated one: the same
//! conform compare DIR    runs the emulator and says where it differs from what DIR holds
//! ```
//!
//! Cases run in a child process: one that fails or hangs ends its child, is named, and the next child goes on
//! behind it. What a case computed is written at once. On a GPU, three failures in a row skip the rest of a family of
//! cases (the first three words of their names), and nine of a kind of which none ran the rest of it (the first word).

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use nvfp4_dual_gemm::cust::{self, CudaFlags};
use nvfp4_dual_gemm::driver::{self, DriverChoice};
use nvfp4_dual_gemm_tests::conformance::{Case, PTX, Runner, cases, hash};

type Failure = Box<dyn std::error::Error>;

/// How long a case may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a child may take to load the kernels.
const LOADING: Duration = Duration::from_secs(60);

/// Failures in a row that skip the rest of a family; its square skips a kind.
const FAILURES: usize = 3;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    /// Cases whose names contain this, instead of all
    #[arg(long, global = true, default_value = "")]
    only: String,
    /// Seconds after which no further case runs
    #[arg(long, global = true, default_value_t = 100)]
    limit: u64,
}

#[derive(Subcommand)]
enum Verb {
    /// Run every case on a Hopper GPU and keep what it computes
    Record { folder: PathBuf },
    /// Run every case on the emulated GPU and keep what it computes
    Emulate { folder: PathBuf },
    /// Run every case on the emulated GPU and compare it with what the folder holds
    Compare { folder: PathBuf },
    /// Run the cases from this one on, as a child of the above
    #[command(hide = true)]
    Child {
        folder: PathBuf,
        from: usize,
        #[arg(long)]
        emulator: bool,
    },
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let only = &arguments.only;
    match &arguments.verb {
        Verb::Record { folder } => record(folder, only, arguments.limit, false),
        Verb::Emulate { folder } => record(folder, only, arguments.limit, true),
        Verb::Compare { folder } => compare(folder, only),
        Verb::Child {
            folder,
            from,
            emulator,
        } => child(folder, *from, only, *emulator),
    }
}

fn chosen(only: &str) -> Vec<Case> {
    let mut cases = cases();
    cases.retain(|case| case.name.contains(only));
    cases
}

/// The device's ordinal.
fn open(emulator: bool) -> Result<u32, Failure> {
    let choice = match emulator {
        true => DriverChoice::Emulator,
        false => DriverChoice::Cuda,
    };
    driver::prefer_emulated_hopper();
    let selected = driver::select_with_fallback(choice, |capability| capability == (9, 0))?;
    cust::init(CudaFlags::empty())?;
    driver::capture_device_reports();
    Ok(selected.device)
}

fn index_file(folder: &Path) -> PathBuf {
    folder.join("index.txt")
}

fn words_file(folder: &Path) -> PathBuf {
    folder.join("words.bin")
}

/// What became of a case: a line of the index.
enum Entry {
    /// Its bytes in the words file.
    Ran {
        start: usize,
        bytes: usize,
    },
    Failed {
        why: String,
    },
    /// It was not run; the index says why.
    Skipped,
}

fn read_index(folder: &Path) -> Result<Vec<(String, Entry)>, Failure> {
    let text = fs::read_to_string(index_file(folder))?;
    text.lines()
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            match fields[..] {
                [name, "ran", start, bytes] => {
                    let (start, bytes) = (start.parse()?, bytes.parse()?);
                    Ok((name.to_owned(), Entry::Ran { start, bytes }))
                }
                [name, "failed", why] => {
                    let why = why.to_owned();
                    Ok((name.to_owned(), Entry::Failed { why }))
                }
                [name, "skipped", _] => Ok((name.to_owned(), Entry::Skipped)),
                _ => {
                    Err(format!("{}: not understood: {line}", index_file(folder).display()).into())
                }
            }
        })
        .collect()
}

/// Appends to the index and the words.
struct Keeper {
    index: File,
    words: File,
}

impl Keeper {
    fn open(folder: &Path) -> Result<Self, Failure> {
        let append = |file: PathBuf| OpenOptions::new().create(true).append(true).open(file);
        Ok(Self {
            index: append(index_file(folder))?,
            words: append(words_file(folder))?,
        })
    }

    fn keep(&mut self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        let start = self.words.metadata()?.len();
        self.words.write_all(bytes)?;
        self.line(name, "ran", &format!("{start}\t{}", bytes.len()))
    }

    fn fail(&mut self, name: &str, why: &str) -> Result<(), Failure> {
        self.line(name, "failed", &why.replace(['\t', '\n'], " "))
    }

    fn skip(&mut self, name: &str, why: &str) -> Result<(), Failure> {
        self.line(name, "skipped", why)
    }

    fn line(&mut self, name: &str, status: &str, rest: &str) -> Result<(), Failure> {
        Ok(self
            .index
            .write_all(format!("{name}\t{status}\t{rest}\n").as_bytes())?)
    }
}

fn child(folder: &Path, from: usize, only: &str, emulator: bool) -> Result<(), Failure> {
    let ordinal = open(emulator)?;
    let runner = Runner::new(ordinal, PTX)?;
    let mut keeper = Keeper::open(folder)?;
    for case in chosen(only).iter().skip(from) {
        match runner.run(case) {
            Ok(bytes) => keeper.keep(&case.name, &bytes)?,
            Err(error) => {
                keeper.fail(&case.name, &error.to_string())?;
                // The context may be of no further use.
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Why a case is not worth running after those of the index: the latest of its family failed, or all of its kind.
fn hopeless(index: &[(String, Entry)], next: &str) -> Option<String> {
    let failures = |what: &str, words: usize, enough: usize| {
        let alike = |name: &str| {
            let first = |name| str::split_whitespace(name).take(words);
            first(name).eq(first(next))
        };
        // The latest cases first, up to one that ran.
        let mut why = index
            .iter()
            .rev()
            .filter(|(name, _)| alike(name))
            .map_while(|(_, entry)| match entry {
                Entry::Ran { .. } => None,
                Entry::Failed { why } => Some(Some(why)),
                Entry::Skipped => Some(None),
            })
            .flatten();
        let latest = why.next()?;
        (why.count() + 1 >= enough).then(|| format!("{what} failed: {latest}"))
    };
    let ran = |kind: &str| {
        let of_kind = |name: &str| name.split_whitespace().next() == Some(kind);
        index
            .iter()
            .any(|(name, entry)| of_kind(name) && matches!(entry, Entry::Ran { .. }))
    };
    let kind = next.split_whitespace().next()?;
    failures("its family", 3, FAILURES).or_else(|| match ran(kind) {
        true => None,
        false => failures("all of its kind", 1, FAILURES * FAILURES),
    })
}

/// Skips what need not be tried, and says how many cases are in the index.
fn skip(
    folder: &Path,
    cases: &[Case],
    late: Option<u64>,
    emulator: bool,
) -> Result<usize, Failure> {
    let mut index = read_index(folder)?;
    let mut keeper = Keeper::open(folder)?;
    while let Some(case) = cases.get(index.len()) {
        let why = match late {
            Some(limit) => Some(format!("the limit of {limit} s was reached")),
            // The emulator refuses by name what it has not, and starts at once.
            None if emulator => None,
            None => hopeless(&index, &case.name),
        };
        let Some(why) = why else {
            break;
        };
        keeper.skip(&case.name, &why)?;
        index.push((case.name.clone(), Entry::Skipped));
    }
    Ok(index.len())
}

fn record(folder: &Path, only: &str, limit: u64, emulator: bool) -> Result<(), Failure> {
    fs::create_dir_all(folder)?;
    for file in [index_file(folder), words_file(folder)] {
        File::create(file)?;
    }
    let cases = chosen(only);
    let started = Instant::now();
    let end = started + Duration::from_secs(limit);
    // Before any case, so that the record says where it comes from however it ends.
    write_golden(folder, emulator)?;
    loop {
        let late = (Instant::now() >= end).then_some(limit);
        let done = skip(folder, &cases, late, emulator)?;
        if done == cases.len() {
            break;
        }
        let stop = run_child(folder, done, only, end, emulator)?;
        let reached = read_index(folder)?.len();
        let why = match stop {
            Stop::Done if reached > done => continue,
            Stop::Late => continue,
            Stop::Done => "the child ended without a word".to_owned(),
            Stop::Failed(why) => why,
        };
        if let Some(case) = cases.get(reached) {
            Keeper::open(folder)?.fail(&case.name, &why)?;
        }
    }
    write_golden(folder, emulator)?;
    summarise(folder)?;
    println!("{:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// How a child ended.
enum Stop {
    /// By itself.
    Done,
    /// It was ended because the time for all cases is over.
    Late,
    Failed(String),
}

/// Runs cases until the child ends, or has to be ended.
fn run_child(
    folder: &Path,
    from: usize,
    only: &str,
    end: Instant,
    emulator: bool,
) -> Result<Stop, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("child")
        .arg(folder)
        .arg(from.to_string())
        .args(["--only", only]);
    if emulator {
        command.arg("--emulator");
    }
    let mut child = command.spawn()?;
    let length = || fs::metadata(index_file(folder)).map_or(0, |data| data.len());
    let (mut seen, mut since, mut patience) = (length(), Instant::now(), LOADING);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(match status.success() {
                true => Stop::Done,
                false => Stop::Failed(format!("the child ended: {status}")),
            });
        }
        if length() != seen {
            (seen, since, patience) = (length(), Instant::now(), PATIENCE);
        }
        let late = Instant::now() >= end;
        if late || since.elapsed() > patience {
            child.kill()?;
            child.wait()?;
            return Ok(match late {
                true => Stop::Late,
                false => Stop::Failed(format!("no end after {} s", patience.as_secs())),
            });
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The folder's words by case.
fn read_words(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    let words = fs::read(words_file(folder))?;
    let mut by_name = BTreeMap::new();
    for (name, entry) in read_index(folder)? {
        if let Entry::Ran { start, bytes } = entry {
            let content = words
                .get(start..start + bytes)
                .ok_or("words.bin is too short")?;
            by_name.insert(name, content.to_vec());
        }
    }
    Ok(by_name)
}

/// A line a case, below what they ran on: the hash of its output, or why it failed.
fn write_golden(folder: &Path, emulator: bool) -> Result<(), Failure> {
    let ordinal = open(emulator)?;
    let name = cust::device::Device::get_device(ordinal)?.name()?;
    let (major, minor) = driver::info()?.version;
    let mut text = format!(
        "# {name}, driver {} (API {major}.{minor}), {}. Case, FNV-1a of its output or its error (tests/examples/conform.rs).\n",
        kernel_driver(emulator),
        today()?,
    );
    let words = read_words(folder)?;
    let mut lines = BTreeMap::new();
    for (name, entry) in read_index(folder)? {
        let line = match (entry, words.get(&name)) {
            (Entry::Failed { why }, _) => format!("failed: {why}"),
            (_, Some(bytes)) => format!("{:016x}", hash(bytes)),
            _ => continue,
        };
        lines.insert(name, line);
    }
    for (name, line) in lines {
        text.push_str(&format!("{name}\t{line}\n"));
    }
    fs::write(folder.join("golden.txt"), text)?;
    Ok(())
}

fn summarise(folder: &Path) -> Result<(), Failure> {
    let (mut ran, mut failed, mut skipped) = (0, 0, 0);
    for (name, entry) in read_index(folder)? {
        match entry {
            Entry::Ran { .. } => ran += 1,
            Entry::Failed { why } => {
                failed += 1;
                println!("FAILED {name}: {why}");
            }
            Entry::Skipped => skipped += 1,
        }
    }
    println!("{ran} cases ran, {failed} failed, {skipped} were skipped (see index.txt)");
    Ok(())
}

/// The version of the driver in the kernel, as Linux tells it.
fn kernel_driver(emulator: bool) -> String {
    let version = fs::read_to_string("/proc/driver/nvidia/version").unwrap_or_default();
    let number = version
        .split_whitespace()
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.'));
    match number {
        Some(number) if !emulator => number.to_owned(),
        _ => "unknown".to_owned(),
    }
}

/// The date, as year, month and day.
fn today() -> Result<String, Failure> {
    let output = Command::new("date").args(["-u", "+%F"]).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn compare(folder: &Path, only: &str) -> Result<(), Failure> {
    let words = read_words(folder)?;
    let index: BTreeMap<String, Entry> = read_index(folder)?.into_iter().collect();
    let ordinal = open(true)?;
    let (mut equal, mut different) = (0, 0);
    for case in chosen(only) {
        let name = &case.name;
        let failed = match index.get(name) {
            Some(Entry::Failed { why }) => Some(why.as_str()),
            Some(Entry::Ran { .. }) => None,
            Some(Entry::Skipped) | None => {
                println!("{name}: not in the folder");
                continue;
            }
        };
        match (Runner::new(ordinal, PTX)?.run(&case), words.get(name)) {
            (Err(error), None) if failed == error.to_string().lines().next() => equal += 1,
            (Ok(found), Some(expected)) if found == *expected => equal += 1,
            (Ok(found), Some(expected)) => {
                different += 1;
                print_difference(name, expected, &found);
            }
            (Ok(_), None) => {
                different += 1;
                println!("{name}: the GPU failed: {}", failed.unwrap_or_default());
            }
            (Err(error), _) => {
                different += 1;
                println!("{name}: {error}");
            }
        }
    }
    println!("{equal} cases are equal, {different} are not");
    Ok(())
}

/// The first words that differ.
fn print_difference(name: &str, expected: &[u8], found: &[u8]) {
    let words = |bytes: &[u8]| -> Vec<u32> {
        bytes
            .as_chunks()
            .0
            .iter()
            .map(|word| u32::from_le_bytes(*word))
            .collect()
    };
    let (expected, found) = (words(expected), words(found));
    let places: Vec<usize> = (0..expected.len())
        .filter(|i| expected[*i] != found[*i])
        .collect();
    println!(
        "{name}: {} of {} words differ",
        places.len(),
        expected.len()
    );
    for i in places.into_iter().take(6) {
        println!(
            "    word {i}: GPU {:08x}, emulator {:08x}",
            expected[i], found[i]
        );
    }
}
