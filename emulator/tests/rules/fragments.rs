//! `tcgen05.ld` and `tcgen05.st`: which lane and column each register of each thread is (PTX ISA §9.7.16.8).

use ptx_emulator::machine::FailureKind;

use super::program::*;

/// A shape of `tcgen05.ld` and `.st`.
#[derive(Clone, Copy, Debug)]
struct Shape {
    name: &'static str,
    /// Registers of a thread for `.x1`.
    registers: u32,
    most: u32,
    /// Lane and column of register `r` of thread `t`, relative to the address.
    place: fn(t: u32, r: u32) -> (u32, u32),
}

/// A thread has a lane.
const S32X32B: Shape = Shape {
    name: "32x32b",
    registers: 1,
    most: 128,
    place: |t, r| (t, r),
};

/// Four neighbouring threads have two columns of lane t/4 and two of lane t/4 + 8, alternating.
const S16X64B: Shape = Shape {
    name: "16x64b",
    registers: 1,
    most: 128,
    place: |t, r| (t / 4 + t % 2 * 8, 2 * r + t % 4 / 2),
};

/// Four neighbouring threads have four columns of lane t/4, then four of lane t/4 + 8.
const S16X128B: Shape = Shape {
    name: "16x128b",
    registers: 2,
    most: 64,
    place: |t, r| (t / 4 + r % 2 * 8, r / 2 * 4 + t % 4),
};

/// As a matrix fragment of `mma`: four neighbouring threads have eight columns of lane t/4, then of lane t/4 + 8.
const S16X256B: Shape = Shape {
    name: "16x256b",
    registers: 4,
    most: 32,
    place: |t, r| (t / 4 + r % 4 / 2 * 8, r / 4 * 8 + t % 4 * 2 + r % 2),
};

const SHAPES: [Shape; 4] = [S32X32B, S16X64B, S16X128B, S16X256B];

/// `.16x32bx2`: the upper sixteen threads have the same lanes, `split` columns further.
fn split_place(t: u32, r: u32, split: u32) -> (u32, u32) {
    (t % 16, r + t / 16 * split)
}

fn list(count: u32) -> String {
    let registers: Vec<String> = (0..count).map(|r| format!("%r{}", 10 + r)).collect();
    format!("{{{}}}", registers.join(", "))
}

/// Every warp loads a fragment from tensor memory whose words are lane · 512 + column; the output is each thread's
/// registers in order.
fn loaded(instruction: &str, count: u32) -> Vec<u32> {
    let show: String = (0..count)
        .map(|r| format!("st.global.u32 [%rd10+{}], %r{};\n", 4 * r, 10 + r))
        .collect();
    let body = format!(
        r"
    {ALLOCATE}
    shl.b32 %r310, %r0, 9;
    mov.u32 %r311, 0;
FILL:
    add.u32 %r312, %r4, %r311;
    tcgen05.st.sync.aligned.32x32b.x1.b32 [%r312], {{%r310}};
    add.u32 %r310, %r310, 1;
    add.u32 %r311, %r311, 1;
    setp.lt.u32 %p1, %r311, 512;
    @%p1 bra FILL;
    tcgen05.wait::st.sync.aligned;
    {instruction}
    tcgen05.wait::ld.sync.aligned;
    mul.wide.u32 %rd10, %r0, {};
    add.u64 %rd10, %rd10, %rd0;
    {show}
    {FREE}
",
        4 * count
    );
    Program::new(&body).threads(128).run()
}

/// Compares a load against `word(lane, column)` of the memory that [`loaded`] fills.
fn check_load(
    instruction: &str,
    count: u32,
    base: (u32, u32),
    register: impl Fn(u32, u32, &dyn Fn(u32, u32) -> u32) -> u32,
) {
    let out = loaded(instruction, count);
    for thread in 0..128 {
        let word = |lane, column| {
            let lane = thread / 32 * 32 + base.0 + lane;
            lane * 512 + base.1 + column
        };
        for r in 0..count {
            assert_eq!(
                out[(thread * count + r) as usize],
                register(thread % 32, r, &word),
                "{instruction}, thread {thread}, register {r}"
            );
        }
    }
}

