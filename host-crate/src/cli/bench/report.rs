//! Measurements as text and as JSON.

use nvfp4_dual_gemm::bench::Measurement;
use nvfp4_dual_gemm::bench::Summary;
use nvfp4_dual_gemm::bench::ceilings::{ArithmeticSource, Work};
use nvfp4_dual_gemm::bench::exactness::Exactness;
use nvfp4_dual_gemm::bench::timing::Submission;
use nvfp4_dual_gemm_kernel::contract::hopper::Design;
use serde_json::{Value, json};

use super::Setting;
use super::answers::{Peer, Times};
use super::comparison::comparison;

/// The kernel's name among its peers.
pub const OURS: &str = "nvfp4-dual-gemm";

/// What was measured on one shape.
pub struct Row {
    /// The kernel.
    pub measured: Measurement,
    /// What it is compared with.
    pub peers: Vec<Peer>,
}

/// Headings of [`Row::lines`].
pub const HEADER: &str = "\
M x N x K          tile     sets  replay µs     p10     p90  in row µs     p10     p90  floor µs  MB/call   TB/s   mem  TFLOP/s  arith  rounded right  by steps  check";

impl Setting<'_> {
    /// What was run on, and what it can do, a line each.
    pub fn heading(&self) -> String {
        let memory = self.ceilings.memory;
        let arithmetic = match self.ceilings.arithmetic {
            Some(arithmetic) => format!(
                "{:.0} TFLOP/s ({})",
                arithmetic.flop_per_second / 1e12,
                source(arithmetic.source)
            ),
            None => "unknown".to_owned(),
        };
        let how = match self.submission {
            Submission::Graph => "CUDA graphs",
            Submission::Direct => "direct launches, as the driver has no graphs",
        };
        let mut heading = format!(
            "device        {}\n\
             driver        {}; {}\n\
             kernels       {}\n\
             memory        copy {:.2} TB/s (read + written), read {:.2} TB/s, measured; L2 {} MiB\n\
             arithmetic    {arithmetic}\n\
             empty kernel  {:.2} µs a replay, {:.2} µs in a row; {how}\n",
            self.device.describe(),
            self.provenance.driver,
            self.provenance.date,
            self.device.ptx_origin,
            memory.copy / 1e12,
            memory.read / 1e12,
            self.l2_bytes >> 20,
            self.empty.replay.median,
            self.empty.back_to_back.median,
        );
        if let Some(peers) = &self.peers {
            heading.push_str(&format!(
                "peers         {}; empty kernel {:.2} µs a replay\n",
                peers.software, peers.empty_replay.median
            ));
        }
        heading
    }

    /// The same as an object.
    pub fn to_json(&self) -> Value {
        let (major, minor) = self.device.gpu().compute_capability;
        json!({
            "device": self.device.name,
            "emulated": self.device.is_emulated(),
            "dry_run": self.dry_run,
            "compute_capability": format!("{major}.{minor}"),
            "multiprocessors": self.device.gpu().multiprocessors,
            "l2_bytes": self.l2_bytes,
            "driver": self.provenance.driver,
            "date": self.provenance.date,
            "ptx": self.device.ptx_origin,
            "graphs": self.submission == Submission::Graph,
            "copy_bytes_per_second": self.ceilings.memory.copy,
            "read_bytes_per_second": self.ceilings.memory.read,
            "arithmetic_flop_per_second": self.ceilings.arithmetic.map(|a| a.flop_per_second),
            "arithmetic_source": self.ceilings.arithmetic.map(|a| source(a.source)),
            "empty_replay_us": self.empty.replay.median,
            "empty_back_to_back_us": self.empty.back_to_back.median,
            "peers": self.peers.as_ref().map(|peers| json!({
                "software": peers.software,
                "empty_replay_us": peers.empty_replay.median,
            })),
        })
    }
}

fn source(source: ArithmeticSource) -> &'static str {
    match source {
        ArithmeticSource::Measured => "measured",
        ArithmeticSource::Datasheet => "datasheet",
    }
}

