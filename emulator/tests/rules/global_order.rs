//! Accesses to global memory by several CTAs, warps and asynchronous engines have to be ordered (PTX ISA §8). The CTAs of
//! these programs run one after the other, and do right by luck.

use ptx_emulator::machine::{Asynchrony, Mode};

use super::program::*;

/// The first CTA does one thing, the second and later ones another.
fn ctas(first: &str, second: &str) -> Program {
    let body = format!(
        "mov.u32 %r10, %ctaid.x;\nsetp.ne.u32 %p1, %r10, 0;\n@%p1 bra SECOND;\n{first}\nbra OUT;\n\
         SECOND:\n{second}\nOUT:\n"
    );
    Program::new(&body).grid([2, 1, 1])
}

/// Clean in strict mode, under every policy.
fn clean(program: Program) {
    program.mode(Mode::Strict).run();
}

/// An error in check mode, at the line that contains `text`.
fn error(program: Program, rule: &str, text: &str) {
    let program = program.mode(Mode::Check);
    program.breaks(Asynchrony::Late, rule, text);
}

/// Against the letter: an error in strict mode, a warning in check mode.
fn warning(program: Program, rule: &str, text: &str) {
    let program = program.mode(Mode::Check);
    let warnings = program.warnings();
    let mut at = warnings
        .iter()
        .filter(|warning| warning.finding.rule.id() == rule);
    assert!(
        at.any(|warning| warning.site.source.text.contains(text)),
        "{warnings:#?}"
    );
    let program = program.mode(Mode::Strict);
    program.breaks(Asynchrony::Late, rule, text);
}

const STORE: &str = "@%p31 st.global.u32 [%rd0+64], 7;\n";
const LOAD: &str = "@%p31 ld.global.u32 %r11, [%rd0+64];\n";

#[test]
fn what_one_cta_writes_another_must_not_touch() {
    error(ctas(STORE, LOAD), "E12", "ld.global");
    error(ctas(LOAD, STORE), "E12", "st.global");
    let other = "@%p31 st.global.u32 [%rd0+64], 8;\n";
    error(ctas(STORE, other), "E12", "[%rd0+64], 8");
    // Through a generic address, and in part.
    error(ctas(STORE, "@%p31 ld.u8 %r11, [%rd0+67];"), "E12", "ld.u8");
    clean(ctas(LOAD, LOAD));
}

#[test]
fn other_bytes_are_no_conflict() {
    let bytes = |offset| format!("@%p31 st.global.u8 [%rd0+{offset}], 7;\n");
    clean(ctas(&bytes(64), &bytes(65)));
    clean(ctas(&bytes(68), LOAD));
    // 32 lanes with a gap of 4 bytes behind each 4; the other CTA fills the gaps.
    let lanes = |offset| {
        format!(
            "mul.wide.u32 %rd10, %r2, 8;\nadd.u64 %rd10, %rd10, %rd0;\nst.global.u32 [%rd10+{offset}], %r2;\n"
        )
    };
    clean(ctas(&lanes(0), &lanes(4)));
    error(ctas(&lanes(0), &lanes(8)), "E12", "[%rd10+8]");
}

#[test]
fn a_report_names_both_parties_and_the_allocation() {
    let failure = ctas(STORE, LOAD).fail_late();
    let text = failure.to_string();
    for part in [
        "E12: this instruction reads bytes of global memory",
        "(offset 0x40 in the allocation of 262144 bytes at 0x",
        "which lane 0 of warp 0 of CTA (0, 0, 0) wrote",
        "no release and acquire at GPU scope",
        "st.global.u32 [%rd0+64], 7",
        "CTA (1, 0, 0), warp 0, lane 0",
    ] {
        assert!(text.contains(part), "{text}\nlacks: {part}");
    }
    let json = failure.to_json();
    for part in [
        r#""rule":"E12""#,
        r#""space":"bytes of global memory""#,
        r#""allocation":{"start":"#,
        r#""bytes":262144"#,
        r#""cta":[0,0,0],"warp":0,"lanes":[0],"did":"wrote""#,
    ] {
        assert!(json.contains(part), "{json}\nlacks: {part}");
    }
}

