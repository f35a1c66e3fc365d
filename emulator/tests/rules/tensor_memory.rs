//! Allocation of tensor memory (PTX ISA §9.7.16.7) and who may reach which lanes.

use ptx_emulator::machine::FailureKind;

use ptx_emulator::machine::Mode;

use super::program::*;

/// One warp.
fn alloc(columns: u32) -> String {
    format!(
        "mov.u32 %r20, {columns};\n\
         tcgen05.alloc.cta_group::1.sync.aligned.shared::cta.b32 [%r1+16], %r20;\n"
    )
}

/// Shows the address of the latest allocation as output word `index`, and keeps it in `%r1{index}`.
fn show(index: u32) -> String {
    format!(
        "ld.shared.u32 %r1{index}, [%r1+16];\nst.global.u32 [%rd0+{}], %r1{index};\n",
        4 * index
    )
}

fn dealloc(address: &str, columns: u32) -> String {
    format!("tcgen05.dealloc.cta_group::1.sync.aligned.b32 {address}, {columns};\n")
}

const RELINQUISH: &str = "tcgen05.relinquish_alloc_permit.cta_group::1.sync.aligned;\n";

#[test]
fn allocations_take_powers_of_two_from_32_to_512() {
    for columns in [32, 64, 128, 256, 512] {
        let body = [alloc(columns), show(0), dealloc("%r10", columns)].concat();
        assert_eq!(Program::new(&body).run()[0], 0);
    }
    for columns in [0, 1, 16, 31, 33, 48, 96, 384, 1024] {
        Program::new(&alloc(columns)).fail_with("tcgen05.alloc", "power of two");
    }
}

#[test]
fn live_allocations_do_not_overlap() {
    let body = [
        alloc(256),
        show(0),
        alloc(128),
        show(1),
        alloc(64),
        show(2),
        alloc(64),
        show(3),
        dealloc("%r10", 256),
        dealloc("%r11", 128),
        dealloc("%r12", 64),
        dealloc("%r13", 64),
    ]
    .concat();
    let out = Program::new(&body).run();
    let mut ranges: Vec<_> = out[..4].iter().zip([256, 128, 64, 64]).collect();
    ranges.sort();
    for pair in ranges.windows(2) {
        assert!(pair[0].0 + pair[0].1 <= *pair[1].0, "{ranges:?}");
    }
    assert!(ranges[3].0 + ranges[3].1 <= 512);
}

#[test]
fn later_allocations_are_not_larger() {
    Program::new(&[alloc(64), alloc(128)].concat()).fail_with("tcgen05.alloc", "must not increase");
}

#[test]
fn freed_columns_can_be_allocated_again() {
    let body = [
        alloc(512),
        show(0),
        dealloc("%r10", 512),
        alloc(512),
        show(1),
        dealloc("%r11", 512),
    ]
    .concat();
    assert_eq!(Program::new(&body).run()[..2], [0, 0]);
}

#[test]
fn no_allocation_follows_a_relinquish() {
    let body = [
        alloc(64),
        show(0),
        RELINQUISH.to_owned(),
        dealloc("%r10", 64),
    ]
    .concat();
    Program::new(&body).run();
    Program::new(&(body + &alloc(64)))
        .fail_with("tcgen05.alloc", "after tcgen05.relinquish_alloc_permit");
}

/// What is freed has to be an allocation, whole.
#[test]
fn only_allocations_can_be_freed() {
    let begin = [alloc(128), show(0)].concat();
    for (address, columns) in [("%r10", 64), ("%r10", 256), ("32", 32), ("0x100000", 128)] {
        let body = begin.clone() + &dealloc(address, columns);
        Program::new(&body).fail_with("tcgen05.dealloc", "no such allocation");
    }
    let twice = [begin, dealloc("%r10", 128), dealloc("%r10", 128)].concat();
    Program::new(&twice).fail_with("tcgen05.dealloc", "no such allocation");
}

#[test]
fn a_cta_exits_without_tensor_memory() {
    let kind = Program::new(&alloc(128)).fail().kind;
    assert_eq!(kind, FailureKind::TensorMemoryLeak { columns: 128 });
}

/// A blocked allocation goes on when another warp frees what it needs.
#[test]
fn allocation_blocks_until_columns_are_free() {
    let body = format!(
        r"
    setp.ge.u32 %p1, %r0, 32;
    @%p1 bra SECOND;
    {}{}
    bar.sync 0;
    nanosleep.u32 100;
    {}
    bra DONE;
SECOND:
    bar.sync 0;
    {}
    ld.shared.u32 %r12, [%r1+16];
    {}
    st.global.u32 [%rd0+8], 1;
DONE:
",
        alloc(512),
        show(0),
        dealloc("%r10", 512),
        alloc(256),
        dealloc("%r12", 256)
    );
    assert_eq!(Program::new(&body).threads(64).run()[2], 1);
}

