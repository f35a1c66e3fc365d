//! Accesses have to be ordered, whether or not this run happened to do them in a harmless order. Each program that
//! breaks a rule has a twin that keeps it.

use ptx_emulator::machine::{Asynchrony, Mode};

use super::mma::*;
use super::program::*;
use super::races::by_first_warp;

/// Two warps; `%p1` holds in the first thread of warp 1.
fn two_warps(body: &str) -> Program {
    Program::new(&format!("setp.eq.u32 %p1, %r0, 32;\n{body}")).threads(64)
}

/// Clean in strict mode, under every policy.
fn clean(program: Program) {
    program.mode(Mode::Strict).run();
}

/// An error in check mode, at the line that contains `text`.
fn error(program: Program, rule: &str, text: &str) {
    program
        .mode(Mode::Check)
        .breaks(Asynchrony::Late, rule, text);
}

/// Against the letter: an error in strict mode, a warning in check mode.
fn warning(program: Program, rule: &str, text: &str) {
    let program = program.mode(Mode::Check);
    let warnings = program.warnings();
    let is_it = |warning: &&ptx_emulator::machine::order::Warning| {
        warning.finding.rule.id() == rule && warning.site.source.text.contains(text)
    };
    assert!(warnings.iter().any(|w| is_it(&w)), "{warnings:#?}");
    program
        .mode(Mode::Strict)
        .breaks(Asynchrony::Late, rule, text);
}

// ---- shared memory -----------------------------------------------------------------------------------------------------

#[test]
fn stores_and_loads_of_two_warps_need_a_barrier() {
    let store = "@%p1 st.shared.u32 [%r1+1024], 7;\n";
    let load = "@%p31 ld.shared.u32 %r10, [%r1+1024];\n";
    let wait = "nanosleep.u32 20;\nnanosleep.u32 20;\nnanosleep.u32 20;\n";
    // The load comes later in every run.
    let race =
        store.to_owned() + "setp.ge.u32 %p2, %r0, 32;\n@%p2 bra OUT;\n" + wait + load + "OUT:\n";
    error(two_warps(&race), "E3", "ld.shared");
    clean(two_warps(&format!("{store}bar.sync 0;\n{load}")));
    // So do a load and the store that overwrites what it reads.
    let first = "@%p31 st.shared.u32 [%r1+1024], 6;\n";
    error(
        two_warps(&format!("{first}{load}{wait}{store}")),
        "E3",
        "st.shared",
    );
    clean(two_warps(&format!("{first}{load}bar.sync 0;\n{store}")));
    // One value from several warps is harmless.
    warning(
        Program::new("st.shared.u32 [%r1+1024], 7;").threads(64),
        "E3",
        "st.shared",
    );
    error(
        Program::new("st.shared.u32 [%r1+1024], %r0;").threads(64),
        "E3",
        "st.shared",
    );
    // Neighbouring bytes are no conflict.
    let neighbours = "@%p1 st.shared.u8 [%r1+1025], 7;\n@%p31 st.shared.u8 [%r1+1024], 7;\n";
    clean(two_warps(neighbours));
}

#[test]
fn an_arrival_at_a_named_barrier_releases_and_a_sync_acquires() {
    let body = |arrive: &str, sync: &str| {
        two_warps(&format!(
            "setp.ge.u32 %p2, %r0, 32;\n@%p2 bra STORE;\n{sync}\n@%p31 ld.shared.u32 %r10, [%r1+1024];\nbra OUT;\n\
             STORE:\n@%p1 st.shared.u32 [%r1+1024], 7;\n{arrive}\nOUT:\n"
        ))
    };
    clean(body("bar.arrive 1, 64;", "bar.sync 1, 64;"));
    let nap = "nanosleep.u32 20;\nnanosleep.u32 20;";
    error(body("", nap), "E3", "ld.shared");
}

