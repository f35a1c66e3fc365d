//! `bench`: how long shapes take, next to what the device could do.

mod answers;
mod comparison;
mod peers;
mod plot;
mod provenance;
mod report;
mod table;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use cust::device::{Device, DeviceAttribute};
use nvfp4_dual_gemm::InputKind;
use nvfp4_dual_gemm::bench::baseline::{Baseline, EmptyLaunch};
use nvfp4_dual_gemm::bench::ceilings::{Arithmetic, Ceilings};
use nvfp4_dual_gemm::bench::timing::Submission;
use nvfp4_dual_gemm::bench::{self, BenchError, Case, Settings, shapes};
use nvfp4_dual_gemm::driver::{api, prefer_fast_emulation};
use nvfp4_dual_gemm::plan::{Shape, Tile};

use super::device::{self, Opened};
use super::progress::Bar;
use super::{exit_code, parse_inputs};
use answers::About;
use peers::{Against, Peers, PeersError, Timing};
use plot::Plot;
use provenance::Provenance;
use report::Row;
use table::Table;

pub const EXAMPLES: &str = "\
Examples:
  nvfp4-dual-gemm bench --shapes decode
  nvfp4-dual-gemm bench --shapes decode --against all --csv decode.csv --plot decode.svg
  nvfp4-dual-gemm bench --m 16 --n 4096 --k 7168 --tile 16:1 --tile 16:2
  nvfp4-dual-gemm bench --m 16 --n 64 --k 256 --dry-run

Exit status: 0 if all results are right, 1 if one is wrong, 2 on an error.";

#[derive(Args)]
pub struct BenchArgs {
    /// Which shapes: contest, decode, prefill, or a file of lines M N K [L]
    #[arg(long, value_name = "SET|FILE", default_value = "contest", conflicts_with_all = ["m", "n", "k", "l"], help_heading = "Shapes")]
    shapes: String,
    /// Rows of A and C, instead of a set of shapes
    #[arg(long, requires_all = ["n", "k"], help_heading = "Shapes")]
    m: Option<usize>,
    /// Rows of B1 and B2, columns of C
    #[arg(long, requires_all = ["m", "k"], help_heading = "Shapes")]
    n: Option<usize>,
    /// Columns of A, B1 and B2
    #[arg(long, requires_all = ["m", "n"], help_heading = "Shapes")]
    k: Option<usize>,
    /// Number of dual GEMMs in the batch
    #[arg(long, requires_all = ["m", "n", "k"], help_heading = "Shapes")]
    l: Option<usize>,
    /// Tile instead of the plan's: on Hopper tokens:split_k for decode or prefill:tokens, on Blackwell
    /// columns; may be repeated
    #[arg(long, value_parser = parse_tile, help_heading = "Shapes")]
    tile: Vec<Tile>,
    /// How inputs are drawn: contest, full or normal
    #[arg(long, default_value = "contest", value_parser = parse_inputs, help_heading = "Shapes")]
    inputs: InputKind,
    /// Seed of the random inputs
    #[arg(long, default_value_t = 0, help_heading = "Shapes")]
    seed: u64,
    /// Sets of operands used in turn [default: enough that what their calls read and write fills the L2
    /// cache four times, at least 4 and at most 32]
    #[arg(long, value_parser = at_least_one, help_heading = "Timing")]
    sets: Option<usize>,
    /// Launches timed in replay mode; a quarter as many graphs of many calls
    #[arg(long, default_value_t = 100, value_parser = at_least_one, help_heading = "Timing")]
    replays: usize,
    /// How often a graph of many calls goes through all sets
    #[arg(long, default_value_t = 8, value_parser = at_least_one, help_heading = "Timing")]
    rounds: usize,
    /// Milliseconds of work before each mode is timed
    #[arg(
        long,
        value_name = "MS",
        default_value_t = 50.0,
        help_heading = "Timing"
    )]
    warm_up: f64,
    /// Time these too, on the same card; needs python3 with PyTorch and Triton
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "PEERS",
        help_heading = "Timing"
    )]
    against: Vec<Against>,
    /// Do not compare any output with the reference; the output says so
    #[arg(long, help_heading = "Timing")]
    no_check: bool,
    /// Go through every step once, on any device, at shapes that it can take; times mean nothing
    #[arg(long, help_heading = "Timing")]
    dry_run: bool,
    /// File with another build of the kernels
    #[arg(long, value_name = "FILE")]
    ptx: Option<PathBuf>,
    /// Print JSON, one object a line
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Write a line for each shape and implementation
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    csv: Option<PathBuf>,
    /// Draw time against M, with the floors of bytes and arithmetic, as SVG
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    plot: Option<PathBuf>,
}

