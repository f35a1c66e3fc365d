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

/// What `arrive` returns: the phase that the arrival belongs to. Opaque (§9.7.13.15.13).
#[derive(Clone, Copy)]
pub struct Token(pub u64);

impl Token {
    /// Arrivals that were pending before the one that returned this. §9.7.13.15.17
    /// `mbarrier.pending_count`.
    #[inline(always)]
    pub fn pending_count(self) -> u32 {
        let count: u32;
        // SAFETY: only computes a value.
        unsafe {
            asm!("mbarrier.pending_count.b64 {0}, {1};", out(reg32) count, in(reg64) self.0, options(nomem, nostack));
        }
        count
    }
}

macro_rules! arrival {
    ($(#[$doc:meta])* $function:ident, $instruction:literal) => {
        $(#[$doc])*
        #[inline(always)]
        pub fn $function(self, operand: u32) -> Token {
            let token: u64;
            // SAFETY: an initialised barrier of this CTA.
            unsafe {
                asm!(
                    concat!($instruction, ".shared::cta.b64 {0}, [{1}], {2};"),
                    out(reg64) token,
                    in(reg32) self.0,
                    in(reg32) operand,
                    options(nostack),
                );
            }
            Token(token)
        }
    };
}

macro_rules! waits {
    ($(#[$doc:meta])* $function:ident, $instruction:literal, $class:ident, $operand:ty) => {
        $(#[$doc])*
        #[inline(always)]
        pub fn $function(self, operand: $operand) -> bool {
            let complete: u32;
            // SAFETY: an initialised barrier of this CTA.
            unsafe {
                asm!(
                    "{{",
                    ".reg .pred complete;",
                    concat!($instruction, ".shared::cta.b64 complete, [{1}], {2};"),
                    "selp.b32 {0}, 1, 0, complete;",
                    "}}",
                    out(reg32) complete,
                    in(reg32) self.0,
                    in($class) operand,
                    options(nostack),
                );
            }
            complete != 0
        }
    };
}

/// Every step a barrier can take, for code that looks at phases rather than passing through them.
impl Mbarrier {
    arrival!(
        /// Arrives `operand` times. §9.7.13.15.13 `mbarrier.arrive`.
        arrive_count, "mbarrier.arrive"
    );
    arrival!(
        /// Arrives `operand` times; later phases expect as many arrivals fewer. §9.7.13.15.14
        /// `mbarrier.arrive_drop`.
        arrive_drop, "mbarrier.arrive_drop"
    );
    arrival!(
        /// Arrives `operand` times, which must not complete the phase. §9.7.13.15.13.
        arrive_no_complete, "mbarrier.arrive.noComplete"
    );
    arrival!(
        /// Expects `operand` more bytes in this phase, then arrives. §9.7.13.15.13.
        arrive_expect_tx_token, "mbarrier.arrive.expect_tx"
    );
    arrival!(
        /// Expects `operand` more bytes in this phase, then arrives and leaves. §9.7.13.15.14.
        arrive_drop_expect_tx, "mbarrier.arrive_drop.expect_tx"
    );
    waits!(
        /// Whether the phase of this parity has completed. §9.7.13.15.16 `mbarrier.test_wait`.
        test_wait_parity, "mbarrier.test_wait.parity", reg32, u32
    );
    waits!(
        /// Whether the phase of this parity has completed, after waiting for up to a time limit of
        /// the system's choosing. §9.7.13.15.16 `mbarrier.try_wait`.
        try_wait_parity, "mbarrier.try_wait.parity", reg32, u32
    );
    waits!(
        /// Whether the token's phase has completed. §9.7.13.15.16 `mbarrier.test_wait`.
        test_wait_token, "mbarrier.test_wait", reg64, u64
    );
    waits!(
        /// Whether the token's phase has completed, as [`Self::try_wait_parity`].
        try_wait_token, "mbarrier.try_wait", reg64, u64
    );

    /// Expects `bytes` more in this phase, without arriving. §9.7.13.15.11 `mbarrier.expect_tx`.
    #[inline(always)]
    pub fn expect_tx(self, bytes: u32) {
        // SAFETY: an initialised barrier of this CTA.
        unsafe {
            asm!(
                "mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [{0}], {1};",
                in(reg32) self.0,
                in(reg32) bytes,
                options(nostack),
            );
        }
    }

    /// Credits `bytes` as an asynchronous copy does. §9.7.13.15.12 `mbarrier.complete_tx`.
    #[inline(always)]
    pub fn complete_tx(self, bytes: u32) {
        // SAFETY: an initialised barrier of this CTA.
        unsafe {
            asm!(
                "mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [{0}], {1};",
                in(reg32) self.0,
                in(reg32) bytes,
                options(nostack),
            );
        }
    }

    /// Ends the barrier's life. §9.7.13.15.10 `mbarrier.inval`.
    #[inline(always)]
    pub fn invalidate(self) {
        // SAFETY: a barrier of this CTA that nobody uses any more.
        unsafe { asm!("mbarrier.inval.shared::cta.b64 [{0}];", in(reg32) self.0, options(nostack)) }
    }

    /// Whether the phase of this parity completes within about `tries` times 20 microseconds. The
    /// suspension of each try is a hint (§9.7.13.15.16).
    #[inline(always)]
    pub fn wait_bounded(self, parity: u32, tries: u32) -> bool {
        for _ in 0..tries {
            let complete: u32;
            // SAFETY: an initialised barrier of this CTA.
            unsafe {
                asm!(
                    "{{",
                    ".reg .pred complete;",
                    "mbarrier.try_wait.parity.shared::cta.b64 complete, [{1}], {2}, 20000;",
                    "selp.b32 {0}, 1, 0, complete;",
                    "}}",
                    out(reg32) complete,
                    in(reg32) self.0,
                    in(reg32) parity,
                    options(nostack),
                );
            }
            if complete != 0 {
                return true;
            }
        }
        false
    }
}

/// The `.shared::cluster` address of a barrier, perhaps another CTA's: only to arrive at.
#[derive(Clone, Copy)]
pub struct RemoteMbarrier(pub u32);

impl RemoteMbarrier {
    /// Arrives `count` times. §9.7.13.15.13: no token comes back.
    #[inline(always)]
    pub fn arrive_count(self, count: u32) {
        // SAFETY: an initialised barrier of a CTA that has not exited.
        unsafe {
            asm!(
                "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [{0}], {1};",
                in(reg32) self.0,
                in(reg32) count,
                options(nostack),
            );
        }
    }

    /// Expects `bytes` more in this phase, then arrives once.
    #[inline(always)]
    pub fn arrive_expect_tx(self, bytes: u32) {
        // SAFETY: as for `arrive_count`.
        unsafe {
            asm!(
                "mbarrier.arrive.expect_tx.release.cluster.shared::cluster.b64 _, [{0}], {1};",
                in(reg32) self.0,
                in(reg32) bytes,
                options(nostack),
            );
        }
    }

    /// Expects `bytes` more in this phase, without arriving. §9.7.13.15.11.
    #[inline(always)]
    pub fn expect_tx(self, bytes: u32) {
        // SAFETY: as for `arrive_count`.
        unsafe {
            asm!(
                "mbarrier.expect_tx.relaxed.cluster.shared::cluster.b64 [{0}], {1};",
                in(reg32) self.0,
                in(reg32) bytes,
                options(nostack),
            );
        }
    }

    /// Credits `bytes`. §9.7.13.15.12.
    #[inline(always)]
    pub fn complete_tx(self, bytes: u32) {
        // SAFETY: as for `arrive_count`.
        unsafe {
            asm!(
                "mbarrier.complete_tx.relaxed.cluster.shared::cluster.b64 [{0}], {1};",
                in(reg32) self.0,
                in(reg32) bytes,
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
