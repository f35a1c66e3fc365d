//! `atom` and `red` (PTX ISA §9.7.13.5, §9.7.13.6).

use ptx_emulator::machine::FailureKind;

use super::program::*;

pub fn example() -> Program {
    let body = "atom.global.add.noftz.bf16x2 %r5, [%rd1], %r0;
atom.global.v2.f32.add {%r6, %r7}, [%rd1+8], {%r0, %r0};
atom.global.cas.b32 %r8, [%rd1+16], 0, 7;
red.shared.max.s64 [%r1], %rd1;
atom.shared.inc.u32 %r9, [%r1+8], 5;
.reg .b128 %q;
mov.b128 %q, {%rd1, %rd1};
atom.global.exch.b128 %q, [%rd1+32], %q;
st.global.v4.u32 [%rd0], {%r5, %r6, %r8, %r9};";
    let clear = "@!%p31 exit;\nst.shared.v4.u32 [%r1], {0, 0, 0, 0};";
    Program::with_input(&format!("{clear}\n{body}"), &[0; 64])
}

/// Runs `body` in thread 0 on a buffer of these words at `%rd1`; returns the buffer and the output's first words.
fn run(body: &str, words: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let body = format!("@!%p31 bra DONE;\n{body}\nDONE:\n");
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let program = Program::with_input(&body, &bytes);
    let after = program.run_in_place();
    let (after, _) = after.as_chunks();
    let after = after.iter().map(|word| u32::from_le_bytes(*word)).collect();
    (after, program.run()[..8].to_vec())
}

#[test]
fn halves_are_added() {
    // 2048 + 1 is a tie that goes to even; the least subnormal doubles.
    let (after, out) = run(
        "mov.b16 %rs0, 0x3C00;\natom.global.add.noftz.f16 %rs1, [%rd1], %rs0;\n\
         mov.b32 %r3, 0x00013C00;\nred.global.add.noftz.f16x2 [%rd1+4], %r3;\n\
         mov.b32 %r4, 0x3F804000;\natom.global.add.noftz.bf16x2 %r5, [%rd1+8], %r4;\n\
         st.global.u16 [%rd0], %rs1;\nst.global.u32 [%rd0+4], %r5;",
        &[0x1111_6800, 0x0001_4000, 0x4380_3F80],
    );
    assert_eq!(after, [0x1111_6800, 0x0002_4200, 0x4380_4040]);
    assert_eq!(out[..2], [0xEEEE_6800, 0x4380_3F80]);
}

#[test]
fn vectors_are_updated_element_by_element() {
    let one = 1f32.to_bits();
    let (after, out) = run(
        &format!(
            "mov.b32 %r3, {one};\natom.global.v4.f32.add {{%r4, %r5, %r6, %r7}}, [%rd1], {{%r3, %r3, %r3, %r3}};\n\
             red.global.add.noftz.v2.bf16x2 [%rd1+16], {{%r8, %r9}};\n\
             red.global.v4.f16.max.noftz [%rd1+24], {{%rs0, %rs0, %rs0, %rs0}};\n\
             st.global.v4.u32 [%rd0], {{%r4, %r5, %r6, %r7}};"
        )
        .replace("mov.b32 %r3", "mov.b32 %r8, 0x3F803F80;\nmov.b32 %r9, 0x40004000;\nmov.b16 %rs0, 0x3C00;\nmov.b32 %r3"),
        &[1f32, 2., 3., 4.].map(f32::to_bits).into_iter()
            .chain([0x3F80_3F80, 0x3F80_4000, 0xBC00_4000, 0x7E00_3800])
            .collect::<Vec<_>>(),
    );
    let sums = [2f32, 3., 4., 5.].map(f32::to_bits);
    assert_eq!(after[..4], sums);
    assert_eq!(
        after[4..],
        [0x4000_4000, 0x4040_4080, 0x3C00_4000, 0x3C00_3C00]
    );
    assert_eq!(out[..4], [1f32, 2., 3., 4.].map(f32::to_bits));
}