#[test]
fn release_and_acquire_order_through_a_word() {
    let body = |store: &str, load: &str| {
        two_warps(&format!(
            "@%p31 st.shared.u32 [%r1+8], 0;\nbar.sync 0;\nsetp.ge.u32 %p2, %r0, 32;\n@%p2 bra STORE;\n\
             POLL:\n{load}\nsetp.eq.u32 %p3, %r10, 0;\n@%p3 bra POLL;\n\
             @%p31 ld.shared.u32 %r11, [%r1+1024];\nbra OUT;\n\
             STORE:\n@%p1 st.shared.u32 [%r1+1024], 7;\n{store}\nOUT:\n"
        ))
    };
    let fence = "fence.acq_rel.cta;\n";
    let (release, relaxed) = (
        "@%p1 st.release.cta.shared.u32 [%r1+8], 1;",
        "@%p1 st.relaxed.cta.shared.u32 [%r1+8], 1;",
    );
    let acquire = "ld.acquire.cta.shared.u32 %r10, [%r1+8];";
    let poll = "ld.relaxed.cta.shared.u32 %r10, [%r1+8];\nfence.acq_rel.cta;";
    clean(body(release, acquire));
    clean(body(release, poll));
    clean(body(&format!("{fence}{relaxed}"), acquire));
    error(body(relaxed, acquire), "E3", "ld.shared.u32 %r11");
    error(
        body(release, "ld.relaxed.cta.shared.u32 %r10, [%r1+8];"),
        "E3",
        "ld.shared.u32 %r11",
    );
}

#[test]
fn atomics_do_not_race_with_each_other() {
    let zero = "@%p31 st.shared.u32 [%r1+8], 0;\n";
    let add = "atom.shared.add.u32 %r10, [%r1+8], 1;\n";
    clean(two_warps(&format!("{zero}bar.sync 0;\n{add}")));
    error(two_warps(&format!("{zero}@%p1 {add}")), "E3", "atom.shared");
}

#[test]
fn an_asynchronous_read_of_stored_bytes_needs_a_proxy_fence() {
    let store = "@%p31 st.shared.v4.u32 [%r1+1024], {%r0, %r0, %r0, %r0};\n";
    let fence = "fence.proxy.async.shared::cta;\n";
    let sync = "bar.sync 0;\n";
    let copy = "add.u32 %r10, %r1, 1024;\n\
                @%p1 cp.async.bulk.global.shared::cta.bulk_group [%rd0], [%r10], 16;\n\
                cp.async.bulk.commit_group;\ncp.async.bulk.wait_group 0;\n";
    let program = |parts: &[&str]| two_warps(&parts.concat());
    clean(program(&[store, fence, sync, copy]));
    // By the other side, behind the barrier, it does as well.
    clean(program(&[store, sync, fence, copy]));
    error(program(&[store, sync, copy]), "E2", "cp.async.bulk.global");
    error(
        program(&[fence, store, sync, copy]),
        "E2",
        "cp.async.bulk.global",
    );
    error(program(&[store, fence, copy]), "E3", "cp.async.bulk.global");
}

#[test]
fn overwriting_asynchronously_what_was_read_needs_a_proxy_fence_to_the_letter() {
    let program = |fence: &str| {
        let refill = "add.u32 %r10, %r1, 1024;\n\
            @%p31 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r1+8], 16;\n\
            @%p31 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r10], [%rd1], 16, [%r1+8];\n";
        Program::new(&format!(
            "{BARRIERS}{}@%p31 ld.shared.u32 %r11, [%r1+1024];\n{fence}\n{refill}{}",
            load_input(1024, 16),
            wait(8, 0)
        ))
    };
    clean(program("fence.proxy.async.shared::cta;"));
    warning(program(""), "E2", "cp.async.bulk.shared::cluster");
}

#[test]
fn what_a_load_brought_is_known_by_its_barrier_only() {
    let program = |wait: &str| {
        Program::new(&format!(
            "{BARRIERS}add.u32 %r10, %r1, 1024;\n\
            @%p31 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r1], 16;\n\
            @%p31 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r10], [%rd1], 16, [%r1];\n\
            nanosleep.u32 20;\n{wait}\n@%p31 ld.shared.u32 %r11, [%r10];\n"
        ))
    };
    clean(program(&wait(0, 0)));
    // It is there already, but nobody knows.
    program("").breaks(Asynchrony::Early, "E3", "ld.shared");
    let relaxed = wait(0, 0).replace("parity.shared", "parity.relaxed.cta.shared");
    error(program(&relaxed), "E3", "ld.shared");
}