/// The address is an ordinary word of shared memory.
#[test]
fn the_address_is_stored_aligned_and_in_bounds() {
    let at = |offset: u32| alloc(32).replace("+16]", &format!("+{offset}]"));
    let kind = Program::new(&at(18)).fail_at("tcgen05.alloc");
    assert!(
        matches!(kind, FailureKind::Misaligned { alignment: 4, .. }),
        "{kind}"
    );
    let kind = Program::new(&at(SMEM_BYTES)).fail_at("tcgen05.alloc");
    assert!(matches!(kind, FailureKind::OutOfBounds { .. }), "{kind}");
}

/// `.sync.aligned`: all threads of the warp execute the instruction together.
#[test]
fn collectives_need_the_whole_warp() {
    for instruction in [
        &alloc(32).replace("tcgen05", "@%p31 tcgen05"),
        "@%p31 tcgen05.dealloc.cta_group::1.sync.aligned.b32 0, 32;",
        "@%p31 tcgen05.relinquish_alloc_permit.cta_group::1.sync.aligned;",
        "@%p31 tcgen05.ld.sync.aligned.32x32b.x1.b32 {%r10}, [0];",
        "@%p31 tcgen05.st.sync.aligned.32x32b.x1.b32 [0], {%r10};",
        "@%p31 tcgen05.wait::ld.sync.aligned;",
        "@%p31 tcgen05.wait::st.sync.aligned;",
    ] {
        let kind = Program::new(instruction).fail_at("tcgen05");
        assert!(
            matches!(kind, FailureKind::DivergentAligned { found: 1, .. }),
            "{instruction}: {kind}"
        );
    }
}

#[test]
fn operands_of_collectives_are_uniform() {
    for instruction in [
        "add.u32 %r20, %r0, 32;\ntcgen05.alloc.cta_group::1.sync.aligned.shared::cta.b32 [%r1+16], %r20;",
        "tcgen05.dealloc.cta_group::1.sync.aligned.b32 %r0, 32;",
        "tcgen05.ld.sync.aligned.32x32b.x1.b32 {%r10}, [%r0];",
        "tcgen05.st.sync.aligned.32x32b.x1.b32 [%r0], {%r10};",
    ] {
        let kind = Program::new(instruction).fail_at("tcgen05");
        assert!(
            matches!(kind, FailureKind::NotUniform { .. }),
            "{instruction}: {kind}"
        );
    }
}

/// Warp w of four reaches lanes 32w to 32w + 31 only, whatever lane the address names.
#[test]
fn a_warp_reaches_its_own_quarter_of_the_lanes() {
    for named in [0, 32, 64, 96] {
        let body = format!(
            r"
    {ALLOCATE}
    add.u32 %r10, %r4, {};
    tcgen05.st.sync.aligned.32x32b.x1.b32 [%r10], {{%r0}};
    tcgen05.wait::st.sync.aligned;
    bar.sync 0;
    {}
    {FREE}
",
            named << 16,
            dump_tensor(2)
        );
        let out = Program::new(&body).threads(128).run();
        for lane in 0..128 {
            assert_eq!(out[2 * lane..][..2], [lane as u32, FRESH]);
        }
    }
}

/// Leaving the bits zero is against the letter of the ISA, though devices do not mind.
#[test]
fn the_letter_names_the_own_quarter() {
    let body = |address: &str| {
        format!(
            "{ALLOCATE}shr.u32 %r10, %r0, 5;\nshl.b32 %r10, %r10, 21;\nadd.u32 %r10, %r10, %r4;\n\
             tcgen05.st.sync.aligned.32x32b.x1.b32 [{address}], {{%r0}};\n\
             tcgen05.wait::st.sync.aligned;\n{FREE}"
        )
    };
    let strict = |address: &str| Program::new(&body(address)).threads(64).mode(Mode::Strict);
    strict("%r10").run();
    strict("%r4").fail_with("tcgen05.st", "warp 1 may access lanes 32 to 63");
    Program::new(&body("%r4")).threads(64).run();
}

/// The quarter follows from the warp's number modulo 4: warps 4 to 7 see what warps 0 to 3 wrote.
#[test]
fn warps_four_apart_share_their_lanes() {
    let body = format!(
        r"
    {ALLOCATE}
    setp.ge.u32 %p1, %r0, 128;
    @%p1 bra STORED;
    tcgen05.st.sync.aligned.32x32b.x1.b32 [%r4], {{%r0}};
    tcgen05.wait::st.sync.aligned;
STORED:
    tcgen05.fence::before_thread_sync;
    bar.sync 0;
    tcgen05.fence::after_thread_sync;
    tcgen05.ld.sync.aligned.32x32b.x1.b32 {{%r10}}, [%r4];
    tcgen05.wait::ld.sync.aligned;
    mul.wide.u32 %rd10, %r0, 4;
    add.u64 %rd10, %rd10, %rd0;
    st.global.u32 [%rd10], %r10;
    {FREE}
"
    );
    let out = Program::new(&body).threads(256).run();
    let expected: Vec<u32> = (0..128).chain(0..128).collect();
    assert_eq!(out[..256], expected);
}

#[test]
fn fresh_columns_hold_nan() {
    let body = format!("{ALLOCATE}\n{}\n{FREE}", dump_tensor(512));
    let out = Program::new(&body).threads(128).run();
    assert!(out.iter().all(|word| *word == FRESH));
}
