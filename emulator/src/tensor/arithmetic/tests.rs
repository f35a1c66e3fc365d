//! FP4 arithmetic with UE4M3 scales against words that a B200 produced, and path against path.

use std::ops::Range;

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng};

use super::*;

/// Result words that a B200 produced, with their inputs: `sf-tensor/tcgen05`, `tcgen05_model/validation.py`
/// (`_nvfp4_vectors`, whose inputs are drawn from seed 700, and `_edge_vectors`).
#[test]
fn hardware_words_are_reproduced() {
    let row = |hex: &str| -> [u8; ROW_BYTES] {
        std::array::from_fn(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap())
    };
    let nvfp4_0 = dot64_reference(
        &row("656e0a52a759a9ca2712cbd1f1523d1cdd96bb91ff455cd40dce108d6604c297"),
        &row("cc56bf10dd1322ace5db5f70dc04b8d2840dfbe9475d588f6c392b4ec747be9e"),
        [0x0c, 0x04, 0x74, 0x47],
        [0x17, 0x50, 0x24, 0x61],
        0xb232_10eb,
    );
    assert_eq!(nvfp4_0, 0x4429_730b);
    let nvfp4_1 = dot64_reference(
        &row("720fdbb2d4f3142a11fc308cda67f450dea5a35ae3f4da93302c06f4fdb6e9a1"),
        &row("acc2d116c57f2d0ba3551d334f6a984f7541493152dbfb8e402ad9fd5e56be2c"),
        [0x66, 0x0e, 0x73, 0x0d],
        [0x16, 0x48, 0x03, 0x16],
        0x8976_9172,
    );
    assert_eq!(nvfp4_1, 0xc305_45d3);
    let scale_nan = dot64_reference(
        &[0x11; ROW_BYTES],
        &[0x11; ROW_BYTES],
        [0x7f, 0x38, 0x38, 0x38],
        [0x38; 4],
        0,
    );
    assert_eq!(scale_nan, 0x7fff_ffff);
    let k4_carry = dot64_reference(
        &row("ee6b809fba937f0e62518a46c7b6c1d6bb688c5c40f1615f42567a7b10dafb7e"),
        &row("c62b984bd392c98127362da9955f8a06d82dcc2538f41fa1abb53feb5a1771a8"),
        [0x09, 0x7c, 0x6d, 0x44],
        [0x07, 0x78, 0x26, 0x79],
        0x094e_5986,
    );
    assert_eq!(k4_carry, 0x49fc_afb7);
}

#[test]
fn specials_and_empty_sums() {
    const NAN_SCALE: u8 = 0x7f;
    const INFINITY: u32 = 0x7f80_0000;
    let (zeros, ones) = ([0x80; ROW_BYTES], [0x22; ROW_BYTES]);
    let (unit, nan) = ([0x38; GROUPS], [0x38, 0x38, NAN_SCALE | 0x80, 0x38]);
    for (a, sa, c, expected) in [
        // No nonzero product: C's bits, whatever they are.
        (zeros, unit, 0x8000_0000, 0x8000_0000),
        (zeros, unit, 0x8000_0001, 0x8000_0001),
        (ones, [0; GROUPS], 0x7f7f_ffff, 0x7f7f_ffff),
        // Specials of C.
        (ones, unit, INFINITY, INFINITY),
        (ones, unit, INFINITY | 1 << 31, INFINITY | 1 << 31),
        (zeros, unit, 0xff80_0001, CANONICAL_NAN),
        // The scale's NaN wins over all of them.
        (zeros, nan, 0, CANONICAL_NAN),
        (zeros, nan, INFINITY, CANONICAL_NAN),
        // 64 · 1 · 1, and the same cancelled exactly.
        (ones, unit, 0x8000_0000, 64f32.to_bits()),
        (ones, unit, (-64f32).to_bits(), 0),
        // A subnormal accumulator lies below the window.
        (ones, unit, 0x8000_0001, 64f32.to_bits()),
    ] {
        assert_eq!(
            dot64_reference(&a, &ones, sa, unit, c),
            expected,
            "{sa:x?} {c:#x}"
        );
    }
}

