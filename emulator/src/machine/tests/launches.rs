use super::*;
use crate::machine::report::FailureClass;

#[test]
fn vector_add_over_a_grid() {
    let mut program = program(
        r"
    mov.u32 %r10, %ctaid.x;
    mov.u32 %r11, %ntid.x;
    mad.lo.u32 %r12, %r10, %r11, %r0;
    setp.ge.u32 %p1, %r12, 1000;
    @%p1 bra DONE;
    mad.wide.u32 %rd10, %r12, 4, %rd0;
    ld.global.u32 %r13, [%rd10];
    add.u32 %r13, %r13, %r12;
    st.global.u32 [%rd10], %r13;
DONE:
",
    )
    .block(96);
    program.launch.grid = [11, 1, 1];
    program.launch.options.threads = 3;
    let report = program.try_run().unwrap();
    assert_eq!(report.ctas, 11);
    assert!(report.warp_instructions > 11 * 3 * 10);
    let out = program.output();
    let expected: Vec<u32> = (0..1000).chain([0; WORDS - 1000]).collect();
    assert_eq!(out, expected);
}

#[test]
fn special_registers_of_three_dimensions() {
    let mut program = program(
        r"
    mov.u32 %r10, %tid.x;
    mov.u32 %r11, %tid.y;
    mov.u32 %r12, %tid.z;
    mov.u32 %r13, %ctaid.y;
    mad.lo.u32 %r14, %r12, 10, %r11;
    mad.lo.u32 %r14, %r14, 10, %r10;
    mad.lo.u32 %r14, %r13, 1000, %r14;
    mov.u32 %r15, %warpid;
    shl.b32 %r15, %r15, 5;
    add.u32 %r15, %r15, %r1;
    mad.lo.u32 %r15, %r13, 64, %r15;
    mad.wide.u32 %rd10, %r15, 4, %rd0;
    st.global.u32 [%rd10], %r14;
",
    );
    program.launch.block = [4, 5, 3];
    program.launch.grid = [1, 2, 1];
    let out = program.run();
    for cta in 0..2 {
        for thread in 0..60 {
            let (x, y, z) = (thread % 4, thread / 4 % 5, thread / 20);
            assert_eq!(
                out[cta * 64 + thread] as usize,
                cta * 1000 + z * 100 + y * 10 + x
            );
        }
    }
}

#[test]
fn arguments_that_do_not_fit_are_refused_before_anything_runs() {
    let ok = program("st.global.u32 [%rd1], 1;");
    type Change = fn(&mut Launch);
    let changes: [(Change, FailureClass); 8] = [
        (|l| l.grid = [0, 1, 1], FailureClass::InvalidValue),
        (|l| l.grid = [1, 65_536, 1], FailureClass::InvalidValue),
        (|l| l.block = [1, 1, 65], FailureClass::InvalidValue),
        (|l| l.block = [1024, 2, 1], FailureClass::InvalidValue),
        (|l| l.params.push(0), FailureClass::InvalidValue),
        (|l| l.params.clear(), FailureClass::InvalidValue),
        (
            |l| l.dynamic_shared_bytes = 200 * 1024,
            FailureClass::OutOfResources,
        ),
        (|l| l.cluster = [2, 1, 1], FailureClass::InvalidCluster),
    ];
    for (index, (change, class)) in changes.into_iter().enumerate() {
        let mut launch = ok.launch.clone();
        change(&mut launch);
        let failure = ok.device.launch(&launch).expect_err("must be refused");
        assert_eq!(failure.class(), class, "change {index}: {failure}");
        assert_eq!(failure.site, None);
    }
    assert_eq!(ok.output(), [0; WORDS]);
    ok.run();
}

#[test]
fn directives_bind_the_launch() {
    let kind = program_with(".reqntid 64, 1, 1", "").fail();
    let expected = FailureKind::BlockMismatch {
        found: [32, 1, 1],
        required: [64, 1, 1],
    };
    assert_eq!(kind, expected);
    let refused = program_with(".maxntid 16", "").try_run();
    let failure = refused.expect_err("must be refused");
    let expected = FailureKind::MaxntidExceeded {
        found: 32,
        limit: 16,
    };
    assert_eq!(failure.kind, expected);
    assert_eq!(failure.class(), FailureClass::OutOfResources);
    let kind = program_with(".reqnctapercluster 2", "").fail();
    assert!(matches!(kind, FailureKind::InvalidCluster { .. }), "{kind}");
}

#[test]
fn the_failing_cta_is_named_and_stops_the_launch() {
    let mut program = program(
        r"
    mov.u32 %r10, %ctaid.x;
    setp.eq.u32 %p1, %r10, 5;
    setp.eq.u32 %p2, %r0, 33;
    and.pred %p1, %p1, %p2;
    @%p1 trap;
",
    )
    .block(64);
    program.launch.grid = [100_000, 1, 1];
    program.launch.options.threads = 2;
    let failure = program.try_run().expect_err("CTA 5 traps");
    assert_eq!(failure.kind, FailureKind::Trap);
    let site = failure.site.expect("an instruction is to blame");
    assert_eq!((site.cta, site.warp, site.lanes), ([5, 0, 0], 1, 0b10));
    assert_eq!(site.source.text, "@%p1 trap;");
}

#[test]
fn an_endless_loop_is_a_hang() {
    let mut program = program("LOOP:\nadd.u32 %r10, %r10, 1;\nbra LOOP;");
    program.launch.options.step_limit = 1000;
    let kind = program.fail();
    assert!(matches!(kind, FailureKind::Hang(_)), "{kind}");
}

#[test]
fn a_last_warp_that_is_not_full() {
    let out = program("activemask.b32 %r10;\nbar.sync 0;\nst.global.u32 [%rd1], %r10;")
        .block(40)
        .run();
    assert_eq!(
        out[..41],
        [vec![u32::MAX; 32], vec![0xff; 8], vec![0]].concat()
    );
}