#[test]
fn one_value_from_several_ctas_is_a_race_to_the_letter() {
    warning(ctas(STORE, STORE), "E12", "st.global");
    // Somebody who reads it may still be too early.
    let same = format!("{STORE}bar.sync 0;\n{STORE}");
    error(ctas(&same, LOAD), "E12", "ld.global");
}

/// Whoever stores second repeats the first, also where host threads run the two CTAs at the same time.
#[test]
fn one_value_from_ctas_side_by_side_is_still_one_value() {
    // Both store 7 to the same 2,048 words, in the same order.
    let stores = "\
mov.u64 %rd10, %rd0;
add.u64 %rd11, %rd0, 8192;
NEXT:
@%p31 st.global.u32 [%rd10], 7;
add.u64 %rd10, %rd10, 4;
setp.lt.u64 %p1, %rd10, %rd11;
@%p1 bra NEXT;
";
    for _ in 0..50 {
        let mut program = Program::new(stores).grid([2, 1, 1]).mode(Mode::Check);
        program.launch_mut().options.threads = 2;
        program.run();
    }
}

// ---- synchronisation through global memory -------------------------------------------------------------------------------

/// The first CTA stores data and a flag, the second reads the flag and the data.
fn message(publish: &str, observe: &str) -> Program {
    ctas(
        &format!("{STORE}{publish}\n"),
        &format!("{observe}\n{LOAD}"),
    )
}

#[test]
fn release_and_acquire_order_two_ctas() {
    let release = "@%p31 st.release.gpu.global.u32 [%rd0+128], 1;";
    let acquire = "@%p31 ld.acquire.gpu.global.u32 %r12, [%rd0+128];";
    clean(message(release, acquire));
    clean(message(&release.replace("gpu", "sys"), acquire));
    let add = "@%p31 red.release.gpu.global.add.u32 [%rd0+128], 1;";
    clean(message(add, acquire));
    let swap = "@%p31 atom.acquire.gpu.global.exch.b32 %r12, [%rd0+128], 0;";
    clean(message(add, swap));
    let exchange = "@%p31 atom.acq_rel.gpu.global.exch.b32 %r12, [%rd0+128], 1;";
    clean(message(exchange, exchange));
    // Nothing is released, or through another word.
    let data = "ld.global.u32 %r11";
    error(
        message(&release.replace("release", "relaxed"), acquire),
        "E12",
        data,
    );
    error(
        message(&release.replace("128", "132"), acquire),
        "E12",
        data,
    );
}

#[test]
fn the_scope_has_to_include_the_other_cta() {
    let release = "@%p31 st.release.gpu.global.u32 [%rd0+128], 1;";
    let acquire = "@%p31 ld.acquire.gpu.global.u32 %r12, [%rd0+128];";
    for scope in ["cta", "cluster"] {
        let narrow = |text: &str| text.replace("gpu", scope);
        error(message(&narrow(release), acquire), "E12", "ld.acquire");
        error(message(release, &narrow(acquire)), "E12", "ld.acquire");
    }
    // That of a fence, too.
    let fenced = |scope: &str| {
        let store = "@%p31 st.relaxed.gpu.global.u32 [%rd0+128], 1;";
        message(&format!("fence.acq_rel.{scope};\n{store}"), acquire)
    };
    clean(fenced("gpu"));
    error(fenced("cta"), "E12", "ld.global.u32 %r11");
    // Within a cluster, the cluster's scope does.
    let alive = "barrier.cluster.arrive.relaxed.aligned;\nbarrier.cluster.wait.aligned;";
    let pair = |scope: fn(&str) -> String| {
        let observe = format!("{alive}\n{}", scope(acquire));
        let publish = format!("{}\n{alive}", scope(release));
        message(&publish, &observe).cluster(2)
    };
    clean(pair(|text| text.replace("gpu", "cluster")));
    error(pair(|text| text.replace("gpu", "cta")), "E12", "ld.acquire");
}

