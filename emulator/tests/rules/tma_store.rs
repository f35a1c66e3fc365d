//! `cp.async.bulk.tensor` from shared to global memory, reductions, and bulk groups (PTX ISA §9.7.9.25.4.2,
//! §9.7.9.27.1.2, §9.7.9.27.1.3, §9.7.9.27.2).

use ptx_emulator::machine::{FailureClass, FailureKind};
use ptx_emulator::tma::{DataType, Swizzle};

use super::program::*;
use super::tma::{AREA, SWIZZLES, Tensor};

/// The word that [`fill`] puts at `smem + AREA + 4 * index`.
fn word(index: u32) -> u32 {
    index.wrapping_mul(0x9E37_79B1)
}

/// Fills `bytes` bytes of shared memory from [`AREA`] on, for the asynchronous proxy to read.
fn fill(bytes: u32) -> String {
    format!(
        r"
    mov.u32 %r300, %r0;
FILL:
    setp.ge.u32 %p20, %r300, {};
    @%p20 bra FILLED;
    mul.lo.u32 %r301, %r300, 0x9E3779B1;
    shl.b32 %r302, %r300, 2;
    add.u32 %r302, %r302, %r1;
    st.shared.u32 [%r302+{AREA}], %r301;
    add.u32 %r300, %r300, %ntid.x;
    bra FILL;
FILLED:
    fence.proxy.async.shared::cta;
    bar.sync 0;
",
        bytes / 4
    )
}

fn store(coordinates: &[i32], operation: &str, source: u32) -> String {
    let list: Vec<String> = coordinates.iter().map(i32::to_string).collect();
    let (name, modifier) = match operation {
        "" => ("cp.async", String::new()),
        operation => ("cp.reduce.async", format!(".{operation}")),
    };
    format!(
        "{name}.bulk.tensor.{}d.global.shared::cta{modifier}.tile.bulk_group [%rd2, {{{}}}], [%r1+{source}];",
        coordinates.len(),
        list.join(", ")
    )
}

const COMMIT: &str = "@%p31 cp.async.bulk.commit_group;\n";
const WAIT: &str = "@%p31 cp.async.bulk.wait_group 0;\n";

/// Stores the tile at `smem + source` once; returns the tensor's bytes before and after.
fn run_store(
    tensor: &Tensor,
    coordinates: &[i32],
    source: u32,
    operation: &str,
) -> (Vec<u8>, Vec<u8>) {
    let before = noise(tensor.bytes());
    let body = format!(
        "{}@%p31 {}\n{COMMIT}{WAIT}",
        fill(source - AREA + tensor.extent_bytes()),
        store(coordinates, operation, source)
    );
    let after = Program::with_input(&body, &before)
        .map(|address| tensor.encode(address))
        .run_in_place();
    (before, after)
}

/// Every byte of the tile that lies in the tensor goes where a load would take it from; no other byte changes.
fn check_store(tensor: &Tensor, coordinates: &[i32], source: u32) {
    let (mut expected, after) = run_store(tensor, coordinates, source, "");
    for byte in 0..tensor.tile_bytes() {
        let at = tensor.place(byte, SMEM + source) - SMEM - AREA;
        if let Some(to) = tensor.source(coordinates, byte) {
            expected[to] = word(at / 4).to_le_bytes()[at as usize % 4];
        }
    }
    assert!(after == expected, "{tensor:?} at {coordinates:?}");
}

#[test]
fn stores_undo_every_swizzle() {
    for (swizzle, columns) in [
        (Swizzle::None, 12),
        (Swizzle::B32, 8),
        (Swizzle::B64, 16),
        (Swizzle::B128, 32),
        (Swizzle::B128Atom32, 32),
        (Swizzle::B128Atom32Flip8, 32),
        (Swizzle::B128Atom64, 32),
    ] {
        let tensor = Tensor::new(DataType::Float32, 32, &[64, 16], &[columns, 8]).swizzle(swizzle);
        for source in [AREA, AREA + 128, AREA + 384] {
            check_store(&tensor, &[4, 3], source);
        }
    }
}

