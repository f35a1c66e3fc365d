//! Properties that hold for any text: the parser returns, and its errors point into the text.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::{ParseErrors, parse};

/// One of everything.
const SAMPLE: &str = r#"
// comment /* in a comment
.version 8.8
.target sm_100a, debug
.address_size 64
.file 1 "kernel.rs", 0, 0
.extern .shared .align 1024 .b8 SMEM[];
.global .align 8 .u64 NAMES[3] = {generic(text)+4, 2, -1}, OTHER = (1 << 4) + 3;
.const .v4 .f32 C[2][2] = {{0f3F800000, 1.5}, {0d3FF0000000000000, WARP_SZ}};
.func (.param .b32 func_retval0) helper(.param .b64 .ptr .global .align 16 a) .noreturn;
.alias helper, other;
.visible .entry kernel(
    .param .align 64 .b8 kernel_param_0[128], .param .u64 kernel_param_1
)
.reqntid 192, 1, 1
.minnctapersm 1
{
    .local .align 8 .b8 __local_depot0[24];
    .reg .pred %p<3>;
    .reg .b32 %r<17>, %s;
    .loc 1 24 0, function_name $L__info_string0, inlined_at 1 20 3
    mov.u32 %r1, %tid.x;
    setp.lt.and.s32 %p1|%p2, %r1, -4, !%p2;
    @!%p1 bra $L__BB0_1;
    {
        .reg .pred p;
    L: mbarrier.try_wait.parity.shared::cta.b64 p, [%r1+-8], 0x1U;
        @!p bra L;
    }
    cp.async.bulk.tensor.2d.shared::cta.global.tile [%r1], [%rd1, {%r2, 0}], [SMEM+8];
    tcgen05.ld.sync.aligned.16x256b.x1.b32 {%r1, %r2, _, %r4}, [%r3];
    elect.sync _|%p1, 0xffffffff;
    call.uni (retval0), helper, (param0, 1 ? 2 : 3);
$L__T: .branchtargets $L__BB0_1, $L__BB0_2;
    brx.idx %r1, $L__T;
P: .callprototype (.param .b32 _) _ (.param .b64 _);
    mov.b64 %rd1, NAMES[2];
    add.f32 %r1, %r2, 0F3F800000; /* multi
    line */ .pragma "nounroll";
$L__BB0_1:
    ret;
}
.section .debug_abbrev { .b8 1 L1: .b64 L1-L0 }
L2:
"#;

/// Each error lies within the text and they come in its order, each place once.
fn check_places(text: &str, errors: &ParseErrors) -> Result<(), TestCaseError> {
    let lines: Vec<&str> = text.split('\n').collect();
    let mut last = (0, 0);
    for error in errors.as_slice() {
        let line = lines.get(error.line as usize - 1);
        let is_inside = line.is_some_and(|line| error.column as usize - 1 <= line.len());
        prop_assert!(is_inside, "outside of the text: {error}");
        prop_assert!(last < (error.line, error.column), "out of order: {error}");
        last = (error.line, error.column);
    }
    prop_assert_eq!(errors.to_string().lines().count(), errors.as_slice().len());
    Ok(())
}

fn check(text: &str) -> Result<(), TestCaseError> {
    match parse(text) {
        Ok(_) => Ok(()),
        Err(errors) => check_places(text, &errors),
    }
}

/// Pieces that bring random texts past the first token.
fn fragment() -> impl Strategy<Value = String> {
    const PIECES: &str = r#"
        .version 8.8 .target sm_100a .entry .func .visible .extern .reg .b32 .align .param .global
        .shared .section .loc .file .pragma .branchtargets .callprototype .v4 .ptr
        k %r1 _ call add.s32 generic WARP_SZ 1 0 0x8000000000000000 1.5 0f3F800000 "s" " \
        { } ( ) [ ] < > , ; : @ ! ~ ? = + - * / % & | ^ << >> == && || // /* */
    "#;
    prop_oneof![
        18 => select(PIECES.split_whitespace().collect::<Vec<_>>()).prop_map(str::to_owned),
        1 => Just("\n".to_owned()),
        1 => "\\PC{1,3}",
    ]
}

#[test]
fn the_sample_is_valid() {
    let module = parse(SAMPLE).unwrap();
    assert_eq!((module.variables.len(), module.functions.len()), (4, 2));
    let body = module.functions[1].body.as_ref().unwrap();
    assert_eq!(body.statements.len(), 19);
}

#[test]
fn every_prefix_of_the_sample_is_handled() {
    for end in 0..SAMPLE.len() {
        check(&SAMPLE[..end]).unwrap();
    }
}

/// Time is linear in the text: each of these takes hours where it is quadratic.
#[test]
fn large_texts_take_little_time() {
    let header = ".version 8.8 .target sm_100a .entry k() {";
    for (unit, is_valid) in [
        ("add.s32 %r1, %r2, %r3;\n", true),
        ("add.s32 %r1 %r2;", false),
        ("@;", false),
        ("{ret;}", true),
        ("{ret}", false),
        ("/**/", true),
        ("\u{e9}", false),
    ] {
        let body = unit.repeat(1_000_000 / unit.len());
        assert_eq!(
            parse(&format!("{header}{body}}}")).is_ok(),
            is_valid,
            "{unit}"
        );
    }
    let values = "1,".repeat(1_000_000);
    assert!(parse(&format!("{header}}} .global .b8 x[] = {{{values} 1}};")).is_ok());
    assert!(parse(&".entry (".repeat(500_000)).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_text_is_handled(text in any::<String>()) {
        check(&text)?;
    }

    #[test]
    fn any_sequence_of_tokens_is_handled(
        fragments in vec(fragment(), 0..60),
        in_body in any::<bool>(),
        separator in select(&["", " "][..]),
    ) {
        let text = fragments.join(separator);
        check(&text)?;
        if in_body {
            check(&format!(".version 8.8 .target sm_100a .entry k() {{ {text} }}"))?;
        }
    }

    /// The sample with a few places overwritten, removed or repeated.
    #[test]
    fn mutated_modules_are_handled(
        edits in vec((0..SAMPLE.len(), 0..12usize, fragment(), any::<bool>()), 1..6),
    ) {
        let mut text = SAMPLE.to_owned();
        for (place, length, insert, repeat) in edits {
            let boundary = |mut i: usize| {
                while !text.is_char_boundary(i) {
                    i -= 1;
                }
                i
            };
            let start = boundary(place.min(text.len()));
            let end = boundary((start + length).min(text.len()));
            if repeat {
                let piece = text[start..end].repeat(3);
                text.insert_str(end, &piece);
            } else {
                text.replace_range(start..end, &insert);
            }
        }
        check(&text)?;
    }
}
