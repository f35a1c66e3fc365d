//! Rings of shared memory between the warps that fill and the warps that read.
//!
//! As Blackwell's (`pipeline.rs`), with threads in the tensor core's place: here a piece is given back
//! by an arrival of every warp that has read it.

use core::marker::PhantomData;

use crate::contract::hopper::RingPlan;
use crate::ptx::mbarrier::Mbarrier;

/// Which ring of a kernel.
pub trait RingOf: Copy {
    const PLAN: RingPlan;
    /// Threads that arrive per phase on each barrier.
    const FULL_ARRIVALS: u32;
    const EMPTY_ARRIVALS: u32;
}

/// The barriers and pieces of a CTA's ring, by their shared addresses.
#[derive(Clone, Copy)]
pub struct Ring<R: RingOf> {
    barriers: u32,
    pieces: u32,
    which: PhantomData<R>,
}

/// Position in a ring: the piece and the parity of the phase it is in.
///
/// In a loop that goes once around the ring the piece is a constant.
#[derive(Clone, Copy)]
struct Cursor {
    piece: u32,
    parity: u32,
}

impl Cursor {
    const START: Self = Self {
        piece: 0,
        parity: 0,
    };
}

impl<R: RingOf> Ring<R> {
    /// In the shared memory that starts at `base`.
    #[inline(always)]
    pub fn at(base: u32) -> Self {
        Self {
            barriers: base + R::PLAN.full,
            pieces: base + R::PLAN.first,
            which: PhantomData,
        }
    }

    /// As it is for warps that begin at `piece`, and never use the last `piece` pieces of what they see.
    #[inline(always)]
    pub fn from(self, piece: u32) -> Self {
        Self {
            barriers: self.barriers + 8 * piece,
            pieces: self.pieces + R::PLAN.bytes * piece,
            which: PhantomData,
        }
    }

    /// Initialises every barrier. One thread, before anything else; a fence follows.
    #[inline(always)]
    pub fn init_barriers(self) {
        let mut piece = 0;
        while piece < R::PLAN.count {
            self.full(piece).init(R::FULL_ARRIVALS);
            self.empty(piece).init(R::EMPTY_ARRIVALS);
            piece += 1;
        }
    }

    #[inline(always)]
    pub fn producer(self) -> Producer<R> {
        Producer {
            ring: self,
            cursor: Cursor::START,
        }
    }

    #[inline(always)]
    pub fn consumer(self) -> Consumer<R> {
        Consumer {
            ring: self,
            cursor: Cursor::START,
        }
    }

    #[inline(always)]
    fn advance_by(self, cursor: &mut Cursor, pieces: u32) {
        cursor.piece += pieces;
        if cursor.piece >= R::PLAN.count {
            cursor.piece -= R::PLAN.count;
            cursor.parity ^= 1;
        }
    }

    #[inline(always)]
    fn full(self, piece: u32) -> Mbarrier {
        Mbarrier(self.barriers + 8 * piece)
    }

    #[inline(always)]
    fn empty(self, piece: u32) -> Mbarrier {
        Mbarrier(self.barriers + (R::PLAN.empty - R::PLAN.full) + 8 * piece)
    }

    #[inline(always)]
    fn address(self, piece: u32) -> u32 {
        self.pieces + piece * R::PLAN.bytes
    }
}

/// The end of what fills a ring.
pub struct Producer<R: RingOf> {
    ring: Ring<R>,
    cursor: Cursor,
}

impl<R: RingOf> Producer<R> {
    /// Waits until the next piece is free.
    #[inline(always)]
    pub fn acquire(&mut self) -> Filling {
        let Cursor { piece, parity } = self.cursor;
        self.ring.empty(piece).wait(parity ^ 1);
        self.ring.advance_by(&mut self.cursor, 1);
        Filling {
            address: self.ring.address(piece),
            full: self.ring.full(piece),
        }
    }

    /// Leaves out pieces that others fill, at most as many as the ring has.
    #[inline(always)]
    pub fn skip(&mut self, pieces: u32) {
        self.ring.advance_by(&mut self.cursor, pieces);
    }
}

/// A piece that may be written.
#[must_use = "a piece that is not filled stalls its readers"]
pub struct Filling {
    pub address: u32,
    pub full: Mbarrier,
}

/// The end of a warp that reads.
pub struct Consumer<R: RingOf> {
    ring: Ring<R>,
    cursor: Cursor,
}

impl<R: RingOf> Consumer<R> {
    /// Waits until the next piece is full.
    #[inline(always)]
    pub fn acquire(&mut self) -> Draining {
        let Cursor { piece, parity } = self.cursor;
        self.ring.full(piece).wait(parity);
        self.ring.advance_by(&mut self.cursor, 1);
        Draining {
            address: self.ring.address(piece),
            offset: piece * R::PLAN.bytes,
            empty: self.ring.empty(piece),
        }
    }

    /// Address of the first piece.
    #[inline(always)]
    pub fn base(&self) -> u32 {
        self.ring.pieces
    }

    /// Leaves out pieces that other warps read, at most as many as the ring has.
    #[inline(always)]
    pub fn skip(&mut self, pieces: u32) {
        self.ring.advance_by(&mut self.cursor, pieces);
    }
}

/// A piece that may be read.
#[must_use = "a piece that is not released stalls its producer"]
#[derive(Clone, Copy)]
pub struct Draining {
    pub address: u32,
    /// Of the address from [`Consumer::base`].
    pub offset: u32,
    empty: Mbarrier,
}

impl Draining {
    /// Gives the piece back. Called by one thread of each warp, after the warp's last read.
    #[inline(always)]
    pub fn release(self) {
        self.empty.arrive();
    }

    /// Gives the piece back to the CTA of this rank, which fills it too.
    #[inline(always)]
    pub fn release_to(self, rank: u32) {
        self.empty.arrive_at(rank);
    }
}
