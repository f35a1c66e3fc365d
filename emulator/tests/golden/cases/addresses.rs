//! Addresses of shared memory in clusters: any rank, and any address.

use super::Case;
use super::lanes::Operands;
use super::numbers::{Random, any_word};

/// A word of any length.
fn any_length(random: &mut Random) -> u32 {
    any_word(random) >> random.below(32)
}

pub fn cases() -> Vec<Case> {
    let words = Operands::words(2, any_length);
    [
        (
            "mapa.u32 of its own address",
            "mov.u32 %r9, 1024; mapa.u32 %r10, %r9, %a0;",
        ),
        (
            "mapa.shared::cluster.u32",
            "mapa.shared::cluster.u32 %r10, %a1, %a0;",
        ),
        (
            "getctarank.shared::cluster.u32",
            "getctarank.shared::cluster.u32 %r10, %a0;",
        ),
    ]
    .map(|(name, statements)| words.case_of(name, statements))
    .into()
}