#[test]
fn rows_of_narrow_boxes_are_read_a_swizzle_span_apart() {
    for (swizzle, span) in SWIZZLES {
        for width in (4..span / 4).step_by(4) {
            let tensor = Tensor::new(DataType::Uint32, 32, &[64, 16], &[width, 8]).swizzle(swizzle);
            check_store(&tensor, &[4, 10], AREA + 128);
        }
    }
}

#[test]
fn stores_have_one_to_five_dimensions() {
    let dims = [16, 6, 5, 4, 3];
    let boxes = [8, 3, 2, 2, 2];
    let at = [4, 1, 2, 1, 1];
    for rank in 1..=5 {
        let tensor = Tensor::new(DataType::Uint32, 32, &dims[..rank], &boxes[..rank]);
        check_store(&tensor, &at[..rank], AREA);
    }
}

/// Elements behind the tensor are not written, in any dimension.
#[test]
fn stores_are_clipped_at_the_tensor() {
    let tensor = Tensor::new(DataType::Uint32, 32, &[18, 5, 3], &[8, 4, 2]);
    for coordinates in [
        [12, 0, 0],
        [0, 3, 0],
        [0, 0, 2],
        [12, 3, 2],
        [64, 0, 0],
        [0, 8, 0],
    ] {
        check_store(&tensor, &coordinates, AREA);
    }
}

#[test]
fn stores_do_not_start_below_zero() {
    let tensor = Tensor::new(DataType::Uint32, 32, &[18, 5, 3], &[8, 4, 2]);
    for operation in ["", "add"] {
        for coordinates in [[-4, 0, 0], [0, -2, 0], [0, 0, -1]] {
            illegal(&tensor, &coordinates, operation, "does not start below 0");
        }
        illegal(&tensor, &[2, 0, 0], operation, "a multiple of 16 bytes");
    }
}

/// A store that ends the kernel as an illegal instruction.
fn illegal(tensor: &Tensor, coordinates: &[i32], operation: &str, message: &str) {
    let failure = Program::with_input(
        &format!("@%p31 {}", store(coordinates, operation, AREA)),
        &noise(tensor.bytes()),
    )
    .map(|address| tensor.encode(address))
    .fail();
    assert_eq!(
        failure.class(),
        FailureClass::IllegalInstruction,
        "{failure}"
    );
    let text = failure.to_string();
    assert!(text.contains(message), "{text}");
}

#[test]
fn stores_step_by_the_element_strides() {
    let mut tensor = Tensor::new(DataType::Uint32, 32, &[16, 12], &[8, 7]);
    tensor.steps = vec![1, 3];
    for coordinates in [[0, 0], [4, 2], [0, 7]] {
        check_store(&tensor, &coordinates, AREA);
    }
}

#[test]
fn packed_four_bit_elements_are_stored_as_they_are() {
    let tensor = Tensor::new(DataType::U4x16Align8, 4, &[256, 4], &[64, 3]);
    check_store(&tensor, &[32, 1], AREA);
}

fn words(bytes: &[u8]) -> Vec<u32> {
    let (words, _) = bytes.as_chunks();
    words.iter().map(|word| u32::from_le_bytes(*word)).collect()
}

