//! `tcgen05.mma`: operands that are refused (PTX ISA §9.7.16.4, §9.7.16.10).

use super::mma::*;
use super::program::*;

fn product() -> Product {
    Product::new(128, 1, SWIZZLE_128B, SWIZZLE_128B)
}

/// An MMA by this instruction text has to fail with `message`.
fn refused(mma: &str, message: &str) {
    let product = product();
    product
        .program(&(product.copy_scales() + mma))
        .fail_with("tcgen05.mma", message);
}

fn with_descriptors(a: u64, b: u64) -> String {
    mma(a, b, product().instruction_descriptor(), SFA, SFB, "%p18")
}

#[test]
fn reserved_bits_of_matrix_descriptors_are_zero() {
    let good = SWIZZLE_128B.descriptor(A_AT, 0);
    for bit in [14, 15, 30, 31, 53, 57, 60] {
        refused(&with_descriptors(good | 1 << bit, good), "operand A");
        refused(&with_descriptors(good, good | 1 << bit), "operand B");
        refused(&with_descriptors(good | 1 << bit, good), "reserved bits");
    }
}

#[test]
fn matrix_descriptors_have_version_1() {
    let good = SWIZZLE_128B.descriptor(A_AT, 0);
    for bad in [good & !(1 << 46), good | 1 << 47, good | 1 << 48] {
        refused(&with_descriptors(bad, good), "bits 46-48");
    }
}

#[test]
fn the_base_offset_is_zero() {
    let good = SWIZZLE_128B.descriptor(A_AT, 0);
    for offset in 1..8 {
        refused(&with_descriptors(good | offset << 49, good), "base offset");
    }
}

#[test]
fn the_leading_offset_is_relative() {
    let good = SWIZZLE_128B.descriptor(A_AT, 0);
    refused(&with_descriptors(good | 1 << 52, good), "bit 52");
}

#[test]
fn swizzle_modes_are_0_2_4_and_6() {
    let good = SWIZZLE_128B.descriptor(A_AT, 0) & !(7 << 61);
    for mode in [3, 5, 7] {
        refused(&with_descriptors(good | mode << 61, good), "does not exist");
    }
    refused(
        &with_descriptors(good | 1 << 61, good),
        "B128Atom32 swizzle does not go with K-major",
    );
}

/// With base offset 0, a pattern begins at a multiple of its period; K steps move within its first row only.
#[test]
fn swizzled_operands_begin_on_their_pattern() {
    let good = SWIZZLE_128B.descriptor(A_AT, 0);
    for (layout, offset) in [
        (SWIZZLE_128B, 128),
        (SWIZZLE_128B, 512),
        (SWIZZLE_64B, 256),
        (SWIZZLE_32B, 128),
    ] {
        let bad = layout.descriptor(A_AT + offset, 0);
        refused(&with_descriptors(bad, good), "not in the first row");
    }
}

#[test]
fn stride_offsets_are_multiples_of_the_pattern() {
    let good = SWIZZLE_128B.descriptor(A_AT, 0);
    for (layout, stride) in [(SWIZZLE_128B, 512), (SWIZZLE_64B, 256), (SWIZZLE_32B, 128)] {
        let bad = Layout { stride, ..layout }.descriptor(A_AT, 0);
        refused(&with_descriptors(bad, good), "stride offset");
    }
}

#[test]
fn operands_lie_in_shared_memory() {
    let good = SWIZZLE_128B.descriptor(A_AT, 0);
    let beyond = SWIZZLE_128B.descriptor(SMEM_BYTES - 8192, 0);
    refused(&with_descriptors(beyond, good), "outside of");
    refused(&with_descriptors(good, beyond), "outside of");
    // The driver's own bytes lie below `smem`.
    let below = SWIZZLE_128B.descriptor(0, 0) - 64;
    refused(&with_descriptors(below, good), "outside of");
}

fn with_instruction(instruction: u32) -> String {
    let operand = SWIZZLE_128B.descriptor(A_AT, 0);
    mma(operand, operand, instruction, SFA, SFB, "%p18")
}

