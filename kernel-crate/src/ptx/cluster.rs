//! Thread-block clusters and their distributed shared memory.

use core::arch::asm;

/// Arrives at the cluster's barrier without waiting, and without making anything visible. Converged
/// warps; [`wait`] follows. PTX ISA §9.7.13.3 `barrier.cluster`.
#[inline(always)]
pub fn arrive_relaxed() {
    // SAFETY: every warp of the cluster that has not exited reaches it, as the roles guarantee.
    unsafe { asm!("barrier.cluster.arrive.relaxed.aligned;", options(nostack)) }
}

/// Waits for the cluster's barrier, at which this thread has arrived. Converged warps.
#[inline(always)]
pub fn wait() {
    // SAFETY: as for `arrive_relaxed`.
    unsafe { asm!("barrier.cluster.wait.acquire.aligned;", options(nostack)) }
}

/// The `.shared::cluster` address, in the CTA of this rank, of what is at `address` here. PTX ISA
/// §9.7.9.23 `mapa`.
#[inline(always)]
pub fn map_shared(address: u32, rank: u32) -> u32 {
    let mapped: u32;
    // SAFETY: only computes an address.
    unsafe {
        asm!(
            "mapa.shared::cluster.u32 {0}, {1}, {2};",
            out(reg32) mapped,
            in(reg32) address,
            in(reg32) rank,
            options(nomem, nostack),
        );
    }
    mapped
}

/// Stores 16 bytes at a 16-byte aligned `.shared::cluster` address and credits them to `barrier`, in the
/// same CTA. Returns before; whoever waits for the barrier sees them. PTX ISA §9.7.9.12 `st.async`.
#[inline(always)]
pub fn store_16_bytes_async(address: u32, [a, b, c, d]: [f32; 4], barrier: u32) {
    // SAFETY: addresses of the shared-memory plan in a CTA that is there until the barrier completes.
    unsafe {
        asm!(
            "st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [{0}], {{{1}, {2}, {3}, {4}}}, [{5}];",
            in(reg32) address,
            in(reg32) a,
            in(reg32) b,
            in(reg32) c,
            in(reg32) d,
            in(reg32) barrier,
            options(nostack),
        );
    }
}
