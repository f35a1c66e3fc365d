//! Quantising to NVFP4 and back, on the host.
//!
//! Each block of 16 elements along K gets the scale factor `amax / 6` rounded to ue4m3, so that its
//! largest element lands near the largest e2m1 value; each element becomes the e2m1 code nearest to
//! `x / scale`. Every rounding is to nearest, ties to even, of the exact quotient.

use half::{bf16, f16};
use rayon::prelude::*;

use crate::format::{BLOCK, e2m1, ue4m3};
use crate::matrix::{MatrixError, MatrixShape, Nvfp4Matrix, Nvfp4MatrixView};
use crate::scale_layout::PADDING;

/// Why values cannot be quantised.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum QuantizeError {
    /// The number of values does not match the shape.
    #[error(transparent)]
    Matrix(#[from] MatrixError),
    /// A value is infinite or NaN; NVFP4 elements can express neither.
    #[error(
        "element {index} (batch {batch}, row {row}, column {column}) is {value}; \
         only finite values can be quantised"
    )]
    NotFinite {
        /// Position in the slice, the first such.
        index: usize,
        /// Matrix of the batch.
        batch: usize,
        /// Row of the element.
        row: usize,
        /// Column of the element.
        column: usize,
        /// The value found.
        value: f32,
    },
}

/// A float that can be quantised: converts to f32 without rounding.
pub trait Source: Copy + Send + Sync {
    /// The same value as f32.
    fn to_f32(self) -> f32;
}

impl Source for f32 {
    #[inline]
    fn to_f32(self) -> f32 {
        self
    }
}

impl Source for f16 {
    #[inline]
    fn to_f32(self) -> f32 {
        self.into()
    }
}

impl Source for bf16 {
    #[inline]
    fn to_f32(self) -> f32 {
        self.into()
    }
}

/// A quantised matrix and the scale of the tensor as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantized {
    /// Elements and scale factors.
    pub matrix: Nvfp4Matrix,
    /// What the matrix must be multiplied with to give back the source. The alpha of a GEMM is the
    /// product of the tensor scales of its operands.
    pub tensor_scale: f32,
}

/// Quantises `values` `[L, rows, K]` with tensor scale 1.
///
/// Blocks whose largest magnitude exceeds 6 · 448 saturate, and those below 6 · 2⁻¹⁰ vanish: for
/// values of unknown range use [`quantize_with_tensor_scale`]. An all-zero block has scale factor 0
/// and codes 0.
///
/// # Errors
/// [`QuantizeError::Matrix`] if the slice does not have L · rows · K values,
/// [`QuantizeError::NotFinite`] for the first infinity or NaN.
pub fn quantize<T: Source>(values: &[T], shape: MatrixShape) -> Result<Nvfp4Matrix, QuantizeError> {
    check(values, shape)?;
    quantize_scaled(values, shape, 1.0)
}

/// Quantises `values` `[L, rows, K]` by the two-level NVFP4 recipe: the tensor scale
/// `amax / (6 · 448)` puts the largest scale factor at 448.
///
/// All-zero values have tensor scale 1.
///
/// # Errors
/// As [`quantize`].
pub fn quantize_with_tensor_scale<T: Source>(
    values: &[T],
    shape: MatrixShape,
) -> Result<Quantized, QuantizeError> {
    let amax = check(values, shape)?;
    let tensor_scale = match amax {
        0.0 => 1.0,
        // A subnormal scale would have lost digits, or be 0.
        amax => (amax / (e2m1::MAX * ue4m3::MAX)).max(f32::MIN_POSITIVE),
    };
    Ok(Quantized {
        matrix: quantize_scaled(values, shape, tensor_scale)?,
        tensor_scale,
    })
}

/// The values `[L, rows, K]` of a matrix: each element times its scale factor, exact.
pub fn dequantize(matrix: Nvfp4MatrixView<'_>) -> Vec<f32> {
    let shape = matrix.shape();
    let mut values = vec![0.0; shape.elements()];
    values
        .par_chunks_exact_mut(shape.columns())
        .enumerate()
        .for_each(|(index, row_values)| {
            let (batch, row) = (index / shape.rows(), index % shape.rows());
            decode_row(matrix, batch, row, row_values);
        });
    values
}

/// Writes the K values of one row.
pub(crate) fn decode_row(
    matrix: Nvfp4MatrixView<'_>,
    batch: usize,
    row: usize,
    values: &mut [f32],
) {
    let packed = matrix.row(batch, row).chunks_exact(BLOCK / 2);
    let blocks = values.chunks_exact_mut(BLOCK).zip(packed);
    for (block, (values, packed)) in blocks.enumerate() {
        let scale = ue4m3::decode(matrix.scale(batch, row, block));
        for (pair, &byte) in values.chunks_exact_mut(2).zip(packed) {
            let [low, high] = e2m1::decode_pair(byte);
            pair[0] = low * scale;
            pair[1] = high * scale;
        }
    }
}

