//! Operands rearranged for eight columns of D at a time.

use super::formats::*;

/// Columns of D that are computed together.
pub const LANES: usize = 8;

/// Elements of K that one 32-bit lane holds.
pub const QUAD: usize = 4;

/// Quads of a row.
pub const QUADS: usize = K / QUAD;

/// Added to A's doubled elements, which lie in -12..=12, to make them unsigned.
const BIAS: i8 = 12;

/// One row of an operand: 64 packed elements and their four scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScaledRow {
    /// Two elements per byte, the even one in the low nibble.
    pub elements: [u8; ROW_BYTES],
    /// UE4M3, of 16 elements each.
    pub scales: [u8; GROUPS],
}

impl ScaledRow {
    const ZERO: ScaledRow = ScaledRow {
        elements: [0; ROW_BYTES],
        scales: [0; GROUPS],
    };
}

/// The scales of one row, by group.
#[derive(Clone, Copy, Debug)]
struct Scales {
    /// 0 for the NaN.
    value: [f64; GROUPS],
    raw: [i32; GROUPS],
    /// One bit per element, set where neither it nor the group's scale is zero. Rows agree on the order.
    nonzero: [u32; GROUPS],
    has_nan: bool,
    /// Of the groups with a nonzero element.
    span: RawSpan,
}

/// The least and the largest raw scale exponent of a set of groups.
#[derive(Clone, Copy, Debug)]
pub struct RawSpan {
    pub low: i32,
    pub high: i32,
}

impl RawSpan {
    /// Neutral in [`RawSpan::join`]: all scales lie between its ends.
    const EMPTY: RawSpan = RawSpan { low: 8, high: -6 };

    fn join(self, other: RawSpan) -> RawSpan {
        RawSpan {
            low: self.low.min(other.low),
            high: self.high.max(other.high),
        }
    }
}

/// A row of A.
#[derive(Clone, Debug)]
pub struct Row {
    /// Twice each element, plus 12.
    pub biased: [u8; K],
    /// A quarter of each scale: elements are doubled on both sides.
    pub quarter_scale: [f64; GROUPS],
    pub raw: [i32; GROUPS],
    pub nonzero: [u32; GROUPS],
    pub has_nan: bool,
    pub span: RawSpan,
    pub source: ScaledRow,
}

impl Row {
    pub fn new(source: &ScaledRow) -> Row {
        let elements = double_elements(source);
        let scales = Scales::new(source);
        Row {
            biased: elements.map(|element| (element + BIAS) as u8),
            quarter_scale: scales.value.map(|value| 0.25 * value),
            raw: scales.raw,
            nonzero: scales.nonzero,
            has_nan: scales.has_nan,
            span: scales.span,
            source: *source,
        }
    }

    /// Twice each element.
    pub fn elements(&self) -> [i16; K] {
        self.biased
            .map(|element| i16::from(element) - i16::from(BIAS))
    }
}

/// Eight rows of B: eight columns of D.
///
/// ```text
/// quads[q]   n=0: k=4q 4q+1 4q+2 4q+3 | n=1: k=4q … | … | n=7        32 bytes
/// ```
#[derive(Clone, Debug)]
#[repr(C, align(32))]
pub struct ColumnBlock {
    /// Twice each element.
    pub quads: [[i8; LANES * QUAD]; QUADS],
    /// What the bias of A adds to each 16-bit half-quad sum of a group, negated.
    pub unbias: [[i16; LANES * 2]; GROUPS],
    pub scale: [[f64; LANES]; GROUPS],
    pub raw: [[i32; LANES]; GROUPS],
    pub nonzero: [[u32; LANES]; GROUPS],
    pub is_nan: [bool; LANES],
    pub has_nan: bool,
    pub span: RawSpan,
    pub source: [ScaledRow; LANES],
}