/// Each element of the tensor is combined with its element of the tile; those outside of the tile stay.
#[test]
fn reductions_combine_element_by_element() {
    type Combine = fn(u32, u32) -> u32;
    let cases: [(&str, DataType, Combine); 9] = [
        ("add", DataType::Uint32, |old, new| old.wrapping_add(new)),
        ("min", DataType::Uint32, u32::min),
        ("max", DataType::Uint32, u32::max),
        ("min", DataType::Int32, |old, new| {
            (old as i32).min(new as i32) as u32
        }),
        ("inc", DataType::Uint32, |old, new| {
            if old >= new { 0 } else { old + 1 }
        }),
        ("dec", DataType::Uint32, |old, new| {
            if old == 0 || old > new { new } else { old - 1 }
        }),
        ("and", DataType::Uint32, |old, new| old & new),
        ("or", DataType::Int32, |old, new| old | new),
        ("xor", DataType::Uint32, |old, new| old ^ new),
    ];
    for (operation, data_type, combine) in cases {
        let tensor = Tensor::new(data_type, 32, &[10, 4], &[8, 3]);
        let (before, after) = run_store(&tensor, &[4, 2], AREA, operation);
        let mut expected = words(&before);
        for index in 0..24 {
            if let Some(to) = tensor.source(&[4, 2], 4 * index) {
                expected[to / 4] = combine(expected[to / 4], word(index));
            }
        }
        assert_eq!(words(&after), expected, "{operation} on {data_type:?}");
    }
}

/// Runs `cp.reduce` of the four 32-bit words `operands`, onto `old`.
fn reduce_linear(operation: &str, old: [u32; 4], operands: [u32; 4]) -> [u32; 4] {
    let stores: String = (0..4)
        .map(|i| {
            format!(
                "st.shared.u32 [%r1+{}], {};\n",
                AREA + 4 * i,
                operands[i as usize]
            )
        })
        .collect();
    let body = format!(
        "{stores}fence.proxy.async.shared::cta;\nbar.sync 0;\n@%p31 \
         cp.reduce.async.bulk.global.shared::cta.bulk_group.{operation} [%rd1], [%r1+{AREA}], 16;\n{COMMIT}{WAIT}"
    );
    let bytes: Vec<u8> = old.into_iter().flat_map(u32::to_le_bytes).collect();
    let after = Program::with_input(&body, &bytes).run_in_place();
    words(&after).try_into().unwrap()
}

#[test]
fn linear_reductions_take_every_type() {
    let f32s = |values: [f32; 4]| values.map(f32::to_bits);
    assert_eq!(
        reduce_linear("add.f32", f32s([1., 2., 3., 4.]), f32s([0.5, -2., 1e9, 4.])),
        f32s([1.5, 0., 1e9, 8.])
    );
    // Halves: 1 + 2 and 2048 + 1, a tie that goes to even.
    assert_eq!(
        reduce_linear("add.noftz.f16", [0x6800_3C00; 4], [0x3C00_4000; 4]),
        [0x6800_4200; 4]
    );
    assert_eq!(
        reduce_linear("add.noftz.bf16", [0x4380_3F80; 4], [0x3F80_4000; 4]),
        [0x4380_4040; 4]
    );
    assert_eq!(
        reduce_linear("min.f16", [0x3C00_BC00; 4], [0xC000_7E00; 4]),
        [0xC000_BC00; 4]
    );
    assert_eq!(
        reduce_linear("max.bf16", [0x3F80_BF80; 4], [0x4000_BF00; 4]),
        [0x4000_BF00; 4]
    );
    // 64-bit elements carry, and are compared with their sign.
    assert_eq!(
        reduce_linear("add.u64", [u32::MAX, 0, 1, 2], [1, 0, 1, 1]),
        [0, 1, 2, 3]
    );
    assert_eq!(
        reduce_linear("min.s64", [0, 1, 7, 0], [0, 0xFFFF_FFFF, 8, 0]),
        [0, 0xFFFF_FFFF, 7, 0]
    );
    assert_eq!(
        reduce_linear("xor.b64", [5, 6, 7, 8], [1, 1, 1, 1]),
        [4, 7, 6, 9]
    );
    let halves = |value: f64| [value.to_bits() as u32, (value.to_bits() >> 32) as u32];
    let pair = |a: f64, b: f64| [halves(a), halves(b)].concat().try_into().unwrap();
    assert_eq!(
        reduce_linear("add.f64", pair(1.0, 2.0), pair(0.25, -2.0)),
        pair(1.25, 0.0)
    );
}

