//! `wgmma` (PTX ISA §9.7.15): what a program has to do around it. What it computes, in every type, shape and layout, is
//! checked against a GPU's results by `tests/golden`.

use half::f16;
use ptx_emulator::machine::{Asynchrony, FailureKind, Mode};

use super::program::*;

/// Bytes of A and B at `smem + 1024`: 64 rows, and 8 columns, of 16 F16 elements, K-major without swizzle.
const A_AT: u32 = 1024;
const B_AT: u32 = A_AT + 2048;
const TILE_BYTES: usize = 2048 + 256;

/// Adjacent core matrices along K are 128 bytes apart, groups of 8 rows 256.
const LAYOUT: u64 = 16 << 32 | 8 << 16;

fn descriptor(at: u32) -> u64 {
    LAYOUT | u64::from((SMEM + at) >> 4)
}

/// Where the element lies in its tile.
fn place(row: usize, k: usize) -> usize {
    row / 8 * 256 + k / 8 * 128 + row % 8 * 16 + k % 8 * 2
}

/// Small numbers, and the tiles that hold them.
fn tiles() -> (Vec<f32>, Vec<u8>) {
    let values: Vec<f32> = noise(72 * 16)
        .iter()
        .map(|b| f32::from(b % 7) - 3.0)
        .collect();
    let mut bytes = vec![0; TILE_BYTES];
    for row in 0..72 {
        for k in 0..16 {
            let (base, line) = if row < 64 { (0, row) } else { (2048, row - 64) };
            let at = base + place(line, k);
            let code = f16::from_f32(values[16 * row + k]).to_bits();
            bytes[at..at + 2].copy_from_slice(&code.to_le_bytes());
        }
    }
    (values, bytes)
}

const D: &str = "{%r10, %r11, %r12, %r13}";
const FENCE: &str = "wgmma.fence.sync.aligned;\n";
const COMMIT: &str = "wgmma.commit_group.sync.aligned;\n";
const WAIT: &str = "wgmma.wait_group.sync.aligned 0;\n";

/// `%rd10`, `%rd11`: descriptors of A and B. `%p0` is true, `%p1` false. D is zero.
fn prologue() -> String {
    format!(
        "{BARRIERS}{} mov.b64 %rd10, {:#x}; mov.b64 %rd11, {:#x};
        setp.eq.u32 %p0, %r0, %r0; setp.ne.u32 %p1, %r0, %r0;
        mov.b32 %r10, 0; mov.b32 %r11, 0; mov.b32 %r12, 0; mov.b32 %r13, 0;\n",
        load_input(A_AT, TILE_BYTES),
        descriptor(A_AT),
        descriptor(B_AT),
    )
}

fn mma(scale_d: &str) -> String {
    format!(
        "wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {D}, %rd10, %rd11, {scale_d}, 1, 1, 0, 0;\n"
    )
}

/// Thread t writes D to words 4t to 4t + 3.
const EPILOGUE: &str = "
    mul.wide.u32 %rd3, %r0, 16;
    add.u64 %rd3, %rd3, %rd0;
    st.global.v4.b32 [%rd3], {%r10, %r11, %r12, %r13};
";

fn program(body: &str) -> Program {
    let text = prologue() + body + EPILOGUE;
    Program::on_hopper(&text, &tiles().1).threads(128)
}

/// D after `times` multiplications, by thread.
fn expected(times: f32) -> Vec<u32> {
    let (values, _) = tiles();
    let mut out = vec![0; 512];
    for thread in 0..128 {
        let (warp, lane) = (thread / 32, thread % 32);
        for i in 0..4 {
            let row = 16 * warp + lane / 4 + 8 * (i / 2);
            let column = 64 + 2 * (lane % 4) + i % 2;
            let product = |k| values[16 * row + k] * values[16 * column + k];
            let sum: f32 = (0..16).map(product).sum();
            out[4 * thread + i] = (times * sum + 0.0).to_bits();
        }
    }
    out
}

fn check(body: &str, times: f32) {
    assert_eq!(program(body).run()[..512], expected(times));
}

fn refused(body: &str, at: &str, message: &str) {
    program(body).fail_with(at, message);
}

/// One instruction, on a Hopper GPU.
pub fn example() -> Program {
    program(&format!("{FENCE}{}{COMMIT}{WAIT}", mma("%p0")))
}