#[test]
fn fences_with_relaxed_accesses_order_two_ctas() {
    for (fence, store, load) in [
        ("fence.acq_rel.gpu;", "st.relaxed.gpu", "ld.relaxed.gpu"),
        ("membar.gl;", "st.volatile", "ld.volatile"),
        ("fence.sc.sys;", "st.relaxed.sys", "ld.relaxed.gpu"),
    ] {
        let store = format!("@%p31 {store}.global.u32 [%rd0+128], 1;");
        let load = format!("@%p31 {load}.global.u32 %r12, [%rd0+128];");
        let publish = format!("{fence}\n{store}");
        let observe = format!("{load}\n{fence}");
        clean(message(&publish, &observe));
        error(message(&store, &observe), "E12", "ld.global.u32 %r11");
        error(
            message(&format!("{store}\n{fence}"), &observe),
            "E12",
            "ld.global.u32 %r11",
        );
        // CUDA's threadFenceReduction sample has no fence behind its atomic.
        warning(message(&publish, &load), "E12", "ld.global.u32 %r11");
    }
    // A weak flag orders nothing, and races itself.
    let flag = "@%p31 st.global.u32 [%rd0+128], 1;";
    let poll = "@%p31 ld.acquire.gpu.global.u32 %r12, [%rd0+128];";
    error(
        message(&format!("fence.acq_rel.gpu;\n{flag}"), poll),
        "E12",
        "ld.acquire",
    );
}

/// Each CTA stores a partial sum, and the last to count up reads all: split-K.
#[test]
fn the_last_cta_to_count_up_reads_what_all_stored() {
    let program = |ctas: u32, before: &str, count: &str, after: &str| {
        let body = format!(
            "mov.u32 %r10, %ctaid.x;\nshl.b32 %r13, %r10, 8;\nshl.b32 %r14, %r0, 2;\nadd.u32 %r13, %r13, %r14;\n\
             cvt.u64.u32 %rd10, %r13;\nadd.u64 %rd10, %rd10, %rd0;\nst.global.u32 [%rd10+4096], %r0;\n\
             {before}\nbar.sync 0;\n\
             @%p31 {count} %r15, [%rd1], 1;\n@%p31 st.shared.u32 [%r1], %r15;\n{after}\nbar.sync 0;\n\
             ld.shared.u32 %r15, [%r1];\nsetp.ne.u32 %p2, %r15, {last};\n@%p2 bra OUT;\n\
             cvt.u64.u32 %rd11, %r14;\nadd.u64 %rd11, %rd11, %rd0;\nld.global.u32 %r16, [%rd11+4096];\n\
             ld.global.u32 %r17, [%rd11+4352];\nOUT:\n",
            last = ctas - 1
        );
        Program::new(&body).threads(64).grid([ctas, 1, 1])
    };
    let relaxed = "atom.global.add.u32";
    clean(program(2, "membar.gl;", relaxed, "membar.gl;"));
    clean(program(2, "", "atom.acq_rel.gpu.global.add.u32", ""));
    // The atomics of the CTAs between continue what the first released.
    clean(program(5, "membar.gl;", relaxed, "membar.gl;"));
    error(
        program(3, "", relaxed, "membar.gl;"),
        "E12",
        "ld.global.u32 %r16",
    );
    error(
        program(2, "membar.cta;", relaxed, "membar.gl;"),
        "E12",
        "ld.global.u32 %r16",
    );
    warning(
        program(2, "membar.gl;", relaxed, ""),
        "E12",
        "ld.global.u32 %r16",
    );
}

