//! ue4m3: the scale factor of NVFP4. Four exponent bits (bias 7), three mantissa bits, no sign.
//!
//! | code        | value                                | name       |
//! |-------------|--------------------------------------|------------|
//! | `0x00`      | 0                                    | zero       |
//! | `0x01–0x07` | m/8 · 2⁻⁶ = m · 2⁻⁹                  | subnormal  |
//! | `0x08–0x7E` | (1 + m/8) · 2^(e−7), at most 448     | normal     |
//! | `0x7F`      | NaN                                  |            |
//!
//! e is bits 3 to 6 and m bits 0 to 2. The tensor core ignores bit 7, and so does [`decode`].

/// The code of NaN.
pub const NAN: u8 = 0x7F;

/// The code of the largest finite value, [`MAX`].
pub const MAX_CODE: u8 = 0x7E;

/// The largest finite value.
pub const MAX: f32 = 448.0;

/// The smallest normal value, 2⁻⁶.
pub const MIN_NORMAL: f32 = 1.0 / 64.0;

/// The value of each of the 256 bytes.
pub const VALUES: [f32; 256] = {
    let mut values = [0.0; 256];
    let mut code = 0;
    while code < 256 {
        values[code] = value_of_fields((code >> 3) & 0xF, code & 0x7);
        code += 1;
    }
    values
};

const fn value_of_fields(exponent: usize, mantissa: usize) -> f32 {
    match (exponent, mantissa) {
        (0xF, 0x7) => f32::NAN,
        (0, m) => m as f32 / 512.0,
        (e, m) => ((8 + m) << e) as f32 / 1024.0,
    }
}

/// The value of a code; bit 7 is ignored, as the tensor core does.
#[inline]
pub const fn decode(code: u8) -> f32 {
    VALUES[code as usize]
}

/// Whether a code is NaN; bit 7 is ignored.
#[inline]
pub const fn is_nan(code: u8) -> bool {
    code & 0x7F == NAN
}

/// The code nearest to `value`, ties to the even code.
///
/// Values above 448 and +∞ saturate to 448, negative values to 0; NaN gives [`NAN`].
#[inline]
pub fn encode(value: f64) -> u8 {
    if value.is_nan() {
        return NAN;
    }
    let value = value.clamp(0.0, MAX as f64);
    // Everything below the smallest normal value has the same grid as the first binade.
    let exponent = ((value.to_bits() >> 52) as i32 - 1023).max(-6);
    let grid = f64::from_bits(((1023 + exponent - 3) as u64) << 52);
    let significand = (value / grid).round_ties_even() as i32;
    // A normal significand is 8 to 15 and its 8 is implicit; one that rounds up to 16 carries into
    // the exponent field by itself, as a subnormal that rounds up to 8 becomes the first normal.
    (((exponent + 6) << 3) + significand) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn landmarks() {
        for (code, value) in [
            (0x00, 0.0),
            (0x01, 1.0 / 512.0),
            (0x07, 7.0 / 512.0),
            (0x08, MIN_NORMAL),
            (0x38, 1.0),
            (0x3C, 1.5),
            (0x7E, MAX),
            (0xB8, 1.0),
        ] {
            assert_eq!(decode(code), value, "code {code:#04x}");
        }
        assert!(decode(NAN).is_nan() && decode(0xFF).is_nan());
        assert!(is_nan(0x7F) && is_nan(0xFF) && !is_nan(0x7E));
    }

    #[test]
    fn values_increase_and_encode_to_their_code() {
        for code in 0..=MAX_CODE {
            assert_eq!(encode(decode(code) as f64), code);
            assert!(code == 0 || decode(code) > decode(code - 1));
        }
    }

    #[test]
    fn ties_go_to_the_even_code_and_neighbours_to_the_nearest() {
        for low in 0..MAX_CODE {
            let middle = (decode(low) as f64 + decode(low + 1) as f64) / 2.0;
            assert_eq!(encode(middle), low + (low & 1), "tie above code {low:#04x}");
            assert_eq!(encode(middle.next_down()), low);
            assert_eq!(encode(middle.next_up()), low + 1);
        }
    }

    #[test]
    fn out_of_range_saturates() {
        assert_eq!(encode(449.0), MAX_CODE);
        assert_eq!(encode(f64::INFINITY), MAX_CODE);
        assert_eq!(encode(-1.0), 0);
        assert_eq!(encode(f64::NEG_INFINITY), 0);
        assert_eq!(encode(f64::MIN_POSITIVE), 0);
        assert_eq!(encode(f64::NAN), NAN);
    }

    proptest! {
        #[test]
        fn no_code_is_nearer(value in prop_oneof![0.0..0.05f64, 0.0..448.0f64]) {
            let chosen = (decode(encode(value)) as f64 - value).abs();
            for code in 0..=MAX_CODE {
                prop_assert!(chosen <= (decode(code) as f64 - value).abs());
            }
        }
    }
}