/// Bytes that the memory's rates are measured with.
const MEMORY_BYTES: usize = 2 << 30;
/// Rows, columns and K of the product that the arithmetic ceiling is measured with.
const ARITHMETIC_SIZE: usize = 8192;

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it must be at least 1".to_owned()),
        Ok(count) => Ok(count),
        Err(error) => Err(format!("{error}")),
    }
}

/// `tokens:split_k`, `prefill:tokens` or `columns`.
fn parse_tile(text: &str) -> Result<Tile, String> {
    let number = |text: &str| text.parse::<u32>();
    let tile = match text.split_once(':') {
        Some(("prefill", tokens)) => number(tokens).map(|tokens| Tile::Prefill { tokens }),
        Some((tokens, split_k)) => number(tokens)
            .and_then(|tokens| number(split_k).map(|split_k| Tile::Decode { tokens, split_k })),
        None => number(text).map(Tile::Columns),
    };
    tile.map_err(|_| {
        "a tile is tokens:split_k or prefill:tokens on Hopper, such as 64:2 or prefill:256, or columns on \
         Blackwell, such as 128"
            .to_owned()
    })
}

impl BenchArgs {
    fn shapes(&self) -> anyhow::Result<Vec<Shape>> {
        if let (Some(m), Some(n), Some(k)) = (self.m, self.n, self.k) {
            return Ok(vec![Shape::new(m, n, k, self.l.unwrap_or(1))?]);
        }
        shapes::named(&self.shapes).with_context(|| format!("--shapes {}", self.shapes))
    }

    /// Every shape with every tile.
    fn cases(&self) -> anyhow::Result<Vec<Case>> {
        let tiles: Vec<Option<Tile>> = match self.tile.as_slice() {
            [] => vec![None],
            tiles => tiles.iter().copied().map(Some).collect(),
        };
        let shapes = self.shapes()?;
        let with_tiles = |&shape| tiles.iter().map(move |&tile| Case { shape, tile });
        Ok(shapes.iter().flat_map(with_tiles).collect())
    }

    fn settings(&self, shape: &Shape, l2_bytes: usize, submission: Submission) -> Settings {
        let timed = Settings {
            inputs: self.inputs,
            seed: self.seed,
            sets: self
                .sets
                .unwrap_or_else(|| bench::set_count(shape, l2_bytes)),
            replays: self.replays,
            rounds: self.rounds,
            warm_up_ms: self.warm_up,
            submission,
            check: !self.no_check,
        };
        if !self.dry_run {
            return timed;
        }
        Settings {
            sets: self.sets.unwrap_or(2),
            replays: 1,
            rounds: 1,
            warm_up_ms: 0.0,
            ..timed
        }
    }
}

/// What all measurements of a run have in common.
pub struct Setting<'a> {
    device: &'a Opened,
    provenance: Provenance,
    l2_bytes: usize,
    submission: Submission,
    ceilings: Ceilings,
    empty: EmptyLaunch,
    /// `None` where nothing is compared with.
    peers: Option<About>,
    dry_run: bool,
}

