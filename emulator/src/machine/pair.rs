//! Pairs of CTAs, which execute the `tcgen05` instructions of `.cta_group::2` together (PTX ISA §9.7.16.5): those whose
//! ranks in the cluster differ in bit 0.

use std::ops::Range;

use super::cluster::Cta;
use crate::tensor::CtaMemory;

/// The CTAs that execute an instruction of `cta_group` issued by `cta`, the even one first.
pub fn group(cta: usize, cta_group: u8) -> Range<usize> {
    match cta_group {
        2 => cta & !1..(cta | 1) + 1,
        _ => cta..cta + 1,
    }
}

/// What the tensor core sees of these CTAs.
pub fn memories(ctas: &mut [Cta]) -> Vec<CtaMemory<'_>> {
    ctas.iter_mut()
        .map(|Cta { shared, tensor, .. }| CtaMemory {
            shared: shared.window(),
            tensor,
        })
        .collect()
}
