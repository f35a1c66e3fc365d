//! `cp.async.bulk.tensor`: elements outside of the tensor, byte credits, and loads that are refused.

use ptx_emulator::machine::{FailureClass, FailureKind};
use ptx_emulator::tma::{DataType, OutOfBoundsFill, Swizzle, TensorMap};

use super::program::*;
use super::tma::{AREA, Tensor, check, instruction, program, swizzled};

/// A tile that leaves the tensor on one side of one dimension, or on both.
#[test]
fn elements_outside_of_any_dimension_are_zero() {
    let tensor = Tensor::new(DataType::Uint8, 8, &[48, 5, 4, 3, 3], &[32, 3, 2, 2, 2]);
    let inside = [16, 1, 1, 1, 1];
    check(&tensor, &inside, AREA);
    for d in 0..5 {
        let extent = tensor.dims[d] as i32;
        let whole = tensor.boxes[d] as i32;
        let unit = if d == 0 { 16 } else { 1 };
        for x in [-unit, -whole, extent - unit, extent, i32::MIN, i32::MAX] {
            let mut coordinates = inside;
            coordinates[d] = x - x % unit;
            check(&tensor, &coordinates, AREA);
        }
    }
}

#[test]
fn a_box_larger_than_the_tensor_is_padded_on_both_sides() {
    let tensor = Tensor::new(DataType::Uint16, 16, &[8, 3], &[32, 8]);
    check(&tensor, &[-8, -2], AREA);
}

/// The rest of the row's 16-byte granule lies outside of the tensor, whatever memory holds there.
#[test]
fn bytes_between_the_extent_and_the_stride_are_not_read() {
    let tensor = Tensor::new(DataType::Uint8, 8, &[37, 4], &[64, 4]);
    check(&tensor, &[0, 0], AREA);
    let packed = Tensor::new(DataType::U4x16Align8, 4, &[74, 4], &[128, 4]);
    check(&packed, &[0, 0], AREA);
    check(&packed, &[-32, 0], AREA);
}

#[test]
fn swizzled_tiles_are_padded_before_they_are_permuted() {
    let tensor = Tensor::new(DataType::U4x16Align8, 4, &[160, 12], &[256, 16]);
    check(&tensor.clone().swizzle(Swizzle::B128), &[0, 5], AREA);
    check(&tensor.swizzle(Swizzle::B128), &[-64, -5], AREA);
}

/// Every type has the same bits, TF32 too, which does not round them.
#[test]
fn the_fill_may_be_nan() {
    for (data_type, bits) in [
        (DataType::Float16, 16),
        (DataType::Bfloat16, 16),
        (DataType::Float32, 32),
        (DataType::Tfloat32, 32),
        (DataType::Float64, 64),
    ] {
        let mut tensor = Tensor::new(data_type, bits, &[16, 4], &[16, 4]);
        tensor.fill = OutOfBoundsFill::NanRequestZeroFma;
        let input = vec![0; tensor.bytes()];
        let tile = tensor.tile_bytes();
        let out = program(&tensor, &input, &[-8, 2], AREA, tile, tile).run_bytes();
        for (i, element) in out[..tile as usize].chunks(bits as usize / 8).enumerate() {
            let inside = i % 16 >= 8 && i / 16 < 2;
            for half in element.as_chunks().0 {
                let expected = if inside { 0 } else { 0x7FF7 };
                assert_eq!(
                    u16::from_le_bytes(*half),
                    expected,
                    "{data_type:?} element {i}"
                );
            }
        }
    }
}

/// The barrier is credited with the whole box, even where all of it lies outside: one constant serves every tile.
#[test]
fn partial_boxes_credit_all_their_bytes() {
    let tensor = Tensor::new(DataType::Uint8, 8, &[64, 6], &[64, 8]);
    let input = noise(tensor.bytes());
    for coordinates in [[0, 0], [0, 3], [32, -1], [64, 0], [0, 6], [-64, -8]] {
        program(&tensor, &input, &coordinates, AREA, 512, 512).run();
        for wrong in [64 * 6, 512 - 16, 512 + 16] {
            let failure = program(&tensor, &input, &coordinates, AREA, wrong, 512).fail();
            let text = failure.to_string();
            let surplus = i64::from(wrong) - 512;
            assert!(text.contains(&format!("tx-count {surplus}")), "{text}");
        }
    }
}

/// Element strides make the tile smaller than the box; the credit is the tile's.
#[test]
fn strided_boxes_credit_what_they_write() {
    let mut tensor = Tensor::new(DataType::Uint8, 8, &[64, 9], &[64, 8]);
    tensor.steps = vec![1, 3];
    let input = noise(tensor.bytes());
    program(&tensor, &input, &[0, 0], AREA, 3 * 64, 512).run();
    let text = program(&tensor, &input, &[0, 0], AREA, 512, 512)
        .fail()
        .to_string();
    assert!(text.contains("tx-count 320"), "{text}");
}

