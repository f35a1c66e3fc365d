//! The arithmetic against words that a B200 produced, against an independent model, and path against path.

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
