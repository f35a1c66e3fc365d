//! Thread-block clusters and their distributed shared memory.

use core::arch::asm;

/// Arrives at the cluster's barrier and waits for all its threads that have not exited; what each
/// wrote to shared memory before is visible to all after. Converged warps. PTX ISA §9.7.13.3
/// `barrier.cluster`.
#[inline(always)]
pub fn sync() {
    // SAFETY: every warp of the cluster that has not exited reaches it, as the roles guarantee.
    unsafe {
        asm!(
            "barrier.cluster.arrive.release.aligned;",
            "barrier.cluster.wait.acquire.aligned;",
            options(nostack),
        );
    }
}

/// Arrives at the cluster's barrier without waiting, and without making anything visible. Converged
/// warps; [`wait`] follows.
#[inline(always)]
pub fn arrive_relaxed() {
    // SAFETY: as for `sync`.
    unsafe { asm!("barrier.cluster.arrive.relaxed.aligned;", options(nostack)) }
}

/// Arrives at the cluster's barrier without waiting. Converged warps; [`wait`] follows.
#[inline(always)]
pub fn arrive() {
    // SAFETY: as for `sync`.
    unsafe { asm!("barrier.cluster.arrive.release.aligned;", options(nostack)) }
}

/// Waits for the cluster's barrier, at which this thread has arrived. Converged warps.
#[inline(always)]
pub fn wait() {
    // SAFETY: as for `sync`.
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

/// Stores 16 bytes at a 16-byte aligned `.shared::cluster` address.
#[inline(always)]
pub fn store_16_bytes(address: u32, [a, b, c, d]: [f32; 4]) {
    // SAFETY: an address of the shared-memory plan in a CTA that is still there: all wait for each
    // other before they exit.
    unsafe {
        asm!(
            "st.shared::cluster.v4.f32 [{0}], {{{1}, {2}, {3}, {4}}};",
            in(reg32) address,
            in(reg32) a,
            in(reg32) b,
            in(reg32) c,
            in(reg32) d,
            options(nostack),
        );
    }
}
