use super::*;
use crate::machine::global::GlobalFault;

#[test]
fn elements_of_every_width_round_trip_and_extend() {
    let out = program(
        r"
    setp.ne.u32 %p1, %r0, 0;
    @%p1 exit;
    mov.u32 %r10, 0x8081fefd;
    st.shared.u32 [%r2], %r10;
    ld.shared.u8 %r11, [%r2+1];
    ld.shared.s8 %r12, [%r2+1];
    ld.shared.u16 %r13, [%r2+2];
    ld.shared.s16 %r14, [%r2+2];
    ld.shared.s32 %rd10, [%r2];
    mov.b64 {%r15, %r16}, %rd10;
    st.global.v4.u32 [%rd0], {%r11, %r12, %r13, %r14};
    st.global.v2.u32 [%rd0+16], {%r15, %r16};
",
    )
    .run();
    let expected = [
        0xfe,
        0xffff_fffe,
        0x8081,
        0xffff_8081,
        0x8081_fefd,
        0xffff_ffff,
    ];
    assert_eq!(out[..6], expected);
}

#[test]
fn generic_addresses_reach_every_space() {
    let out = program(
        r"
    cvt.u64.u32 %rd11, %r2;
    cvta.shared.u64 %rd10, %rd11;
    mov.u64 %rd12, stack;
    cvta.local.u64 %rd13, %rd12;
    st.u32 [%rd13], %r0;
    ld.local.u32 %r10, [%rd12];
    setp.eq.u32 %p1, %r0, 0;
    @%p1 st.u32 [%rd10], 77;
    bar.warp.sync -1;
    ld.shared.u32 %r11, [%r2];
    add.u32 %r10, %r10, %r11;
    cvta.global.u64 %rd14, %rd1;
    st.u32 [%rd14], %r10;
    isspacep.shared %p2, %rd10;
    isspacep.shared %p3, %rd13;
    selp.u32 %r12, 1, 0, %p2;
    selp.u32 %r13, 2, 0, %p3;
    add.u32 %r12, %r12, %r13;
    st.u32 [%rd14+128], %r12;
",
    )
    .run();
    for lane in 0..32 {
        assert_eq!(
            out[lane],
            77 + lane as u32,
            "local memory is each lane's own"
        );
        assert_eq!(out[32 + lane], 1);
    }
}

#[test]
fn atomics_count_every_lane() {
    let out = program(
        r"
    atom.global.add.u32 %r10, [%rd0+256], 2;
    atom.global.max.s32 %r11, [%rd0+260], %r0;
    atom.global.inc.u32 %r11, [%rd0+264], 9;
    setp.eq.u32 %p1, %r0, 0;
    @%p1 st.shared.u32 [%r2], 0;
    bar.warp.sync -1;
    red.shared.add.u32 [%r2], 1;
    bar.warp.sync -1;
    ld.shared.u32 %r12, [%r2];
    st.global.u32 [%rd1], %r12;
    @%p1 atom.global.cas.b32 %r11, [%rd0+268], 0, 5;
    @%p1 atom.global.cas.b32 %r11, [%rd0+268], 0, 6;
    @%p1 st.global.u32 [%rd0+272], %r11;
",
    )
    .run();
    assert_eq!(out[..32], [32; 32]);
    assert_eq!(out[64..69], [64, 31, 2, 5, 5]);
}

#[test]
fn float_additions_flush_subnormals_in_global_memory_only() {
    let out = program(
        r"
    setp.ne.u32 %p1, %r0, 0;
    @%p1 exit;
    mov.b32 %f1, 0x80000001;
    mov.b32 %f2, 0x7f800001;
    mov.b32 %r10, 0x80000001;
    st.global.b32 [%rd0], %r10;
    red.global.add.f32 [%rd0], %f1;
    st.shared.b32 [%r2], %r10;
    red.shared.add.f32 [%r2], %f1;
    ld.shared.b32 %r11, [%r2];
    st.global.b32 [%rd0+4], %r11;
    red.global.add.f32 [%rd0+8], %f2;
",
    )
    .run();
    assert_eq!(out[..3], [0x8000_0000, 0x8000_0002, 0x7fff_ffff]);
}

fn out_of_bounds(kind: &FailureKind) -> bool {
    matches!(
        kind,
        FailureKind::OutOfBounds { .. } | FailureKind::Global(GlobalFault::OutOfBounds { .. })
    )
}

fn misaligned(kind: &FailureKind) -> bool {
    matches!(
        kind,
        FailureKind::Misaligned { .. } | FailureKind::Global(GlobalFault::Misaligned { .. })
    )
}