/// But for tensors whose type says `FTZ`.
#[test]
fn sums_keep_subnormals() {
    assert_eq!(
        reduce_linear("add.f32", [1, 0x8000_0001, 0, 0], [1, 0x8000_0001, 0, 0]),
        [2, 0x8000_0002, 0, 0]
    );
    assert_eq!(reduce_linear("add.noftz.f16", [1; 4], [1; 4]), [2; 4]);
    for (data_type, flushes) in [
        (DataType::Float32, false),
        (DataType::Tfloat32, false),
        (DataType::Float32Ftz, true),
        (DataType::Tfloat32Ftz, true),
    ] {
        let tensor = Tensor::new(data_type, 32, &[4], &[4]);
        let body = format!(
            "st.shared.v4.u32 [%r1+{AREA}], {{1, 0x80000001, 0x00ffffff, 0x80800001}};
            fence.proxy.async.shared::cta;\nbar.sync 0;\n@%p31 {}\n{COMMIT}{WAIT}",
            store(&[0], "add", AREA)
        );
        // The last two sums are subnormal.
        let before = [1, 0x8000_0001, 0x8080_0000, 0x0080_0000];
        let bytes: Vec<u8> = before.into_iter().flat_map(u32::to_le_bytes).collect();
        let after = Program::with_input(&body, &bytes)
            .map(|address| tensor.encode(address))
            .run_in_place();
        let expected = match flushes {
            true => [0, 0x8000_0000, 0, 0x8000_0000],
            false => [2, 0x8000_0002, 0x007F_FFFF, 0x8000_0001],
        };
        assert_eq!(words(&after), expected, "{data_type:?}");
    }
}

/// An H100 adds TF32 as f32, and f64, whose NaN keeps its payload.
#[test]
fn tensors_of_tf32_and_f64_are_added() {
    let tensor = Tensor::new(DataType::Tfloat32, 32, &[64, 8], &[32, 4]);
    let (before, after) = run_store(&tensor, &[32, 4], AREA, "add");
    let (mut expected, after) = (words(&before), words(&after));
    for index in 0..128 {
        let to = 64 * (4 + index / 32) + 32 + index % 32;
        let sum = f32::from_bits(expected[to]) + f32::from_bits(word(index as u32));
        expected[to] = if sum.is_nan() {
            0x7FFF_FFFF
        } else {
            sum.to_bits()
        };
    }
    assert_eq!(after, expected);
    let tensor = Tensor::new(DataType::Float64, 64, &[2], &[2]);
    let body = format!(
        "st.shared.v2.u64 [%r1+{AREA}], {{0x3FF0000000000000, 0x7FFE629BD0E34EF5}};
        fence.proxy.async.shared::cta;\nbar.sync 0;\n@%p31 {}\n{COMMIT}{WAIT}",
        store(&[0], "add", AREA)
    );
    let bytes = [1.5f64, -1.0].map(f64::to_le_bytes).concat();
    let after = Program::with_input(&body, &bytes)
        .map(|address| tensor.encode(address))
        .run_in_place();
    let sums = [2.5f64.to_bits(), 0x7FFE_629B_D0E3_4EF5].map(u64::to_le_bytes);
    assert_eq!(after, sums.concat());
}

