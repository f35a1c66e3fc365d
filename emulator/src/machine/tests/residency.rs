//! Which CTAs of a grid run together, and that each of them gets on.

use super::*;
use crate::machine::report::{Stall, StallReason};
use crate::machine::residents::Residents;

/// CTAs of these programs that one multiprocessor keeps: each takes 33 of its 228 KiB of shared memory.
const PER_MULTIPROCESSOR: u32 = 6;

/// On a device with so many multiprocessors.
fn on(multiprocessors: u32, ctas: u32, body: &str) -> Program {
    let mut program = program(body).block(64);
    program.device.properties.multiprocessors = multiprocessors;
    program.launch.grid = [ctas, 1, 1];
    program
}

/// All CTAs wait for each other, three times; then each writes how many had arrived.
const GRID_BARRIERS: &str = r"
    mov.u32 %r10, %ctaid.x;
    mov.u32 %r11, %nctaid.x;
    mov.u32 %r12, 0;
ROUND:
    add.u32 %r12, %r12, %r11;
    bar.sync 0;
    setp.ne.u32 %p1, %r0, 0;
    @%p1 bra ARRIVED;
    atom.add.acq_rel.gpu.global.u32 %r13, [%rd0], 1;
LOOK:
    ld.acquire.gpu.global.u32 %r14, [%rd0];
    setp.lt.u32 %p2, %r14, %r12;
    @%p2 bra LOOK;
ARRIVED:
    bar.sync 0;
    mad.lo.u32 %r15, %r11, 3, 0;
    setp.lt.u32 %p3, %r12, %r15;
    @%p3 bra ROUND;
    mul.wide.u32 %rd10, %r10, 4;
    add.u64 %rd10, %rd10, %rd0;
    @!%p1 st.global.u32 [%rd10+4], %r14;
";

#[test]
fn resident_ctas_may_wait_for_each_other() {
    let ctas = 148 * PER_MULTIPROCESSOR;
    for (threads, schedule) in [
        (1, "round-robin"),
        (2, "greedy/starts=7"),
        (1, "pct:seed=3"),
    ] {
        let mut program = on(148, ctas, GRID_BARRIERS);
        program.launch.cooperative = true;
        program.launch.options.schedule = schedule.parse().unwrap();
        program.launch.options.threads = threads;
        let out = program.run();
        assert_eq!(out[..=ctas as usize], vec![3 * ctas; ctas as usize + 1]);
    }
}

#[test]
fn ctas_that_do_not_fit_on_the_device_are_waited_for_in_vain() {
    for threads in [1, 2] {
        let mut program = on(2, 2 * PER_MULTIPROCESSOR + 3, GRID_BARRIERS);
        program.launch.options.threads = threads;
        let failure = program.try_run().expect_err("they cannot all run");
        let text = failure.to_string();
        let FailureKind::Deadlock(report) = failure.kind else {
            panic!("{text}")
        };
        let expected = Stall::NotResident {
            resident: 12,
            not_started: 3,
        };
        assert_eq!(report.stall, expected);
        let address = program.out;
        let polls = StallReason::PollingMemory { address };
        assert!(report.groups.iter().any(|group| group.reason == polls));
        assert!(
            text.contains("3 CTAs of the grid have not started"),
            "{text}"
        );
    }
}

#[test]
fn a_cooperative_grid_has_to_fit() {
    let mut program = on(2, 2 * PER_MULTIPROCESSOR + 1, "");
    program.launch.cooperative = true;
    let expected = FailureKind::NotCoResident {
        ctas: 13,
        resident: 12,
    };
    assert_eq!(program.fail(), expected);
    program.launch.cooperative = false;
    program.run();
    program.launch.cooperative = true;
    // Whole clusters only: 12 CTAs hold one of 8.
    program.launch.grid = [16, 1, 1];
    program.launch.cluster = [8, 1, 1];
    let resident = match program.fail() {
        FailureKind::NotCoResident { resident, .. } => resident,
        other => panic!("{other}"),
    };
    assert_eq!(resident, 8);
}

