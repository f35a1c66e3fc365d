//! What can be wrong with a cluster's shape, and with the use that one of its CTAs makes of another.

use thiserror::Error;

/// Why a launch cannot have the clusters that it asks for. A driver answers all of these with
/// `CUDA_ERROR_INVALID_CLUSTER_SIZE` (seen on an H200, driver 580).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ClusterMisfit {
    #[error("the grid of {grid:?} CTAs is not a multiple of it in every dimension")]
    Grid { grid: [u32; 3] },
    #[error("that is {ctas} in all; 1 to {limit} are possible")]
    Size { ctas: u64, limit: u32 },
    #[error("the kernel requires {required:?}")]
    Required { required: [u32; 3] },
    #[error("the kernel admits {limit} in all (`.maxclusterrank`)")]
    Rank { limit: u32 },
}

/// A CTA of a cluster used another one in a way that it must not (PTX ISA §5.1.7, §9.7.9, §9.7.16).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ClusterFault {
    /// Found on an H200: such an access is an illegal instruction; the rank is not stripped.
    #[error(
        "address {address:#x} is in the shared memory of CTA {rank} of the cluster, but the instruction accesses \
         `.shared::cta`, that of its own CTA {own}; use `.shared::cluster`"
    )]
    RemoteAddress { address: u64, rank: u32, own: u32 },
    #[error(
        "CTA {rank} of the cluster has exited, so that its shared and tensor memory are gone; let it wait, with \
         barrier.cluster for example, until nobody uses them"
    )]
    Exited { rank: u32 },
    #[error(
        "the data goes to CTA {data} of the cluster and the mbarrier is in CTA {barrier}; the mbarrier must be in {}",
        match .pair { true => "the same CTA or the other one of its pair", false => "the same CTA" }
    )]
    BarrierElsewhere { data: u32, barrier: u32, pair: bool },
    #[error("CTA mask {mask:#06x} names a CTA that does not exist; the cluster has {ctas}")]
    Mask { mask: u64, ctas: u32 },
    #[error("CTA mask 0 names no CTA")]
    EmptyMask,
    #[error(
        "`.cta_group::2` in CTA {rank} of a cluster of {ctas}: there is no CTA {} to pair with; launch clusters with \
         an even number of CTAs",
        .rank ^ 1
    )]
    NoPeer { rank: u32, ctas: u32 },
    #[error(
        "`.cta_group::{found}` after `.cta_group::{earlier}`: all tcgen05 instructions of a kernel have the same"
    )]
    MixedGroups { found: u8, earlier: u8 },
    #[error(
        "the CTAs of the pair ask for different allocations: {own} columns here, {peer} in the other CTA"
    )]
    PairColumns { own: u32, peer: u32 },
}
