use nvfp4_dual_gemm::bench::ceilings::{Arithmetic, ArithmeticSource, Memory};
use nvfp4_dual_gemm::bench::{Case, Measurement};
use nvfp4_dual_gemm::kernels::Output;
use nvfp4_dual_gemm::plan::{DualGemm, Gpu};

use super::super::answers::{Peer, Times};
use super::*;

const CEILINGS: Ceilings = Ceilings {
    memory: Memory {
        copy: 2.43e12,
        read: 2.9e12,
    },
    arithmetic: Some(Arithmetic {
        flop_per_second: 789e12,
        source: ArithmeticSource::Measured,
    }),
};

fn around(median: f64) -> Summary {
    Summary::of(&[median - 1.0, median, median + 25.0]).unwrap()
}

fn row(m: usize, us: f64, peers: &[(&str, f64)]) -> Row {
    let shape = Shape::new(m, 4096, 7168, 1).unwrap();
    let peer = |&(name, us): &(&str, f64)| Peer {
        name: name.to_owned(),
        times: Ok(Times {
            replay: around(us),
            back_to_back: around(us - 4.0),
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
            replay: around(us),
            back_to_back: around(us - 4.0),
            check: None,
        },
        peers: peers.iter().map(peer).collect(),
    }
}

/// Rows of tokens, ours, and the peers, of which the first loses at every M.
fn rows() -> Vec<Row> {
    [
        (1, 17.0, 64.0, 31.0),
        (64, 18.0, 80.0, 32.0),
        (512, 84.0, 107.0, 52.0),
    ]
    .map(|(m, ours, bf16, fp8)| row(m, ours, &[("torch-bf16-eager", bf16), ("torch-fp8", fp8)]))
    .into()
}

/// The attributes `names` of every element of a kind, as numbers.
fn numbers<const N: usize>(svg: &str, tag: &str, names: [&str; N]) -> Vec<[f64; N]> {
    let document = roxmltree::Document::parse(svg).unwrap();
    let elements = document.descendants().filter(|node| node.has_tag_name(tag));
    let number =
        |node: roxmltree::Node<'_, '_>, name| node.attribute(name).unwrap().parse().unwrap();
    elements
        .map(|node| names.map(|name| number(node, name)))
        .collect()
}

#[test]
fn every_curve_is_drawn_and_named() {
    let svg = svg(&CEILINGS, "an H100, 2025-01-01", &rows()).unwrap();
    let document = roxmltree::Document::parse(&svg).unwrap();
    let texts: Vec<&str> = document
        .descendants()
        .filter(|node| node.has_tag_name("text"))
        .map(|node| node.text().unwrap().trim())
        .collect();
    for (text, times) in [
        ("an H100, 2025-01-01", 1),
        ("nvfp4-dual-gemm", 1),
        ("torch-bf16-eager", 1),
        ("torch-fp8", 1),
        ("floor of bytes, at 2.90 TB/s", 1),
        ("floor of arithmetic, at 789 TFLOP/s", 1),
        ("One call, replayed on an idle device; N 4096, K 7168", 1),
        ("A call among many in a row; N 4096, K 7168", 1),
        ("time of a call, µs", 2),
        // Ticks where something was measured, and at round times.
        ("512", 2),
        ("100", 2),
    ] {
        let found = texts.iter().filter(|&&found| found == text).count();
        assert_eq!(found, times, "{text:?} in {texts:?}");
    }
    // A marker for each of 3 curves and 3 M in two panels, and in the legend.
    let markers = numbers(&svg, "circle", ["cx", "cy"]);
    assert_eq!(markers.len(), 2 * 9 + 3);
    // In the first panel, curve by curve: a longer time is higher up, a larger M further right, and
    // equal factors are equal distances.
    let [ours, bf16, fp8] = [0, 3, 6].map(|first| &markers[first..first + 3]);
    for (index, [x, y]) in ours.iter().enumerate() {
        assert!(bf16[index][1] < *y && bf16[index][0] == *x);
        assert!(bf16[index][1] < fp8[index][1]);
    }
    let [first, second, third] = [ours[0][0], ours[1][0], ours[2][0]];
    assert!(((second - first) / (third - first) - 6.0 / 9.0).abs() < 0.01);
    let per_factor = |from: [f64; 2], to: [f64; 2], factor: f64| (from[1] - to[1]) / factor.ln();
    let scale = per_factor(ours[0], bf16[0], 64.0 / 17.0);
    assert!((per_factor(ours[0], ours[2], 84.0 / 17.0) / scale - 1.0).abs() < 0.02);
}

#[test]
fn a_panel_shows_one_mode() {
    let family = Family::of(&rows()[0].measured.case.shape);
    for (mode, medians) in [
        (Mode::Replay, [17.0, 64.0, 31.0]),
        (Mode::InRow, [13.0, 60.0, 27.0]),
    ] {
        let curves = curves(&rows(), family, mode);
        let of_first: Vec<(f64, f64)> = curves
            .iter()
            .map(|curve| (curve.points[0].0, curve.points[0].1.median))
            .collect();
        assert_eq!(of_first, medians.map(|us| (1.0, us)));
    }
}

#[test]
fn a_peer_without_a_time_is_no_curve() {
    let mut rows = rows();
    for row in &mut rows {
        row.peers[1].times = Err("out of memory".to_owned());
    }
    let svg = svg(&CEILINGS, "", &rows).unwrap();
    assert!(!svg.contains("torch-fp8"));
    assert_eq!(numbers(&svg, "circle", ["r"]).len(), 2 * 6 + 2);
}

#[test]
fn families_have_two_m() {
    let shape = |m, n| Shape::new(m, n, 64, 1).unwrap();
    let family = |n| Family { n, k: 64, batch: 1 };
    assert_eq!(Family::all(&[shape(1, 8), shape(1, 16), shape(1, 8)]), []);
    let shapes = [
        shape(1, 8),
        shape(1, 16),
        shape(2, 8),
        shape(3, 24),
        shape(4, 16),
    ];
    assert_eq!(Family::all(&shapes), [family(8), family(16)]);
}

#[test]
fn axes_end_at_round_numbers() {
    assert_eq!(
        (round_number(17.0, false), round_number(17.0, true)),
        (10.0, 20.0)
    );
    assert_eq!(
        (round_number(0.7, false), round_number(0.7, true)),
        (0.5, 1.0)
    );
    assert_eq!(
        (round_number(200.0, false), round_number(200.0, true)),
        (200.0, 200.0)
    );
    assert_eq!(round_numbers(5.0, 100.0), [5.0, 10.0, 20.0, 50.0, 100.0]);
}

#[test]
fn labels_of_m_have_room() {
    let m = [1.0, 16.0, 64.0, 128.0, 192.0, 256.0, 512.0, 4096.0];
    let without_192 = [1.0, 16.0, 64.0, 128.0, 256.0, 512.0, 4096.0];
    assert_eq!(labelled(&m), without_192);
    assert_eq!(labelled(&[129.0, 192.0, 300.0]), [129.0, 192.0, 300.0]);
    assert_eq!(labelled(&[7.0]), [7.0]);
}