#[test]
fn instruction_descriptors_are_checked_field_by_field() {
    let good = product().instruction_descriptor();
    for (bad, message) in [
        (good | 1, "reserved bits"),
        (good | 1 << 1, "reserved bits"),
        (good | 1 << 3, "reserved bits"),
        (good | 1 << 6, "reserved bits"),
        (good | 1 << 12, "reserved bits"),
        (good | 1 << 24, "reserved bits"),
        (good | 1 << 26, "reserved bits"),
        (good | 1 << 2, "sparse"),
        (good | 1 << 31, "K=96"),
        (good & !(7 << 7), "A has type code 0"),
        (good | 4 << 7, "A has type code 5"),
        (good & !(3 << 10), "B has type code 0"),
        (good | 3 << 10, "B has type code 3"),
        (good | 1 << 15, "transpose"),
        (good | 1 << 16, "transpose"),
        (good & !(63 << 17), "N = 0"),
        (good & !(63 << 17) | 33 << 17, "N = 264"),
        (good & !(3 << 27), "M = 0"),
        (good & !(3 << 27) | 2 << 27, "M = 256"),
        (good & !(3 << 27) | 3 << 27, "M = 384"),
        (good | 2 << 29, "scale-factor ids A 2"),
        (good | 2 << 4, "scale-factor ids A 0, B 2"),
    ] {
        refused(&with_instruction(bad), message);
    }
}

/// UE4M3 exists with blocks of 16 only, and with `.kind::mxf4nvf4` only.
#[test]
fn ue4m3_scales_are_of_16_elements() {
    let good = with_instruction(product().instruction_descriptor());
    refused(&good.replace("block16", "block32"), "do not exist");
    let mxf4 = good.replace(
        ".kind::mxf4nvf4.block_scale.block16",
        ".kind::mxf4.block_scale",
    );
    refused(&mxf4, "do not exist");
}

#[test]
fn tensor_addresses_of_an_mma_are_at_lane_0() {
    let good = with_instruction(product().instruction_descriptor());
    for (register, what) in [
        ("%r23", "D at lane 32"),
        ("%r21", "A at lane 32"),
        ("%r22", "B at lane 32"),
    ] {
        let moved = good.replace(
            "@%p31 tcgen05.mma",
            &format!("add.u32 {register}, {register}, 0x200000;\n@%p31 tcgen05.mma"),
        );
        refused(&moved, what);
    }
}

#[test]
fn d_and_its_scale_factors_do_not_overlap() {
    let good = SWIZZLE_128B.descriptor(A_AT, 0);
    let instruction = product().instruction_descriptor();
    for (sfa, sfb) in [(D + 127, SFB), (SFA, D + 64)] {
        refused(&mma(good, good, instruction, sfa, sfb, "%p18"), "overlaps");
    }
}

#[test]
fn mmas_stay_within_the_columns() {
    let good = SWIZZLE_128B.descriptor(A_AT, 0);
    let instruction = product().instruction_descriptor();
    refused(
        &mma(good, good, instruction, 509, SFB, "%p18"),
        "there are 512",
    );
    refused(
        &mma(good, good, instruction, SFA, 510, "%p18"),
        "there are 512",
    );
    let far = mma(good, good, instruction, SFA, SFB, "%p18")
        .replace("add.u32 %r23, %r4, 0;", "add.u32 %r23, %r4, 400;");
    refused(&far, "there are 512");
}

/// All four quarters of the lanes hold the same scale factors.
#[test]
fn quarters_agree_on_scale_factors() {
    let product = product();
    for (column, operand) in [(SFA + 1, "of A"), (SFB + 3, "of B")] {
        for quarter in 0..4 {
            // One warp writes its quarter of a column, after the copies.
            let body = product.copy_scales()
                + &COMMIT.replace("+8", "+32")
                + &wait(32, 0)
                + &format!(
                    r"
    tcgen05.fence::after_thread_sync;
    add.u32 %r30, %r4, {column};
    shr.u32 %r31, %r0, 5;
    setp.ne.u32 %p1, %r31, {quarter};
    @%p1 bra WRITTEN;
    tcgen05.st.sync.aligned.32x32b.x1.b32 [%r30], {{%r0}};
    tcgen05.wait::st.sync.aligned;
WRITTEN:
    tcgen05.fence::before_thread_sync;
    bar.sync 0;
    tcgen05.fence::after_thread_sync;
    {}
",
                    product.mmas()
                );
            let init = "@%p31 mbarrier.init.shared::cta.b64 [%r1+32], 1;\nbar.sync 0;\n";
            product
                .program(&(init.to_owned() + &body))
                .fail_with("tcgen05.mma", &format!("scale factors {operand}"));
        }
    }
}

#[test]
fn a_commit_needs_a_live_barrier() {
    Program::new(COMMIT).fail_with("tcgen05.commit", "used before `mbarrier.init`");
}
