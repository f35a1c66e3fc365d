//! Sums in memory: atomic operations on f32 and halves, with subnormal operands and results.

use super::Case;
use super::lanes::Operands;
use super::numbers::{Random, any_f32, any_word};

/// The four least exponents of f32, subnormals' among them.
fn small(random: &mut Random) -> u32 {
    any_word(random) & 0x81FF_FFFF
}

fn case(name: &str, input: fn(&mut Random) -> u32, operation: &str) -> Case {
    let statements = format!(
        "mov.b32 %f1, %a1; cvt.u16.u32 %h1, %a1;
    shl.b32 %r9, %r0, 2; mov.u32 %r8, smem; add.u32 %r9, %r9, %r8;
    st.global.b32 [%rd0], %a0; st.shared.b32 [%r9], %a0;
    fence.acq_rel.gpu;
    {operation}
    fence.acq_rel.gpu;
    ld.global.b32 %r10, [%rd0]; ld.shared.b32 %r8, [%r9]; xor.b32 %r10, %r10, %r8; xor.b32 %r10, %r10, %a0;"
    );
    Operands::words(2, input).case_of_shared(name, &statements, 1024)
}

/// The memory that the operation leaves alone holds the first word: what remains is the other's.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (numbers, input) in [("small", small as fn(&mut Random) -> u32), ("any", any_f32)] {
        for operation in [
            "red.global.add.f32 [%rd0], %f1;",
            "atom.global.add.f32 %f2, [%rd0], %f1;",
            "red.shared.add.f32 [%r9], %f1;",
            "atom.shared.add.f32 %f2, [%r9], %f1;",
            "red.global.add.noftz.f16x2 [%rd0], %a1;",
            "red.global.add.noftz.bf16x2 [%rd0], %a1;",
        ] {
            let name = operation.split_whitespace().next().unwrap_or_default();
            cases.push(case(
                &format!("{name} of {numbers} numbers"),
                input,
                operation,
            ));
        }
    }
    cases
}
