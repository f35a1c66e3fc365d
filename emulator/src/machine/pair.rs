//! Pairs of CTAs, which execute the `tcgen05` instructions of `.cta_group::2` together (PTX ISA §9.7.16.5): those whose
//! ranks in the cluster differ in bit 0.

use std::ops::Range;

use super::cluster::{Cluster, Cta};
use super::cluster_fault::ClusterFault;
use super::report::Step;
use crate::tensor::CtaMemory;

/// What a warp of a CTA has asked for together with the other CTA of the pair: both have to come before either goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    Allocate { columns: u32 },
    Deallocate { address: u32, columns: u32 },
}

/// The part of a CTA in what its pair does together.
#[derive(Clone, Copy, Debug, Default)]
pub struct PairState {
    /// The warp that waits for the other CTA, and what for.
    pub request: Option<(usize, Request)>,
    /// The result of the request of that warp, left by the other CTA.
    pub done: Option<(usize, u32)>,
}

impl Cluster<'_> {
    /// The other CTA of the pair, which has to exist and to run.
    pub fn peer(&self, cta: usize) -> Step<usize> {
        let (rank, ctas) = (cta as u32, self.ctas.len() as u32);
        if rank ^ 1 >= ctas {
            return Err(ClusterFault::NoPeer { rank, ctas }.into());
        }
        self.check_alive(rank ^ 1)?;
        Ok(cta ^ 1)
    }
}

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
