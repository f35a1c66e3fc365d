//! Thread and warp identity, and the warp collectives.

use core::arch::asm;

macro_rules! special_register {
    ($(#[$doc:meta])* $function:ident, $register:literal) => {
        $(#[$doc])*
        #[inline(always)]
        pub fn $function() -> u32 {
            let value: u32;
            // SAFETY: reads a special register (PTX ISA §10).
            unsafe {
                asm!(concat!("mov.u32 {0}, %", $register, ";"), out(reg32) value, options(nomem, nostack));
            }
            value
        }
    };
}

special_register!(
    /// Thread index in the CTA.
    thread_index, "tid.x"
);
special_register!(
    /// Lane in the warp, 0–31.
    lane_index, "laneid"
);
special_register!(
    /// Tile of M.
    cta_index_x, "ctaid.x"
);
special_register!(
    /// Tile of N.
    cta_index_y, "ctaid.y"
);
special_register!(
    /// Batch.
    cta_index_z, "ctaid.z"
);
special_register!(
    /// Rank of the CTA in its cluster; 0 outside of one.
    cluster_rank, "cluster_ctarank"
);
special_register!(
    /// CTAs of the cluster; 1 outside of one.
    cluster_size, "cluster_nctarank"
);

special_register!(
    /// Threads of the CTA along x.
    cta_threads, "ntid.x"
);
special_register!(
    /// CTAs of the grid along x.
    grid_size_x, "nctaid.x"
);
special_register!(
    /// CTA's place in its cluster along x.
    cluster_cta_x, "cluster_ctaid.x"
);
special_register!(
    /// CTA's place in its cluster along y.
    cluster_cta_y, "cluster_ctaid.y"
);
special_register!(
    /// CTA's place in its cluster along z.
    cluster_cta_z, "cluster_ctaid.z"
);
special_register!(
    /// CTAs of the cluster along x.
    cluster_size_x, "cluster_nctaid.x"
);
special_register!(
    /// CTAs of the cluster along y.
    cluster_size_y, "cluster_nctaid.y"
);
special_register!(
    /// CTAs of the cluster along z.
    cluster_size_z, "cluster_nctaid.z"
);
special_register!(
    /// Cluster's place in the grid along x.
    cluster_index_x, "clusterid.x"
);
special_register!(
    /// Cluster's place in the grid along y.
    cluster_index_y, "clusterid.y"
);
special_register!(
    /// Cluster's place in the grid along z.
    cluster_index_z, "clusterid.z"
);
special_register!(
    /// Bytes of shared memory that the launch asked for.
    dynamic_shared_bytes, "dynamic_smem_size"
);
special_register!(
    /// Bytes of shared memory of the CTA, but for what the system reserves.
    total_shared_bytes, "total_smem_size"
);
special_register!(
    /// Bytes of shared memory of the CTA, with what the system reserves.
    aggregate_shared_bytes, "aggr_smem_size"
);
special_register!(
    /// Where the shared memory that the system reserves begins.
    reserved_shared_begin, "reserved_smem_offset_begin"
);
special_register!(
    /// Where the shared memory that the system reserves ends.
    reserved_shared_end, "reserved_smem_offset_end"
);
special_register!(
    /// Bytes of shared memory that the system reserves.
    reserved_shared_capacity, "reserved_smem_offset_cap"
);

/// Lets other threads run for up to about twice this time. PTX ISA §9.7.19.2 `nanosleep`.
#[inline(always)]
pub fn sleep(nanoseconds: u32) {
    // SAFETY: a hint to the scheduler.
    unsafe { asm!("nanosleep.u32 {0};", in(reg32) nanoseconds, options(nostack)) }
}

/// Broadcasts lane 0's value. Called by a converged warp.
///
/// PTX ISA §9.7.9.6 `shfl.sync`. The compiler cannot know that a value is the same in all lanes; a
/// value that comes from a broadcast it keeps in a uniform register.
#[inline(always)]
pub fn broadcast_first(value: u32) -> u32 {
    let result: u32;
    // SAFETY: every lane takes part, as the caller's convergence guarantees.
    unsafe {
        asm!(
            "shfl.sync.idx.b32 {0}, {1}, 0, 31, 0xffffffff;",
            out(reg32) result,
            in(reg32) value,
            options(nomem, nostack),
        );
    }
    result
}

/// The value of the lane whose index differs in the bits of `mask`. Called by a converged warp.
///
/// PTX ISA §9.7.9.6 `shfl.sync.bfly`.
#[inline(always)]
pub fn shuffle_xor<const MASK: u32>(value: u32) -> u32 {
    let result: u32;
    // SAFETY: every lane takes part, as the caller's convergence guarantees.
    unsafe {
        asm!(
            "shfl.sync.bfly.b32 {0}, {1}, {2}, 31, 0xffffffff;",
            out(reg32) result,
            in(reg32) value,
            const MASK,
            options(nomem, nostack),
        );
    }
    result
}

/// True in exactly one lane. Called by a converged warp.
///
/// PTX ISA §9.7.13.14 `elect.sync`. ptxas knows that code under this predicate is run by one thread
/// and keeps the operands of tensor instructions in uniform registers.
#[inline(always)]
pub fn elect_one() -> bool {
    let elected: u32;
    // SAFETY: every lane takes part, as the caller's convergence guarantees.
    unsafe {
        asm!(
            "{{",
            ".reg .pred elected;",
            "elect.sync _|elected, 0xffffffff;",
            "selp.b32 {0}, 1, 0, elected;",
            "}}",
            out(reg32) elected,
            options(nomem, nostack),
        );
    }
    elected != 0
}

/// Waits for all lanes of the warp. PTX ISA §9.7.13.2 `bar.warp.sync`.
#[inline(always)]
pub fn sync() {
    // SAFETY: a full-mask barrier that all lanes reach.
    unsafe { asm!("bar.warp.sync 0xffffffff;", options(nostack)) }
}
