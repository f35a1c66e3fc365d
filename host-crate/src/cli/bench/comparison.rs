//! The kernel next to its peers.

use nvfp4_dual_gemm::bench::{Measurement, Summary};

use super::answers::{self, Times};
use super::report::Row;

impl Row {
    /// Ours over the peer with 8 bits, and over the fastest with 16, in one mode.
    fn ratios(&self, ours: f64, mode: impl Fn(&Times) -> Summary) -> [Option<f64>; 2] {
        let fp8 = answers::fp8(&self.peers, &mode);
        let bf16 = answers::best_bf16(&self.peers, &mode).map(|(_, median)| median);
        [fp8, bf16].map(|theirs| theirs.map(|theirs| ours / theirs))
    }

    /// The ratios in replay mode and in a row.
    pub fn all_ratios(&self) -> [[Option<f64>; 2]; 2] {
        [
            self.ratios(self.measured.replay.median, |times| times.replay),
            self.ratios(self.measured.back_to_back.median, |times| {
                times.back_to_back
            }),
        ]
    }
}

/// The times and their ratios, a table for each mode.
pub fn comparison(rows: &[Row]) -> String {
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

#[cfg(test)]
mod tests {
    use nvfp4_dual_gemm::bench::Case;
    use nvfp4_dual_gemm::kernels::Output;
    use nvfp4_dual_gemm::plan::{DualGemm, Gpu, Shape};

    use super::super::answers::Peer;
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
        let text = comparison(&[row()]);
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
    }
}