/// A store ends what earlier atomics and stores of others have released.
#[test]
fn a_store_of_another_thread_releases_anew() {
    let release = "@%p31 st.release.gpu.global.u32 [%rd0+128], 1;";
    let acquire = "@%p31 ld.acquire.gpu.global.u32 %r12, [%rd0+128];";
    let program = |between: &str| {
        let second = format!(
            "setp.eq.u32 %p2, %r10, 1;\n@%p2 bra BETWEEN;\n{acquire}\n{LOAD}\nbra OUT;\nBETWEEN:\n{between}"
        );
        ctas(&format!("{STORE}{release}"), &second).grid([3, 1, 1])
    };
    clean(program(
        "@%p31 red.relaxed.gpu.global.add.u32 [%rd0+128], 1;",
    ));
    let store = "@%p31 st.relaxed.gpu.global.u32 [%rd0+128], 2;";
    error(program(store), "E12", "ld.global.u32 %r11");
    // What it had acquired, it passes on.
    clean(program(&format!(
        "{acquire}\n{}",
        release.replace(", 1", ", 2")
    )));
}

#[test]
fn atomics_of_ctas_do_not_race_with_each_other() {
    let add = "red.global.add.u32 [%rd0+64], 1;";
    clean(ctas(add, add));
    clean(ctas(add, "ld.relaxed.gpu.global.u32 %r11, [%rd0+64];"));
    error(
        ctas(add, "@%p31 ld.global.u32 %r11, [%rd0+64];"),
        "E12",
        "ld.global",
    );
    error(
        ctas("@%p31 st.global.u32 [%rd0+64], 0;", add),
        "E12",
        "red.global",
    );
    let narrow = "red.relaxed.cta.global.add.u32 [%rd0+64], 1;";
    error(ctas(narrow, narrow), "E12", "red.relaxed.cta");
}

#[test]
fn a_weak_load_before_a_compare_and_swap_is_a_race_to_the_letter() {
    let swap = "@%p31 atom.global.cas.b32 %r12, [%rd0+64], %r11, 9;\n";
    let update = format!("{LOAD}{swap}");
    warning(ctas(&update, &update), "E12", "ld.global");
    let relaxed = update.replace("ld.global", "ld.relaxed.gpu.global");
    clean(ctas(&relaxed, &relaxed));
}

#[test]
fn warps_of_one_cta_need_a_barrier_in_global_memory_too() {
    let program = |between: &str| {
        let store = "setp.eq.u32 %p1, %r0, 32;\n@%p1 st.global.u32 [%rd0+64], 7;\n";
        Program::new(&format!("{store}{between}{LOAD}")).threads(64)
    };
    clean(program("bar.sync 0;\n"));
    let nap = "nanosleep.u32 20;\n".repeat(4);
    let failure = program(&nap).mode(Mode::Check).fail_late().to_string();
    assert!(
        failure.contains("E12") && failure.contains("no barrier"),
        "{failure}"
    );
    // Between the CTAs of a cluster, the cluster's barrier.
    let program =
        |between: &str| ctas(&format!("{STORE}{between}"), &format!("{between}{LOAD}")).cluster(2);
    clean(program(
        "barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;\n",
    ));
    let relaxed = "barrier.cluster.arrive.relaxed.aligned;\nbarrier.cluster.wait.aligned;\n";
    error(program(relaxed), "E12", "ld.global");
}

// ---- asynchronous engines ------------------------------------------------------------------------------------------------

const RELEASE: &str = "@%p31 st.release.gpu.global.u32 [%rd0+128], 1;\n";
const ACQUIRE: &str = "@%p31 ld.acquire.gpu.global.u32 %r12, [%rd0+128];\n";

#[test]
fn a_bulk_store_is_released_behind_the_wait_for_its_writes() {
    let program = |wait: &str, last: &str| {
        let first = format!(
            "@%p31 st.shared.v4.u32 [%r1+1024], {{%r0, %r0, %r0, %r0}};\nfence.proxy.async.shared::cta;\n\
             add.u32 %r11, %r1, 1024;\n\
             @%p31 cp.async.bulk.global.shared::cta.bulk_group [%rd0+64], [%r11], 16;\n\
             cp.async.bulk.commit_group;\n{wait}\n{RELEASE}{last}"
        );
        ctas(&first, &format!("{ACQUIRE}{LOAD}"))
    };
    clean(program("cp.async.bulk.wait_group 0;", ""));
    let late = "cp.async.bulk.wait_group 0;";
    error(
        program("cp.async.bulk.wait_group.read 0;", late),
        "E12",
        "ld.global",
    );
}

