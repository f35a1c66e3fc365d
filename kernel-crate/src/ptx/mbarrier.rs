//! Memory barriers: 8-byte objects in shared memory that count arrivals and bytes. PTX ISA
//! §9.7.13.15.

use core::arch::asm;

use super::cluster;

/// The `.shared::cta` address of a barrier.
#[derive(Clone, Copy)]
pub struct Mbarrier(pub u32);

impl Mbarrier {
    /// Starts phase 0 with `arrivals` arrivals expected per phase. One thread; others may use the
    /// barrier after [`fence_init`] and a CTA barrier.
    #[inline(always)]
    pub fn init(self, arrivals: u32) {
        // SAFETY: an 8-byte aligned address of the shared-memory plan that nothing else uses.
        unsafe {
            asm!("mbarrier.init.shared::cta.b64 [{0}], {1};", in(reg32) self.0, in(reg32) arrivals, options(nostack));
        }
    }

    /// Arrives once.
    #[inline(always)]
    pub fn arrive(self) {
        // SAFETY: an initialised barrier of this CTA.
        unsafe {
            asm!("mbarrier.arrive.shared::cta.b64 _, [{0}];", in(reg32) self.0, options(nostack));
        }
    }

    /// Arrives once at the barrier at the same place in the CTA of this rank of the cluster. It orders
    /// nothing between CTAs: `.release.cluster` would, and costs a fence of the whole GPU.
    #[inline(always)]
    pub fn arrive_at(self, rank: u32) {
        // SAFETY: an initialised barrier of a CTA that is there until all of the cluster are done.
        unsafe {
            asm!(
                "mbarrier.arrive.shared::cluster.b64 _, [{0}];",
                in(reg32) cluster::map_shared(self.0, rank),
                options(nostack),
            );
        }
    }

    /// Adds `bytes` to what the current phase waits for, then arrives once. One thread.
    #[inline(always)]
    pub fn arrive_expect_tx(self, bytes: u32) {
        // SAFETY: an initialised barrier of this CTA.
        unsafe {
            asm!(
                "mbarrier.arrive.expect_tx.shared::cta.b64 _, [{0}], {1};",
                in(reg32) self.0,
                in(reg32) bytes,
                options(nostack),
            );
        }
    }

    /// Waits until the phase of this parity has completed. What happened before the phase's
    /// arrivals is visible after.
    ///
    /// A barrier starts in phase 0: parity 0 waits for its first completion, parity 1 returns at
    /// once. `try_wait` may give up after a time limit of the system's choosing (§9.7.13.15.16),
    /// hence the loop; it is part of the assembly so that no predicate has to travel through a
    /// register.
    #[inline(always)]
    pub fn wait(self, parity: u32) {
        // SAFETY: an initialised barrier of this CTA; the label is local to the braces.
        unsafe {
            asm!(
                "{{",
                ".reg .pred complete;",
                "WAIT:",
                "mbarrier.try_wait.parity.shared::cta.b64 complete, [{0}], {1};",
                "@!complete bra WAIT;",
                "}}",
                in(reg32) self.0,
                in(reg32) parity,
                options(nostack),
            );
        }
    }
}

/// Makes barrier initialisations by this thread visible to the asynchronous proxy. One thread. PTX
/// ISA §9.7.13.4.
#[inline(always)]
pub fn fence_init() {
    // SAFETY: a fence without operands.
    unsafe { asm!("fence.mbarrier_init.release.cluster;", options(nostack)) }
}