/// Where products cancel to zero, C alone is left: truncated 35 bits below the scales' exponent, here 2^0, but 24 bits
/// below its own exponent lies above that from 2^-12 on.
#[test]
fn the_window_ends_35_bits_below_the_scales() {
    let unit = [0x38; GROUPS];
    let a = ScaledRow {
        elements: [0x22; ROW_BYTES],
        scales: unit,
    };
    let b = ScaledRow {
        elements: [0xa2; ROW_BYTES],
        scales: unit,
    };
    for (exponent, dropped_bits) in [(-11, 0), (-12, 0), (-13, 1), (-14, 2), (-35, 23)] {
        let c = ((exponent + 127) as u32) << 23 | 0x7f_ffff;
        let expected = c >> dropped_bits << dropped_bits;
        assert_eq!(reference(&a, &b, c), expected);
        for &path in TilePath::available() {
            let mut words = [c; 8];
            let d = AccumulatorTile {
                words: &mut words,
                pitch: 8,
            };
            let (a, b) = (OperandRows::new(vec![a]), OperandRows::new(vec![b; 8]));
            multiply_tile_by(path, &a, &b, true, d);
            assert_eq!(words, [expected; 8], "{path:?} 2^{exponent}");
        }
    }
}

/// What a random tile is made of.
#[derive(Clone, Copy, Debug)]
enum Scales {
    /// A few binades, as quantised activations and weights have them.
    Narrow,
    Full,
    /// Zeros, subnormals and the ends of the range; rarely a NaN.
    Ends,
}

fn random_scale(rng: &mut TestRng, scales: Scales) -> u8 {
    const ENDS: [u8; 12] = [0, 1, 7, 8, 9, 0x0f, 0x10, 0x77, 0x78, 0x79, 0x7e, 0xfe];
    match scales {
        Scales::Narrow => in_range(rng, 0x30..0x48) as u8,
        Scales::Full => in_range(rng, 0..0x7f) as u8 | (rng.next_u32() as u8 & 0x80),
        Scales::Ends if rng.next_u32().is_multiple_of(256) => 0x7f,
        Scales::Ends => ENDS[rng.next_u32() as usize % ENDS.len()],
    }
}

fn in_range(rng: &mut TestRng, range: Range<u32>) -> u32 {
    range.start + rng.next_u32() % (range.end - range.start)
}

/// One row in four is mostly zeros, so that groups without products occur.
fn random_row(rng: &mut TestRng, scales: Scales) -> ScaledRow {
    let mut elements = [0; ROW_BYTES];
    rng.fill_bytes(&mut elements);
    if rng.next_u32().is_multiple_of(4) {
        elements.iter_mut().for_each(|byte| {
            *byte &= if rng.next_u32().is_multiple_of(8) {
                0xff
            } else {
                0x88
            };
        });
    }
    ScaledRow {
        elements,
        scales: std::array::from_fn(|_| random_scale(rng, scales)),
    }
}

/// An accumulator of any kind: special, anywhere in the range, near the products or nearly cancelling them.
fn random_accumulator(rng: &mut TestRng, a: &ScaledRow, b: &ScaledRow) -> u32 {
    let bits = rng.next_u32();
    let products = || dot64_reference(&a.elements, &b.elements, a.scales, b.scales, 0);
    match rng.next_u32() % 16 {
        0 => 0,
        1 => 0x8000_0000,
        2 => [0x7f80_0000, 0xff80_0000, 0x7fc0_0000, 0xff80_0001][bits as usize % 4],
        3 => bits & 0x807f_ffff,
        4..=6 => bits,
        7..=9 => (products() ^ 1 << 31)
            .wrapping_add(bits % 5)
            .wrapping_sub(2),
        _ => bits & 0x807f_ffff | in_range(rng, 127 - 40..127 + 60) << 23,
    }
}

#[derive(Debug)]
struct Tile {
    a: Vec<ScaledRow>,
    b: Vec<ScaledRow>,
    c: Vec<u32>,
}

impl Tile {
    const ROWS: usize = 4;
    /// Two blocks of eight columns and a partial one.
    const COLUMNS: usize = 19;