#[test]
fn each_warp_holds_16_rows_of_d() {
    check(&format!("{FENCE}{}{COMMIT}{WAIT}", mma("%p0")), 1.0);
}

#[test]
fn scale_d_drops_what_d_held() {
    let body = format!(
        "{FENCE}{}{}{}{COMMIT}{WAIT}",
        mma("%p0"),
        mma("%p0"),
        mma("%p1")
    );
    check(&body, 1.0);
}

#[test]
fn what_nobody_wrote_is_not_added_to() {
    let program = |first: &str| {
        let both = mma(first) + &mma("%p0");
        let unwritten = both.replace(D, "{%r14, %r15, %r16, %r17}");
        program(&format!("{FENCE}{unwritten}{COMMIT}{WAIT}"))
    };
    program("%p1").mode(Mode::Strict).run();
    let broken = program("%p0").mode(Mode::Check);
    broken.breaks(Asynchrony::Late, "E1", "wgmma.mma_async");
}

#[test]
fn instructions_of_one_shape_follow_each_other_on_one_accumulator() {
    let (mma, two) = (mma("%p0"), mma("%p0").repeat(2));
    check(&format!("{FENCE}{two}{COMMIT}{mma}{COMMIT}{WAIT}"), 3.0);
}

#[test]
fn a_wait_leaves_the_newest_groups_pending() {
    let other = mma("%p1").replace(D, "{%r14, %r15, %r16, %r17}");
    let body = |pending| {
        format!(
            "{FENCE}{}{COMMIT}{other}{COMMIT}wgmma.wait_group.sync.aligned {pending};\n",
            mma("%p0")
        )
    };
    check(&(body(1) + EPILOGUE + WAIT), 1.0);
    refused(
        &body(2),
        "st.global.v4",
        "wgmma.wait_group has to come first",
    );
}

#[test]
fn registers_of_an_instruction_in_flight_are_not_accessed() {
    for access in [
        "mov.b32 %r20, %r11;",
        "mov.b32 %r12, 0;",
        "@%p0 add.u32 %r20, %r20, %r13;",
    ] {
        let body = format!("{FENCE}{}{COMMIT}{access}\n{WAIT}", mma("%p0"));
        refused(
            &body,
            access.trim_end_matches(';'),
            "the accumulator of a wgmma.mma_async in flight",
        );
    }
}

#[test]
fn instructions_without_a_group_are_never_waited_for() {
    let body = format!("{FENCE}{}{WAIT}", mma("%p0"));
    refused(&body, "st.global.v4", "wgmma.wait_group has to come first");
}

#[test]
fn registers_of_a_are_owned_too() {
    let mma = format!(
        "wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {D}, {{%r20, %r21, %r22, %r23}}, %rd11, %p0, 1, 1, 0;\n"
    );
    let a = "mov.b32 %r20, 0;\nmov.b32 %r21, 0;\nmov.b32 %r22, 0;\nmov.b32 %r23, 0;\n";
    let body = format!("{a}{FENCE}{mma}{COMMIT}mov.b32 %r21, 1;\n{WAIT}");
    refused(&body, "mov.b32 %r21, 1", "A of a wgmma.mma_async in flight");
    let body = format!("{a}{FENCE}mov.b32 %r21, 1;\n{mma}{COMMIT}{WAIT}");
    refused(&body, "wgmma.mma_async", "after the last wgmma.fence");
}

#[test]
fn a_fence_comes_between_other_accesses_and_an_instruction() {
    let mma = mma("%p0");
    refused(
        &format!("{mma}{COMMIT}{WAIT}"),
        "wgmma.mma_async",
        "no wgmma.fence before it",
    );
    let again = |fence| {
        format!("{FENCE}{mma}{COMMIT}{WAIT}mov.b32 %r10, %r10;\n{fence}{mma}{COMMIT}{WAIT}")
    };
    refused(&again(""), "wgmma.mma_async", "after the last wgmma.fence");
    check(&again(FENCE), 2.0);
}