#[test]
fn accesses_outside_of_each_space_are_refused() {
    for instruction in [
        "ld.global.u32 %r10, [%rd0+8192];",
        "st.global.u32 [%rd0+8192], %r10;",
        "ld.global.u32 %r10, [%rd0+-4];",
        "ld.global.v4.u32 {%r10, %r11, %r12, %r13}, [%rd0+8192];",
        "atom.global.add.u32 %r10, [%rd0+8192], 1;",
        "ld.shared.u32 %r10, [%r2+32768];",
        "st.shared.v4.u32 [%r2+32768], {%r10, %r10, %r10, %r10};",
        "ld.shared.u32 %r10, [%r2+-4];",
        "ld.shared.u32 %r10, [0];",
        "atom.shared.add.u32 %r10, [%r2+32768], 1;",
        "ld.local.u32 %r10, [%rd10+4096];",
        "st.local.u32 [%rd10+4096], %r10;",
        "ld.param.u32 %r10, [out+8];",
        "ld.u32 %r10, [0];",
    ] {
        let kind = program(&format!("mov.u64 %rd10, stack;\n{instruction}")).fail_at(instruction);
        assert!(out_of_bounds(&kind), "{instruction}: {kind}");
    }
}

#[test]
fn misaligned_accesses_are_refused() {
    for instruction in [
        "ld.global.u32 %r10, [%rd0+2];",
        "st.global.v2.u32 [%rd0+4], {%r10, %r10};",
        "atom.global.add.u32 %r10, [%rd0+2], 1;",
        "ld.shared.u64 %rd11, [%r2+4];",
        "st.shared.v4.u32 [%r2+8], {%r10, %r10, %r10, %r10};",
        "ld.local.u32 %r10, [%rd10+1];",
        "ld.param.u32 %r10, [out+2];",
    ] {
        let kind = program(&format!("mov.u64 %rd10, stack;\n{instruction}")).fail_at(instruction);
        assert!(misaligned(&kind), "{instruction}: {kind}");
    }
}

#[test]
fn only_the_lane_that_goes_astray_has_to() {
    let failure = program("mad.wide.u32 %rd10, %r0, 512, %rd0;\nst.global.u32 [%rd10], %r0;")
        .try_run()
        .expect_err("lane 16 leaves the buffer");
    assert!(
        failure.to_string().contains("ends 0 bytes before it"),
        "{failure}"
    );
    assert_eq!(failure.class(), FailureClass::IllegalAddress);
}

#[test]
fn shared_memory_of_another_rank_does_not_exist() {
    let kind = program("add.u32 %r10, %r2, 0x1000000;\nld.shared::cluster.u32 %r11, [%r10];")
        .fail_at("ld.shared::cluster");
    assert!(
        matches!(
            kind,
            FailureKind::NoSuchCta {
                rank: 1,
                ctas: 1,
                ..
            }
        ),
        "{kind}"
    );
    let out = program(
        "st.shared.u32 [%r2], 3;\nmapa.shared::cluster.u32 %r10, %r2, 0;\n\
         ld.shared::cluster.u32 %r11, [%r10];\nst.global.u32 [%rd1], %r11;",
    )
    .run();
    assert_eq!(out[0], 3);
}

#[test]
fn shared_and_local_memory_start_poisoned() {
    let out = program(
        r"
    mov.u64 %rd10, stack;
    ld.shared.u32 %r10, [%r2+512];
    ld.local.u32 %r11, [%rd10];
    st.global.u32 [%rd1], %r10;
    st.global.u32 [%rd1+128], %r11;
",
    )
    .run();
    assert_eq!((out[0], out[32]), (0xffff_ffff, 0xcbcb_cbcb));
}

/// The last byte of the address space is outside of every allocation like any other.
#[test]
fn the_end_of_the_address_space_is_out_of_bounds() {
    for access in ["ld.global.u8 %rs0, [%rd3];", "st.global.u8 [%rd3], %rs0;"] {
        let kind = program(&format!("mov.u64 %rd3, -1;\n{access}")).fail_at(access);
        assert!(out_of_bounds(&kind), "{kind}");
    }
}

#[test]
fn registers_of_128_bits_are_pairs() {
    let out = program(
        r"
    .reg .b128 %rq<3>;
    .reg .b128 wide;
    mov.b64 %rd2, 0x1111111122222222;
    mov.b64 %rd3, 0x3333333344444444;
    mov.b128 %rq1, {%rd2, %rd3};
    mov.b128 wide, %rq1;
    mov.b128 {%rd4, %rd5}, wide;
    st.global.v2.b64 [%rd0], {%rd4, %rd5};
    ld.global.b128 %rq0, [%rd0];
    st.shared.b128 [%r2+16], %rq0;
    ld.shared.v2.b64 {%rd6, %rd7}, [%r2+16];
    st.global.v2.b64 [%rd0+16], {%rd7, %rd6};
",
    )
    .run();
    assert_eq!(
        out[..4],
        [0x2222_2222, 0x1111_1111, 0x4444_4444, 0x3333_3333]
    );
    assert_eq!(
        out[4..8],
        [0x4444_4444, 0x3333_3333, 0x2222_2222, 0x1111_1111]
    );
}

#[test]
fn the_driver_reserves_the_start_of_shared_memory() {
    let out = program(
        r"
    setp.ne.u32 %p1, %r0, 0;
    @%p1 exit;
    mov.u32 %r10, %reserved_smem_offset_begin;
    mov.u32 %r11, %reserved_smem_offset_end;
    mov.u32 %r12, %reserved_smem_offset_cap;
    mov.u32 %r13, smem;
    st.global.v4.u32 [%rd0], {%r10, %r11, %r12, %r13};
",
    )
    .run();
    assert_eq!(out[..4], [0, 0x120, 0x400, 0x400]);
}