/// Checks length and finiteness; gives the largest magnitude.
fn check<T: Source>(values: &[T], shape: MatrixShape) -> Result<f32, QuantizeError> {
    MatrixError::check_length_in(
        "elements",
        "values to quantise",
        values.len(),
        shape.elements(),
    )?;
    let amax = values
        .par_chunks(1 << 16)
        .map(largest_magnitude)
        // Unlike `f32::max`, keeps NaN.
        .reduce(|| 0.0, |a, b| if a >= b || a.is_nan() { a } else { b });
    if amax.is_finite() {
        return Ok(amax);
    }
    let found = values
        .iter()
        .map(|value| value.to_f32())
        .enumerate()
        .find(|(_, value)| !value.is_finite());
    match found {
        None => Ok(amax),
        Some((index, value)) => {
            let (row, column) = (index / shape.columns(), index % shape.columns());
            Err(QuantizeError::NotFinite {
                index,
                batch: row / shape.rows(),
                row: row % shape.rows(),
                column,
                value,
            })
        }
    }
}

/// The largest magnitude; an infinity or NaN among the values gives an infinity or NaN.
fn largest_magnitude<T: Source>(values: &[T]) -> f32 {
    // Magnitudes order like their bits, with infinity and NaN on top.
    let bits = values
        .iter()
        .map(|value| value.to_f32().to_bits() & 0x7FFF_FFFF)
        .max();
    f32::from_bits(bits.unwrap_or(0))
}

/// Quantises finite values of the right number.
fn quantize_scaled<T: Source>(
    values: &[T],
    shape: MatrixShape,
    tensor_scale: f32,
) -> Result<Nvfp4Matrix, QuantizeError> {
    let mut elements = vec![0; shape.packed_size()];
    let mut scales = vec![PADDING; shape.row_major_scales_size()];
    values
        .par_chunks_exact(shape.columns())
        .zip(elements.par_chunks_exact_mut(shape.row_bytes()))
        .zip(scales.par_chunks_exact_mut(shape.blocks()))
        .for_each(|((values, elements), scales)| {
            let blocks = values
                .chunks_exact(BLOCK)
                .zip(elements.chunks_exact_mut(BLOCK / 2));
            for ((values, packed), scale) in blocks.zip(scales) {
                *scale = quantize_block(values, packed, tensor_scale);
            }
        });
    Ok(Nvfp4Matrix::from_row_major_scales(
        shape, elements, &scales,
    )?)
}