#[test]
fn the_source_of_a_store_is_free_when_its_group_is_known_to_be_read() {
    let program = |wait: &str| {
        Program::new(&format!(
            "@%p31 st.shared.v4.u32 [%r1+1024], {{%r0, %r0, %r0, %r0}};\nfence.proxy.async.shared::cta;\n\
            add.u32 %r10, %r1, 1024;\n\
            @%p31 cp.async.bulk.global.shared::cta.bulk_group [%rd0], [%r10], 16;\ncp.async.bulk.commit_group;\n\
            nanosleep.u32 20;\n{wait}\n@%p31 st.shared.u32 [%r1+1024], 7;\ncp.async.bulk.wait_group 0;\n"
        ))
    };
    clean(program("cp.async.bulk.wait_group.read 0;"));
    program("").breaks(Asynchrony::Early, "E3", "st.shared.u32");
    program("cp.async.bulk.wait_group.read 1;").breaks(Asynchrony::Early, "E3", "st.shared.u32");
}

#[test]
fn a_relaxed_arrival_hands_nothing_over() {
    let program = |arrive: &str| {
        two_warps(&format!(
            "{BARRIERS}setp.ge.u32 %p2, %r0, 32;\n@%p2 bra STORE;\n{}@%p31 ld.shared.u32 %r10, [%r1+1024];\nbra OUT;\n\
             STORE:\n@%p1 st.shared.u32 [%r1+1024], 7;\n@%p1 {arrive} _, [%r1];\nOUT:\n",
            wait(0, 0)
        ))
    };
    clean(program("mbarrier.arrive.shared::cta.b64"));
    error(
        program("mbarrier.arrive.relaxed.cta.shared::cta.b64"),
        "E3",
        "ld.shared",
    );
}

// ---- mbarriers ---------------------------------------------------------------------------------------------------------

#[test]
fn others_use_an_mbarrier_behind_a_barrier() {
    let init = "@%p31 mbarrier.init.shared::cta.b64 [%r1], 1;\n";
    for (instruction, operands) in [
        ("mbarrier.arrive.shared::cta.b64", "_, [%r1]"),
        ("mbarrier.inval.shared::cta.b64", "[%r1]"),
    ] {
        let program = |sync| two_warps(&format!("{init}{sync}\n@%p1 {instruction} {operands};\n"));
        clean(program("bar.sync 0;"));
        error(program(""), "E5", instruction);
        // The report names the other party, what it did and where.
        let report = program("").mode(Mode::Check).fail_late().to_string();
        assert!(
            report.contains("which warp 0 of CTA (0, 0, 0) initialised"),
            "{report}"
        );
        let at = report.split("the other: ").nth(1);
        assert!(
            at.is_some_and(|at| at.contains("mbarrier.init")),
            "{report}"
        );
    }
}

/// To others, its initialisation and its end are stores.
#[test]
fn an_mbarrier_begins_and_ends_behind_other_accesses() {
    let init = "@%p31 mbarrier.init.shared::cta.b64 [%r1], 1;\n";
    let inval = "@%p31 mbarrier.inval.shared::cta.b64 [%r1];\n";
    let store = "@%p1 st.shared.u32 [%r1], 7;\n";
    let nap = "nanosleep.u32 20;\nnanosleep.u32 20;\nnanosleep.u32 20;\n";
    let program =
        |first: &str, sync: &str, then: &str| two_warps(&format!("{first}{sync}\n{then}"));
    clean(program(store, "bar.sync 0;", init));
    error(program(store, nap, init), "E3", "mbarrier.init");
    let used = format!("{init}{inval}");
    clean(program(&used, "bar.sync 0;", store));
    error(program(&used, nap, store), "E3", "st.shared");
}

