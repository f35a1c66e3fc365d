//! E2M1, UE4M3 and f32 as integers times powers of two.

/// Elements of K that one instruction consumes.
pub const K: usize = 64;

/// Elements that share a scale factor.
pub const GROUP_ELEMENTS: usize = 16;

/// Scale factors of a row.
pub const GROUPS: usize = K / GROUP_ELEMENTS;

/// Bytes of a row of packed elements: two per byte, the even one in the low nibble.
pub const ROW_BYTES: usize = K / 2;

/// The one NaN that the tensor core writes.
pub const CANONICAL_NAN: u32 = 0x7fff_ffff;

pub const F32_MANTISSA_BITS: u32 = 23;
pub const F32_EXPONENT_BIAS: i32 = 127;
pub const F32_INFINITY: u32 = 0x7f80_0000;

/// A finite number: `significand` · 2^`unit`. `raw` is the exponent that its encoding names, 2^`raw` being the lower
/// end of a normal number's binade; subnormals have the least normal one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    pub significand: i32,
    pub unit: i32,
    pub raw: i32,
}

/// The element of the low nibble: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives.
#[inline]
pub const fn decode_e2m1(nibble: u8) -> Decoded {
    let exponent = (nibble >> 1 & 3) as i32;
    let mantissa = (nibble & 1) as i32;
    let magnitude = if exponent == 0 {
        mantissa
    } else {
        2 + mantissa
    };
    let raw = if exponent == 0 { 0 } else { exponent - 1 };
    Decoded {
        significand: if nibble & 8 != 0 {
            -magnitude
        } else {
            magnitude
        },
        unit: raw - 1,
        raw,
    }
}

/// Bit 7 is ignored. `None` for the NaN, 0x7f.
#[inline]
pub const fn decode_ue4m3(byte: u8) -> Option<Decoded> {
    let bits = byte & 0x7f;
    if bits == 0x7f {
        return None;
    }
    let exponent = (bits >> 3) as i32;
    let mantissa = (bits & 7) as i32;
    let raw = if exponent == 0 { -6 } else { exponent - 7 };
    Some(Decoded {
        significand: if exponent == 0 {
            mantissa
        } else {
            8 + mantissa
        },
        unit: raw - 3,
        raw,
    })
}

/// Of finite `bits` only.
#[inline]
pub const fn decode_f32(bits: u32) -> Decoded {
    let field = (bits >> F32_MANTISSA_BITS & 0xff) as i32;
    let fraction = (bits & 0x7f_ffff) as i32;
    let magnitude = if field == 0 {
        fraction
    } else {
        fraction | 1 << F32_MANTISSA_BITS
    };
    let raw = if field == 0 { 1 } else { field } - F32_EXPONENT_BIAS;
    Decoded {
        significand: if bits >> 31 != 0 {
            -magnitude
        } else {
            magnitude
        },
        unit: raw - F32_MANTISSA_BITS as i32,
        raw,
    }
}