fn plain() -> Tensor {
    Tensor::new(DataType::Uint8, 8, &[128, 8], &[128, 8])
}

/// A load of `tensor` that has to fail with `message`.
fn refused(tensor: &Tensor, coordinates: &[i32], destination: u32, message: &str) {
    let input = noise(tensor.bytes());
    let tile = tensor.tile_bytes();
    program(tensor, &input, coordinates, destination, tile, 128)
        .fail_with("cp.async.bulk.tensor", message);
}

#[test]
fn the_number_of_coordinates_is_the_rank() {
    refused(&plain(), &[0], AREA, "rank 2, the instruction 1");
    refused(&plain(), &[0, 0, 0], AREA, "rank 2, the instruction 3");
}

#[test]
fn tiles_start_at_multiples_of_128_bytes() {
    for misalignment in [16, 64, 112] {
        let at = AREA + misalignment;
        refused(&plain(), &[0, 0], at, "not a multiple of 128 bytes");
    }
    check(&plain(), &[0, 0], AREA + 128);
}

#[test]
fn tiles_lie_in_shared_memory() {
    refused(&plain(), &[0, 0], SMEM_BYTES - 896, "outside of");
}

/// A tile starts at a multiple of 16 bytes, in a load and in a store.
#[test]
fn innermost_coordinates_are_multiples_of_16_bytes() {
    for (data_type, bits, coordinate) in [
        (DataType::Uint8, 8, 3),
        (DataType::Uint16, 16, 4),
        (DataType::Uint32, 32, -1),
        (DataType::Uint64, 64, 1),
    ] {
        let tensor = Tensor::new(data_type, bits, &[64, 16], &[32, 8]);
        let input = noise(tensor.bytes());
        let tile = tensor.tile_bytes();
        let failure = program(&tensor, &input, &[coordinate, 1], AREA, tile, 128).fail();
        assert_eq!(
            failure.class(),
            FailureClass::IllegalInstruction,
            "{failure}"
        );
        let text = failure.to_string();
        assert!(text.contains("starts at a multiple of 16 bytes"), "{text}");
        check(&tensor, &[16, 1], AREA);
    }
}

#[test]
fn packed_four_bit_loads_start_at_whole_units() {
    let tensor = Tensor::new(DataType::U4x16Align8, 4, &[512, 8], &[256, 8]);
    for x in [1, 8, -8] {
        refused(&tensor, &[x, 0], AREA, "multiple of 16 elements");
    }
    check(&tensor, &[16, 0], AREA);
}

/// 16 elements go to the start of 16 bytes; the barrier is credited without the gaps, and the load waits for exactly that.
#[test]
fn types_with_gaps_spread_their_elements() {
    for (data_type, unit) in [(DataType::U4x16Align16, 8), (DataType::U6x16Align16, 12)] {
        for swizzle in [Swizzle::None, Swizzle::B128] {
            let row = 8 * unit;
            let tensor = gapped(data_type, row).swizzle(swizzle);
            let input = noise(8 * row);
            let credited = 8 * row as u32;
            let out = program(&tensor, &input, &[0, 1], AREA, credited, 1024).run_bytes();
            for byte in (0..1024).filter(|byte| byte % 16 < unit) {
                let from = (byte / 128 + 1) * row + byte % 128 / 16 * unit + byte % 16;
                let at = swizzled(swizzle, AREA + byte as u32) - AREA;
                let expected = input.get(from).copied().unwrap_or(0);
                assert_eq!(
                    out[at as usize], expected,
                    "{data_type:?} {swizzle:?}: byte {byte}"
                );
            }
        }
    }
}

/// 8 rows of 128 elements.
fn gapped(data_type: DataType, row_bytes: usize) -> Tensor {
    Tensor {
        strides: vec![row_bytes as u64],
        ..Tensor::new(data_type, 8, &[128, 8], &[128, 8])
    }
}

#[test]
fn types_with_gaps_start_at_multiples_of_128() {
    refused(
        &gapped(DataType::U4x16Align16, 64),
        &[64, 0],
        AREA,
        "multiple of 128",
    );
}

#[test]
fn a_tensor_larger_than_its_buffer_is_caught() {
    let tensor = plain();
    let input = noise(tensor.bytes() - 16);
    let tile = tensor.tile_bytes();
    program(&tensor, &input, &[0, 0], AREA, tile, 128)
        .fail_with("cp.async.bulk.tensor", "cannot read");
}

/// One changed byte anywhere in the map is noticed.
#[test]
fn trampled_maps_are_refused() {
    let body = format!(
        "{BARRIERS}\nadd.u32 %r10, %r1, {AREA};\n@%p31 {}",
        instruction(&[0, 0], "%r10", "%r1")
    );
    let good = Program::with_input(&body, &noise(plain().bytes()));
    let bytes = plain().encode(good.input_address()).to_bytes();
    for at in 0..128 {
        let mut trampled = bytes;
        trampled[at] ^= 0x10;
        let program = Program::with_input(&body, &[0; 1024]).map_bytes(&trampled);
        let message = if at < 8 {
            "no tensor map"
        } else {
            "overwritten"
        };
        let kind = program.fail_at("cp.async.bulk.tensor");
        assert!(matches!(kind, FailureKind::Tma(_)), "byte {at}: {kind}");
        assert!(kind.to_string().contains(message), "byte {at}: {kind}");
    }
}