#[test]
fn asynchronous_use_of_an_mbarrier_needs_a_fence_to_the_letter() {
    let program = |fence: &str| {
        Program::new(&format!(
            "@%p31 mbarrier.init.shared::cta.b64 [%r1], 1;\n{fence}\nbar.sync 0;\n{}",
            load_input(1024, 16)
        ))
    };
    clean(program("fence.mbarrier_init.release.cluster;"));
    clean(program("fence.proxy.async.shared::cta;"));
    warning(program(""), "E2", "cp.async.bulk.shared::cluster");
}

#[test]
fn each_phase_is_waited_for_before_an_arrival_of_the_next() {
    let arrive = "@%p31 mbarrier.arrive.shared::cta.b64 _, [%r1];\n";
    let program = |between: &str| Program::new(&format!("{BARRIERS}{arrive}{between}{arrive}"));
    clean(program(&wait(0, 0)));
    warning(program(""), "E5", "mbarrier.arrive");
    // A barrier that is initialised again starts over.
    let again = "@%p31 mbarrier.inval.shared::cta.b64 [%r1];\n@%p31 mbarrier.init.shared::cta.b64 [%r1], 1;\n";
    clean(program(&format!("{}{again}", wait(0, 0))));
}

/// Warp 1 waits for the phase and then copies; who waits for its bytes is behind that wait.
#[test]
fn a_copy_shows_that_its_issuer_waited_for_a_phase() {
    let arrive = "@%p31 mbarrier.arrive.shared::cta.b64 _, [%r1];\n";
    let expect = "@%p31 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r1+8], 16;\n";
    let program = |landed: &str| {
        two_warps(&format!(
            "{BARRIERS}add.u32 %r5, %r1, 1024;\nadd.u32 %r6, %r1, 8;\nsetp.ge.u32 %p2, %r0, 32;\n@%p2 bra WAITER;\n\
             {arrive}{expect}{landed}{arrive}bra OUT;\n\
             WAITER:\nW:\nmbarrier.try_wait.parity.shared::cta.b64 %p20, [%r1], 0;\n@!%p20 bra W;\n\
             @%p1 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r5], [%rd1], 16, [%r6];\nOUT:\n\
             {}",
            wait(8, 0)
        ))
    };
    clean(program(&format!("{{\n{}}}\n", wait(8, 0))));
    let early = program("nanosleep.u32 20;\nnanosleep.u32 20;\n");
    warning(early, "E5", "mbarrier.arrive");
}

/// Warp 0 goes through phases whether or not warp 1 has seen them: by parity, warp 1 may take one for another.
#[test]
fn a_waiter_can_be_lapped_if_nobody_waits_for_it() {
    let program = |answer: &str, heard: &str| {
        let phase = |parity| {
            let wait = wait(0, parity);
            format!("@%p31 mbarrier.arrive.shared::cta.b64 _, [%r1];\n{wait}")
        };
        two_warps(&format!(
            "{BARRIERS}setp.ge.u32 %p2, %r0, 32;\n@%p2 bra WAITER;\n{}{heard}{}bra OUT;\n\
             WAITER:\nW:\nmbarrier.try_wait.parity.shared::cta.b64 %p20, [%r1], 0;\n@!%p20 bra W;\n{answer}\nOUT:\n",
            phase(0),
            phase(1)
        ))
    };
    clean(program("bar.arrive 1, 64;", "bar.sync 1, 64;\n"));
    let lapped = program("", "nanosleep.u32 20;\nnanosleep.u32 20;\n");
    warning(lapped, "E5", "mbarrier.arrive");
    // A copy that warp 1 issued behind its wait is as good an answer, but of nothing else than that.
    let copy = |before: &str| {
        format!(
            "add.u32 %r5, %r1, 1024;\nadd.u32 %r6, %r1, 8;\n{before}\
             @%p1 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r5], [%rd1], 16, [%r6];\n"
        )
    };
    let landed = "@%p31 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r1+8], 16;\n".to_owned()
        + &wait(8, 0);
    clean(program(&copy(""), &landed));
    let store = "@%p1 st.shared.u32 [%r1+2048], 7;\n";
    let load = landed + "@%p31 ld.shared.u32 %r10, [%r1+2048];\n";
    error(program(&copy(store), &load), "E3", "ld.shared");
}