/// What an H100 takes, and an illegal instruction otherwise.
#[test]
fn reductions_take_the_types_of_their_operation() {
    for (operation, data_type, bits) in [
        ("min", DataType::Float32, 32),
        ("min", DataType::Float64, 64),
        ("max", DataType::Tfloat32, 32),
        ("inc", DataType::Int32, 32),
        ("inc", DataType::Uint64, 64),
        ("and", DataType::Float16, 16),
        ("and", DataType::Int64, 64),
        ("add", DataType::Int64, 64),
        ("add", DataType::Uint8, 8),
        ("add", DataType::U4x16Align8, 4),
    ] {
        let tensor = Tensor::new(data_type, bits, &[64, 8], &[32, 4]);
        illegal(&tensor, &[0, 0], operation, "cannot be reduced");
    }
    for (modifiers, message) in [
        ("add.f16", "needs `.noftz`"),
        ("add.noftz.f32", "takes no `.noftz`"),
        ("min.f32", "is not supported"),
        ("inc.s32", "is not supported"),
        ("and.f16", "is not supported"),
    ] {
        let line = format!(
            "cp.reduce.async.bulk.global.shared::cta.bulk_group.{modifiers} [%rd1], [%r1], 16;"
        );
        let error = load_error(&line);
        assert!(error.contains(message), "{error}");
    }
}

fn small_tensor() -> Tensor {
    Tensor::new(DataType::Uint32, 32, &[32, 8], &[32, 4])
}

fn program(body: &str) -> Program {
    let tensor = small_tensor();
    Program::with_input(&format!("{}{body}", fill(1024)), &noise(tensor.bytes()))
        .map(|address| tensor.encode(address))
}

/// A store and a reduction.
pub fn example() -> Program {
    let (first, second) = (store(&[0, 0], "", AREA), store(&[0, 4], "add", AREA + 512));
    program(&format!(
        "@%p31 {first}\n{COMMIT}@%p31 {second}\n{COMMIT}{WAIT}"
    ))
}

/// After `wait_group.read` the source may be written again, though the destination need not be there.
#[test]
fn waiting_for_the_sources_frees_them() {
    let first = store(&[0, 0], "", AREA);
    for (wait, is_free) in [
        ("wait_group.read 0", true),
        ("wait_group 0", true),
        ("", false),
    ] {
        let wait = match wait {
            "" => String::new(),
            wait => format!("@%p31 cp.async.bulk.{wait};"),
        };
        let program = program(&format!(
            "@%p31 {first}\n{COMMIT}{wait}\n@%p31 st.shared.u32 [%r1+{AREA}], 0;\n{WAIT}"
        ));
        match is_free {
            true => assert_eq!(words(&program.run_in_place())[1], word(1)),
            false => {
                let race = program.race_late();
                assert_eq!((race.operation, race.in_flight), ("TMA store", "reads"));
            }
        }
    }
}

/// `wait_group.read` does not wait for the writes: the destination must not be touched before `wait_group`.
#[test]
fn waiting_for_the_sources_does_not_wait_for_the_destination() {
    let first = store(&[0, 0], "", AREA);
    let body = |wait: &str, access: &str| {
        format!("@%p31 {first}\n{COMMIT}@%p31 cp.async.bulk.{wait};\n@%p31 {access}\n{WAIT}")
    };
    for access in [
        "ld.global.u32 %r10, [%rd1+4];",
        "st.global.u32 [%rd1+508], 0;",
        "red.global.add.u32 [%rd1+8], 1;",
    ] {
        let race = program(&body("wait_group.read 0", access)).race_late();
        assert_eq!((race.operation, race.in_flight), ("TMA store", "writes"));
        program(&body("wait_group 0", access)).run_in_place();
    }
    // Beside the tile everything is free.
    program(&body("wait_group.read 0", "st.global.u32 [%rd1+512], 0;")).run_in_place();
}

#[test]
fn groups_complete_in_order_for_their_sources_too() {
    let second = AREA + 512;
    let body = |written: u32| {
        format!(
            "@%p31 {}\n{COMMIT}@%p31 {}\n{COMMIT}@%p31 cp.async.bulk.wait_group.read 1;\n\
             @%p31 st.shared.u32 [%r1+{written}], 0;\n{WAIT}",
            store(&[0, 0], "", AREA),
            store(&[0, 4], "", second)
        )
    };
    program(&body(AREA)).run_in_place();
    assert_eq!(program(&body(second)).race_late().in_flight, "reads");
}