/// Each CTA adds its number to what the one before it hands on.
const CHAIN: &str = r"
    setp.ne.u32 %p1, %r0, 0;
    @%p1 exit;
    mov.u32 %r10, %ctaid.x;
    mul.wide.u32 %rd10, %r10, 4;
    add.u64 %rd10, %rd10, %rd0;
    mov.u32 %r11, 1;
    setp.eq.u32 %p2, %r10, 0;
    @%p2 bra HAND_ON;
LOOK:
    ld.acquire.gpu.global.u32 %r11, [%rd10+-4];
    setp.eq.u32 %p3, %r11, 0;
    @%p3 bra LOOK;
HAND_ON:
    add.u32 %r11, %r11, %r10;
    st.release.gpu.global.u32 [%rd10], %r11;
";

fn sums(count: u32) -> Vec<u32> {
    (0..count).map(|i| 1 + i * (i + 1) / 2).collect()
}

#[test]
fn a_chain_of_ctas_may_be_longer_than_what_is_resident() {
    assert_eq!(on(1, 100, CHAIN).run()[..100], sums(100));
}

/// Under a seed CTAs start in any order: what is right only in ascending order fails.
#[test]
fn clusters_start_in_any_order() {
    let under = |seed: u64, ctas| {
        let mut program = on(1, ctas, CHAIN);
        program.launch.options.schedule = format!("round-robin/starts={seed}").parse().unwrap();
        program
    };
    let fits = under(1, PER_MULTIPROCESSOR);
    assert_eq!(
        fits.run()[..PER_MULTIPROCESSOR as usize],
        sums(PER_MULTIPROCESSOR)
    );
    let fails = |seed| under(seed, 100).try_run().is_err();
    assert!((0..8).all(fails));
}

/// CTA 0 waits in a way that looks like work; CTA 1 ends it.
#[test]
fn a_cta_that_goes_on_and_on_does_not_keep_others_from_starting() {
    let body = r"
    mov.u32 %r10, %ctaid.x;
    setp.ne.u32 %p1, %r10, 0;
    @%p1 bra WRITE;
LOOK:
    add.u32 %r12, %r12, 1;
    st.shared.u32 [%r2], %r12;
    ld.acquire.gpu.global.u32 %r11, [%rd0];
    setp.eq.u32 %p2, %r11, 0;
    @%p2 bra LOOK;
    exit;
WRITE:
    st.release.gpu.global.u32 [%rd0], 1;
";
    let mut program = on(1, 2, body);
    program.launch.options.mode = Mode::Fast;
    program.launch.options.step_limit = 1 << 26;
    program.run();
}

#[test]
fn ctas_that_do_not_wait_take_the_memory_of_one() {
    let body = "bar.sync 0;\n st.global.u32 [%rd1], %r0;";
    let program = on(148, 5000, body);
    let context = program.device.context(&program.launch, 1).unwrap();
    let mut residents = Residents::new(&context, program.device.memory.view(), 888);
    residents.run().unwrap();
    assert_eq!(residents.report().ctas, 5000);
    assert_eq!(residents.ended.len(), 1);
}

#[test]
fn occupancy_is_that_of_the_scarcest_resource() {
    let properties = DeviceProperties::b200();
    let of = |directives: &str, threads, dynamic| {
        let kernel = program_with(directives, "").launch.kernel;
        properties.ctas_per_multiprocessor(&kernel, threads, dynamic)
    };
    // 32 KiB of static shared memory and the reserved one.
    assert_eq!(of("", 32, 0), 6);
    assert_eq!(of("", 1024, 0), 2);
    assert_eq!(of("", 33, 195 << 10), 1);
    assert_eq!(of("", 32, 196 << 10), 0);
    // 168 registers of 32 lanes are 21 units of 256: 12 warps.
    assert_eq!(of(".maxnreg 168", 128, 0), 3);
    assert_eq!(of(".maxnreg 255", 1024, 0), 0);
}
