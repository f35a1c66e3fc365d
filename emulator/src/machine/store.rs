//! Stores and reductions of the asynchronous proxy from shared to global memory.
//!
//! A store takes two steps, each with a completion of its own: `cp.async.bulk.wait_group.read` waits until the sources
//! of a group have been read, `cp.async.bulk.wait_group` until the destinations are written (PTX ISA §9.7.9.27.2.2).

use std::ops::Range;

use super::atomics;
use super::footprint::{Region, SharedAddress};
use super::global::GlobalView;
use super::report::Step;
use crate::isa::ir::{AtomicOp, Type};
use crate::tma::{self, TensorMap};

/// What a store does to each element instead of overwriting it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reduction {
    pub op: AtomicOp,
    pub ty: Type,
    /// Sums of f32 take and leave subnormals as zeros of their sign.
    pub ftz: bool,
}

/// A tile of a tensor in global memory.
#[derive(Clone, Debug)]
pub struct Tile {
    pub map: TensorMap,
    pub coordinates: Vec<i32>,
}

/// Where a store's bytes go.
#[derive(Clone, Debug)]
pub enum Target {
    /// `cp.async.bulk`: one range.
    Linear { address: u64, bytes: u32 },
    /// `cp.async.bulk.tensor`
    Tile(Box<Tile>),
}

/// The first step: reads the source, in the layout of the second.
#[derive(Clone, Debug)]
pub struct StoreRead {
    pub name: &'static str,
    pub ticket: u64,
    pub source: SharedAddress,
    pub target: Target,
    /// The thread's bulk group, once committed.
    pub group: Option<u32>,
}

/// The second step: writes the destination.
#[derive(Clone, Debug)]
pub struct StoreWrite {
    pub name: &'static str,
    pub ticket: u64,
    pub target: Target,
    pub reduction: Option<Reduction>,
    pub group: Option<u32>,
    /// What the first step read.
    pub data: Option<Vec<u8>>,
    /// The bytes of `data` that are written, where the others go at another time.
    pub part: Option<Range<usize>>,
}

impl Target {
    pub fn bytes(&self) -> u32 {
        match self {
            Self::Linear { bytes, .. } => *bytes,
            Self::Tile(tile) => tile.map.tile_bytes(),
        }
    }

    /// The bytes at `source` of a shared window, in the order of the pieces.
    pub fn read(&self, source: u32, window: &[u8]) -> Vec<u8> {
        match self {
            Self::Linear { bytes, .. } => {
                window[source as usize..(source + bytes) as usize].to_vec()
            }
            Self::Tile(tile) => tma::read_tile(&tile.map, source, window),
        }
    }

    /// Bytes of the source and the address that they go to.
    fn pieces(&self) -> Box<dyn Iterator<Item = (Range<usize>, u64)> + '_> {
        match self {
            Self::Linear { address, bytes } => {
                Box::new(std::iter::once((0..*bytes as usize, *address)))
            }
            Self::Tile(tile) => Box::new(tma::pieces(&tile.map, &tile.coordinates)),
        }
    }

    /// The global memory that is written; neighbouring rows are one region.
    pub fn regions(&self) -> Vec<Region> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for (bytes, address) in self.pieces() {
            let end = address.saturating_add(bytes.len() as u64);
            match ranges.last_mut() {
                Some(last) if last.end == address => last.end = end,
                _ => ranges.push(address..end),
            }
        }
        ranges.into_iter().map(Region::global).collect()
    }

    /// Whether all of it is memory that the program has.
    pub fn check(&self, global: &GlobalView) -> Step<()> {
        for (bytes, address) in self.pieces() {
            global.check(address, bytes.len() as u64)?;
        }
        Ok(())
    }
}

impl StoreWrite {
    /// The bytes of `data` that are written.
    pub fn part(&self) -> Range<usize> {
        self.part.clone().unwrap_or(0..self.target.bytes() as usize)
    }

    pub fn execute(&self, global: &GlobalView) -> Step<()> {
        let data = self.data.as_deref().unwrap_or_default();
        let part = self.part();
        for (piece, start) in self.target.pieces() {
            let bytes = piece.start.max(part.start)..piece.end.min(part.end);
            if bytes.is_empty() {
                continue;
            }
            let address = start + (bytes.start - piece.start) as u64;
            match self.reduction {
                None => global.write(address, &data[bytes])?,
                Some(reduction) => reduction.apply(global, address, &data[bytes])?,
            }
        }
        Ok(())
    }
}

impl Reduction {
    /// One that keeps subnormals.
    pub fn of(op: AtomicOp, ty: Type) -> Self {
        Self { op, ty, ftz: false }
    }

    /// Each element on its own: there is no order among them (PTX ISA §9.7.9.25.4.2).
    fn apply(self, global: &GlobalView, address: u64, operands: &[u8]) -> Step<()> {
        let bytes = atomics::element_bytes(self.ty)?;
        for (index, operand) in operands.chunks_exact(bytes as usize).enumerate() {
            let address = address + index as u64 * u64::from(bytes);
            let operand = atomics::element(operand);
            global.update(address, bytes.into(), |old| match self.ftz {
                true => atomics::combine_flushed(self.op, self.ty, old, operand, 0),
                false => atomics::combine(self.op, self.ty, old, operand, 0),
            })?;
        }
        Ok(())
    }
}
