//! Result words that a B200 produced, with their inputs: `sf-tensor/tcgen05`, `tcgen05_model/validation.py`
//! (`_unscaled_vectors`, `_integer_vectors`, `_ue8m0_vectors`, `_edge_vectors`; random inputs from the seeds named there).

use super::*;
use crate::isa::alu::Format::{self, *};

const F32: DotRule = DotRule::wide(DotResult::F32);

/// Codes of `digits` hexadecimal digits.
fn codes(hex: &str, digits: usize) -> Vec<u32> {
    hex.as_bytes()
        .chunks(digits)
        .map(|code| u32::from_str_radix(str::from_utf8(code).unwrap(), 16).unwrap())
        .collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    codes(hex, 2).into_iter().map(|code| code as u8).collect()
}

/// Digits of the codes in the tables below.
fn digits(format: Format) -> usize {
    match format {
        Tf32 => 8,
        F16 | Bf16 => 4,
        _ => 2,
    }
}

#[test]
fn unscaled_words_are_reproduced() {
    for (format, a, b, c, word) in UNSCALED {
        let vector = |hex| DotVector::new(format, codes(hex, digits(format)), false);
        let found = dot(F32, &vector(a), &vector(b), c);
        assert_eq!(found, word, "{format:?}: {found:#010x}, not {word:#010x}");
    }
}

const UNSCALED: [(Format, &str, &str, u32, u32); 16] = [
    (
        Tf32,
        "f5bffffb05002635df32756032a7cae9bb5e253dc54e6f4a3a457647641a7dc4",
        "54a4f9d401b9ef96b6bc4b02200764cace84821dd1553cfd0447f9b4e998164b",
        0x2aac70ea,
        0xff800000,
    ),
    (
        Tf32,
        "1adccb0fe539426025a705521e3ce260138b5984a7c3a1c0c0e52aed5467820b",
        "5e6641cba53fa0cc0f9489e6dcbe011133fc342294de84de41c52ba76421e6d3",
        0xfc36c805,
        0xfc347e7c,
    ),
    (
        Bf16,
        "f5bf0500df3232a7bb5ec54e3a45641a54a401b9b6bc2007ce84d1550447e998",
        "2aac1adce53925a71e3c138ba7c3c0e554675e66a53f0f94dcbe33fc94de41c5",
        0x6421e6d3,
        0x7f800000,
    ),
    (
        Bf16,
        "fc365283f27c9f152beba0d94c9268da0a6c77627205894c3e6d4222f6212e01",
        "dc9b918e0a0019ab09cf9907c91dcd421fbad3fc29cb40948fc16a2f5784ec63",
        0x12764e13,
        0x7f800000,
    ),
    (
        F16,
        "faa3b6dc74cfef28b806b24cbc21d1793703b06713fae9909a4dbd381f36a782",
        "61d9760fe3c3568fdf45acdf1e627d36150d21d338f4954fd3fdf91206540b47",
        0x39a59521,
        0x7fffffff,
    ),
    (
        F16,
        "f6381b73b10320ac9b7085ff4b2e2ef5bef168d1dc66bbb294acb916ac3a6a3f",
        "3a00c940a841928fc577d3b39e193fb616085e7e33db949037f2f226b17e9e4b",
        0x82890b9b,
        0x49776bba,
    ),
    (
        E4m3,
        "7a026f195d621d322a005b1067680274150d72120f0953602a2f52076e194a20",
        "327e29794f15502634053b39441f217b176e48050c044c64660f69142047352b",
        0xec63d12a,
        0xec63d12a,
    ),
    (
        E4m3,
        "092c4f7e4519686b0c055c553b6765463d5010741c13166e421705443004123b",
        "141b4f380a071309011068591f0f093c4f475b35506a463d44185c3727036b61",
        0xb1a13d98,
        0x452af963,
    ),
    (
        E5m2,
        "4c2d2c7b003e2c43697236494a15140f362a2f4911501f6e0c726f4c40634175",
        "620658082525715147097a4123492c020867660b4f1a6768302675636066686f",
        0x08d846e9,
        0x4d92b09a,
    ),
    (
        E5m2,
        "4b69167a065d3d38064f7322561957726f525670321e5334186923126542293a",
        "361e2f604b5451331361650b6903225637531a4c0621482f0f414c08772f6803",
        0x2d1b7de0,
        0x4c9c1102,
    ),
    (
        E2m3,
        "333f3a1e200f1f100c3927041624283c1c3a0202093924182b14032804092c15",
        "310b043924310d000d24370a271a233527121332301e083b0d0e1c0526242124",
        0x07e5db6a,
        0xc29dd800,
    ),
    (
        E2m3,
        "342a33122925142a2d15283c1538101f310d071103351f23372e321c2b123d2d",
        "320c3b34060b31230d041d25103a35332b032d0e181a28112a11052703201d28",
        0x44a4fb41,
        0x449d14c1,
    ),
    (
        E3m2,
        "343c1804303219322b0e031c1006092e303c25383025110b07261935251e2437",
        "1f11031f02013c330b3d1424073e1c1019210f18123d142005073c052e342613",
        0x52c9ec63,
        0x52c9ec63,
    ),
    (
        E3m2,
        "22323c08132330273b113a1a392e1e2e103c07301f2d3c1d2230073b0e360f0c",
        "000737270f011d373b192d11293a3f0c17243e2528062e08003200262d3a0117",
        0x95ff4972,
        0xc33b7700,
    ),
    (
        E2m1,
        "01070602080c050d0f020801030c040f09000d080107060a0405060903070807",
        "000808040b020f05080403050f02050c010a0705020d00030a04050806000008",
        0x890662b9,
        0xc1fe0000,
    ),
    (
        E2m1,
        "00020806050c010f040502020f0d04060e0b0d0a010f0e0d00090c0d02060e05",
        "0a0f020804040a080a070b0e080108070a09040a080c000400020808000d0c06",
        0xdc3b62a3,
        0xdc3b62a3,
    ),
];

