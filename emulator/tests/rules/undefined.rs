//! Registers that nothing has written: reading them is no error, using their value is.

use ptx_emulator::machine::{Asynchrony, Mode};

use super::program::*;

fn error(body: &str, text: &str) {
    let program = Program::new(body).mode(Mode::Check);
    program.breaks(Asynchrony::Late, "E1", text);
}

/// Against the letter: an error in strict mode, a warning in check mode.
fn warning(body: &str, text: &str) {
    let program = Program::new(body).mode(Mode::Check);
    let warnings = program.warnings();
    let is_it = |warning: &ptx_emulator::machine::order::Warning| {
        warning.finding.rule.id() == "E1" && warning.site.source.text.contains(text)
    };
    assert!(warnings.iter().any(is_it), "{warnings:#?}");
    let program = program.mode(Mode::Strict);
    program.breaks(Asynchrony::Late, "E1", text);
}

fn clean(body: &str) {
    Program::new(body).mode(Mode::Strict).run();
}

#[test]
fn addresses_and_branches_need_registers_that_were_written() {
    error("ld.global.u32 %r10, [%rd10];", "ld.global");
    error(
        "add.u64 %rd11, %rd0, %rd10;\nld.global.u32 %r10, [%rd11];",
        "ld.global",
    );
    error(
        "add.u32 %r11, %r10, 1;\nst.shared.u32 [%r11], %r0;",
        "st.shared",
    );
    clean("add.u64 %rd11, %rd0, 4;\nld.global.u32 %r10, [%rd11];");
    error("@%p1 bra OUT;\nOUT:", "bra OUT");
    error("setp.eq.u32 %p1, %r10, 0;\n@!%p1 bra OUT;\nOUT:", "bra OUT");
    error("@%p1 mov.u32 %r10, 0;", "mov.u32 %r10");
    clean("setp.eq.u32 %p1, %r0, 0;\n@!%p1 bra OUT;\nOUT:");
}

#[test]
fn operands_of_asynchronous_operations_and_barriers_need_them_too() {
    let init = "@%p31 mbarrier.init.shared::cta.b64 [%r1], %r10;";
    error(init, "mbarrier.init");
    clean(&format!("mov.u32 %r10, 1;\n{init}"));
    error("bar.sync %r10;", "bar.sync");
    error("bar.warp.sync %r10;", "bar.warp.sync");
    let copy = |bytes: &str| {
        format!(
            "{BARRIERS}{bytes}\nadd.u32 %r11, %r1, 1024;\n\
             @%p31 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r1], 16;\n\
             @%p31 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r11], [%rd1], %r10, [%r1];\n{}",
            wait(0, 0)
        )
    };
    error(&copy(""), "cp.async.bulk");
    clean(&copy("mov.u32 %r10, 16;"));
    let mma = "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%r20, %r21, %r22, %r23}, \
        {%r0, %r0, %r0, %r0}, {%r0, %r0}, {%r10, %r10, %r10, %r10};";
    let floats = |text: &str| text.replace("%r2", "%f2").replace("%r10", "%f10");
    let declare = "{\n.reg .f32 %f<30>;\n";
    error(&format!("{declare}{}\n}}", floats(mma)), "mma.sync");
    clean(&format!(
        "{declare}mov.f32 %f10, 0f00000000;\n{}\n}}",
        floats(mma)
    ));
}

#[test]
fn a_stored_value_was_written_to_the_letter() {
    warning("@%p31 st.global.u32 [%rd0], %r10;", "st.global");
    warning("st.shared.u32 [%r1], %r10;", "st.shared");
    warning("@%p31 red.global.add.u32 [%rd1], %r10;", "red.global");
    clean("mov.u32 %r10, 0;\n@%p31 st.global.u32 [%rd0], %r10;");
}

#[test]
fn each_lane_has_to_write_its_own() {
    let store = "mul.wide.u32 %rd10, %r2, 4;\nadd.u64 %rd10, %rd10, %rd0;\n";
    let half = "setp.lt.u32 %p1, %r2, 16;\n@%p1 mov.u32 %r10, 1;\n";
    warning(
        &format!("{store}{half}st.global.u32 [%rd10], %r10;"),
        "st.global",
    );
    clean(&format!("{store}{half}@%p1 st.global.u32 [%rd10], %r10;"));
    clean(&format!(
        "{store}{half}@!%p1 mov.u32 %r10, 2;\nst.global.u32 [%rd10], %r10;"
    ));
    let name = Program::new(&format!("{store}{half}st.global.u32 [%rd10], %r10;"));
    let failure = name.mode(Mode::Strict).fail_late();
    let text = failure.to_string();
    assert!(
        text.contains("stores %r10; lane 16 has not written it"),
        "{text}"
    );
    assert!(failure.to_json().contains(r#""register":"%r10""#));
}

/// What compilers do with registers of which they need a part, or in some lanes.
#[test]
fn reading_what_nobody_wrote_is_no_error() {
    clean("mov.u32 %r11, %r10;\nadd.u32 %r12, %r11, 1;");
    clean(
        "mov.b64 %rd10, {%r0, %r10};\nmov.b64 {%r11, %r12}, %rd10;\n@%p31 st.global.u32 [%rd0], %r11;",
    );
    clean("selp.u32 %r11, %r0, %r10, %p31;\n@%p31 st.global.u32 [%rd0], %r11;");
    warning(
        "selp.u32 %r11, %r10, %r0, %p31;\n@%p31 st.global.u32 [%rd0], %r11;",
        "st.global",
    );
    clean("prmt.b32 %r11, %r0, %r10, 0x3210;\n@%p31 st.global.u32 [%rd0], %r11;");
    clean(
        "@%p31 mov.u32 %r10, 5;\nshfl.sync.idx.b32 %r11, %r10, 0, 31, -1;\nst.shared.u32 [%r1], %r11;",
    );
}
