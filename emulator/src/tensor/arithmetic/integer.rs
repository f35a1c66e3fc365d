//! `.kind::i8`: exact sums of 8-bit products (PTX ISA §9.7.16.4.2; sf-tensor §6).

/// `c` + Σ aₖ·bₖ as s32: modulo 2^32, or clamped once, after the exact sum.
pub fn integer_dot(a: &[i16], b: &[i16], c: u32, saturate: bool) -> u32 {
    let products = a.iter().zip(b).map(|(a, b)| i64::from(*a) * i64::from(*b));
    let sum = i64::from(c.cast_signed()) + products.sum::<i64>();
    match saturate {
        true => sum.clamp(i32::MIN.into(), i32::MAX.into()) as u32,
        false => sum as u32,
    }
}

/// An element of 8 bits.
pub fn decode_integer(byte: u8, signed: bool) -> i16 {
    match signed {
        true => i16::from(byte.cast_signed()),
        false => i16::from(byte),
    }
}