#[test]
fn a_store_of_what_a_bulk_store_may_yet_write_is_a_race() {
    let copy = "@%p31 st.shared.v4.u32 [%r1+1024], {7, 7, 7, 7};\nfence.proxy.async.shared::cta;\n\
        add.u32 %r11, %r1, 1024;\n\
        @%p31 cp.async.bulk.global.shared::cta.bulk_group [%rd0+64], [%r11], 16;\n\
        cp.async.bulk.commit_group;\ncp.async.bulk.wait_group 0;\n";
    error(ctas(copy, STORE), "E12", "st.global.u32");
}

#[test]
fn reductions_of_the_asynchronous_proxy_do_not_race_with_each_other() {
    let reduce = "@%p31 st.shared.v4.u32 [%r1+1024], {1, 1, 1, 1};\nfence.proxy.async.shared::cta;\n\
        add.u32 %r11, %r1, 1024;\n\
        @%p31 cp.reduce.async.bulk.global.shared::cta.bulk_group.add.u32 [%rd0+64], [%r11], 16;\n\
        cp.async.bulk.commit_group;\ncp.async.bulk.wait_group 0;\n";
    clean(ctas(reduce, reduce));
    let copy = reduce
        .replace(".reduce", "")
        .replace(".add.u32", "")
        .replace("1, 1, 1, 1", "2, 2, 2, 2");
    error(ctas(reduce, &copy), "E12", "cp.async.bulk.global");
    let atomic = "@%p31 red.global.add.u32 [%rd0+64], 1;";
    warning(ctas(reduce, atomic), "E12", "red.global");
}

#[test]
fn what_others_stored_is_loaded_asynchronously_behind_a_proxy_fence() {
    let program = |published: &str, observed: &str| {
        let second = format!(
            "{BARRIERS}{observed}add.u32 %r11, %r1, 1024;\n\
             @%p31 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r1], 16;\n\
             @%p31 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r11], [%rd0+64], 16, [%r1];\n{}",
            wait(0, 0)
        );
        ctas(&format!("{STORE}{published}"), &second)
    };
    let fence = "fence.proxy.async;\n";
    clean(program(&format!("{fence}{RELEASE}"), ACQUIRE));
    clean(program(RELEASE, &format!("{ACQUIRE}{fence}")));
    error(
        program(RELEASE, ACQUIRE),
        "E2",
        "cp.async.bulk.shared::cluster",
    );
    error(program(fence, ""), "E12", "cp.async.bulk.shared::cluster");
}

#[test]
fn the_source_of_a_load_is_read_until_its_barrier_says_so() {
    let program = |waited: &str, after: &str| {
        let first = format!(
            "{BARRIERS}add.u32 %r11, %r1, 1024;\n\
             @%p31 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r1], 16;\n\
             @%p31 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r11], [%rd0+64], 16, [%r1];\n\
             {waited}{RELEASE}{after}"
        );
        ctas(&first, &format!("{ACQUIRE}fence.proxy.async;\n{STORE}"))
    };
    clean(program(&wait(0, 0), ""));
    error(
        program("", &wait(0, 0)),
        "E12",
        "st.global.u32 [%rd0+64], 7",
    );
}

#[test]
fn copies_of_16_bytes_read_until_their_group_is_complete() {
    let program = |wait: &str, after: &str| {
        let first = format!(
            "@%p31 cp.async.cg.shared.global [%r1], [%rd0+64], 16;\ncp.async.commit_group;\n{wait}\n{RELEASE}{after}"
        );
        ctas(&first, &format!("{ACQUIRE}{STORE}"))
    };
    clean(program("cp.async.wait_group 0;", ""));
    error(
        program("", "cp.async.wait_group 0;"),
        "E12",
        "st.global.u32 [%rd0+64], 7",
    );
}
