//! Measurements as text and as JSON.

use nvfp4_dual_gemm::bench::Measurement;
use nvfp4_dual_gemm::bench::Summary;
use nvfp4_dual_gemm::bench::ceilings::{ArithmeticSource, Work};
use nvfp4_dual_gemm::bench::exactness::Exactness;
use nvfp4_dual_gemm::bench::timing::Submission;
use serde_json::{Value, json};

use super::Setting;
use super::peers::{self, Peer, Times};

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

    /// Ours over the peer with 8 bits, and over the fastest with 16, in one mode.
    fn ratios(&self, ours: f64, mode: impl Fn(&Times) -> Summary) -> [Option<f64>; 2] {
        let fp8 = peers::fp8(&self.peers, &mode);
        let bf16 = peers::best_bf16(&self.peers, &mode).map(|(_, median)| median);
        [fp8, bf16].map(|theirs| theirs.map(|theirs| ours / theirs))
    }

    /// The ratios in replay mode and in a row.
    fn all_ratios(&self) -> [[Option<f64>; 2]; 2] {
        [
            self.ratios(self.measured.replay.median, |times| times.replay),
            self.ratios(self.measured.back_to_back.median, |times| {
                times.back_to_back
            }),
        ]
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

/// Rows and columns of a tile, and the CTAs that share its K.
pub fn tile(measured: &Measurement) -> String {
    let (kernel, split_k) = (measured.kernel(), measured.plan.split_k());
    format!("{}x{}/{split_k}", kernel.tile_m, kernel.tile_n)
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

/// The times and their ratios, a table for each mode.
fn comparison(rows: &[Row]) -> String {
    type Ours = fn(&Measurement) -> Summary;
    type Theirs = fn(&Times) -> Summary;
    let modes: [(&str, Ours, Theirs); 2] = [
        ("a replay", |ours| ours.replay, |theirs| theirs.replay),
        (
            "in a row",
            |ours| ours.back_to_back,
            |theirs| theirs.back_to_back,
        ),
    ];
    let names: Vec<&str> = rows
        .iter()
        .find(|row| !row.peers.is_empty())
        .into_iter()
        .flat_map(|row| row.peers.iter().map(|peer| peer.name.as_str()))
        .collect();
    let mut text = String::new();
    for (mode, ours, theirs) in modes {
        text.push_str(&format!(
            "\n{:<18} {:>11}",
            format!("µs {mode}"),
            "this kernel"
        ));
        for name in &names {
            text.push_str(&format!("  {name:>16}"));
        }
        text.push_str("  ours / fp8  ours / best bf16\n");
        for row in rows {
            let ours = ours(&row.measured).median;
            text.push_str(&format!(
                "{:<18} {ours:>11.2}",
                row.measured.case.shape.to_string()
            ));
            for peer in &row.peers {
                let median = peer.times.as_ref().map(|times| theirs(times).median);
                text.push_str(&format!("  {:>16}", number(median.ok())));
            }
            let [fp8, bf16] = row.ratios(ours, theirs).map(number);
            text.push_str(&format!("  {fp8:>10}  {bf16:>16}\n"));
        }
    }
    text
}

fn number(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.2}"))
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

#[cfg(test)]
mod tests {
    use nvfp4_dual_gemm::bench::Case;
    use nvfp4_dual_gemm::kernels::Output;
    use nvfp4_dual_gemm::plan::{DualGemm, Gpu, Shape};

    use super::*;

    fn of(median: f64) -> Summary {
        Summary::of(&[median]).unwrap()
    }

    fn row() -> Row {
        let shape = Shape::new(16, 4096, 7168, 1).unwrap();
        let peer = |name: &str, replay, back_to_back| Peer {
            name: name.to_owned(),
            times: Ok(Times {
                replay: of(replay),
                back_to_back: of(back_to_back),
                relative_error: 0.0,
                tuned: None,
            }),
        };
        Row {
            measured: Measurement {
                case: Case { shape, tile: None },
                plan: DualGemm::plan(shape, Output::F16, Gpu::H200).unwrap(),
                sets: 7,
                calls: 56,
                replay: of(18.0),
                back_to_back: of(13.0),
                check: None,
            },
            peers: vec![
                peer("torch-bf16-eager", 66.0, 60.0),
                peer("torch-bf16-fused", 50.0, 52.0),
                peer("torch-fp8", 30.0, 26.0),
            ],
        }
    }

    #[test]
    fn ratios_are_ours_over_theirs_in_the_same_mode() {
        assert_eq!(
            row().all_ratios(),
            [[Some(0.6), Some(0.36)], [Some(0.5), Some(0.25)]]
        );
        let mut row = row();
        row.peers[2].times = Err("no".to_owned());
        assert_eq!(row.all_ratios()[0], [None, Some(0.36)]);
    }

    #[test]
    fn the_comparison_has_a_table_for_each_mode() {
        let text = footer(&[row()], false, false);
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        for wanted in [
            [
                "16x4096x7168",
                "18.00",
                "66.00",
                "50.00",
                "30.00",
                "0.60",
                "0.36",
            ],
            [
                "16x4096x7168",
                "13.00",
                "60.00",
                "52.00",
                "26.00",
                "0.50",
                "0.25",
            ],
        ] {
            assert!(
                lines.iter().any(|line| *line == wanted),
                "no {wanted:?} in:\n{text}"
            );
        }
        assert!(!footer(&[], false, false).contains("fp8"));
    }
}