impl ColumnBlock {
    /// Missing columns, of fewer than eight rows, are zero.
    pub fn new(rows: &[ScaledRow]) -> ColumnBlock {
        let source: [ScaledRow; LANES] =
            std::array::from_fn(|n| rows.get(n).copied().unwrap_or(ScaledRow::ZERO));
        let mut block = ColumnBlock {
            quads: [[0; LANES * QUAD]; QUADS],
            unbias: [[0; LANES * 2]; GROUPS],
            scale: [[0.0; LANES]; GROUPS],
            raw: [[0; LANES]; GROUPS],
            nonzero: [[0; LANES]; GROUPS],
            is_nan: [false; LANES],
            has_nan: false,
            span: RawSpan::EMPTY,
            source,
        };
        for (n, row) in source.iter().enumerate() {
            let elements = double_elements(row);
            for (q, quad) in elements.chunks_exact(QUAD).enumerate() {
                block.quads[q][n * QUAD..][..QUAD].copy_from_slice(quad);
            }
            let scales = Scales::new(row);
            for g in 0..GROUPS {
                block.scale[g][n] = scales.value[g];
                block.raw[g][n] = scales.raw[g];
                block.nonzero[g][n] = scales.nonzero[g];
            }
            block.is_nan[n] = scales.has_nan;
            block.has_nan |= scales.has_nan;
            block.span = block.span.join(scales.span);
        }
        for (q, quads) in block.quads.iter().enumerate() {
            let unbias = &mut block.unbias[q * GROUPS / QUADS];
            for i in 0..2 * LANES {
                let pair = i16::from(quads[2 * i]) + i16::from(quads[2 * i + 1]);
                unbias[i] -= i16::from(BIAS) * pair;
            }
        }
        block
    }
}

impl Scales {
    fn new(row: &ScaledRow) -> Scales {
        let mut scales = Scales {
            value: [0.0; GROUPS],
            raw: [0; GROUPS],
            nonzero: [0; GROUPS],
            has_nan: false,
            span: RawSpan::EMPTY,
        };
        for g in 0..GROUPS {
            let Some(scale) = decode_ue4m3(row.scales[g]) else {
                scales.has_nan = true;
                continue;
            };
            scales.value[g] = SCALE_VALUES[usize::from(row.scales[g] & 0x7f)];
            scales.raw[g] = scale.raw;
            if scale.significand != 0 {
                scales.nonzero[g] = nonzero_elements(row, g);
            }
            if scales.nonzero[g] != 0 {
                scales.span = scales.span.join(RawSpan {
                    low: scale.raw,
                    high: scale.raw,
                });
            }
        }
        scales
    }
}

/// The values of UE4M3, 0 for the NaN.
const SCALE_VALUES: [f64; 128] = {
    let mut values = [0.0; 128];
    let mut byte = 0;
    while byte < 127 {
        if let Some(scale) = decode_ue4m3(byte as u8) {
            values[byte] = scale.significand as f64 * power_of_two(scale.unit);
        }
        byte += 1;
    }
    values
};

/// 2^`exponent` for exponents of normal f64; others give some other number.
#[inline(always)]
pub const fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as i64 as u64) << 52)
}

/// One bit per element of the group, set where it is not zero, in an order of its own.
fn nonzero_elements(row: &ScaledRow, group: usize) -> u32 {
    let bytes = GROUP_ELEMENTS / 2;
    let nibbles = row.elements[group * bytes..][..bytes]
        .iter()
        .rev()
        .fold(0u64, |word, &byte| word << 8 | u64::from(byte));
    // Bit 0 of each nibble: whether any of its three magnitude bits is set.
    let any = (nibbles | nibbles >> 1 | nibbles >> 2) & 0x1111_1111_1111_1111;
    any as u32 | (any >> 31) as u32
}

/// Twice each element. Arithmetic rather than a table, so that it vectorises.
fn double_elements(row: &ScaledRow) -> [i8; K] {
    let low = row.elements.map(double);
    let high = row.elements.map(|byte| double(byte >> 4));
    let mut elements = [0; K];
    for i in 0..ROW_BYTES {
        elements[2 * i] = low[i];
        elements[2 * i + 1] = high[i];
    }
    elements
}

/// Twice the element in the low nibble. Codes 0–7 stand for 0, 1, 2, 3, 4, 6, 8, 12: the code, plus its excess over 4,
/// plus 2 for code 7.
#[inline(always)]
fn double(nibble: u8) -> i8 {
    let code = nibble & 7;
    let magnitude = code + code.saturating_sub(4) + 2 * u8::from(code == 7);
    let sign = -((nibble >> 3 & 1) as i8);
    (magnitude as i8 ^ sign) - sign
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubling_agrees_with_the_format() {
        for byte in 0..=255 {
            let element = decode_e2m1(byte);
            assert_eq!(
                i32::from(double(byte)),
                element.significand << (element.unit + 1)
            );
        }
    }
}