#[test]
fn maps_are_aligned_to_64_bytes() {
    let load = instruction(&[0, 0], "%r10", "%r1").replace("[%rd2,", "[%rd2+32,");
    let body = format!("{BARRIERS}\nadd.u32 %r10, %r1, {AREA};\n@%p31 {load}");
    let kind = Program::new(&body).fail_at("cp.async.bulk.tensor");
    assert!(
        matches!(kind, FailureKind::Misaligned { alignment: 64, .. }),
        "{kind}"
    );
}

#[test]
fn maps_may_lie_in_global_memory_but_not_in_shared() {
    let tensor = plain();
    let mut input = noise(tensor.bytes());
    let load = instruction(&[0, 0], "%r10", "%r1");
    let body = |map: &str| {
        format!(
            r"
    {BARRIERS}
    {map}
    add.u32 %r10, %r1, {AREA};
    @%p31 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r1], 1024;
    @%p31 {load}
    {}
    {}
",
            wait(0, 0),
            dump_shared(AREA, 1024)
        )
    };
    // The map follows its own tensor, copied there by the program.
    input.resize(1024 + 128, 0);
    let mut copy = String::from("mov.u64 %rd3, %rd2;\nadd.u64 %rd2, %rd1, 1024;\n");
    for word in 0..16 {
        let at = 8 * word;
        copy += &format!("ld.param.u64 %rd4, [map+{at}];\nst.global.u64 [%rd2+{at}], %rd4;\n");
    }
    let encode = |address| -> TensorMap { tensor.encode(address) };
    let out = Program::with_input(&body(&copy), &input)
        .map(encode)
        .run_bytes();
    assert_eq!(out[..1024], input[..1024]);

    let shared = "cvt.u64.u32 %rd2, %r1;\ncvta.shared.u64 %rd2, %rd2;\nadd.u64 %rd2, %rd2, 4096;";
    Program::with_input(&body(shared), &input)
        .map(encode)
        .fail_with("cp.async.bulk.tensor", "in shared or local memory");
}

#[test]
fn the_barrier_of_a_load_has_to_be_live() {
    let load = instruction(&[0, 0], "%r10", "%r1+64");
    let body = format!("{BARRIERS}\nadd.u32 %r10, %r1, {AREA};\n@%p31 {load}");
    Program::with_input(&body, &noise(1024))
        .map(|address| plain().encode(address))
        .fail_with("cp.async.bulk.tensor", "used before `mbarrier.init`");
}

#[test]
fn tiles_must_not_cover_a_live_barrier() {
    let load = instruction(&[0, 0], "%r1", "%r1");
    let body = format!("{BARRIERS}\n@%p31 {load}");
    Program::with_input(&body, &noise(1024))
        .map(|address| plain().encode(address))
        .fail_with("cp.async.bulk.tensor", "live barrier");
}

/// … but they may lie around one, where the box is narrower than the swizzle.
#[test]
fn a_barrier_may_lie_between_the_rows_of_a_tile() {
    let tensor = Tensor::new(DataType::Uint8, 8, &[64, 8], &[16, 8]).swizzle(Swizzle::B128);
    let load = instruction(&[0, 0], "%r10", "%r1");
    let body = |barrier: u32| {
        format!(
            r"
    {BARRIERS}
    @%p31 mbarrier.init.shared::cta.b64 [%r1+{barrier}], 1;
    @%p31 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r1], 128;
    add.u32 %r10, %r1, {AREA};
    @%p31 {load}
    {}",
            wait(0, 0)
        )
    };
    let program = |barrier| {
        Program::with_input(&body(barrier), &noise(tensor.bytes()))
            .map(|address| tensor.encode(address))
    };
    // The first row is the first 16 bytes of 128.
    program(AREA + 64).run();
    program(AREA + 8).fail_with("cp.async.bulk.tensor", "live barrier");
}

/// `prefetch.tensormap` reads nothing but the map, which has to be readable and aligned.
#[test]
fn prefetching_a_map_checks_its_address() {
    Program::new("prefetch.tensormap [%rd2];").run();
    let kind = Program::new("prefetch.tensormap [%rd2+8];").fail_at("prefetch");
    assert!(
        matches!(kind, FailureKind::Misaligned { alignment: 64, .. }),
        "{kind}"
    );
    let kind =
        Program::new("mov.u64 %rd3, 0x40000;\nprefetch.tensormap [%rd3];").fail_at("prefetch");
    assert!(matches!(kind, FailureKind::Global(_)), "{kind}");
}
