//! The ring of stages between the load warp and the MMA warp.
//!
//! Each stage has two barriers. `full` completes when the copies into the stage have landed;
//! `empty` completes when the MMAs that read it are done. A stage taken must be given back:
//! [`Filling`] and [`Draining`] are the only ways to reach a stage, and both are consumed by the
//! call that hands it on.
//!
//! ```text
//!            acquire: wait empty          release: copies complete
//!   load  ────────────────► Filling ─────────────────────────────► full
//!   MMA   ────────────────► Draining ────────────────────────────► empty
//!            acquire: wait full           release: tcgen05.commit
//! ```

use crate::contract::{SharedPlan, arrivals};
use crate::ptx::mbarrier::{self, Mbarrier};
use crate::ptx::tcgen05;

/// Position in the ring: the stage and the parity of the phase it is in. The one place where both
/// advance.
struct Cursor<const TILE_N: u32> {
    stage: u32,
    parity: u32,
}

impl<const TILE_N: u32> Cursor<TILE_N> {
    const PLAN: SharedPlan = SharedPlan::new(TILE_N);

    #[inline(always)]
    fn start() -> Self {
        Self {
            stage: 0,
            parity: 0,
        }
    }

    #[inline(always)]
    fn advance(&mut self) {
        self.stage += 1;
        if self.stage == Self::PLAN.stages {
            self.stage = 0;
            self.parity ^= 1;
        }
    }
}

/// The barriers and tiles of a CTA, by their shared addresses.
#[derive(Clone, Copy)]
pub struct Ring<const TILE_N: u32> {
    base: u32,
}

impl<const TILE_N: u32> Ring<TILE_N> {
    const PLAN: SharedPlan = SharedPlan::new(TILE_N);

    /// `base` is the shared address at which the plan starts.
    #[inline(always)]
    pub fn at(base: u32) -> Self {
        Self { base }
    }

    /// Initialises every barrier. One thread, before anything else; the others see it after a CTA
    /// barrier.
    #[inline(always)]
    pub fn init_barriers(self) {
        let mut stage = 0;
        while stage < Self::PLAN.stages {
            self.full(stage).init(arrivals::FULL);
            self.empty(stage).init(arrivals::EMPTY);
            stage += 1;
        }
        self.accumulators_full().init(arrivals::ACCUMULATORS);
        mbarrier::fence_init();
    }

    #[inline(always)]
    pub fn producer(self) -> Producer<TILE_N> {
        Producer {
            ring: self,
            cursor: Cursor::start(),
        }
    }

    #[inline(always)]
    pub fn consumer(self) -> Consumer<TILE_N> {
        Consumer {
            ring: self,
            cursor: Cursor::start(),
        }
    }

    /// Completes when both accumulators are final.
    #[inline(always)]
    pub fn accumulators_full(self) -> Mbarrier {
        Mbarrier(self.base + Self::PLAN.accumulators)
    }

    /// Where `tcgen05.alloc` writes the address of tensor memory.
    #[inline(always)]
    pub fn tmem_address_slot(self) -> u32 {
        self.base + Self::PLAN.tmem_address
    }

    #[inline(always)]
    fn full(self, stage: u32) -> Mbarrier {
        Mbarrier(self.base + Self::PLAN.full + 8 * stage)
    }

    #[inline(always)]
    fn empty(self, stage: u32) -> Mbarrier {
        Mbarrier(self.base + Self::PLAN.empty + 8 * stage)
    }

    #[inline(always)]
    fn tiles(self, stage: u32) -> u32 {
        self.base + stage * Self::PLAN.stage_bytes
    }
}

/// The load warp's end.
pub struct Producer<const TILE_N: u32> {
    ring: Ring<TILE_N>,
    cursor: Cursor<TILE_N>,
}

impl<const TILE_N: u32> Producer<TILE_N> {
    /// Waits until the next stage is free, and announces the `bytes` that will be copied into it.
    #[inline(always)]
    pub fn acquire(&mut self, bytes: u32) -> Filling {
        let Cursor { stage, parity } = self.cursor;
        // In the first round nothing has to be waited for: a fresh barrier counts as having
        // completed parity 1.
        self.ring.empty(stage).wait(parity ^ 1);
        let full = self.ring.full(stage);
        full.arrive_expect_tx(bytes);
        self.cursor.advance();
        Filling {
            tiles: self.ring.tiles(stage),
            full,
        }
    }
}

/// A stage that copies may write. Handed on by the copies themselves, when all announced bytes have
/// arrived.
#[must_use = "a stage whose copies are not issued never becomes full"]
pub struct Filling {
    /// Shared address of the stage's tiles.
    pub tiles: u32,
    /// Credited by every copy into the stage.
    pub full: Mbarrier,
}

/// The MMA warp's end.
pub struct Consumer<const TILE_N: u32> {
    ring: Ring<TILE_N>,
    cursor: Cursor<TILE_N>,
}

impl<const TILE_N: u32> Consumer<TILE_N> {
    /// Waits until the next stage is full.
    #[inline(always)]
    pub fn acquire(&mut self) -> Draining {
        let Cursor { stage, parity } = self.cursor;
        self.ring.full(stage).wait(parity);
        // Orders the tcgen05 instructions that follow after the wait (PTX ISA §9.7.16.6.4).
        tcgen05::fence_after_thread_sync();
        self.cursor.advance();
        Draining {
            index: stage,
            tiles: self.ring.tiles(stage),
            empty: self.ring.empty(stage),
        }
    }
}

/// A stage that MMAs may read.
#[must_use = "a stage that is not released stalls the load warp"]
pub struct Draining {
    pub index: u32,
    /// Shared address of the stage's tiles.
    pub tiles: u32,
    empty: Mbarrier,
}

impl Draining {
    /// Gives the stage back once every tensor-core operation issued so far is complete.
    #[inline(always)]
    pub fn release(self) {
        tcgen05::commit(self.empty);
    }

    /// Keeps the last stage of the tile: nobody waits for it, and the commit on the accumulators
    /// covers its MMAs.
    #[inline(always)]
    pub fn retire(self) {}
}