pub fn run(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    let cases = args.cases()?;
    let shapes: Vec<Shape> = cases.iter().map(|case| case.shape).collect();
    let plot = args.plot.as_deref();
    let plot = plot.map(|path| Plot::create(path, &shapes)).transpose()?;
    let mut table = args.csv.as_deref().map(Table::create).transpose()?;
    let device = device::open_with(args.ptx.as_deref())?;
    if device.is_emulated() && !args.dry_run {
        return Err(BenchError::Emulated {
            device: device.name,
        }
        .into());
    }
    if device.is_emulated() && !args.against.is_empty() {
        return Err(PeersError::Emulated {
            device: device.name,
        }
        .into());
    }
    prefer_fast_emulation();
    let mut peers = start_peers(args, &device)?;
    let setting = Setting::measure(&device, args, peers.as_mut())?;
    let mut out = std::io::stdout();
    if args.json {
        writeln!(out, "{}", setting.to_json())?;
    } else {
        write!(out, "{}", setting.heading())?;
        writeln!(out, "{}", report::HEADER)?;
    }
    let mut rows = Vec::new();
    for case in cases {
        let settings = args.settings(&case.shape, setting.l2_bytes, setting.submission);
        let bar = Bar::new(case.shape.to_string());
        let measured = bench::measure(&device.kernels, case, &settings, &bar);
        bar.finish();
        let measured = measured?;
        let peers = match &mut peers {
            Some(peers) => peers.measure(&case.shape, &timing(&settings))?,
            None => Vec::new(),
        };
        let row = Row { measured, peers };
        if args.json {
            writeln!(out, "{}", row.to_json(&setting))?;
        } else {
            writeln!(out, "{}", row.lines(&setting))?;
        }
        out.flush()?;
        if let Some(table) = &mut table {
            table.write(&setting, &row)?;
        }
        rows.push(row);
    }
    if let Some(plot) = plot {
        plot.draw(&setting, &rows)?;
    }
    if !args.json {
        write!(
            out,
            "{}",
            report::footer(&rows, args.no_check, args.dry_run)
        )?;
    }
    Ok(exit_code(rows.iter().all(|row| row.measured.passed())))
}

fn start_peers(args: &BenchArgs, device: &Opened) -> anyhow::Result<Option<Peers>> {
    let names = Against::names(&args.against);
    if names.is_empty() {
        return Ok(None);
    }
    let card = Device::get_device(device.selected.device)?;
    Ok(Some(Peers::start(names, api::uuid(card)?)?))
}

fn timing(settings: &Settings) -> Timing {
    Timing {
        sets: settings.sets,
        replays: settings.replays,
        rounds: settings.rounds,
        warm_up_ms: settings.warm_up_ms,
    }
}

impl<'a> Setting<'a> {
    fn measure(
        device: &'a Opened,
        args: &BenchArgs,
        peers: Option<&mut Peers>,
    ) -> anyhow::Result<Self> {
        let attribute = DeviceAttribute::L2CacheSize;
        let l2_bytes = Device::get_device(device.selected.device)?
            .get_attribute(attribute)
            .context("asking for the size of the L2 cache")?
            .unsigned_abs() as usize;
        let submission = if device.is_emulated() {
            Submission::Direct
        } else {
            Submission::Graph
        };
        let (bytes, samples, calls) = if args.dry_run {
            (1, 1, 1)
        } else {
            (MEMORY_BYTES, 10, 64)
        };
        let stream = bench::stream()?;
        let baseline = Baseline::load()?;
        let memory = baseline.memory(&stream, submission, device.gpu(), bytes, samples)?;
        let empty = baseline.empty_launch(&stream, submission, 10 * samples, calls)?;
        let peers = peers.map(|peers| {
            let size = if args.dry_run { 64 } else { ARITHMETIC_SIZE };
            let timing = Timing {
                sets: 1,
                replays: 2 * samples,
                rounds: 1,
                warm_up_ms: if args.dry_run { 0.0 } else { args.warm_up },
            };
            peers.describe(&timing, size)
        });
        let peers = peers.transpose()?;
        let capability = device.gpu().compute_capability;
        // On Hopper an exact product is one of 16-bit floats; on Blackwell, of NVFP4.
        let measured = peers.as_ref().filter(|_| capability.0 == 9);
        let arithmetic = match measured {
            Some(peers) => Some(peers.arithmetic),
            None => Arithmetic::by_datasheet(capability),
        };
        Ok(Self {
            device,
            provenance: Provenance::of(&device.name)?,
            l2_bytes,
            submission,
            ceilings: Ceilings { memory, arithmetic },
            empty,
            peers,
            dry_run: args.dry_run,
        })
    }
}
