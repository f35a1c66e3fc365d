//! Programs whose results a real GPU and the emulator must share to the bit.
//!
//! A [`Case`] launches an entry of the conformance PTX (`kernel-crate/src/conformance`) on inputs that its
//! name determines, and looks at what it wrote. [`Runner`] runs it on whichever device the driver layer
//! selected. `examples/conform.rs` records what a GPU computes, `golden.rs` compares the emulator with that.

mod bulk;
mod case;
mod cluster;
mod encode;
mod launches;
mod mbarrier;
mod multicast;
mod noise;
mod run;
mod tma_load;
mod tma_store;

use std::collections::BTreeSet;

pub use case::{Case, Launch, Map, Over};
pub use run::{CaseError, Runner};

/// The conformance kernels.
pub const PTX: &str = include_str!("conformance.sm_90a.ptx");

/// Every case; the names are different.
pub fn cases() -> Vec<Case> {
    let families = [
        tma_load::cases(),
        tma_store::cases(),
        encode::cases(),
        bulk::cases(),
        mbarrier::cases(),
        cluster::cases(),
        multicast::cases(),
        launches::cases(),
        tma_load::unaligned(),
        tma_load::tf32(),
        tma_store::tf32(),
        tma_store::unaligned(),
        tma_store::subnormals(),
        tma_store::combinations(),
        bulk::subnormals(),
    ];
    let cases: Vec<Case> = families.into_iter().flatten().collect();
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names.len(), cases.len(), "two cases have one name");
    cases
}

/// FNV-1a, 64 bits.
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