    fn random(scales: Scales, seed: u64) -> Tile {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = &mut TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let a: Vec<_> = (0..Tile::ROWS).map(|_| random_row(rng, scales)).collect();
        let b: Vec<_> = (0..Tile::COLUMNS)
            .map(|_| random_row(rng, scales))
            .collect();
        // Half the tiles accumulate something tame, so that whole vectors take the short path.
        let is_tame = rng.next_u32().is_multiple_of(2);
        let c = a
            .iter()
            .flat_map(|a| b.iter().map(move |b| (a, b)))
            .map(|(a, b)| match is_tame {
                true => rng.next_u32() & 0x807f_ffff | in_range(rng, 127..127 + 12) << 23,
                false => random_accumulator(rng, a, b),
            })
            .collect();
        Tile { a, b, c }
    }

    fn elements(&self) -> impl Iterator<Item = (&ScaledRow, &ScaledRow, u32)> {
        let pairs = self
            .a
            .iter()
            .flat_map(|a| self.b.iter().map(move |b| (a, b)));
        pairs.zip(&self.c).map(|((a, b), &c)| (a, b, c))
    }
}

fn tiles() -> impl Strategy<Value = (Scales, u64)> {
    let scales = prop_oneof![Just(Scales::Narrow), Just(Scales::Full), Just(Scales::Ends)];
    (scales, any::<u64>())
}

fn reference(a: &ScaledRow, b: &ScaledRow, c: u32) -> u32 {
    dot64_reference(&a.elements, &b.elements, a.scales, b.scales, c)
}

proptest! {
    // 76 elements each.
    #![proptest_config(ProptestConfig::with_cases(320))]

    #[test]
    fn every_tile_path_agrees_with_the_reference((scales, seed) in tiles(), accumulate: bool) {
        const PITCH: usize = Tile::COLUMNS + 3;
        const UNTOUCHED: u32 = 0xdead_beef;
        let tile = Tile::random(scales, seed);
        let (a, b) = (OperandRows::new(tile.a.clone()), OperandRows::new(tile.b.clone()));
        for &path in TilePath::available() {
            let mut words = vec![UNTOUCHED; Tile::ROWS * PITCH];
            for (row, c) in words.chunks_mut(PITCH).zip(tile.c.chunks(Tile::COLUMNS)) {
                row[..Tile::COLUMNS].copy_from_slice(c);
            }
            let d = AccumulatorTile { words: &mut words, pitch: PITCH };
            multiply_tile_by(path, &a, &b, accumulate, d);
            let found = words.chunks(PITCH).flat_map(|row| &row[..Tile::COLUMNS]);
            for ((a, b, c), &found) in tile.elements().zip(found) {
                let c = if accumulate { c } else { 0 };
                let expected = reference(a, b, c);
                prop_assert_eq!(found, expected, "{:?} {:x?} {:x?} {:#010x}", path, a, b, c);
            }
            for row in words.chunks(PITCH) {
                prop_assert_eq!(&row[Tile::COLUMNS..], &[UNTOUCHED; 3]);
            }
        }
    }
}

/// `cargo test --release -p ptx-emulator -- --ignored --nocapture tile_speed`
#[test]
#[ignore = "a measurement"]
fn tile_speed() {
    const SIZE: usize = 128;
    let mut rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    for scales in [Scales::Narrow, Scales::Full] {
        let mut operand = || {
            let row = |_| ScaledRow {
                elements: std::array::from_fn(|_| rng.next_u32() as u8),
                scales: std::array::from_fn(|_| random_scale(&mut rng, scales)),
            };
            OperandRows::new((0..SIZE).map(row).collect())
        };
        let steps: Vec<_> = (0..16).map(|_| (operand(), operand())).collect();
        for &path in TilePath::available() {
            let mut words = vec![0; SIZE * SIZE];
            let mut best = std::time::Duration::MAX;
            for _ in 0..20 {
                let start = std::time::Instant::now();
                for (k, (a, b)) in steps.iter().enumerate() {
                    let d = AccumulatorTile {
                        words: &mut words,
                        pitch: SIZE,
                    };
                    multiply_tile_by(path, a, b, k > 0, d);
                }
                best = best.min(start.elapsed() / steps.len() as u32);
            }
            let macs = (SIZE * SIZE * K) as f64;
            println!(
                "{scales:?} {path:?}: {best:?} per 128x128x64, {:.1} GMAC/s",
                macs / best.as_nanos() as f64
            );
        }
    }
}
