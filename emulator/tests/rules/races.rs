//! Accesses that nothing orders with an asynchronous operation (PTX ISA §8.6, §9.7.16.6): reported wherever the second
//! is issued before the first is known to be complete.

use ptx_emulator::tma::DataType;

use super::mma::*;
use super::program::*;
use super::tma::{AREA, Tensor, instruction};

/// Three tiles of 1024 bytes, loaded one after another.
fn tiles() -> Tensor {
    Tensor::new(DataType::Uint8, 8, &[128, 24], &[128, 8])
}

fn with_tiles(body: &str) -> Program {
    let text = format!("{BARRIERS}add.u32 %r10, %r1, {AREA};\n{body}");
    Program::with_input(&text, &noise(tiles().bytes())).map(|address| tiles().encode(address))
}

const EXPECT: &str = "@%p31 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r1], 1024;\n";

/// The race is found at the line that contains `text`, with `operation` in flight.
fn race(program: &Program, text: &str, now: &str, operation: &str, in_flight: &str) {
    let found = program.race_late();
    assert_eq!(
        (found.now, found.operation, found.in_flight),
        (now, operation, in_flight)
    );
    let failure = program.fail_late().to_string();
    assert!(failure.contains(text), "{failure}");
}

#[test]
fn a_tile_cannot_be_touched_before_its_wait() {
    let load = instruction(&[0, 0], "%r10", "%r1");
    for (access, now) in [
        ("ld.shared.u32 %r11, [%r10+1020];", "reads"),
        ("st.shared.u32 [%r10], %r11;", "writes"),
        ("atom.shared.add.u32 %r11, [%r10+512], 1;", "writes"),
        ("mbarrier.init.shared::cta.b64 [%r10+8], 1;", "writes"),
    ] {
        let program = with_tiles(&format!(
            "{EXPECT}@%p31 {load}\n@%p31 {access}\n{}",
            wait(0, 0)
        ));
        race(&program, access, now, "TMA load", "writes");
        let waited = format!("{EXPECT}@%p31 {load}\n{}@%p31 {access}", wait(0, 0));
        with_tiles(&waited).run();
    }
}

#[test]
fn neighbours_of_a_tile_may_be_touched() {
    let load = instruction(&[0, 0], "%r10", "%r1");
    with_tiles(&format!(
        "{EXPECT}@%p31 {load}\n@%p31 st.shared.u32 [%r10+1024], 1;\n@%p31 ld.shared.u32 %r11, [%r10+-4];\n{}",
        wait(0, 0)
    ))
    .run();
}

/// Copies complete in any order, so two that overlap race.
#[test]
fn two_loads_of_one_stage_race() {
    let first = instruction(&[0, 0], "%r10", "%r1");
    let second = instruction(&[0, 8], "%r10", "%r1");
    let program = with_tiles(&format!("{EXPECT}@%p31 {first}\n@%p31 {second}"));
    race(&program, &second, "writes", "TMA load", "writes");
}

/// A product whose program adds `body` behind the MMA.
fn behind_mma(body: &str) -> Program {
    let product = Product::new(64, 1, SWIZZLE_128B, SWIZZLE_128B);
    product.program(&(product.copy_scales() + &product.mmas() + body))
}

#[test]
fn operands_of_an_mma_stay_until_its_commit() {
    for at in [A_AT, B_AT + 4096] {
        let store = format!("@%p31 st.shared.u32 [%r1+{at}], %r0;");
        race(
            &behind_mma(&store),
            &store,
            "writes",
            "tcgen05.mma",
            "reads",
        );
        let init = "@%p31 mbarrier.init.shared::cta.b64 [%r1+32], 1;\nbar.sync 0;\n";
        let commit = COMMIT.replace("+8", "+32");
        behind_mma(&[init, &commit, &wait(32, 0), &store].concat()).run();
    }
    // Reading them is no conflict.
    behind_mma(&format!("@%p31 ld.shared.u32 %r10, [%r1+{A_AT}];")).run();
}

/// A K step is 32 of the 128 bytes of a row: the others are not in use, though they lie between those that are.
#[test]
fn gaps_between_the_rows_of_an_operand_may_be_touched() {
    // The swizzle leaves the first 32 bytes of rows 0 and 1 where they are, and moves those of row 2 to byte 32.
    for (row, byte, is_used) in [
        (0, 28, true),
        (0, 32, false),
        (1, 0, true),
        (1, 124, false),
        (2, 28, false),
        (2, 32, true),
        (2, 60, true),
        (2, 64, false),
        (127, 96, true),
        (127, 92, false),
    ] {
        let store = format!(
            "@%p31 st.shared.u32 [%r1+{}], %r0;",
            A_AT + 128 * row + byte
        );
        let program = behind_mma(&store);
        match is_used {
            true => race(&program, &store, "writes", "tcgen05.mma", "reads"),
            false => drop(program.run()),
        }
    }
}