#[test]
fn another_shape_on_the_same_accumulator_needs_a_fence() {
    let other = "wgmma.mma_async.sync.aligned.m64n8k8.f32.tf32.tf32 {%r10, %r11, %r12, %r13}, %rd10, %rd11, %p0, 1, 1;\n";
    let body = format!("{FENCE}{}{COMMIT}{WAIT}{other}{COMMIT}{WAIT}", mma("%p0"));
    refused(&body, "k8", "after the last wgmma.fence");
    let body = format!("{FENCE}{}{other}{COMMIT}{WAIT}", mma("%p0"));
    refused(&body, "k8", "in use by one in flight");
}

/// Operands are read when the instruction executes, at any time before its group is complete.
#[test]
fn operands_in_shared_memory_stay_until_the_wait() {
    let store = format!("@%p31 st.shared.b32 [%r1+{B_AT}], 0;\n");
    let body = format!("{FENCE}{}{COMMIT}{store}{WAIT}", mma("%p0"));
    let race = program(&body).race_late();
    assert_eq!(
        (race.operation, race.in_flight),
        ("wgmma.mma_async", "reads")
    );
    check(
        &format!("{FENCE}{}{COMMIT}{WAIT}bar.sync 0;\n{store}", mma("%p0")),
        1.0,
    );
}

/// Groups of eight rows, 256 bytes, lie 1024 bytes apart.
#[test]
fn gaps_between_the_rows_of_an_operand_may_be_touched() {
    let far = descriptor(A_AT) & !(0x3fff << 32) | 64 << 32;
    let body = |at: u32| {
        let store = format!("@%p31 st.shared.b32 [%r1+{}], 0;\n", A_AT + at);
        let mma = mma("%p0");
        program(&format!(
            "mov.b64 %rd10, {far:#x};\n{FENCE}{mma}{COMMIT}{store}{WAIT}"
        ))
    };
    for gap in [256, 1020, 7 * 1024 + 256] {
        body(gap).run();
    }
    for used in [0, 252, 1024, 7 * 1024 + 252] {
        let race = body(used).race_late();
        assert_eq!(
            (race.operation, race.in_flight),
            ("wgmma.mma_async", "reads")
        );
    }
}

#[test]
fn all_four_warps_execute_the_same() {
    let body = format!(
        "setp.ge.u32 %p2, %r0, 96; @%p2 add.u64 %rd11, %rd11, 1;\n{FENCE}{}{COMMIT}{WAIT}",
        mma("%p0")
    );
    refused(
        &body,
        "wgmma.mma_async",
        "the warps of a warpgroup execute different",
    );
    let body = format!(
        "setp.ge.u32 %p2, %r0, 96; @%p2 mov.pred %p0, %p1;\n{FENCE}{}{COMMIT}{WAIT}",
        mma("%p0")
    );
    refused(
        &body,
        "wgmma.mma_async",
        "the warps of a warpgroup execute different",
    );
}

#[test]
fn whole_warps_and_whole_warpgroups_take_part() {
    let body = format!("{FENCE}{}{COMMIT}{WAIT}", mma("%p0"));
    let text = prologue() + &body;
    let failure = Program::on_hopper(&text, &tiles().1)
        .threads(96)
        .fail_at("wgmma.fence");
    assert!(
        failure.to_string().contains("fewer than 128 threads"),
        "{failure}"
    );
    let body = format!("setp.ne.u32 %p2, %r2, 7;\n@%p2 {FENCE}");
    assert!(matches!(
        program(&body).fail_at("wgmma.fence"),
        FailureKind::DivergentAligned { .. }
    ));
}

/// B swizzled by 128 bytes from its own line on, though its address is none of the pattern's; the base offset says which.
#[test]
fn the_base_offset_is_the_line_where_the_pattern_begins() {
    let (values, mut bytes) = tiles();
    bytes.resize(2048 + 2048, 0);
    for line in [0, 1, 3, 6] {
        for column in 0..8 {
            for k in 0..16 {
                let chunk = (k / 8) ^ column;
                let at = 2048 + 128 * (line + column) + 16 * chunk + k % 8 * 2;
                let code = f16::from_f32(values[16 * (64 + column) + k]).to_bits();
                bytes[at..at + 2].copy_from_slice(&code.to_le_bytes());
            }
        }
        let start = (SMEM + B_AT) as usize + 128 * line;
        let swizzled = 1u64 << 62 | (line as u64) << 49 | 64 << 32 | (start >> 4) as u64;
        let text = format!(
            "{BARRIERS}{} mov.b64 %rd10, {:#x}; mov.b64 %rd11, {swizzled:#x}; setp.ne.u32 %p1, %r0, %r0;
            {FENCE}{}{COMMIT}{WAIT}{EPILOGUE}",
            load_input(A_AT, bytes.len()),
            descriptor(A_AT),
            mma("%p1"),
        );
        let out = Program::on_hopper(&text, &bytes).threads(128).run();
        assert_eq!(out[..512], expected(1.0), "line {line}");
    }
}

