//! Reports say what lives where something went wrong: for people, and as JSON.

use ptx_emulator::machine::LaunchFailure;
use ptx_emulator::machine::report::Role;
use ptx_emulator::tma::DataType;

use super::mma::*;
use super::program::*;
use super::tma::{AREA, Tensor, instruction};

/// The report for people contains the first, that for tools the second.
fn says(failure: &LaunchFailure, text: &[&str], json: &[&str]) {
    let (for_people, for_tools) = (failure.to_string(), failure.to_json());
    for part in text {
        assert!(for_people.contains(part), "{for_people}\nlacks: {part}");
    }
    for part in json {
        assert!(for_tools.contains(part), "{for_tools}\nlacks: {part}");
    }
}

#[test]
fn tiles_are_named_by_their_copy() {
    let tensor = Tensor::new(DataType::Uint8, 8, &[128, 24], &[128, 8]);
    let load = instruction(&[0, 8], "%r10", "%r1");
    let expect = "@%p31 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r1], 1024;";
    let text = format!(
        "{BARRIERS}add.u32 %r10, %r1, {AREA};\n{expect}\n@%p31 {load}\n@%p31 st.shared.u32 [%r10+16], %r0;\n{}",
        wait(0, 0)
    );
    let program =
        Program::with_input(&text, &noise(tensor.bytes())).map(|address| tensor.encode(address));
    says(
        &program.fail_late(),
        &[
            &format!("dynamic shared memory `smem` + {:#x}", AREA + 16),
            "last copied from tensor map `map`, box [128, 8] at [0, 8], by warp 0, line",
        ],
        &[
            &format!(
                "{{\"role\":\"variable\",\"name\":\"smem\",\"offset\":{}}}",
                AREA + 16
            ),
            "\"from\":\"tensor map `map`\"",
            "\"coordinates\":[0,8],\"box\":[128,8]",
        ],
    );
    // No copy went to another place, nor to this one before the load.
    let text = text
        .replace(&format!("@%p31 {load}\n"), "")
        .replace("+16], %r0", "+18], %r0");
    let other = Program::new(&text).fail_late().to_string();
    assert!(
        other.contains("`smem`") && !other.contains("copied"),
        "{other}"
    );
}

#[test]
fn bulk_copies_are_named_by_their_pointer() {
    let text = format!("{BARRIERS}{}", load_input(2048, 64))
        .replace("WAIT_0_0:", "@%p31 st.shared.u32 [%r300], %r0;\nWAIT_0_0:");
    let failure = Program::with_input(&text, &[0; 64]).fail_late();
    says(
        &failure,
        &["last copied from memory at 0x", "(`input`), by warp 0"],
        &["\"role\":\"copy\""],
    );
}

#[test]
fn variables_have_names() {
    let failure =
        Program::new(".shared .align 8 .b64 counters[2];\nld.shared.u32 %r3, [counters+6];").fail();
    says(
        &failure,
        &["there: shared 0x406..0x407 of CTA (0, 0, 0): `counters` + 0x6"],
        &["{\"role\":\"variable\",\"name\":\"counters\",\"bytes\":16,\"offset\":6}"],
    );
}

#[test]
fn mbarriers_are_named_by_their_initialisation() {
    let again = format!("{BARRIERS}@%p31 mbarrier.init.shared::cta.b64 [%r1+8], 2;");
    says(
        &Program::new(&again).fail(),
        &[
            "mbarrier at 0x408, initialised by line 22: @%p31 mbarrier.init",
            "in phase 0 with 1 of 1 arrivals",
        ],
        &[
            "\"role\":\"mbarrier\",\"line\":22",
            "\"phase\":0,\"pending\":1,\"expected\":1,\"tx\":0",
        ],
    );
    // Whoever waits in vain.
    says(
        &Program::new(&format!("{BARRIERS}{}", wait(8, 0))).fail(),
        &[
            "there: shared 0x408..0x410 of CTA (0, 0, 0): dynamic shared memory `smem` + 0x8; mbarrier at 0x408",
        ],
        &["\"role\":\"mbarrier\""],
    );
}

#[test]
fn columns_are_named_by_their_allocation() {
    let product = Product::new(64, 1, SWIZZLE_128B, SWIZZLE_128B);
    let load = "tcgen05.ld.sync.aligned.32x32b.x1.b32 {%r31}, [%r4];";
    let program = product.program(&(product.copy_scales() + &product.mmas() + load));
    let allocated = "columns 0..512, allocated by warp 0, line";
    says(
        &program.fail_late(),
        &[allocated, "tcgen05.alloc"],
        &["\"role\":\"columns\"", "\"start\":0,\"end\":512,\"warp\":0"],
    );
    // … and so are those that nobody frees.
    let leak = Program::new(ALLOCATE).fail();
    says(
        &leak,
        &["exited while it still held 512 columns", allocated],
        &["\"role\":\"columns\""],
    );
}

#[test]
fn allocations_are_named_by_the_parameters_that_point_there() {
    for access in [
        "ld.global.u32 %r3, [%rd1+2];",
        "ld.global.u32 %r3, [%rd1+16];",
    ] {
        says(
            &Program::new(access).fail(),
            &["allocation of 16 bytes at 0x", ", parameter `input`"],
            &["\"role\":\"allocation\"", "\"parameters\":[\"input\"]"],
        );
    }
}

#[test]
fn warnings_have_places_too() {
    // Nothing publishes the initialisation to the copy.
    let text = format!("{BARRIERS}{}", load_input(2048, 16))
        .replace("fence.mbarrier_init.release.cluster;", "");
    let warnings = Program::new(&text).warnings();
    let has_mbarrier = warnings.iter().any(|warning| {
        let mut roles = warning.places.iter().flat_map(|place| &place.roles);
        roles.any(|role| {
            matches!(
                role,
                Role::Mbarrier {
                    address: 0x400,
                    phase: 0,
                    ..
                }
            )
        })
    });
    assert!(has_mbarrier, "{warnings:?}");
    let text = warnings[0].to_string();
    assert!(text.contains("there: shared 0x400..0x408"), "{text}");
    assert!(warnings[0].to_json().contains("\"role\":\"mbarrier\""));
}
