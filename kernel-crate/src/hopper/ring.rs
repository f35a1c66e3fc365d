//! The ring of stages between the load warp and the warpgroups that multiply.
//!
//! As Blackwell's (`pipeline.rs`), with threads in the tensor core's place: here a stage is given back
//! by an arrival of every warp that has read it.

use core::marker::PhantomData;

use super::config::Config;
use crate::contract::hopper::arrivals;
use crate::ptx::mbarrier::{self, Mbarrier};

/// The barriers and tiles of a CTA, by their shared addresses.
#[derive(Clone, Copy)]
pub struct Ring<C: Config> {
    base: u32,
    config: PhantomData<C>,
}

/// Position in the ring: the stage and the parity of the phase it is in.
#[derive(Clone, Copy)]
struct Cursor {
    stage: u32,
    parity: u32,
}

impl<C: Config> Ring<C> {
    #[inline(always)]
    pub fn at(base: u32) -> Self {
        Self {
            base,
            config: PhantomData,
        }
    }

    /// Initialises every barrier. One thread, before anything else.
    #[inline(always)]
    pub fn init_barriers(self) {
        let mut stage = 0;
        while stage < C::PLAN.stages {
            self.full(stage).init(arrivals::FULL);
            self.empty(stage).init(arrivals::empty(C::SHAPE));
            stage += 1;
        }
        mbarrier::fence_init();
    }

    #[inline(always)]
    pub fn producer(self) -> Producer<C> {
        Producer {
            ring: self,
            cursor: Cursor {
                stage: 0,
                parity: 0,
            },
        }
    }

    #[inline(always)]
    pub fn consumer(self) -> Consumer<C> {
        Consumer {
            ring: self,
            cursor: Cursor {
                stage: 0,
                parity: 0,
            },
        }
    }

    #[inline(always)]
    fn advance(self, cursor: &mut Cursor) {
        cursor.stage += 1;
        if cursor.stage == C::PLAN.stages {
            cursor.stage = 0;
            cursor.parity ^= 1;
        }
    }

    #[inline(always)]
    fn full(self, stage: u32) -> Mbarrier {
        Mbarrier(self.base + C::PLAN.full + 8 * stage)
    }

    #[inline(always)]
    fn empty(self, stage: u32) -> Mbarrier {
        Mbarrier(self.base + C::PLAN.empty + 8 * stage)
    }

    #[inline(always)]
    fn tiles(self, stage: u32) -> u32 {
        self.base + stage * C::PLAN.stage_bytes
    }
}

/// The load warp's end.
pub struct Producer<C: Config> {
    ring: Ring<C>,
    cursor: Cursor,
}

impl<C: Config> Producer<C> {
    /// Waits until the next stage is free, and announces the `bytes` that will be copied into it.
    #[inline(always)]
    pub fn acquire(&mut self, bytes: u32) -> Filling {
        let Cursor { stage, parity } = self.cursor;
        self.ring.empty(stage).wait(parity ^ 1);
        let full = self.ring.full(stage);
        full.arrive_expect_tx(bytes);
        self.ring.advance(&mut self.cursor);
        Filling {
            tiles: self.ring.tiles(stage),
            full,
        }
    }

    /// The stage of the first round that was `acquire`d as number `index`.
    #[inline(always)]
    pub fn of_first_round(&self, index: u32) -> Filling {
        Filling {
            tiles: self.ring.tiles(index),
            full: self.ring.full(index),
        }
    }
}

/// A stage that copies may write.
#[must_use = "a stage whose copies are not issued never becomes full"]
pub struct Filling {
    pub tiles: u32,
    pub full: Mbarrier,
}

/// A multiplying warp's end.
pub struct Consumer<C: Config> {
    ring: Ring<C>,
    cursor: Cursor,
}

impl<C: Config> Consumer<C> {
    /// Waits until the next stage is full.
    #[inline(always)]
    pub fn acquire(&mut self) -> Draining {
        let Cursor { stage, parity } = self.cursor;
        self.ring.full(stage).wait(parity);
        self.ring.advance(&mut self.cursor);
        Draining {
            tiles: self.ring.tiles(stage),
            empty: self.ring.empty(stage),
        }
    }
}

/// A stage that may be read.
#[must_use = "a stage that is not released stalls the load warp"]
#[derive(Clone, Copy)]
pub struct Draining {
    pub tiles: u32,
    empty: Mbarrier,
}

impl Draining {
    /// Gives the stage back. Called by one thread of each warp, after the warp's last read.
    #[inline(always)]
    pub fn release(self) {
        self.empty.arrive();
    }
}