#[test]
fn descriptors_are_checked() {
    let with = |bits: u64, message| {
        let body = format!("xor.b64 %rd11, %rd11, {bits:#x};\n{FENCE}{}", mma("%p0"));
        refused(&body, "wgmma.mma_async", message);
    };
    for bit in [14, 31, 46, 52, 61] {
        with(1 << bit, "reserved bits");
    }
    // Beyond the end of shared memory.
    with(0x3f00, "outside of");
}

#[test]
fn what_does_not_exist_is_refused_by_name() {
    for (instruction, message) in [
        (
            "wgmma.mma_async.sync.aligned.m64n12k16.f32.f16.f16 {%r10, %r11}, %rd10, %rd11, %p0, 1, 1, 0, 0;",
            "N = 12",
        ),
        (
            "wgmma.mma_async.sync.aligned.m64n8k8.f32.f16.f16 {%r10, %r11, %r12, %r13}, %rd10, %rd11, %p0, 1, 1, 0, 0;",
            "K = 8",
        ),
        (
            // 16 times as many bits are 256 modulo 2^32.
            "wgmma.mma_async.sync.aligned.m64n8k268435472.f32.f16.f16 {%r10, %r11, %r12, %r13}, %rd10, %rd11, %p0, 1, 1, 0, 0;",
            "K = 268435472",
        ),
        (
            "wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%r10, %r11}, %rd10, %rd11, %p0, 1, 1, 0, 0;",
            "needs 4",
        ),
        (
            "wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%r10, %r11, %r12, %r13}, %rd10, %rd11, %p0, 1, 2, 0, 0;",
            "found scale 2",
        ),
        (
            "wgmma.mma_async.sync.aligned.m64n8k8.f32.tf32.tf32 {%r10, %r11, %r12, %r13}, %rd10, %rd11, %p0, 1, 1, 0, 0;",
            "found 8 operands, needs 6",
        ),
        (
            "wgmma.mma_async.sync.aligned.m64n8k16.f16.bf16.bf16 {%r10, %r11}, %rd10, %rd11, %p0, 1, 1, 0, 0;",
            "do not go together",
        ),
        (
            "wgmma.mma_async.sp.sync.aligned.m64n8k32.f32.f16.f16 {%r10, %r11, %r12, %r13}, %rd10, %rd11, 0, 0, %p0, 1, 1, 0, 0;",
            "sparse",
        ),
        (
            "wgmma.mma_async.sync.aligned.m64n8k256.s32.b1.b1.and.popc {%r10, %r11, %r12, %r13}, %rd10, %rd11, %p0;",
            "needs one of",
        ),
    ] {
        let error = load_error_on_hopper(instruction);
        assert!(error.contains(message), "{error}");
    }
    assert!(load_error(FENCE).contains("needs `.target sm_90a`"));
}

/// Both what comes too early and what comes too late is seen, by one schedule or another.
#[test]
fn registers_of_a_may_be_read_at_issue_or_at_completion() {
    let a = "{%r20, %r21, %r22, %r23}";
    let set = |value: u32| {
        let set = |register| format!("mov.b32 %r{register}, {value:#x};\n");
        (20..24).map(set).collect::<String>()
    };
    let mma = mma("%p0").replace("%rd10", a).replace(", 0, 0;", ", 0;");
    let run = |overwrite: &str, asynchrony| {
        let ones = set(0x3C00_3C00);
        let body = format!("{ones}{FENCE}{mma}{COMMIT}{overwrite}{WAIT}");
        let out = program(&body).mode(Mode::Fast).launch(asynchrony);
        out.unwrap()[..512].to_vec()
    };
    let right = run("", Asynchrony::Late);
    assert_ne!(right, [0; 512]);
    assert_eq!(run("", Asynchrony::Early), right);
    assert_eq!(run(&set(0), Asynchrony::Early), right);
    assert_eq!(run(&set(0), Asynchrony::Late), [0; 512]);
}
