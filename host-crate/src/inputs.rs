//! Reproducible random inputs for tests and benchmarks.
//!
//! Equal kind, dimensions and seed give equal bytes on every platform and for every number of
//! threads: each row has its own ChaCha8 stream, and whatever is computed from it uses only
//! operations that IEEE 754 defines exactly, or a software logarithm.

use std::fmt;
use std::str::FromStr;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use rayon::prelude::*;

use crate::error::{Error, try_filled};
use crate::format::{BLOCK, e2m1, ue4m3};
use crate::matrix::{MatrixShape, Nvfp4Matrix};
use crate::quantize::quantize_with_tensor_scale;

/// The operands of one dual GEMM, `C = silu(alpha1 · A·B1ᵀ) ⊙ (alpha2 · A·B2ᵀ)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Inputs {
    /// A, `[L, M, K]`.
    pub a: Nvfp4Matrix,
    /// B1, the gate weights, `[L, N, K]`.
    pub b1: Nvfp4Matrix,
    /// B2, the up weights, `[L, N, K]`.
    pub b2: Nvfp4Matrix,
    /// Multiplies A·B1ᵀ.
    pub alpha1: f32,
    /// Multiplies A·B2ᵀ.
    pub alpha2: f32,
}

/// How inputs are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InputKind {
    /// As in the GPU MODE NVFP4 contest: elements uniform over ±{0, 0.5, 1, 1.5}, scale factors
    /// uniform in \[0, 1) rounded to ue4m3, alphas 1.
    #[default]
    Contest,
    /// Everything the format can hold but NaN: elements uniform over the 16 codes, scale factors
    /// over the 127 finite ones (zero, subnormals and 448 included). The alphas bring the root mean
    /// square of the SiLU's argument to 4 and of the other factor to 32, the latter negative.
    Full,
    /// Like a layer of a language model: A of standard normal variables, B1 and B2 of normal ones
    /// with standard deviation 1/√K, quantised with their tensor scales; the alphas are the
    /// products of tensor scales.
    Normal,
}

impl InputKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Contest, Self::Full, Self::Normal];

    /// The name that [`FromStr`] takes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Contest => "contest",
            Self::Full => "full",
            Self::Normal => "normal",
        }
    }
}

impl fmt::Display for InputKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The name is not one of an [`InputKind`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown inputs {found:?}; known are contest, full and normal")]
pub struct UnknownInputKind {
    /// The name given.
    pub found: String,
}

impl FromStr for InputKind {
    type Err = UnknownInputKind;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| UnknownInputKind {
            found: name.to_owned(),
        })
    }
}

impl Inputs {
    /// Draws the operands of `batch` dual GEMMs of M = `m`, N = `n`, K = `k`.
    ///
    /// # Errors
    /// [`Error::Matrix`] if a dimension is zero, `k` not a multiple of 16, or a matrix too large to
    /// address.
    pub fn new(
        kind: InputKind,
        m: usize,
        n: usize,
        k: usize,
        batch: usize,
        seed: u64,
    ) -> Result<Self, Error> {
        let a = MatrixShape::new(m, k, batch)?;
        let b = MatrixShape::new(n, k, batch)?;
        let [a_streams, b1_streams, b2_streams] = [0, 1, 2].map(|tensor| Streams { seed, tensor });
        match kind {
            InputKind::Contest => Ok(Self {
                a: random_codes(a, a_streams, contest_row)?,
                b1: random_codes(b, b1_streams, contest_row)?,
                b2: random_codes(b, b2_streams, contest_row)?,
                alpha1: 1.0,
                alpha2: 1.0,
            }),
            InputKind::Full => {
                let rms = full_accumulator_rms(k);
                Ok(Self {
                    a: random_codes(a, a_streams, full_row)?,
                    b1: random_codes(b, b1_streams, full_row)?,
                    b2: random_codes(b, b2_streams, full_row)?,
                    alpha1: (4.0 / rms) as f32,
                    alpha2: (-32.0 / rms) as f32,
                })
            }
            InputKind::Normal => {
                let deviation = 1.0 / (k as f64).sqrt();
                let a = quantize_with_tensor_scale(&normal_values(a, a_streams, 1.0)?, a)?;
                let b1 = quantize_with_tensor_scale(&normal_values(b, b1_streams, deviation)?, b)?;
                let b2 = quantize_with_tensor_scale(&normal_values(b, b2_streams, deviation)?, b)?;
                Ok(Self {
                    alpha1: a.tensor_scale * b1.tensor_scale,
                    alpha2: a.tensor_scale * b2.tensor_scale,
                    a: a.matrix,
                    b1: b1.matrix,
                    b2: b2.matrix,
                })
            }
        }
    }
}