#[test]
fn gaps_between_the_rows_of_a_copy_may_be_touched() {
    let product = Product::new(64, 1, SWIZZLE_128B, SWIZZLE_128B);
    // Groups of eight rows, 128 bytes, lie 512 bytes apart.
    let copy = copy_scale_tile(SFA, SFA_AT).replace(
        "tcgen05.cp",
        "add.u64 %rd20, %rd20, %rd23;\n@%p31 tcgen05.cp",
    );
    let copy = format!(
        "mov.u64 %rd23, {:#x};\n{}",
        24u64 << 32,
        copy.replace("@%p31 add", "add")
    );
    let after = |at: u32| {
        let store = format!("@%p31 st.shared.u32 [%r1+{}], %r0;", SFA_AT + at);
        (product.program(&(copy.clone() + &store)), store)
    };
    for gap in [128, 508, 512 + 128, 3 * 512 + 128] {
        after(gap).0.run();
    }
    for used in [124, 512, 3 * 512 + 124] {
        let (program, store) = after(used);
        race(&program, &store, "writes", "tcgen05.cp", "reads");
    }
}

#[test]
fn a_load_cannot_refill_a_stage_in_use() {
    let refill = format!(
        "add.u32 %r10, %r1, {A_AT};\n\
         @%p31 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r10], [%rd1], 64, [%r1];"
    );
    race(
        &behind_mma(&refill),
        "cp.async.bulk.shared::cluster",
        "writes",
        "tcgen05.mma",
        "reads",
    );
}

#[test]
fn scale_tiles_stay_until_their_copy_is_complete() {
    let product = Product::new(64, 1, SWIZZLE_128B, SWIZZLE_128B);
    let store = format!("@%p31 st.shared.u32 [%r1+{}], %r0;", SFA_AT + 508);
    let program = product.program(&(copy_scale_tile(SFA, SFA_AT) + &store));
    race(&program, &store, "writes", "tcgen05.cp", "reads");
}

/// All threads of warp 0 access the columns; other warps go around.
pub fn by_first_warp(instruction: &str) -> String {
    format!("setp.ge.u32 %p1, %r0, 32;\n@%p1 bra AROUND;\n{instruction}\nAROUND:\n")
}

#[test]
fn columns_of_an_mma_stay_until_its_commit() {
    let load = |column: u32| {
        format!(
            "add.u32 %r30, %r4, {column};\ntcgen05.ld.sync.aligned.32x32b.x1.b32 {{%r31}}, [%r30];"
        )
    };
    let store = |column: u32| {
        format!(
            "add.u32 %r30, %r4, {column};\ntcgen05.st.sync.aligned.32x32b.x1.b32 [%r30], {{%r31}};"
        )
    };
    for (access, text, now, in_flight) in [
        (load(D + 63), "tcgen05.ld", "reads", "writes"),
        (store(D), "tcgen05.st", "writes", "writes"),
        (store(SFA), "tcgen05.st", "writes", "writes"),
    ] {
        let operation = if access.contains(&format!("%r4, {SFA};")) {
            // The scale factors are still being copied.
            "tcgen05.cp"
        } else {
            "tcgen05.mma"
        };
        race(
            &behind_mma(&by_first_warp(&access)),
            text,
            now,
            operation,
            in_flight,
        );
    }
    // Column 64 is not part of D.
    behind_mma(&by_first_warp(
        &(load(D + 64) + "\ntcgen05.wait::ld.sync.aligned;"),
    ))
    .run();
}

