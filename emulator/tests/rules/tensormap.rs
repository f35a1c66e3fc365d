//! Tensor maps that kernels make and change: `tensormap.replace`, `tensormap.cp_fenceproxy` and
//! `fence.proxy.tensormap` (PTX ISA §9.7.9.28, §9.7.13.4, §9.7.13.16).

use ptx_emulator::machine::FailureKind;
use ptx_emulator::tma::{DataType, Swizzle};

use super::program::*;
use super::tma::{AREA, Tensor};

/// Offset in `smem` where kernels build their map.
const MAP: u32 = 512;

/// The kernel's own map: after the output that programs dump.
const GLOBAL_MAP: &str = "add.u64 %rd40, %rd0, 65536;\n";

fn replace(field: &str, value: impl ToString) -> String {
    let bits = match field.starts_with("global_address") || field.starts_with("global_stride") {
        true => "b64",
        false => "b32",
    };
    let (field, ordinal) = field.split_once(' ').unwrap_or((field, ""));
    let ordinal = match ordinal {
        "" => String::new(),
        ordinal => format!("{ordinal}, "),
    };
    format!(
        "@%p31 tensormap.replace.tile.{field}.shared::cta.b1024.{bits} [%r1+{MAP}], {ordinal}{};\n",
        value.to_string()
    )
}

/// Builds the map of 32-bit elements, 64 × 16, in boxes of 32 × 8 with 128-byte swizzle, from zeros.
fn build() -> String {
    let zero = format!(
        "shl.b32 %r20, %r0, 2;\nadd.u32 %r20, %r20, %r1;\nst.shared.u32 [%r20+{MAP}], 0;\nbar.warp.sync -1;\n"
    );
    let fields = [
        ("global_address", "%rd1"),
        ("rank", "1"),
        ("box_dim 0", "32"),
        ("box_dim 1", "8"),
        ("global_dim 0", "64"),
        ("global_dim 1", "16"),
        ("global_stride 0", "256"),
        ("element_stride 0", "1"),
        ("element_stride 1", "1"),
        ("elemtype", "7"),
        ("interleave_layout", "0"),
        ("swizzle_mode", "3"),
        ("fill_mode", "0"),
    ];
    let replaced: String = fields
        .iter()
        .map(|(field, value)| replace(field, value))
        .collect();
    format!("{zero}{replaced}bar.warp.sync -1;\n")
}

fn copy() -> String {
    format!(
        "{GLOBAL_MAP}tensormap.cp_fenceproxy.global.shared::cta.tensormap::generic.release.gpu.sync.aligned \
         [%rd40], [%r1+{MAP}], 128;\n"
    )
}

const ACQUIRE: &str = "fence.proxy.tensormap::generic.acquire.gpu [%rd40], 128;\n";

/// Loads the tile at (16, 4) through the map at `%rd40` and dumps it.
fn load(bytes: u32) -> String {
    format!(
        "add.u32 %r10, %r1, {AREA};\n@%p31 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r1], {bytes};\n\
         @%p31 cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%r10], \
         [%rd40, {{16, 4}}], [%r1];\n{}{}",
        wait(0, 0),
        dump_shared(AREA, bytes)
    )
}

fn tensor() -> Tensor {
    Tensor::new(DataType::Float32, 32, &[64, 16], &[32, 8]).swizzle(Swizzle::B128)
}

/// What the load dumps, by a map that the host made.
fn expected(tensor: &Tensor, input: &[u8]) -> Vec<u8> {
    let bytes = tensor.tile_bytes();
    let body = format!("{BARRIERS}mov.u64 %rd40, %rd2;\n{}", load(bytes));
    let program = Program::with_input(&body, input).map(|address| tensor.encode(address));
    program.run_bytes()[..bytes as usize].to_vec()
}

fn program(body: &str) -> Program {
    Program::with_input(&format!("{BARRIERS}{body}"), &noise(tensor().bytes()))
        .map(|address| tensor().encode(address))
}

/// A map built from zeros, and a load by it.
pub fn example() -> Program {
    program(&format!("{}{}{ACQUIRE}{}", build(), copy(), load(1024)))
}

#[test]
fn a_kernel_builds_a_map_from_zeros() {
    let out = example().run_bytes();
    assert!(out[..1024] == expected(&tensor(), &noise(tensor().bytes())));
}

