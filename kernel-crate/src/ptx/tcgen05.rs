//! The fifth-generation tensor core. PTX ISA §9.7.16; every instruction with `cta_group::1`.

use core::arch::asm;

use super::mbarrier::Mbarrier;

/// Allocates `columns` columns of tensor memory and writes their address to shared memory at
/// `destination`. A converged warp; blocks until the columns are free. §9.7.16.7.1.
#[inline(always)]
pub fn alloc(destination: u32, columns: u32) {
    // SAFETY: a 4-byte slot of the shared-memory plan.
    unsafe {
        asm!(
            "tcgen05.alloc.cta_group::1.sync.aligned.shared::cta.b32 [{0}], {1};",
            in(reg32) destination,
            in(reg32) columns,
            options(nostack),
        );
    }
}

/// Gives up the right to allocate, so that a CTA of a later grid may. A converged warp.
/// §9.7.16.7.1.
#[inline(always)]
pub fn relinquish_alloc_permit() {
    // SAFETY: no operands.
    unsafe {
        asm!(
            "tcgen05.relinquish_alloc_permit.cta_group::1.sync.aligned;",
            options(nostack)
        );
    }
}

/// Frees what [`alloc`] returned. A converged warp, after every access has completed. §9.7.16.7.1.
#[inline(always)]
pub fn dealloc(address: u32, columns: u32) {
    // SAFETY: the address came from `alloc` with the same number of columns.
    unsafe {
        asm!(
            "tcgen05.dealloc.cta_group::1.sync.aligned.b32 {0}, {1};",
            in(reg32) address,
            in(reg32) columns,
            options(nostack),
        );
    }
}

/// Orders earlier asynchronous tcgen05 operations of this thread before a synchronisation that
/// follows. §9.7.16.11.
#[inline(always)]
pub fn fence_before_thread_sync() {
    // SAFETY: no operands.
    unsafe { asm!("tcgen05.fence::before_thread_sync;", options(nostack)) }
}

/// Orders tcgen05 operations that follow after a synchronisation that went before. §9.7.16.11.
#[inline(always)]
pub fn fence_after_thread_sync() {
    // SAFETY: no operands.
    unsafe { asm!("tcgen05.fence::after_thread_sync;", options(nostack)) }
}

/// Copies a scale-factor tile of 32 rows × 16 bytes to tensor memory, into the same four columns of
/// each of the four 32-lane partitions. One thread; runs in order with the MMAs of the same CTA.
/// §9.7.16.9.
#[inline(always)]
pub fn copy_scale_tile(tmem: u32, descriptor: u64) {
    // SAFETY: the descriptor covers a tile that has arrived; the columns belong to the CTA.
    unsafe {
        asm!(
            "tcgen05.cp.cta_group::1.32x128b.warpx4 [{0}], {1};",
            in(reg32) tmem,
            in(reg64) descriptor,
            options(nostack),
        );
    }
}

/// What the collector buffer does with A. A hint for performance alone. §9.7.16.10.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum CollectorA {
    /// Keep A for the next MMA.
    Fill,
    /// Take A from the buffer, and let it go.
    LastUse,
}

/// The operands of one MMA that the two products share.
#[derive(Clone, Copy)]
pub struct OperandA {
    pub descriptor: u64,
    /// Tensor memory address of the scale factors.
    pub scales: u32,
}

/// The operands of one MMA that are a product's own.
#[derive(Clone, Copy)]
pub struct OperandB {
    pub descriptor: u64,
    pub scales: u32,
    /// Tensor memory address of the f32 accumulator.
    pub accumulator: u32,
}

macro_rules! mma_text {
    ($collector:literal) => {
        concat!(
            "{{",
            ".reg .pred accumulate;",
            "setp.ne.u32 accumulate, {6}, 0;",
            "tcgen05.mma.cta_group::1.kind::mxf4nvf4.block_scale.block16.collector::a::",
            $collector,
            " [{0}], {1}, {2}, {3}, [{4}], [{5}], accumulate;",
            "}}",
        )
    };
}

/// `D = A·Bᵀ` over K = 64, plus D where `accumulate` is not 0; 16 elements share a scale factor.
/// One thread.
///
/// §9.7.16.10. `.block16` is the spelling of `.scale_vec::4X` that family targets accept.
#[inline(always)]
pub fn mma_nvfp4(
    collector: CollectorA,
    a: OperandA,
    b: OperandB,
    instruction_descriptor: u32,
    accumulate: u32,
) {
    macro_rules! issue {
        ($text:expr) => {
            // SAFETY: the descriptors cover tiles that have arrived and stay until the commit that
            // follows completes; the accumulator and the scale factors are columns of the CTA.
            unsafe {
                asm!(
                    $text,
                    in(reg32) b.accumulator,
                    in(reg64) a.descriptor,
                    in(reg64) b.descriptor,
                    in(reg32) instruction_descriptor,
                    in(reg32) a.scales,
                    in(reg32) b.scales,
                    in(reg32) accumulate,
                    options(nostack),
                )
            }
        };
    }
    match collector {
        CollectorA::Fill => issue!(mma_text!("fill")),
        CollectorA::LastUse => issue!(mma_text!("lastuse")),
    }
}

/// Arrives once on `barrier` when every tcgen05 copy and MMA that this thread has issued is
/// complete. One thread; implies [`fence_before_thread_sync`]. §9.7.16.12.
#[inline(always)]
pub fn commit(barrier: Mbarrier) {
    // SAFETY: an initialised barrier of this CTA.
    unsafe {
        asm!(
            "tcgen05.commit.cta_group::1.mbarrier::arrive::one.shared::cluster.b64 [{0}];",
            in(reg32) barrier.0,
            options(nostack),
        );
    }
}

/// Starts loading 16 lanes × 32 columns. A converged warp; the registers are valid after
/// [`wait_load`]. §9.7.16.8.
///
/// The lane field of `tmem` names the first of the 16 lanes, inside the 32 of the warp's rank.
/// Thread t gets, in register r, lane `t / 4 + 8·(r / 2 % 2)` and column
/// `2·(t % 4) + r % 2 + 8·(r / 4)`.
#[inline(always)]
pub fn load_16x256b_x4(tmem: u32) -> [u32; 16] {
    let mut r = [0u32; 16];
    // SAFETY: columns of the CTA that no operation in flight writes.
    unsafe {
        asm!(
            concat!(
                "tcgen05.ld.sync.aligned.16x256b.x4.b32 ",
                "{{{0}, {1}, {2}, {3}, {4}, {5}, {6}, {7}, ",
                "{8}, {9}, {10}, {11}, {12}, {13}, {14}, {15}}}, [{16}];",
            ),
            out(reg32) r[0], out(reg32) r[1], out(reg32) r[2], out(reg32) r[3],
            out(reg32) r[4], out(reg32) r[5], out(reg32) r[6], out(reg32) r[7],
            out(reg32) r[8], out(reg32) r[9], out(reg32) r[10], out(reg32) r[11],
            out(reg32) r[12], out(reg32) r[13], out(reg32) r[14], out(reg32) r[15],
            in(reg32) tmem,
            options(nostack),
        );
    }
    r
}

/// Waits for the loads of this warp. A converged warp. §9.7.16.8.
#[inline(always)]
pub fn wait_load() {
    // SAFETY: no operands.
    unsafe { asm!("tcgen05.wait::ld.sync.aligned;", options(nostack)) }
}