#[test]
fn loads_and_stores_of_tensor_memory_hold_their_columns_until_waited_for() {
    let mma = |before: &str, wait: &str| {
        let product = Product::new(64, 1, SWIZZLE_128B, SWIZZLE_128B);
        let text = before.to_owned() + wait + "\nbar.sync 0;\n" + &product.copy_scales();
        product.program(&(text + &product.mmas()))
    };
    for (access, wait, operation, in_flight) in [
        (
            "tcgen05.ld.sync.aligned.32x32b.x1.b32 {%r31}, [%r4];\n",
            "tcgen05.wait::ld.sync.aligned;",
            "tcgen05.ld",
            "reads",
        ),
        (
            "tcgen05.st.sync.aligned.32x32b.x1.b32 [%r4], {%r31};\n",
            "tcgen05.wait::st.sync.aligned;",
            "tcgen05.st",
            "writes",
        ),
    ] {
        race(
            &mma(access, ""),
            "tcgen05.mma",
            "writes",
            operation,
            in_flight,
        );
        mma(access, wait).run();
        // The wait for the other kind does not help.
        let wrong = if operation == "tcgen05.ld" {
            "tcgen05.wait::st.sync.aligned;"
        } else {
            "tcgen05.wait::ld.sync.aligned;"
        };
        race(
            &mma(access, wrong),
            "tcgen05.mma",
            "writes",
            operation,
            in_flight,
        );
    }
}

/// The two halves of a `.16x32bx2` access are apart, whatever lies between them.
#[test]
fn gaps_between_the_halves_of_a_split_load_may_be_in_use() {
    let product = Product::new(64, 1, SWIZZLE_128B, SWIZZLE_128B);
    // The copy goes to columns 272 to 275.
    let at = |split: u32| {
        let load = format!(
            "add.u32 %r30, %r4, 200;\ntcgen05.ld.sync.aligned.16x32bx2.x1.b32 {{%r31}}, [%r30], {split};\n"
        );
        product.program(&(copy_scale_tile(SFA, SFA_AT) + &load))
    };
    for gap in [71, 76] {
        at(gap).run();
    }
    for used in [72, 75] {
        race(&at(used), "tcgen05.ld", "reads", "tcgen05.cp", "writes");
    }
}

/// Lanes 0 to 15 and 16 to 31 of a warp's quarter are apart, and so are the quarters.
#[test]
fn accesses_to_different_lanes_do_not_race() {
    let body = format!(
        r"
    {ALLOCATE}
    add.u32 %r10, %r4, 0x100000;
    tcgen05.st.sync.aligned.16x64b.x1.b32 [%r4], {{%r0}};
    tcgen05.st.sync.aligned.16x64b.x1.b32 [%r10], {{%r0}};
    tcgen05.wait::st.sync.aligned;
    {FREE}
"
    );
    Program::new(&body).threads(128).run();
    let same = body.replace("[%r10], {%r0}", "[%r4], {%r0}");
    race(
        &Program::new(&same).threads(128),
        "tcgen05.st",
        "writes",
        "tcgen05.st",
        "writes",
    );
}

/// A commit tracks the operations of its own thread only: the barrier of another thread's is no promise.
#[test]
fn a_commit_covers_its_own_thread() {
    let other = COMMIT.replace("@%p31", "@%p5").replace("+8", "+32");
    let text = format!(
        "@%p31 mbarrier.init.shared::cta.b64 [%r1+32], 1;\nbar.sync 0;\nsetp.eq.u32 %p5, %r0, 1;\n{}{}{}{}",
        Product::new(64, 1, SWIZZLE_128B, SWIZZLE_128B).copy_scales(),
        Product::new(64, 1, SWIZZLE_128B, SWIZZLE_128B).mmas(),
        other,
        wait(32, 0),
    );
    let load = by_first_warp("tcgen05.ld.sync.aligned.32x32b.x1.b32 {%r31}, [%r4];");
    let product = Product::new(64, 1, SWIZZLE_128B, SWIZZLE_128B);
    let program = product.program(&(text + &load));
    race(&program, "tcgen05.ld", "reads", "tcgen05.mma", "writes");
}

#[test]
fn freed_columns_are_not_in_use() {
    let body = format!(
        r"
    {ALLOCATE}
    tcgen05.ld.sync.aligned.32x32b.x1.b32 {{%r10}}, [%r4];
    {FREE}
"
    );
    let program = Program::new(&body).threads(128);
    race(&program, "tcgen05.dealloc", "writes", "tcgen05.ld", "reads");
}

/// A CTA must not exit before its copies and commits are complete.
#[test]
fn nothing_is_in_flight_at_the_exit() {
    let load = instruction(&[0, 0], "%r10", "%r1");
    let failure = with_tiles(&format!("{EXPECT}@%p31 {load}")).fail_late();
    assert!(failure.to_string().contains("in flight"), "{failure}");
    let failure = Program::new(&format!("{BARRIERS}{COMMIT}")).fail_late();
    assert!(failure.to_string().contains("in flight"), "{failure}");
}
