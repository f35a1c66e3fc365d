//! What a CTA computes: a tile of C, a span of K, a place in a cluster.

use core::num::NonZeroU32;

use crate::contract::MMA_K;
use crate::contract::hopper::{PREFILL_CLUSTER, STAGE_K, TILE_N};
use crate::ptx::warp;

/// The tile of C that a CTA works on.
#[derive(Clone, Copy)]
pub struct Tile {
    /// First row and first column.
    pub m: u32,
    pub n: u32,
    pub batch: u32,
}

/// The CTA's place in its cluster.
#[derive(Clone, Copy)]
pub struct Cluster {
    pub rank: u32,
    /// Their number is a power of two; as a shift it divides without a division.
    pub ranks_log2: u32,
}

impl Cluster {
    #[inline(always)]
    pub fn this() -> Self {
        Self {
            rank: warp::cluster_rank(),
            ranks_log2: warp::cluster_size().trailing_zeros(),
        }
    }
}

/// Consecutive stages of K.
#[derive(Clone, Copy)]
pub struct Span {
    k: u32,
    first: u32,
    end: u32,
}

impl Span {
    /// All of `k`.
    #[inline(always)]
    pub fn all(k: u32) -> Self {
        Self {
            k,
            first: 0,
            end: k.div_ceil(STAGE_K),
        }
    }

    /// An even share of `k` for this CTA of the cluster.
    #[inline(always)]
    pub fn share(k: u32, cluster: Cluster) -> Self {
        let all = k.div_ceil(STAGE_K);
        Self {
            k,
            first: (all * cluster.rank) >> cluster.ranks_log2,
            end: (all * (cluster.rank + 1)) >> cluster.ranks_log2,
        }
    }

    #[inline(always)]
    pub fn len(self) -> u32 {
        self.end - self.first
    }

    /// First element of stage `index`.
    #[inline(always)]
    pub fn k(self, index: u32) -> u32 {
        (self.first + index) * STAGE_K
    }

    /// Tiles of scale factors, 64 elements of K each, in stage `index`: the last may have fewer than
    /// four.
    #[inline(always)]
    pub fn scale_tiles(self, index: u32) -> u32 {
        ((self.k - self.k(index)) / MMA_K).min(STAGE_K / MMA_K)
    }
}

/// The tiles of one CTA of a persistent grid, one after the other.
///
/// A cluster takes pairs of tiles that are neighbours along N. Pairs that run at the same time should
/// share weights and activations in L2: they go through bands of [`Self::BAND`] tiles of tokens, and
/// in a band through columns.
#[derive(Clone, Copy)]
pub struct Tiles {
    next: u32,
    step: u32,
    count: u32,
    rank: u32,
    rows: NonZeroU32,
    pairs: NonZeroU32,
    tokens: u32,
}

impl Tiles {
    const BAND: u32 = 8;

    /// Those of this CTA, of all of `[batch, m, n]`.
    #[inline(always)]
    pub fn new(m: u32, n: u32, batch: u32, tokens: u32) -> Self {
        let nonzero = |count| NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        let rows = nonzero(m.div_ceil(tokens));
        let pairs = nonzero(n.div_ceil(PREFILL_CLUSTER * TILE_N));
        Self {
            next: warp::cta_index_x() / PREFILL_CLUSTER,
            step: warp::grid_size_x() / PREFILL_CLUSTER,
            count: rows.get() * pairs.get() * batch,
            rank: warp::cluster_rank(),
            rows,
            pairs,
            tokens,
        }
    }

    #[inline(always)]
    pub fn next(&mut self) -> Option<Tile> {
        let index = self.next;
        if index >= self.count {
            return None;
        }
        self.next += self.step;
        let (rows, pairs) = (self.rows.get(), self.pairs.get());
        let batch = index / self.rows / self.pairs;
        let within = index - batch * rows * pairs;
        let band = within / self.pairs / Self::BAND;
        let within = within - band * Self::BAND * pairs;
        let band_rows = Self::BAND.min(rows - band * Self::BAND);
        // At least one: `band` is that of an existing tile.
        let divisor = NonZeroU32::new(band_rows).unwrap_or(NonZeroU32::MIN);
        let pair = within / divisor;
        Some(Tile {
            m: (band * Self::BAND + within - pair * band_rows) * self.tokens,
            n: (pair * PREFILL_CLUSTER + self.rank) * TILE_N,
            batch,
        })
    }
}
