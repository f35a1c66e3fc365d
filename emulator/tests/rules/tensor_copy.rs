//! `tcgen05.cp`: which bytes of shared memory reach which lanes and columns (PTX ISA §9.7.16.9).

use super::program::*;

/// Offset in `smem` of the bytes that programs copy.
const SOURCE: u32 = 2048;

/// A shared-memory descriptor without swizzle.
fn descriptor(offset: u32, leading: u32, stride: u32) -> u64 {
    u64::from((SMEM + offset) / 16)
        | u64::from(leading / 16) << 16
        | u64::from(stride / 16) << 32
        | 1 << 46
}

const SWIZZLE_32B: u64 = 6 << 61;
const SWIZZLE_64B: u64 = 4 << 61;
const SWIZZLE_128B: u64 = 2 << 61;

fn body(shape: &str, column: u32, descriptor: u64, bytes: usize) -> String {
    format!(
        r"
    {BARRIERS}
    {ALLOCATE}
    {}
    add.u32 %r5, %r4, {column};
    mov.u64 %rd10, {descriptor:#x};
    @%p31 tcgen05.cp.cta_group::1.{shape} [%r5], %rd10;
    @%p31 tcgen05.commit.cta_group::1.mbarrier::arrive::one.shared::cluster.b64 [%r1+8];
    {}
    {}
    {FREE}
",
        load_input(SOURCE, bytes),
        wait(8, 0),
        dump_tensor(32)
    )
}

/// Copies `columns` columns to column 5 and compares the first 32 columns; `source(lane, byte)` is the offset in the
/// input of a byte of the lane.
fn check(shape: &str, columns: usize, descriptor: u64, source: impl Fn(usize, usize) -> usize) {
    let input = noise(16 * 1024);
    let out = Program::with_input(&body(shape, 5, descriptor, input.len()), &input)
        .threads(128)
        .run();
    for lane in 0..128 {
        for column in 0..32 {
            let expected = match column {
                5.. if column < 5 + columns => u32::from_le_bytes(std::array::from_fn(|byte| {
                    input[source(lane, 4 * (column - 5) + byte)]
                })),
                _ => FRESH,
            };
            assert_eq!(
                out[lane * 32 + column],
                expected,
                "{shape}: lane {lane}, column {column}"
            );
        }
    }
}

/// Row r of 16 bytes goes to lanes r, 32 + r, 64 + r and 96 + r.
#[test]
fn scale_tiles_reach_all_four_quarters() {
    let descriptor = descriptor(SOURCE, 0, 128);
    check("32x128b.warpx4", 4, descriptor, |lane, byte| {
        lane % 32 * 16 + byte
    });
}

/// There is no pattern whose phase it could tell; Triton fills it in from the address.
#[test]
fn without_a_swizzle_the_base_offset_means_nothing() {
    let descriptor = descriptor(SOURCE, 0, 128) | 4 << 49;
    check("32x128b.warpx4", 4, descriptor, |lane, byte| {
        lane % 32 * 16 + byte
    });
}

/// Compilers write the modifiers in either order.
#[test]
fn the_multiplicity_may_precede_the_shape() {
    let descriptor = descriptor(SOURCE, 0, 128);
    check("warpx4.32x128b", 4, descriptor, |lane, byte| {
        lane % 32 * 16 + byte
    });
}

/// In the 128×4 scale-factor layout, scale (row, block) is byte row % 32 · 16 + row / 32 · 4 + block of a tile: after the
/// copy it is byte `block` of lane row % 32, column row / 32.
#[test]
fn a_scale_of_row_i_is_in_lane_i_mod_32_column_i_div_32() {
    let input = noise(512);
    let copy = body("32x128b.warpx4", 0, descriptor(SOURCE, 0, 128), 512);
    let out = Program::with_input(&copy, &input).threads(128).run();
    for row in 0..128 {
        for block in 0..4 {
            let scale = input[row % 32 * 16 + row / 32 * 4 + block];
            for quarter in 0..4 {
                let word = out[(quarter * 32 + row % 32) * 32 + row / 32];
                assert_eq!(word.to_le_bytes()[block], scale);
            }
        }
    }
}

#[test]
fn copies_of_128_lanes_take_a_row_per_lane() {
    check("128x128b", 4, descriptor(SOURCE, 0, 128), |lane, byte| {
        lane * 16 + byte
    });
}

/// The second 16 bytes of a row lie one leading-dimension offset further.
#[test]
fn copies_of_256_bits_step_by_the_leading_offset() {
    let descriptor = descriptor(SOURCE, 4096, 256);
    check("128x256b", 8, descriptor, |lane, byte| {
        lane / 8 * 256 + lane % 8 * 16 + byte / 16 * 4096 + byte % 16
    });
}

#[test]
fn warp_pairs_02_13_repeat_the_halves() {
    let descriptor = descriptor(SOURCE, 0, 128);
    check("64x128b.warpx2::02_13", 4, descriptor, |lane, byte| {
        lane % 64 * 16 + byte
    });
}

#[test]
fn warp_pairs_01_23_repeat_the_quarters() {
    let descriptor = descriptor(SOURCE, 0, 128);
    check("64x128b.warpx2::01_23", 4, descriptor, |lane, byte| {
        (lane / 64 * 32 + lane % 32) * 16 + byte
    });
}

/// Groups of eight rows are one stride offset apart.
#[test]
fn copies_step_by_the_stride_offset() {
    let descriptor = descriptor(SOURCE, 0, 512);
    check("32x128b.warpx4", 4, descriptor, |lane, byte| {
        lane % 32 / 8 * 512 + lane % 8 * 16 + byte
    });
}

/// Sources may be swizzled: the pitch of a row is the swizzle's span, and address bits 7 and up move its chunks.
#[test]
fn copies_read_swizzled_rows() {
    for (mode, span, lines) in [
        (SWIZZLE_32B, 32, 2),
        (SWIZZLE_64B, 64, 4),
        (SWIZZLE_128B, 128, 8),
    ] {
        let descriptor = descriptor(SOURCE, 0, 1024) | mode;
        check("128x256b", 8, descriptor, |lane, byte| {
            let at = lane / 8 * 1024 + lane % 8 * span + byte;
            let (line, chunk) = (at / 128, at / 16 % 8);
            line * 128 + (chunk ^ (line % lines)) * 16 + at % 16
        });
    }
}

#[test]
fn copies_start_at_lane_0() {
    for lane in [16, 32, 96] {
        let copy = body(
            "32x128b.warpx4",
            lane << 16,
            descriptor(SOURCE, 0, 128),
            512,
        );
        Program::with_input(&copy, &noise(512))
            .threads(128)
            .fail_with("tcgen05.cp", "must start at lane 0");
    }
}

#[test]
fn copies_stay_within_the_columns() {
    let copy = body("32x128b.warpx4", 509, descriptor(SOURCE, 0, 128), 512);
    Program::with_input(&copy, &noise(512))
        .threads(128)
        .fail_with("tcgen05.cp", "there are 512");
}

#[test]
fn copies_stay_within_shared_memory() {
    let copy = body(
        "32x128b.warpx4",
        0,
        descriptor(SMEM_BYTES - 384, 0, 128),
        512,
    );
    Program::with_input(&copy, &noise(512))
        .threads(128)
        .fail_with("tcgen05.cp", "outside of");
}

#[test]
fn the_refresh_shape_is_refused() {
    let copy = body("4x256b", 0, descriptor(SOURCE, 0, 128), 512);
    Program::with_input(&copy, &noise(512))
        .threads(128)
        .fail_with("tcgen05.cp", "not emulated");
}

#[test]
fn broken_descriptors_are_refused() {
    let good = descriptor(SOURCE, 0, 128);
    for (bad, message) in [
        (good | 1 << 14, "reserved bits"),
        (good & !(1 << 46), "bits 46-48"),
        (good | 1 << 49 | SWIZZLE_128B, "base offset"),
        (good | 3 << 61, "does not exist"),
    ] {
        Program::with_input(&body("32x128b.warpx4", 0, bad, 512), &noise(512))
            .threads(128)
            .fail_with("tcgen05.cp", message);
    }
}