// ---- tensor memory -----------------------------------------------------------------------------------------------------

/// A product that `behind` follows, and then the dump of D.
fn product(behind: &str) -> Program {
    let product = Product::new(64, 1, SWIZZLE_128B, SWIZZLE_128B);
    product.program(&(product.copy_scales() + &product.mmas() + behind))
}

/// A second commit, to an mbarrier at `smem + 32`.
fn commit_again() -> String {
    "@%p31 mbarrier.init.shared::cta.b64 [%r1+32], 1;\nfence.mbarrier_init.release.cluster;\nbar.sync 0;\n".to_owned()
        + &COMMIT.replace("+8", "+32")
}

const LOAD_D: &str =
    "tcgen05.ld.sync.aligned.32x32b.x1.b32 {%r31}, [%r4];\ntcgen05.wait::ld.sync.aligned;\n";

#[test]
fn an_accumulator_is_read_behind_a_wait_and_a_fence() {
    let after = "tcgen05.fence::after_thread_sync;\n";
    let read = |fence: &str| product(&(commit_again() + &wait(32, 0) + fence + LOAD_D));
    read(after).mode(Mode::Check).run();
    // Warp 0 issued the MMA itself; the others need the fence.
    let by_warp_1 =
        "setp.lt.u32 %p1, %r0, 32;\n@%p1 bra AROUND;\n".to_owned() + LOAD_D + "AROUND:\n";
    let read = |fence: &str| product(&(commit_again() + &wait(32, 0) + fence + &by_warp_1));
    assert!(!read(after).mode(Mode::Check).warns("E4"));
    assert!(read("").mode(Mode::Check).warns("E4"));
    // Without the wait it may be complete, but nobody knows.
    let nap = "nanosleep.u32 20;\n".repeat(8);
    product(&(commit_again() + &nap + &by_first_warp(LOAD_D))).breaks(
        Asynchrony::Early,
        "E4",
        "tcgen05.ld",
    );
}

#[test]
fn mmas_of_two_threads_on_one_accumulator_need_an_order() {
    let again = |sync: &str| {
        let product = Product::new(64, 1, SWIZZLE_128B, SWIZZLE_128B);
        let second = product.mma(0, "%p18").replace("@%p31", "@%p1");
        let text = "setp.eq.u32 %p1, %r0, 32;\n".to_owned()
            + &product.copy_scales()
            + &product.mmas()
            + sync
            + &second
            + &commit_again().replace("@%p31 tcgen05.commit", "@%p1 tcgen05.commit")
            + &wait(32, 0);
        product.program(&text)
    };
    let fences =
        "tcgen05.fence::before_thread_sync;\nbar.sync 0;\ntcgen05.fence::after_thread_sync;\n";
    assert!(!again(fences).mode(Mode::Check).warns("E4"));
    assert!(again("bar.sync 0;\n").mode(Mode::Check).warns("E4"));
    error(again(""), "E4", "tcgen05.mma");
}

#[test]
fn a_copy_behind_an_mma_is_not_listed_as_ordered() {
    let again = |between: &str| {
        let product = Product::new(64, 1, SWIZZLE_128B, SWIZZLE_128B);
        let text = product.copy_scales()
            + &product.mmas()
            + between
            + &product.copy_scales()
            + &commit_again()
            + &wait(32, 0);
        product.program(&text)
    };
    warning(again(""), "E4", "tcgen05.cp");
    let first = commit_again().replace("+32", "+40") + &wait(40, 0);
    assert!(!again(&first).mode(Mode::Check).warns("E4"));
}

