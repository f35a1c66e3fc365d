//! Instructions by which the lanes of a warp exchange values: on words of any kind, with all lanes and with some.

use super::Case;
use super::lanes::Operands;
use super::numbers::{Random, any_word};

/// Masks of the lanes that take part.
const MASKS: [u32; 4] = [0xFFFF_FFFF, 0x0000_FFFF, 0x5555_5555, 0x8421_1248];

/// Few different words, so that lanes have equal ones.
fn few_words(random: &mut Random) -> u32 {
    any_word(random) & 0x8000_0003
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for mask in MASKS {
        for mode in ["up", "down", "bfly", "idx"] {
            cases.push(case(
                &format!("shfl.sync.{mode}.b32"),
                mask,
                any_word,
                "",
                "%r10|%p0, %a0, %a1, %a2",
            ));
        }
        for operation in [
            "add.s32", "add.u32", "min.s32", "min.u32", "max.s32", "max.u32",
        ]
        .into_iter()
        .chain(["and.b32", "or.b32", "xor.b32"])
        {
            let instruction = format!("redux.sync.{operation}");
            cases.push(case(&instruction, mask, any_word, "", "%r10, %a0"));
        }
        const ODD: &str = "and.b32 %r9, %a0, 1; setp.eq.u32 %p1, %r9, 1;";
        const NONZERO: &str = "setp.ne.u32 %p1, %a0, 0;";
        for (vote, load) in [
            ("all", NONZERO),
            ("any", NONZERO),
            ("uni", NONZERO),
            ("any", ODD),
        ] {
            let name = format!("vote.sync.{vote}.pred");
            let name = if load == ODD {
                format!("{name} odd")
            } else {
                name
            };
            cases.push(case(&name, mask, few_words, load, "%p0, %p1"));
        }
        cases.push(case(
            "vote.sync.ballot.b32",
            mask,
            any_word,
            ODD,
            "%r10, %p1",
        ));
        cases.push(case("match.any.sync.b32", mask, few_words, "", "%r10, %a0"));
        cases.push(case(
            "match.all.sync.b32",
            mask,
            few_words,
            "",
            "%r10|%p0, %a0",
        ));
        const WIDE: &str = "mov.b64 %rd9, {%a0, %a1};";
        cases.push(case(
            "match.any.sync.b64",
            mask,
            few_words,
            WIDE,
            "%r10, %rd9",
        ));
        cases.push(case("elect.sync", mask, any_word, "", "%r10|%p0"));
    }
    cases
}

/// The instruction with a mask as its last operand, by the lanes of the mask. The result is the word, its top bit
/// flipped where the predicate is true; lanes that do not take part have a zero.
fn case(name: &str, mask: u32, input: fn(&mut Random) -> u32, load: &str, operands: &str) -> Case {
    let instruction = name.trim_end_matches(" odd");
    let before = format!(
        "mov.u32 %r10, 0; setp.ne.u32 %p0, %r10, 0; {load}
    mov.u32 %r8, %laneid; mov.u32 %r9, {mask:#x}; shr.u32 %r9, %r9, %r8; and.b32 %r9, %r9, 1;
    setp.ne.u32 %p2, %r9, 0;
    @!%p2 bra OUTSIDE;
    {instruction} {operands}, {mask:#x};
OUTSIDE:
    selp.b32 %r9, 0x80000000, 0, %p0; xor.b32 %r10, %r10, %r9;"
    );
    Operands::words(3, input).case_of(&format!("{name} of {mask:#x}"), &before)
}