/// The grid's end completes what stores write; their sources have to be read before the CTA exits.
#[test]
fn writes_may_outlive_the_cta_but_reads_may_not() {
    let first = store(&[0, 0], "", AREA);
    let read = "@%p31 cp.async.bulk.wait_group.read 0;\n";
    let bytes = program(&format!("@%p31 {first}\n{COMMIT}{read}")).run_in_place();
    assert_eq!(words(&bytes)[5], word(5));
    let failure = program(&format!("@%p31 {first}\n{COMMIT}")).fail_late();
    assert!(
        matches!(failure.kind, FailureKind::OutstandingAtExit { .. }),
        "{failure}"
    );
}

/// Nothing orders two stores to the same elements; reductions are atomic, so they may meet.
#[test]
fn stores_to_the_same_elements_race_and_reductions_do_not() {
    let two = |operation: &str| {
        format!(
            "@%p31 {}\n@%p31 {}\n{COMMIT}{WAIT}",
            store(&[0, 0], operation, AREA),
            store(&[0, 2], operation, AREA + 512)
        )
    };
    let race = program(&two("")).race_late();
    assert_eq!((race.now, race.in_flight), ("writes", "writes"));
    program(&two("add")).run_in_place();
    let mixed = format!(
        "@%p31 {}\n@%p31 red.global.add.u32 [%rd1], 1;\n@%p31 ld.global.u32 %r10, [%rd1];\n{COMMIT}{WAIT}",
        store(&[0, 0], "add", AREA)
    );
    let race = program(&mixed).race_late();
    assert_eq!((race.now, race.in_flight), ("reads", "updates"));
}

/// The source is aligned to 128 bytes and lies in the CTA's memory, the tensor in one allocation.
#[test]
fn stores_stay_within_both_memories() {
    program(&format!("@%p31 {}", store(&[0, 0], "", AREA + 64)))
        .fail_with("cp.async", "aligned to 128 bytes");
    program(&format!("@%p31 {}", store(&[0, 0], "", SMEM_BYTES - 128)))
        .fail_with("cp.async", "shared memory");
    let tensor = small_tensor();
    let short = Program::with_input(
        &format!("@%p31 {}", store(&[0, 4], "", AREA)),
        &noise(tensor.bytes() - 16),
    )
    .map(|address| tensor.encode(address));
    let kind = short.fail_at("cp.async");
    assert!(matches!(kind, FailureKind::Global(_)), "{kind}");
}

#[test]
fn other_modes_say_so() {
    let tile =
        "cp.async.bulk.tensor.4d.global.shared::cta.tile.bulk_group [%rd2, {0, 0, 0, 0}], [%r1];";
    for mode in ["im2col_no_offs", "tile::scatter4"] {
        let error = load_error(&tile.replace("tile", mode));
        assert!(error.contains(mode), "{error}");
    }
    let load = "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes \
                [%r1], [%rd2, {0, 0, 0, 0}], [%r1];";
    for mode in ["im2col", "im2col::w", "im2col::w::128", "tile::gather4"] {
        let error = load_error(&load.replace("tile", mode));
        assert!(error.contains(&format!("`.{mode}`")), "{error}");
    }
}

/// A prefetch copies nothing that a program can observe, but its map has to be where maps can be.
#[test]
fn prefetches_need_the_address_of_a_map() {
    let line = "@%p31 cp.async.bulk.prefetch.tensor.2d.L2.global.tile [%rd2, {0, 0}];";
    program(line).run_in_place();
    program(&line.replace("%rd2", "%rd2+8")).fail_with("prefetch", "multiple of 64");
    let linear = "@%p31 cp.async.bulk.prefetch.L2.global [%rd1], 64;";
    program(linear).run_in_place();
}