impl Row {
    /// The measurement, and a line for each peer.
    pub fn lines(&self, setting: &Setting<'_>) -> String {
        let mut text = line(setting, &self.measured);
        for peer in &self.peers {
            text.push('\n');
            text.push_str(&peer_line(&self.measured, peer));
        }
        text
    }
}

/// A peer's times, under those of the measurement.
fn peer_line(measured: &Measurement, peer: &Peer) -> String {
    match &peer.times {
        Err(why) => format!("  {:<31}  no time: {why}", peer.name),
        Ok(Times {
            replay,
            back_to_back: in_row,
            tuned,
            ..
        }) => format!(
            "  {:<31}  {:>9.2} {:>7.2} {:>7.2}  {:>9.2} {:>7.2} {:>7.2}  this kernel takes {:.2} of a replay, {:.2} in a row{}",
            peer.name,
            replay.median,
            replay.p10,
            replay.p90,
            in_row.median,
            in_row.p10,
            in_row.p90,
            measured.replay.median / replay.median,
            measured.back_to_back.median / in_row.median,
            tuned
                .as_ref()
                .map(|tile| format!(" ({tile})"))
                .unwrap_or_default(),
        ),
    }
}

/// One measurement.
fn line(setting: &Setting<'_>, measured: &Measurement) -> String {
    let work = Work::of(&measured.case.shape);
    let ceilings = &setting.ceilings;
    let (replay, in_row) = (measured.replay, measured.back_to_back);
    let per_second = |amount: u64| amount as f64 / (1e-6 * in_row.median);
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    let arithmetic = ceilings.arithmetic_share(&work, in_row.median);
    let (rounded, by_steps, verdict) = match &measured.check {
        None => ("-".to_owned(), "-".to_owned(), "not checked".to_owned()),
        Some(check) => (
            format!(
                "{:.3} %",
                100.0 * check.exactness.correctly_rounded_fraction()
            ),
            format!(
                "{:.3} %",
                100.0 * check.exactness.step_by_step.exact_fraction()
            ),
            verdict(measured),
        ),
    };
    format!(
        "{:<18} {:<8} {:>4}  {:>9.2} {:>7.2} {:>7.2}  {:>9.2} {:>7.2} {:>7.2}  {:>8.2}  {:>7.1}  {:>5.2} {:>5}  {:>7.0} {:>6}  {:>13}  {:>8}  {}",
        measured.case.shape.to_string(),
        tile(measured),
        measured.sets,
        replay.median,
        replay.p10,
        replay.p90,
        in_row.median,
        in_row.p10,
        in_row.p90,
        ceilings.floor_us(&work),
        work.bytes as f64 / 1e6,
        per_second(work.bytes) / 1e12,
        percent(ceilings.memory_share(&work, in_row.median)),
        per_second(work.flop) / 1e12,
        arithmetic.map_or("-".to_owned(), percent),
        rounded,
        by_steps,
        verdict,
    )
}

/// Rows and columns of a tile, and in Hopper's decode design the CTAs that share its K.
pub fn tile(measured: &Measurement) -> String {
    let (kernel, split_k) = (measured.kernel(), measured.plan.split_k());
    match kernel.design {
        Some(Design::Decode) => format!("{}x{}/{split_k}", kernel.tile_m, kernel.tile_n),
        Some(Design::Prefill) | None => format!("{}x{}", kernel.tile_m, kernel.tile_n),
    }
}

fn verdict(measured: &Measurement) -> String {
    let Some(check) = measured.check.as_ref() else {
        return "not checked".to_owned();
    };
    if check.passed() {
        return format!("passed ({:.1} s)", check.time.as_secs_f64());
    }
    let Exactness {
        beyond_bound,
        step_by_step: steps,
        total,
        first,
        ..
    } = &check.exactness;
    let mut text = format!(
        "FAILED: of {total} outputs {} more than 1 ulp off the device's steps, {beyond_bound} beyond the \
         bound, {} changed, {} bytes outside",
        steps.beyond_one_ulp(),
        check.changed,
        check.guard_bytes_written
    );
    for mismatch in first.iter().chain(&steps.first) {
        text.push_str(&format!("\n  {mismatch}"));
    }
    text
}