#[test]
fn results_do_not_become_operands_of_later_elements() {
    let (after, _) = run(
        &format!(
            "mov.b32 %r3, {};\nmov.b32 %r4, {};\natom.global.v2.f32.add {{%r4, %r3}}, [%rd1], {{%r3, %r4}};",
            1f32.to_bits(),
            2f32.to_bits()
        ),
        &[10f32.to_bits(), 20f32.to_bits()],
    );
    assert_eq!(after, [11f32.to_bits(), 22f32.to_bits()]);
}

#[test]
fn vectors_are_aligned_to_their_size() {
    let kind = Program::with_input(
        "@%p31 red.global.v2.f32.add [%rd1+4], {%r3, %r4};",
        &[0; 16],
    )
    .fail_at("red");
    assert!(
        matches!(kind, FailureKind::Misaligned { alignment: 8, .. }),
        "{kind}"
    );
}

#[test]
fn sums_of_f32_flush_in_global_memory_alone() {
    let (after, out) = run(
        "mov.b32 %r3, 1;\nred.global.add.f32 [%rd1], %r3;\nst.shared.u32 [%r1], 1;\n\
         red.shared.add.f32 [%r1], %r3;\nld.shared.u32 %r4, [%r1];\nst.global.u32 [%rd0], %r4;",
        &[1],
    );
    assert_eq!((after[0], out[0]), (0, 2));
}

#[test]
fn sixteen_bytes_are_exchanged_and_compared() {
    for (space, address) in [("global", "%rd1"), ("shared", "%r1")] {
        let body = format!(
            r"
    .reg .b128 %q<4>;
    .reg .b64 %x<8>;
    mov.b64 %x0, 0x1111;
    mov.b64 %x1, 0x2222;
    st.{space}.v2.b64 [{address}], {{%x0, %x1}};
    mov.b128 %q0, {{%x0, %x1}};
    mov.b64 %x2, 0x3333;
    mov.b128 %q1, {{%x0, %x2}};
    atom.{space}.cas.b128 %q2, [{address}], %q1, %q1;
    mov.b128 {{%x3, %x4}}, %q2;
    st.global.u64 [%rd0], %x4;
    atom.{space}.cas.b128 _, [{address}], %q0, %q1;
    atom.{space}.exch.b128 %q3, [{address}], %q0;
    mov.b128 {{%x3, %x4}}, %q3;
    st.global.u64 [%rd0+8], %x4;
    ld.{space}.v2.b64 {{%x5, %x6}}, [{address}];
    st.global.u64 [%rd0+16], %x6;
"
        );
        let (_, out) = run(&body, &[0; 4]);
        assert_eq!(out[..6], [0x2222, 0, 0x3333, 0, 0x2222, 0], "{space}");
    }
    let kind = Program::with_input(
        ".reg .b128 %q<1>;\n@%p31 atom.global.exch.b128 %q0, [%rd1+8], %q0;",
        &[0; 32],
    )
    .fail_at("atom");
    assert!(matches!(kind, FailureKind::Global(_)), "{kind}");
}

#[test]
fn combinations_are_checked() {
    for (line, message) in [
        ("red.global.add.f16 [%rd1], %rs0;", "needs `.noftz`"),
        ("red.global.add.noftz.f32 [%rd1], %r3;", "takes no `.noftz`"),
        ("red.global.min.f32 [%rd1], %r3;", "is not supported"),
        (
            "red.global.max.noftz.f16x2 [%rd1], %r3;",
            "is not supported",
        ),
        ("red.global.inc.s32 [%rd1], %r3;", "is not supported"),
        (
            "red.global.v8.f32.add [%rd1], {%r3, %r3, %r3, %r3, %r3, %r3, %r3, %r3};",
            "vectors of 8",
        ),
        ("red.global.v2.u32.add [%rd1], {%r3, %r3};", "vectors of 2"),
        (
            "red.shared.v2.f32.add [%r1], {%r3, %r3};",
            "global memory only",
        ),
        (
            "red.global.exch.b128 [%rd1], %r3;",
            "does not take 128 bits",
        ),
        (
            "multimem.red.global.add.u32 [%rd1], %r3;",
            "`multimem` is not supported",
        ),
    ] {
        let error = load_error(line);
        assert!(error.contains(message), "{line}: {error}");
    }
}
