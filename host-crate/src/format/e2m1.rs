//! e2m1: the 4-bit element of NVFP4. One sign bit, two exponent bits (bias 1), one mantissa bit;
//! neither infinity nor NaN (OCP Microscaling Formats v1.0, §5.3.3).
//!
//! | code | 0 | 1   | 2 | 3   | 4 | 5 | 6 | 7 |
//! |------|---|-----|---|-----|---|---|---|---|
//! | value| 0 | 0.5 | 1 | 1.5 | 2 | 3 | 4 | 6 |
//!
//! Codes 8 to 15 are the same values negated; code 8 is −0. Two codes share a byte, the element
//! with the lower k in the low nibble.

/// The largest finite magnitude.
pub const MAX: f32 = 6.0;

/// The sign bit of a code.
pub const SIGN: u8 = 0x8;

/// The value of each of the sixteen codes.
pub const VALUES: [f32; 16] = [
    0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0,
];

/// The value of the code in the low four bits; the high four are ignored.
#[inline]
pub const fn decode(code: u8) -> f32 {
    VALUES[(code & 0xF) as usize]
}

/// The two values of a packed byte, lower k first.
#[inline]
pub const fn decode_pair(byte: u8) -> [f32; 2] {
    [decode(byte), decode(byte >> 4)]
}

/// The packed byte of two codes, lower k first.
#[inline]
pub const fn pack(low_k: u8, high_k: u8) -> u8 {
    (low_k & 0xF) | (high_k << 4)
}

/// The code nearest to `value`, ties to the even code; magnitudes above 6 and infinities saturate
/// to ±6.
///
/// The sign is kept, also that of zero. NaN has no code: like PTX `cvt.rn.satfinite.e2m1x2`, it
/// gives +6.
#[inline]
pub fn encode(value: f64) -> u8 {
    encode_scaled(value, 1.0)
}

/// The code nearest to `value / scale`, as [`encode`] but without rounding the quotient first.
///
/// `scale` is positive and `5 * scale` exact in f64, which holds for a ue4m3 value times an f32.
#[inline]
pub(crate) fn encode_scaled(value: f64, scale: f64) -> u8 {
    if value.is_nan() {
        return 0x7;
    }
    let magnitude = value.abs();
    // The midpoints between neighbouring values. A tie goes to the even code: up where the
    // comparison includes equality, down where it does not.
    let code = (magnitude > 0.25 * scale) as u8
        + (magnitude >= 0.75 * scale) as u8
        + (magnitude > 1.25 * scale) as u8
        + (magnitude >= 1.75 * scale) as u8
        + (magnitude > 2.5 * scale) as u8
        + (magnitude >= 3.5 * scale) as u8
        + (magnitude > 5.0 * scale) as u8;
    code | if value.is_sign_negative() { SIGN } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_follow_the_fields() {
        for code in 0..16u8 {
            let exponent = (code >> 1) & 3;
            let mantissa = (code & 1) as f32;
            let magnitude = match exponent {
                0 => mantissa * 0.5,
                e => (1.0 + mantissa * 0.5) * 2f32.powi(e as i32 - 1),
            };
            let value = if code & SIGN != 0 {
                -magnitude
            } else {
                magnitude
            };
            assert_eq!(decode(code).to_bits(), value.to_bits(), "code {code}");
        }
    }

    #[test]
    fn every_value_encodes_to_its_code() {
        for code in 0..16u8 {
            assert_eq!(encode(decode(code) as f64), code);
        }
    }

    #[test]
    fn ties_go_to_the_even_code_and_neighbours_to_the_nearest() {
        for low in 0..7u8 {
            let middle = (decode(low) as f64 + decode(low + 1) as f64) / 2.0;
            assert_eq!(encode(middle), low + (low & 1), "tie above code {low}");
            assert_eq!(encode(middle.next_down()), low);
            assert_eq!(encode(middle.next_up()), low + 1);
            assert_eq!(encode(-middle), SIGN | (low + (low & 1)));
        }
    }

    #[test]
    fn out_of_range_saturates() {
        assert_eq!(encode(6.1), 0x7);
        assert_eq!(encode(f64::INFINITY), 0x7);
        assert_eq!(encode(f64::NEG_INFINITY), 0xF);
        assert_eq!(encode(f64::NAN), 0x7);
        assert_eq!(encode(-0.0), 0x8);
    }

    #[test]
    fn the_low_nibble_is_the_lower_k() {
        assert_eq!(decode_pair(0x7A), [-1.0, 6.0]);
        assert_eq!(pack(0xA, 0x7), 0x7A);
    }

    proptest! {
        #[test]
        fn no_code_is_nearer(value in -7.0..7.0f64) {
            let chosen = (decode(encode(value)) as f64 - value).abs();
            for code in 0..16u8 {
                prop_assert!(chosen <= (decode(code) as f64 - value).abs());
            }
        }
    }
}