/// A copy of the host's map in global memory, of which the kernel changes two fields there.
#[test]
fn a_kernel_changes_a_map_in_global_memory() {
    let copy_words = format!(
        "{GLOBAL_MAP}shl.b32 %r20, %r0, 2;\ncvt.u64.u32 %rd41, %r20;\nadd.u64 %rd42, %rd2, %rd41;\n\
         ld.u32 %r21, [%rd42];\nadd.u64 %rd42, %rd40, %rd41;\nst.global.u32 [%rd42], %r21;\nbar.warp.sync -1;\n"
    );
    let change = "@%p31 tensormap.replace.tile.box_dim.global.b1024.b32 [%rd40], 1, 3;\n\
                  @%p31 tensormap.replace.tile.global_dim.b1024.b32 [%rd40], 1, 6;\n\
                  @%p31 fence.proxy.tensormap::generic.release.gpu;\nbar.warp.sync -1;\n";
    let out = program(&format!("{copy_words}{change}{ACQUIRE}{}", load(384))).run_bytes();
    let mut changed = tensor();
    changed.dims[1] = 6;
    changed.boxes[1] = 3;
    assert!(out[..384] == expected(&changed, &noise(tensor().bytes())));
}

/// The immediates of `.elemtype` are not the driver's: 10 is bf16, 9 f64, 8 f32.ftz.
#[test]
fn element_types_have_numbers_of_their_own() {
    for (code, bytes) in [(10, 512), (9, 2048), (8, 1024), (0, 256)] {
        let narrow = replace("swizzle_mode", 0) + &replace("elemtype", code);
        let body = format!(
            "{}{narrow}bar.warp.sync -1;\n{}{ACQUIRE}{}",
            build(),
            copy(),
            load(bytes)
        );
        program(&body).run();
    }
}

#[test]
fn maps_are_checked_when_they_are_used() {
    let incomplete = build().replace(&replace("element_stride 1", "1"), "");
    program(&format!("{incomplete}{}{ACQUIRE}{}", copy(), load(1024)))
        .fail_with("cp.async.bulk.tensor", "elementStrides[1] = 0");
    let wrong = build() + &replace("box_dim 1", 300);
    program(&wrong).fail_with("tensormap.replace", "1 to 256");
    let no_map = format!(
        "@%p31 st.shared.u32 [%r1+{MAP}], 1;\n{}",
        replace("rank", 1)
    );
    program(&no_map).fail_with("tensormap.replace", "no tensor map");
}

/// A change reaches TMA by a release after it and an acquire before the copy.
#[test]
fn changes_are_released_and_acquired() {
    program(&format!("{}{}{}", build(), copy(), load(1024)))
        .fail_with("cp.async.bulk.tensor", "acquire` is missing");
    let change = "@%p31 tensormap.replace.tile.global_dim.global.b1024.b32 [%rd40], 1, 6;\n";
    let body = |fences: &str| {
        format!(
            "{}{}{ACQUIRE}{change}{fences}{}",
            build(),
            copy(),
            load(1024)
        )
    };
    program(&body(ACQUIRE)).fail_with("cp.async.bulk.tensor", "release` is missing");
    let release = "fence.proxy.tensormap::generic.release.gpu;\n";
    program(&body(release)).fail_with("cp.async.bulk.tensor", "acquire` is missing");
    program(&body(&format!("{release}{ACQUIRE}"))).run();
}

#[test]
fn operands_are_checked() {
    for (line, message) in [
        (replace("box_dim 5", 1), "beyond what a tensor map has"),
        (
            replace("global_stride 4", "%rd1"),
            "beyond what a tensor map has",
        ),
        (replace("elemtype", "%r3"), "needs an integer constant"),
        (replace("rank", "%rd3"), "needs a register of 32 bits"),
        (replace("rank", 1).replace(".tile", ".im2col"), ".tile"),
        (copy().replace("128;", "64;"), "needs 128"),
    ] {
        let error = load_error(&line);
        assert!(error.contains(message), "{line}: {error}");
    }
    let kind = program(&format!(
        "{}{GLOBAL_MAP}@%p31 {}",
        build(),
        copy().replace(GLOBAL_MAP, "")
    ))
    .fail_at("cp_fenceproxy");
    assert!(
        matches!(kind, FailureKind::DivergentAligned { .. }),
        "{kind}"
    );
    let misaligned = replace("rank", 1).replace(&format!("+{MAP}"), "+32");
    let kind = program(&misaligned).fail_at("tensormap.replace");
    assert!(matches!(kind, FailureKind::Misaligned { .. }), "{kind}");
}