#[test]
fn loads_follow_their_shape() {
    for shape in SHAPES {
        for repeat in [1, 2, 8, shape.most] {
            let count = shape.registers * repeat;
            let bases: &[(u32, u32)] = match shape.name {
                "32x32b" => &[(0, 0), (0, 5)],
                _ => &[(0, 0), (0, 5), (16, 64)],
            };
            for base in bases {
                let instruction = format!(
                    "add.u32 %r5, %r4, {};\ntcgen05.ld.sync.aligned.{}.x{repeat}.b32 {}, [%r5];",
                    base.0 << 16 | base.1,
                    shape.name,
                    list(count)
                );
                check_load(&instruction, count, *base, |t, r, word| {
                    let (lane, column) = (shape.place)(t, r);
                    word(lane, column)
                });
            }
        }
    }
}

#[test]
fn split_loads_follow_their_offset() {
    for (repeat, split) in [(1, 0), (1, 200), (4, 4), (32, 100)] {
        for lane in [0, 16] {
            let instruction = format!(
                "add.u32 %r5, %r4, {};\ntcgen05.ld.sync.aligned.16x32bx2.x{repeat}.b32 {}, [%r5], {split};",
                lane << 16 | 3,
                list(repeat)
            );
            check_load(&instruction, repeat, (lane, 3), |t, r, word| {
                let (lane, column) = split_place(t, r, split);
                word(lane, column)
            });
        }
    }
}

/// `.pack::16b`: a register takes the low halves of two neighbouring columns.
#[test]
fn packed_loads_join_low_halves() {
    for shape in SHAPES {
        let count = shape.registers * 2;
        let instruction = format!(
            "tcgen05.ld.sync.aligned.{}.x2.pack::16b.b32 {}, [%r4];",
            shape.name,
            list(count)
        );
        check_load(&instruction, count, (0, 0), |t, r, word| {
            let (lane, column) = (shape.place)(t, r);
            word(lane, 2 * column) & 0xffff | word(lane, 2 * column + 1) << 16
        });
    }
    let instruction = format!(
        "tcgen05.ld.sync.aligned.16x32bx2.x2.pack::16b.b32 {}, [%r4], 40;",
        list(2)
    );
    check_load(&instruction, 2, (0, 0), |t, r, word| {
        let (lane, column) = (t % 16, 2 * r + t / 16 * 40);
        word(lane, column) & 0xffff | word(lane, column + 1) << 16
    });
}

/// Between the values that neighbouring threads store: both halves of a word tell threads apart.
const THREAD_STEP: u32 = 0x0100_0100;

/// Stores registers thread · step + r and compares all of tensor memory.
fn check_store(
    instruction: &str,
    count: u32,
    columns: u32,
    place: impl Fn(u32, u32) -> Vec<(u32, u32, u32)>,
) {
    let fill: String = (0..count)
        .map(|r| format!("add.u32 %r{}, %r5, {r};\n", 10 + r))
        .collect();
    let body = format!(
        r"
    {ALLOCATE}
    mul.lo.u32 %r5, %r0, {THREAD_STEP};
    {fill}
    {instruction}
    tcgen05.wait::st.sync.aligned;
    {}
    {FREE}
",
        dump_tensor(columns)
    );
    let out = Program::new(&body).threads(128).run();
    let mut expected = vec![FRESH; (128 * columns) as usize];
    for thread in 0..128 {
        for r in 0..count {
            for (lane, column, word) in place(thread % 32, thread * THREAD_STEP + r) {
                let lane = thread / 32 * 32 + lane;
                expected[(lane * columns + column) as usize] = word;
            }
        }
    }
    assert!(out[..expected.len()] == expected, "{instruction}");
}

