//! `setmaxnreg` and the register pool of a CTA (PTX ISA §9.7.19.5).

use ptx_emulator::machine::registers::RegisterMisuse as Misuse;
use ptx_emulator::machine::{FailureClass, FailureKind, Mode};

use super::program::*;

/// A program of so many threads whose kernel has these directives.
fn bounded(directives: &str, threads: u32, body: &str) -> Program {
    Program::with_directives(directives, body).threads(threads)
}

fn misuse(program: &Program, at: &str) -> Misuse {
    match program.fail_at(at) {
        FailureKind::Registers(misuse) => misuse,
        kind => panic!("{kind}"),
    }
}

/// The first warpgroup does `producer`, the others `consumer`.
fn roles(producer: &str, consumer: &str) -> String {
    format!(
        r"
    setp.lt.u32 %p1, %r0, 128;
    @%p1 bra PRODUCER;
    {consumer}
    bra DONE;
PRODUCER:
    {producer}
DONE:
"
    )
}

const DECREASE: &str = "setmaxnreg.dec.sync.aligned.u32 40;";
const INCREASE: &str = "setmaxnreg.inc.sync.aligned.u32 232;";

/// What CUTLASS asks for with three warpgroups: 168 · 3 = 40 + 2 · 232.
#[test]
fn an_increase_waits_for_the_pool() {
    for mode in [Mode::Fast, Mode::Check, Mode::Strict] {
        let body = roles(DECREASE, INCREASE);
        bounded(".maxnreg 168", 384, &body).mode(mode).run();
    }
    // The producer gives its registers away only when the consumers are ready: they wait for each
    // other.
    let body = roles(
        &format!("bar.sync 1, 384; {DECREASE}"),
        &format!("{INCREASE} bar.sync 1, 384;"),
    );
    let failure = bounded(".maxnreg 168", 384, &body).fail();
    assert!(
        matches!(failure.kind, FailureKind::Deadlock(_)),
        "{failure}"
    );
    let text = failure.to_string();
    let expected = "waits for 232 registers per thread, and has 168; the CTA's pool has 0 left";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn the_pool_holds_what_the_cta_was_launched_with() {
    let body = roles(DECREASE, "setmaxnreg.inc.sync.aligned.u32 240;");
    let program = bounded(".maxnreg 168", 384, &body);
    let deadlock = program.fail();
    assert!(
        matches!(deadlock.kind, FailureKind::Deadlock(_)),
        "{deadlock}"
    );
    // 232 of two warpgroups and the least of the other are more than there is.
    let body = roles("setmaxnreg.dec.sync.aligned.u32 24;", INCREASE);
    let program = bounded(".maxnreg 120", 256, &body);
    let failure = program.fail();
    assert_eq!(failure.class(), FailureClass::Timeout);
    let expected = Misuse::NeverEnough {
        wanted: 232,
        at_launch: 120,
        warps: 8,
        needed: 4 * 232 + 4 * 24,
    };
    assert_eq!(failure.kind, FailureKind::Registers(expected));
    bounded(".maxnreg 128", 256, &body).run();
}

#[test]
fn increases_do_not_decrease() {
    let grow = |registers| format!("setmaxnreg.inc.sync.aligned.u32 {registers};");
    let shrink = |registers| format!("setmaxnreg.dec.sync.aligned.u32 {registers};");
    let at = |body: String| bounded(".maxnreg 96", 128, &(body + &grow(96)));
    at(grow(96)).run();
    at(shrink(96)).run();
    let expected = Misuse::IncreaseBelow {
        wanted: 88,
        current: 96,
    };
    assert_eq!(misuse(&at(grow(88)), "setmaxnreg.inc"), expected);
    let expected = Misuse::DecreaseAbove {
        wanted: 104,
        current: 96,
    };
    assert_eq!(misuse(&at(shrink(104)), "setmaxnreg.dec"), expected);
}

/// What ptxas 13.0 and 13.5 make of launch bounds, seen by the registers that they report. A
/// decrease to one unit more than the kernel starts with is an error, one to what it starts with is
/// none.
#[test]
fn launch_bounds_decide_what_a_kernel_starts_with() {
    for (directives, threads, registers) in [
        (".maxnreg 168", 384, 168),
        (".maxnreg 170", 128, 176),
        (".reqntid 384 .minnctapersm 1", 384, 168),
        (".reqntid 352 .minnctapersm 1", 352, 168),
        (".reqntid 416 .minnctapersm 1", 416, 128),
        (".maxntid 640 .minnctapersm 1", 640, 96),
        // 65,536 by 800 would be 80; of four parts with 16,384 each, one has seven of the 25 warps.
        (".reqntid 800 .minnctapersm 1", 800, 72),
        (".maxntid 768 .minnctapersm 1", 128, 80),
        (".maxntid 1024 .minnctapersm 1", 128, 64),
        (".maxntid 384 .minnctapersm 2", 384, 80),
        (".maxntid 384 .minnctapersm 5", 384, 32),
        (".reqntid 1024 .minnctapersm 1 .maxnreg 168", 1024, 64),
        (".reqntid 384 .minnctapersm 1 .maxnreg 64", 384, 64),
        (".maxnreg 12", 128, 24),
    ] {
        let decrease = |to: u32| format!("setmaxnreg.dec.sync.aligned.u32 {to};");
        bounded(directives, threads, &decrease(registers)).run();
        let more = bounded(directives, threads, &decrease(registers + 8));
        let expected = Misuse::DecreaseAbove {
            wanted: registers + 8,
            current: registers,
        };
        assert_eq!(misuse(&more, "setmaxnreg"), expected, "{directives}");
    }
    // No thread starts with more than the largest increase.
    let body = roles(
        "setmaxnreg.dec.sync.aligned.u32 88;",
        "setmaxnreg.inc.sync.aligned.u32 80;",
    );
    let expected = Misuse::DecreaseAbove {
        wanted: 88,
        current: 80,
    };
    let program = bounded(".maxnreg 168", 128, &body);
    assert_eq!(misuse(&program, "setmaxnreg.dec"), expected);
}

#[test]
fn a_multiprocessor_has_to_hold_the_registers_of_a_cta() {
    let body = format!("{INCREASE}\n{DECREASE}");
    let failure = bounded(".maxnreg 176", 384, &body).fail();
    assert_eq!(failure.class(), FailureClass::OutOfResources);
    assert!(failure.is_refusal(), "{failure}");
    bounded(".maxnreg 168", 384, DECREASE).run();
}

#[test]
fn without_launch_bounds_nothing_happens() {
    for directives in ["", ".reqntid 384", ".minnctapersm 1"] {
        // More than there could be, were it heeded.
        bounded(directives, 384, INCREASE).run();
        let strict = bounded(directives, 384, INCREASE).mode(Mode::Strict);
        assert_eq!(misuse(&strict, "setmaxnreg"), Misuse::Ignored);
    }
}

#[test]
fn a_warpgroup_executes_the_same() {
    let split = |first: &str, second: &str| {
        let body = format!(
            r"
    setp.lt.u32 %p1, %r0, 64;
    @%p1 bra FIRST;
    {second}
    bra JOINED;
FIRST:
    {first}
JOINED:
"
        );
        bounded(".maxnreg 96", 128, &body)
    };
    split(DECREASE, DECREASE).run();
    // The same change in two places is not the same instruction.
    let strict = split(DECREASE, DECREASE).mode(Mode::Strict);
    assert!(matches!(
        misuse(&strict, "setmaxnreg"),
        Misuse::Different { .. }
    ));
    let other = split(DECREASE, "setmaxnreg.dec.sync.aligned.u32 48;");
    assert!(matches!(
        misuse(&other, "setmaxnreg"),
        Misuse::Different { .. }
    ));
    let missing = split(DECREASE, "");
    let failure = missing.fail();
    assert!(
        matches!(failure.kind, FailureKind::Registers(Misuse::Missed { .. })),
        "{failure}"
    );
}

/// To the letter; nobody needs it but the next `setmaxnreg`.
#[test]
fn a_warpgroup_synchronises_before_the_next() {
    let next = |between: &str| {
        let body = format!("{DECREASE}\n{between}\nsetmaxnreg.inc.sync.aligned.u32 96;");
        bounded(".maxnreg 96", 128, &body)
    };
    next("").run();
    next("bar.sync 1, 128;").mode(Mode::Strict).run();
    let strict = next("").mode(Mode::Strict);
    assert!(matches!(
        misuse(&strict, "setmaxnreg.inc"),
        Misuse::Unsynchronised { .. }
    ));
}