/// Two warps whose quarters are the same.
#[test]
fn fragments_of_two_warps_need_waits_and_fences() {
    let program = |wait: &str, before: &str, after: &str| {
        Program::new(&format!(
            "{ALLOCATE}setp.lt.u32 %p1, %r0, 32;\nsetp.ge.u32 %p2, %r0, 128;\n\
             @!%p1 bra STORED;\ntcgen05.st.sync.aligned.32x32b.x1.b32 [%r4], {{%r0}};\n{wait}\nSTORED:\n\
             {before}\nbar.sync 0;\n{after}\n\
             @!%p2 bra LOADED;\ntcgen05.ld.sync.aligned.32x32b.x1.b32 {{%r31}}, [%r4];\n\
             tcgen05.wait::ld.sync.aligned;\nLOADED:\n{FREE}"
        ))
        .threads(160)
    };
    let (wait, before, after) = (
        "tcgen05.wait::st.sync.aligned;",
        "tcgen05.fence::before_thread_sync;",
        "tcgen05.fence::after_thread_sync;",
    );
    clean(program(wait, before, after));
    warning(program(wait, "", after), "E4", "tcgen05.ld");
    warning(program(wait, before, ""), "E4", "tcgen05.ld");
}

/// The columns are another CTA's from then on, who may overwrite them by an MMA.
#[test]
fn columns_are_freed_behind_the_loads_of_other_warps() {
    let program = |before: &str, after: &str| {
        let free = FREE
            .replace("tcgen05.fence::before_thread_sync;", before)
            .replace("tcgen05.fence::after_thread_sync;", after);
        let load = LOAD_D.replace("%r4", "%r10");
        Program::new(&format!(
            "{ALLOCATE}shr.u32 %r10, %r0, 5;\nshl.b32 %r10, %r10, 21;\nadd.u32 %r10, %r10, %r4;\n\
             tcgen05.st.sync.aligned.32x32b.x1.b32 [%r10], {{%r0}};\n\
             tcgen05.wait::st.sync.aligned;\n{load}{free}"
        ))
        .threads(64)
    };
    let (before, after) = (
        "tcgen05.fence::before_thread_sync;",
        "tcgen05.fence::after_thread_sync;",
    );
    clean(program(before, after));
    warning(program("", after), "E4", "tcgen05.dealloc");
    warning(program(before, ""), "E4", "tcgen05.dealloc");
}

// ---- what was never written --------------------------------------------------------------------------------------------

#[test]
fn operands_of_the_tensor_core_were_written() {
    let scales = Product::new(64, 1, SWIZZLE_128B, SWIZZLE_128B);
    let program = |copies: &str, mma: &str| scales.program(&(copies.to_owned() + mma));
    program(&scales.copy_scales(), &scales.mma(0, "%p18"))
        .mode(Mode::Check)
        .run();
    error(program("", &scales.mma(0, "%p18")), "E1", "tcgen05.mma");
    error(
        program(&scales.copy_scales(), &scales.mma(0, "%p19")),
        "E1",
        "tcgen05.mma",
    );
    let elsewhere = copy_scale_tile(SFA, SMEM_BYTES - 2048);
    error(program(&elsewhere, ""), "E1", "tcgen05.cp");
}

#[test]
fn loads_of_what_was_never_written_are_warned_of() {
    warning(
        Program::new("ld.shared.u32 %r10, [%r1+1024];"),
        "E1",
        "ld.shared",
    );
    let load = format!("{ALLOCATE}{LOAD_D}{FREE}");
    warning(Program::new(&load), "E1", "tcgen05.ld");
    let half = "@%p31 st.shared.u16 [%r1+1024], 7;\n@%p31 ld.shared.u32 %r10, [%r1+1024];";
    warning(Program::new(half), "E1", "ld.shared");
    clean(Program::new(
        &half
            .replace("ld.shared.u32", "ld.shared.u16")
            .replace("%r10", "%rs0"),
    ));
}

// ---- lanes of one warp -------------------------------------------------------------------------------------------------

/// Lanes exchange through memory: lane 0 stores, lane 1 loads.
fn exchange(between: &str, memory: &str) -> Program {
    let (store, load) = match memory {
        "shared" => (
            "st.shared.u32 [%r1+1024], 7;",
            "ld.shared.u32 %r10, [%r1+1024];",
        ),
        _ => ("st.global.u32 [%rd0], 7;", "ld.global.u32 %r10, [%rd0];"),
    };
    Program::new(&format!(
        "setp.eq.u32 %p1, %r2, 1;\n@%p31 {store}\n{between}\n@%p1 {load}\n"
    ))
}