/// The first product alone; 1 in each format, the least subnormal, NaN and infinity.
#[test]
fn edges_are_reproduced() {
    const NAN: u32 = 0x7fff_ffff;
    const INFINITY: u32 = 0x7f80_0000;
    for (format, one, subnormal, result, nan, infinity) in [
        (
            Tf32,
            0x3f80_0000,
            0x2000,
            0x0000_2000,
            0x7fc0_0000,
            Some(0x7f80_0000),
        ),
        (Bf16, 0x3f80, 1, 0x0001_0000, 0x7fc0, Some(0x7f80)),
        (F16, 0x3c00, 1, 0x3380_0000, 0x7e00, Some(0x7c00)),
        (E4m3, 0x38, 1, 0x3b00_0000, 0x7f, None),
        (E5m2, 0x3c, 1, 0x3780_0000, 0x7f, Some(0x7c)),
    ] {
        let single = |a, b, c| {
            let vector = |code| DotVector::new(format, [code, 0, 0, 0], false);
            dot(F32, &vector(a), &vector(b), c)
        };
        assert_eq!(single(0, 0, 0x8000_0000), 0, "{format:?}");
        assert_eq!(single(subnormal, one, 0), result, "{format:?}");
        assert_eq!(single(nan, one, 0), NAN, "{format:?}");
        if let Some(infinity) = infinity {
            assert_eq!(single(infinity, one, 0), INFINITY, "{format:?}");
            assert_eq!(single(infinity, 0, 0), NAN, "{format:?}");
        }
    }
    // A NaN whose payload lies in the ignored bits is an infinity.
    let vector = |code| DotVector::new(Tf32, [code], false);
    let found = dot(F32, &vector(0x7f80_0001), &vector(0x3f80_0000), 0);
    assert_eq!(found, INFINITY);
}

#[test]
fn nans_of_f16_accumulators_are_reproduced() {
    let rule = DotRule::wide(DotResult::F16);
    let a = |code| DotVector::new(E2m1, [code; 32], false);
    let nan = DotVector::new(E4m3, [0x7f; 32], false);
    assert_eq!(dot(rule, &a(1), &nan, 0), 0x7fff);
    let zero = DotVector::new(E4m3, [0; 32], false);
    assert_eq!(dot(rule, &a(0), &zero, 0x7e00), 0x7fff);
}

#[test]
fn scaled_words_are_reproduced() {
    let vector = |hex, scale| DotVector::new(E2m1, codes(hex, 2), false).scaled(scale);
    let a = vector(
        "0e020809030e04050606010a030e0a0209020c080d07000a0c070b040900090a",
        0x77,
    );
    let b = vector(
        "0a01020b0209050700070a02070b0e0108060b0202020c0a0c070f090d030e00",
        0x7f,
    );
    assert_eq!(dot(F32, &a, &b, 0), 0x3f09_4000);
    let nan = vector("01", 0xff);
    assert_eq!(dot(F32, &nan, &vector("01", 0x7f), 0), 0x7fff_ffff);
    for (a, b, scales_a, scales_b, word) in MXFP4 {
        let vector = |hex, scales| Mxfp4Row::new(bytes(hex).as_slice().try_into().unwrap(), scales);
        assert_eq!(
            mxfp4_dot(&vector(a, scales_a), &vector(b, scales_b), 0),
            word
        );
    }
}