/// The random streams of one tensor, one for each row.
#[derive(Clone, Copy)]
struct Streams {
    seed: u64,
    tensor: u64,
}

impl Streams {
    fn row(self, row: usize) -> ChaCha8Rng {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&self.seed.to_le_bytes());
        key[8..16].copy_from_slice(&self.tensor.to_le_bytes());
        let mut rng = ChaCha8Rng::from_seed(key);
        rng.set_stream(row as u64);
        rng
    }
}

/// A matrix whose packed elements and row-major scale factors are filled row by row.
fn random_codes(
    shape: MatrixShape,
    streams: Streams,
    fill: fn(&mut ChaCha8Rng, &mut [u8], &mut [u8]),
) -> Result<Nvfp4Matrix, Error> {
    let mut elements = try_filled("an operand", shape.packed_size(), 0)?;
    let mut scales = try_filled("an operand", shape.row_major_scales_size(), 0)?;
    elements
        .par_chunks_exact_mut(shape.row_bytes())
        .zip(scales.par_chunks_exact_mut(shape.blocks()))
        .enumerate()
        .for_each(|(row, (elements, scales))| fill(&mut streams.row(row), elements, scales));
    Ok(Nvfp4Matrix::from_row_major_scales(
        shape, elements, &scales,
    )?)
}

fn contest_row(rng: &mut ChaCha8Rng, elements: &mut [u8], scales: &mut [u8]) {
    rng.fill_bytes(elements);
    for byte in elements {
        // Sign and the two low bits of each nibble: codes 0 to 3 are 0, 0.5, 1 and 1.5.
        *byte &= 0xBB;
    }
    for scale in scales {
        let uniform = f64::from(rng.next_u32() >> 8) / f64::from(1 << 24);
        *scale = ue4m3::encode(uniform);
    }
}

fn full_row(rng: &mut ChaCha8Rng, elements: &mut [u8], scales: &mut [u8]) {
    rng.fill_bytes(elements);
    for scale in scales {
        let codes = u64::from(ue4m3::MAX_CODE) + 1;
        *scale = ((u64::from(rng.next_u32()) * codes) >> 32) as u8;
    }
}

/// The root mean square of the accumulators of [`InputKind::Full`]: products are independent with
/// mean zero.
fn full_accumulator_rms(k: usize) -> f64 {
    let mean_square = |values: &[f32]| {
        let squares = values.iter().map(|&value| f64::from(value).powi(2));
        squares.sum::<f64>() / values.len() as f64
    };
    let element = mean_square(&e2m1::VALUES);
    let scale = mean_square(&ue4m3::VALUES[..=usize::from(ue4m3::MAX_CODE)]);
    (k as f64).sqrt() * element * scale
}

fn normal_values(shape: MatrixShape, streams: Streams, deviation: f64) -> Result<Vec<f32>, Error> {
    let mut values = try_filled("an operand before quantising", shape.elements(), 0.0)?;
    values
        .par_chunks_exact_mut(shape.columns())
        .enumerate()
        .for_each(|(row, values)| {
            let mut rng = streams.row(row);
            for pair in values
                .chunks_exact_mut(BLOCK)
                .flat_map(|b| b.chunks_exact_mut(2))
            {
                let normals = normal_pair(&mut rng);
                pair[0] = (normals[0] * deviation) as f32;
                pair[1] = (normals[1] * deviation) as f32;
            }
        });
    Ok(values)
}