/// What the columns mean, and how the kernel compares with its peers.
pub fn footer(rows: &[Row], no_check: bool, dry_run: bool) -> String {
    let mut text = "\
replay: one graph launch on an idle device; in row: a call within a graph of many, where on Hopper a call may copy
weights while the one before still runs. Rates and shares are those in a row.
"
    .to_owned();
    if !no_check {
        text.push_str(
            "\
check: every output of every set. Rounded right: equal to the exact product, rounded. By steps: equal to what the
tensor core's own sums give, others within 1 ulp. After each mode all bits are compared with those before.
",
        );
    }
    if rows.iter().any(|row| !row.peers.is_empty()) {
        text.push_str(&comparison(rows));
    }
    if no_check {
        text.push_str("No output was compared with the reference (--no-check).\n");
    }
    if dry_run {
        text.push_str("Dry run: the times are not those of hardware, and mean nothing.\n");
    }
    text
}

fn summary_to_json(summary: &Summary) -> Value {
    json!({
        "samples": summary.count,
        "median": summary.median,
        "p10": summary.p10,
        "p90": summary.p90,
    })
}

fn peer_to_json(peer: &Peer) -> Value {
    match &peer.times {
        Err(why) => json!({ "name": peer.name, "error": why }),
        Ok(times) => json!({
            "name": peer.name,
            "replay_us": summary_to_json(&times.replay),
            "back_to_back_us": summary_to_json(&times.back_to_back),
            "relative_error": times.relative_error,
            "tuned": times.tuned,
        }),
    }
}

impl Row {
    /// As an object.
    pub fn to_json(&self, setting: &Setting<'_>) -> Value {
        let mut object = to_json(setting, &self.measured);
        if !self.peers.is_empty() {
            let [replay, back_to_back] = self
                .all_ratios()
                .map(|[fp8, bf16]| json!({ "fp8": fp8, "best_bf16": bf16 }));
            object["peers"] = self.peers.iter().map(peer_to_json).collect();
            object["ratio"] = json!({ "replay": replay, "back_to_back": back_to_back });
        }
        object
    }
}

fn to_json(setting: &Setting<'_>, measured: &Measurement) -> Value {
    let shape = &measured.case.shape;
    let work = Work::of(shape);
    let ceilings = &setting.ceilings;
    let check = measured.check.as_ref().map(|check| {
        json!({
            "outputs": check.exactness.total,
            "correctly_rounded": check.exactness.correctly_rounded,
            "beyond_bound": check.exactness.beyond_bound,
            "max_ulp": check.exactness.max_ulp,
            "max_share_of_bound": check.exactness.max_share_of_bound,
            "equal_to_steps": check.exactness.step_by_step.histogram[0],
            "beyond_one_ulp_of_steps": check.exactness.step_by_step.beyond_one_ulp(),
            "changed": check.changed,
            "guard_bytes_written": check.guard_bytes_written,
            "seconds": check.time.as_secs_f64(),
        })
    });
    let us = measured.back_to_back.median;
    json!({
        "m": shape.m(),
        "n": shape.n(),
        "k": shape.k(),
        "l": shape.batch(),
        "kernel": measured.kernel().launch.name,
        "tile_m": measured.kernel().tile_m,
        "tile_n": measured.kernel().tile_n,
        "split_k": measured.plan.split_k(),
        "grid": measured.plan.grid(),
        "sets": measured.sets,
        "calls_per_graph": measured.calls,
        "replay_us": summary_to_json(&measured.replay),
        "back_to_back_us": summary_to_json(&measured.back_to_back),
        "bytes": work.bytes,
        "flop": work.flop,
        "floor_us": ceilings.floor_us(&work),
        "memory_share": ceilings.memory_share(&work, us),
        "arithmetic_share": ceilings.arithmetic_share(&work, us),
        "check": check,
        "passed": measured.check.as_ref().map(|_| measured.passed()),
    })
}