/// Elements of A and B, their scales, and the word.
type Mxfp4Case = (&'static str, &'static str, [u8; 4], [u8; 4], u32);

/// A scale of 32 elements stands twice.
const MXFP4: [Mxfp4Case; 3] = [
    (
        "daa405c72fc067c15de9a496b9290331a47bbf60ed067d26f01592019c6a066e",
        "a5d390870dfb425b2a0a5a862691502b4487fbdf7f266b452c93185af1ec60b1",
        [0x7c, 0x7c, 0x7a, 0x7a],
        [0x8a, 0x8a, 0x76, 0x76],
        0x46ba8000,
    ),
    (
        "bb2c05571c6dda2d3223b8bea63ff258b8da144d34a003e00d52669db173e682",
        "9dd3d803d6c81a26966bea391ba8ffe1eef2cb826b4c428f6fadcdafd854abc3",
        [0x7f, 0x7f, 0x83, 0x83],
        [0x74, 0x74, 0x77, 0x77],
        0x40580000,
    ),
    (
        "f16672a943a9a74d7d84646dbad149be534d7100e84d629d2faa9db3411444ff",
        "1df5d38a5b505a8d5ed7ebeb738519fb19cdbf98049af7d86461775043e411b9",
        [0x7c, 0x7a, 0x81, 0x78],
        [0x8b, 0x7a, 0x85, 0x84],
        0xc6a88896,
    ),
];

#[test]
fn integer_words_are_reproduced() {
    for (a, a_signed, b, b_signed, c, saturate, word) in INTEGERS {
        let vector = |hex, signed| -> Vec<i16> {
            let bytes = bytes(hex).into_iter();
            bytes.map(|byte| decode_integer(byte, signed)).collect()
        };
        let found = integer_dot(&vector(a, a_signed), &vector(b, b_signed), c, saturate);
        assert_eq!(found, word);
    }
}

const INTEGERS: [(&str, bool, &str, bool, u32, bool, u32); 8] = [
    (
        "ecef82c06c37ad2e0967a976cb961923a6e59dbf44f93b61bd53bfbbabe35d29",
        false,
        "034aeffe5df4e6c95ae78c8d1ff2b188adb71c37b284ed5da8d617b9890b120f",
        false,
        0x0781da28,
        false,
        0x078a5c64,
    ),
    (
        "90b57ba7acba57aeb4e6eb05beec0abd6d45e900ee4461c9bdb7340e3c6f3b4e",
        true,
        "ff8e4c12600eaec0ee57d5ca27f6c55c296a77d1c4cac9b20c8825bcb6e18189",
        false,
        0xf66e2e3c,
        false,
        0xf66e2fa6,
    ),
    (
        "ba56b456da14c2277ea36437a4777e2013232e58641019e3337a407e0856184d",
        false,
        "8b3180c5fd386d056a99bc335710cab665dffb2d379f7e2e6537a903bd247c0d",
        true,
        0xd73eef77,
        false,
        0xd73f1a46,
    ),
    (
        "574db562c19f460915d83f0e11edd7132cbfefd7f28ed790fa4584aa26de71dc",
        true,
        "4a21086473b8f5974cbc2ff7074822ad60ed93571bf643dc6f3d575595314ed6",
        true,
        0x806396ba,
        true,
        0x8063d12f,
    ),
    (
        "edbb0662194d5ebf9936a9107bd09d4a5f3bd43c1de5922a54076b1d248b32cd",
        true,
        "eb58cd3080e13e8e75e490aaf630a787e566d7d06cb047e391632c36b6f195ea",
        true,
        0xa467cae8,
        false,
        0xa4679e93,
    ),
    (
        "4c83998fadf096b31ed0cf32aae97f3e0a978f496d3edc8a1bc399959f7ebb5e",
        false,
        "24c0dbcebe8e045057a1d605ac9023a8c939e52ac7ad80f77447ff3c85c3025c",
        false,
        0x55d2840e,
        true,
        0x55db8bb8,
    ),
    (
        "fb89c4d48a7858dab0fb48360cc241144a67550f6f0c39ec31feb43c6c125aef",
        true,
        "2ede527cb66185d7fe94c110efa9dc9da13d08260c4f7cad0fb8b34b9ab957c9",
        false,
        0xb47f5e97,
        true,
        0xb47f6330,
    ),
    (
        "f649f87ce7b836bd6a3ee1520b4661d190c3f8a7b9c86d99b443185b0ce103f8",
        false,
        "650580089d4cc3cf4b22bb17ff361f00528de80770475b1257d49d5deda8d6c5",
        true,
        0x8533dee9,
        true,
        0x8533c14d,
    ),
];