/// Two independent standard normal variables, by Marsaglia's polar method.
fn normal_pair(rng: &mut ChaCha8Rng) -> [f64; 2] {
    loop {
        let bits = rng.next_u64();
        let [x, y] = [bits as u32, (bits >> 32) as u32]
            .map(|word| f64::from(word as i32) / f64::from(1u32 << 31));
        let square = x * x + y * y;
        if square > 0.0 && square < 1.0 {
            // The platform's logarithm may differ in the last bit; libm's is the same everywhere.
            let factor = (-2.0 * libm::log(square) / square).sqrt();
            return [x * factor, y * factor];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantize::dequantize;

    fn inputs(kind: InputKind) -> Inputs {
        Inputs::new(kind, 96, 64, 512, 2, 7).unwrap()
    }

    #[test]
    fn a_seed_determines_the_bytes() {
        for kind in InputKind::ALL {
            let one_thread = rayon::ThreadPoolBuilder::new()
                .num_threads(1)
                .build()
                .unwrap();
            assert_eq!(inputs(kind), one_thread.install(|| inputs(kind)), "{kind}");
            assert_ne!(
                inputs(kind).a,
                Inputs::new(kind, 96, 64, 512, 2, 8).unwrap().a
            );
            assert_ne!(inputs(kind).b1, inputs(kind).b2);
        }
    }

    #[test]
    fn names_round_trip() {
        for kind in InputKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        let error = "gauss".parse::<InputKind>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown inputs \"gauss\"; known are contest, full and normal"
        );
    }

    #[test]
    fn contest_stays_in_its_range_and_fills_it() {
        let a = inputs(InputKind::Contest).a;
        let mut seen = [false; 16];
        for &byte in a.elements() {
            seen[usize::from(byte & 0xF)] = true;
            seen[usize::from(byte >> 4)] = true;
        }
        for (code, &seen) in seen.iter().enumerate() {
            assert_eq!(seen, code & 4 == 0, "code {code}");
        }
        let scales = a.view().row_major_scales();
        assert!(scales.iter().all(|&scale| ue4m3::decode(scale) <= 1.0));
        let mean = scales.iter().map(|&s| ue4m3::decode(s)).sum::<f32>() / scales.len() as f32;
        assert!((0.45..0.55).contains(&mean), "{mean}");
    }

    #[test]
    fn full_uses_every_code_but_nan() {
        let a = inputs(InputKind::Full).a;
        let mut seen = [false; 16];
        for &byte in a.elements() {
            seen[usize::from(byte & 0xF)] = true;
        }
        assert_eq!(seen, [true; 16]);
        let mut scales = a.view().row_major_scales();
        scales.sort_unstable();
        scales.dedup();
        assert_eq!(scales, (0..=ue4m3::MAX_CODE).collect::<Vec<_>>());
    }

    #[test]
    fn normal_has_unit_variance() {
        let inputs = inputs(InputKind::Normal);
        let values = dequantize(inputs.a.view());
        let square_sum: f64 = values.iter().map(|&x| f64::from(x).powi(2)).sum();
        let b_square_sum: f64 = dequantize(inputs.b1.view())
            .iter()
            .map(|&x| f64::from(x).powi(2))
            .sum();
        // alpha1 is the product of both tensor scales; with variances 1 and 1/512 over the same K.
        let product = square_sum / values.len() as f64 * b_square_sum / (2.0 * 64.0 * 512.0)
            * f64::from(inputs.alpha1).powi(2)
            * 512.0;
        assert!((0.9..1.1).contains(&product), "{product}");
    }
}