/// Lane 0 arrives for its whole warp: lane 1 stores or loads before, and the other warp does the opposite behind a wait.
#[test]
fn a_lane_releases_for_those_that_it_has_met() {
    let (store, load) = (
        "st.shared.u32 [%r1+1024], 7;",
        "ld.shared.u32 %r10, [%r1+1024];",
    );
    for (first, second) in [(store, load), (load, store)] {
        let program = |between: &str| {
            two_warps(&format!(
                "{BARRIERS}@%p31 st.shared.u32 [%r1+1024], 5;\nbar.sync 0;\n\
                 setp.eq.u32 %p2, %r0, 1;\nsetp.ge.u32 %p3, %r0, 32;\n@%p3 bra WAITER;\n\
                 @%p2 {first}\n{between}\n@%p31 mbarrier.arrive.shared::cta.b64 _, [%r1];\nbra OUT;\n\
                 WAITER:\n{}@%p1 {second}\nOUT:\n",
                wait(0, 0)
            ))
        };
        clean(program("bar.warp.sync -1;"));
        clean(program("setp.lt.u32 %p4, %r2, 2;\n@%p4 bar.warp.sync 3;"));
        for nothing in ["", "setp.gt.u32 %p4, %r2, 0;\n@%p4 bar.warp.sync -2;"] {
            program(nothing).mode(Mode::Check).run();
            let strict = program(nothing).mode(Mode::Strict);
            strict.breaks(Asynchrony::Late, "E3", second);
        }
    }
}

/// They have program counters of their own: that they usually run together orders nothing.
#[test]
fn lanes_that_exchange_through_memory_meet_between() {
    for (memory, rule) in [("shared", "E3"), ("global", "E12")] {
        let load = format!("ld.{memory}");
        for meeting in [
            "bar.warp.sync -1;",
            "setp.lt.u32 %p3, %r2, 2;\n@%p3 bar.warp.sync 3;",
            "bar.sync 0;",
            "shfl.sync.idx.b32 %r11, %r0, 0, 31, -1;",
            "vote.sync.any.pred %p2, %p1, -1;",
        ] {
            clean(exchange(meeting, memory));
        }
        for nothing in ["", "nanosleep.u32 20;", "@%p31 bar.warp.sync 1;"] {
            exchange(nothing, memory).mode(Mode::Check).run();
            let strict = exchange(nothing, memory).mode(Mode::Strict);
            strict.breaks(Asynchrony::Late, rule, &load);
            let failure = exchange(nothing, memory).mode(Mode::Strict).fail_late();
            let text = failure.to_string();
            assert!(text.contains("which lane 0 of warp 0"), "{text}");
            assert!(text.contains("no `bar.warp.sync`"), "{text}");
        }
    }
    // A load, and a store that overwrites what it reads.
    let body = |between: &str| {
        Program::new(&format!(
            "@%p31 st.shared.u32 [%r1+1024], 6;\nbar.warp.sync -1;\nld.shared.u32 %r10, [%r1+1024];\n{between}\n\
             @%p31 st.shared.u32 [%r1+1024], 7;\n"
        ))
    };
    clean(body("bar.warp.sync -1;"));
    let strict = body("").mode(Mode::Strict);
    strict.breaks(Asynchrony::Late, "E3", "st.shared.u32 [%r1+1024], 7");
    // Each lane may do with its own bytes what it likes; all may store one value.
    clean(Program::new(
        "shl.b32 %r10, %r2, 2;\nadd.u32 %r10, %r10, %r1;\nst.shared.u32 [%r10], %r0;\nld.shared.u32 %r11, [%r10];\n\
         st.shared.u32 [%r10], 5;\nst.shared.u32 [%r1+1024], 5;\n",
    ));
    let different = Program::new("st.shared.u32 [%r1+1024], %r2;").mode(Mode::Strict);
    different.breaks(Asynchrony::Late, "E3", "st.shared");
}