#[test]
fn stores_follow_their_shape() {
    for shape in SHAPES {
        for repeat in [1, 4] {
            let count = shape.registers * repeat;
            let (base_lane, base_column) = if shape.name == "32x32b" {
                (0, 3)
            } else {
                (16, 3)
            };
            let instruction = format!(
                "add.u32 %r5, %r4, {};\ntcgen05.st.sync.aligned.{}.x{repeat}.b32 [%r5], {};",
                base_lane << 16 | base_column,
                shape.name,
                list(count)
            );
            check_store(&instruction, count, 64, |t, word| {
                let (lane, column) = (shape.place)(t, word % 256);
                vec![(base_lane + lane, base_column + column, word)]
            });
        }
    }
}

#[test]
fn split_stores_follow_their_offset() {
    let instruction = format!(
        "tcgen05.st.sync.aligned.16x32bx2.x4.b32 [%r4], 20, {};",
        list(4)
    );
    check_store(&instruction, 4, 64, |t, word| {
        let (lane, column) = split_place(t, word % 256, 20);
        vec![(lane, column, word)]
    });
}

/// `.unpack::16b`: each half of a register becomes the low half of a column of its own.
#[test]
fn unpacked_stores_spread_halves() {
    for shape in SHAPES {
        let count = shape.registers * 2;
        let instruction = format!(
            "tcgen05.st.sync.aligned.{}.x2.unpack::16b.b32 [%r4], {};",
            shape.name,
            list(count)
        );
        check_store(&instruction, count, 64, |t, word| {
            let (lane, column) = (shape.place)(t, word % 256);
            vec![
                (lane, 2 * column, word & 0xffff),
                (lane, 2 * column + 1, word >> 16),
            ]
        });
    }
}

#[test]
fn fragments_start_at_lane_0_or_16_of_the_quarter() {
    for (shape, lane) in [
        ("32x32b", 16),
        ("32x32b", 1),
        ("16x64b", 8),
        ("16x32bx2", 15),
    ] {
        let split = if shape == "16x32bx2" { ", 0" } else { "" };
        let body = format!(
            "{ALLOCATE}\nadd.u32 %r5, %r4, {};\ntcgen05.ld.sync.aligned.{shape}.x1.b32 {{%r10}}, [%r5]{split};",
            lane << 16
        );
        Program::new(&body)
            .threads(128)
            .fail_with("tcgen05.ld", "it must start at lane");
    }
}

#[test]
fn fragments_stay_within_the_columns() {
    for (instruction, message) in [
        (
            "tcgen05.ld.sync.aligned.32x32b.x2.b32 {%r10, %r11}, [%r5];",
            "there are 512",
        ),
        (
            "tcgen05.ld.sync.aligned.16x64b.x1.b32 {%r10}, [%r5];",
            "there are 512",
        ),
        (
            "tcgen05.ld.sync.aligned.16x32bx2.x1.b32 {%r10}, [%r5], 1;",
            "there are 512",
        ),
        (
            "tcgen05.st.sync.aligned.32x32b.x1.unpack::16b.b32 [%r5], {%r10};",
            "there are 512",
        ),
    ] {
        let body = format!("{ALLOCATE}\nadd.u32 %r5, %r4, 511;\n{instruction}");
        Program::new(&body).fail_with("tcgen05", message);
    }
}

#[test]
fn columns_have_to_be_allocated() {
    for instruction in [
        "tcgen05.ld.sync.aligned.32x32b.x1.b32 {%r10}, [0];",
        "tcgen05.st.sync.aligned.32x32b.x1.b32 [0], {%r10};",
        "tcgen05.cp.cta_group::1.32x128b.warpx4 [0], 0x0000400800000100;",
    ] {
        let kind = Program::new(instruction).fail_at("tcgen05");
        assert!(matches!(kind, FailureKind::Tensor(_)), "{kind}");
        assert!(kind.to_string().contains("not all allocated"), "{kind}");
    }
}