/// Quantises 16 values into 8 bytes and gives their scale factor.
fn quantize_block<T: Source>(values: &[T], packed: &mut [u8], tensor_scale: f32) -> u8 {
    let tensor_scale = f64::from(tensor_scale);
    let amax = f64::from(largest_magnitude(values));
    // The f64 quotient cannot round onto a ue4m3 midpoint that the exact one misses: numerator and
    // denominator have at most 24 and 27 significant bits, so the two differ by more than 2^-53
    // relative.
    let scale_code = ue4m3::encode(amax / (f64::from(e2m1::MAX) * tensor_scale));
    let scale = f64::from(ue4m3::decode(scale_code)) * tensor_scale;
    if scale == 0.0 {
        packed.fill(0);
        return scale_code;
    }
    for (byte, pair) in packed.iter_mut().zip(values.chunks_exact(2)) {
        let [low, high] =
            [pair[0], pair[1]].map(|value| e2m1::encode_scaled(f64::from(value.to_f32()), scale));
        *byte = e2m1::pack(low, high);
    }
    scale_code
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shape(rows: usize, columns: usize) -> MatrixShape {
        MatrixShape::new(rows, columns, 1).unwrap()
    }

    #[test]
    fn a_known_block() {
        let mut values = [0.0f32; 16];
        values[..5].copy_from_slice(&[12.0, -1.0, 0.5, 3.0, -7.0]);
        let matrix = quantize(&values, shape(1, 16)).unwrap();
        // Scale 2; 0.5/2 ties to 0, 3/2 is exact, -7/2 ties to the even -4.
        assert_eq!(matrix.view().scale(0, 0, 0), ue4m3::encode(2.0));
        assert_eq!(matrix.elements()[..3], [0x97, 0x30, 0x0E]);
    }

    #[test]
    fn zero_blocks_have_scale_and_codes_zero() {
        let matrix = quantize(&[-0.0f32; 32], shape(2, 16)).unwrap();
        assert!(matrix.elements().iter().all(|&byte| byte == 0));
        assert!(matrix.view().row_major_scales().iter().all(|&s| s == 0));
        let quantized = quantize_with_tensor_scale(&[0.0f32; 32], shape(2, 16)).unwrap();
        assert_eq!(quantized.tensor_scale, 1.0);
    }

    #[test]
    fn the_first_value_that_is_not_finite_is_named() {
        let mut values = vec![bf16::ONE; 3 * 32];
        values[2 * 32 + 5] = bf16::NAN;
        values[32 + 7] = bf16::INFINITY;
        let error = quantize(&values, shape(3, 32)).unwrap_err();
        assert_eq!(
            error,
            QuantizeError::NotFinite {
                index: 39,
                batch: 0,
                row: 1,
                column: 7,
                value: f32::INFINITY
            }
        );
    }

    #[test]
    fn wrong_number_of_values() {
        let error = quantize(&[1.0f32; 31], shape(2, 16)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "values to quantise: found 31 elements, needed 32"
        );
    }

    #[test]
    fn the_largest_scale_factor_of_a_tensor_is_448() {
        let values: Vec<f32> = (0..64).map(|i| (i as f32 - 20.0) * 1e20).collect();
        let quantized = quantize_with_tensor_scale(&values, shape(2, 32)).unwrap();
        assert_eq!(
            quantized.matrix.view().row_major_scales().into_iter().max(),
            Some(ue4m3::MAX_CODE)
        );
        let values: Vec<f32> = (0..64).map(f32::from_bits).collect();
        let tiny = quantize_with_tensor_scale(&values, shape(2, 32)).unwrap();
        assert!(tiny.tensor_scale.is_normal());
    }

    fn source() -> impl Strategy<Value = f32> {
        prop_oneof![-8.0..8.0f32, -3000.0..3000.0f32, -0.2..0.2f32, Just(0.0f32)]
    }

    proptest! {
        #[test]
        fn representable_values_are_fixed_points(
            codes in prop::collection::vec(0..16u8, 64),
            scales in prop::collection::vec(0..=ue4m3::MAX_CODE, 4),
        ) {
            let mut values = Vec::new();
            for (block, &scale) in codes.chunks(16).zip(&scales) {
                values.extend(block.iter().map(|&code| e2m1::decode(code) * ue4m3::decode(scale)));
                // With a ±6 in the block the scale factor is determined.
                let first = values.len() - 16;
                values[first] = 6.0 * ue4m3::decode(scale);
            }
            let matrix = quantize(&values, shape(1, 64)).unwrap();
            prop_assert_eq!(matrix.view().row_major_scales(), scales);
            prop_assert_eq!(dequantize(matrix.view()), values);
        }

        #[test]
        fn error_is_at_most_half_a_step(
            values in prop::collection::vec(source(), 48),
            tensor_scaled: bool,
        ) {
            let shape = shape(1, 48);
            let (matrix, tensor_scale) = if tensor_scaled {
                let quantized = quantize_with_tensor_scale(&values, shape).unwrap();
                (quantized.matrix, quantized.tensor_scale as f64)
            } else {
                (quantize(&values, shape).unwrap(), 1.0)
            };
            for (k, &x) in values.iter().enumerate() {
                let x = x as f64;
                let scale = ue4m3::decode(matrix.view().scale(0, 0, k / 16)) as f64 * tensor_scale;
                let dequantized = matrix.view().value(0, 0, k) as f64 * tensor_scale;
                let half_step = match x.abs() / scale {
                    q if q <= 2.0 => 0.25,
                    q if q <= 4.0 => 0.5,
                    _ => 1.0,
                };
                let saturation = x.abs() - 6.0 * scale;
                prop_assert!((x - dequantized).abs() <= saturation.max(half_step * scale));
            }
        }

        #[test]
        fn scale_factor_is_the_nearest_to_a_sixth_of_the_largest(
            values in prop::collection::vec(-2000.0..2000.0f32, 16),
        ) {
            let matrix = quantize(&values, shape(1, 16)).unwrap();
            let wanted = values.iter().fold(0.0f32, |amax, x| amax.max(x.abs())) as f64 / 6.0;
            let chosen = ue4m3::decode(matrix.view().scale(0, 0, 0)) as f64;
            for code in 0..=ue4m3::MAX_CODE {
                let other = ue4m3::decode(code) as f64;
                prop_assert!((chosen - wanted).abs() <= (other - wanted).abs());
            }
        }

        #[test]
        fn narrow_sources_quantise_like_their_f32_values(
            bits in prop::collection::vec(0..0x7000u16, 32),
        ) {
            let halves: Vec<f16> = bits.iter().map(|&b| f16::from_bits(b)).collect();
            let wide: Vec<f32> = halves.iter().map(|&h| h.into()).collect();
            prop_assert_eq!(
                quantize(&halves, shape(2, 16)).unwrap(),
                quantize(&wide, shape(2, 16)).unwrap()
            );
        }
    }
}
