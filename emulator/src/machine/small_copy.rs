//! `cp.async`: copies of 4, 8 or 16 bytes by each lane of a warp instruction (PTX ISA §9.7.9.25.3).

use super::footprint::{Footprint, Region, SharedAddress};
use super::operation::Issuer;
use crate::isa::ir::LANES;

/// One lane's copy.
#[derive(Clone, Copy, Debug)]
pub struct LaneCopy {
    pub source: u64,
    pub destination: SharedAddress,
    /// Bytes that are read; zeros follow up to the batch's size.
    pub source_bytes: u32,
}

/// The copies of one warp instruction.
#[derive(Clone, Debug)]
pub struct SmallCopies {
    /// Bytes that each lane writes.
    pub bytes: u32,
    pub lanes: [Option<LaneCopy>; LANES],
    /// The copy group of each lane, once committed.
    groups: [Option<u32>; LANES],
}

impl SmallCopies {
    pub fn new(bytes: u32, lanes: [Option<LaneCopy>; LANES]) -> Self {
        Self {
            bytes,
            lanes,
            groups: [None; LANES],
        }
    }

    /// The destinations, neighbours joined.
    pub fn footprint(&self) -> Footprint {
        let mut to: Vec<_> = self.lanes.iter().flatten().map(|c| c.destination).collect();
        to.sort_unstable_by_key(|address| (address.cta, address.offset));
        let mut ranges: Vec<(u32, std::ops::Range<u32>)> = Vec::new();
        for SharedAddress { cta, offset } in to {
            let end = offset + self.bytes;
            match ranges.last_mut() {
                Some((last, range)) if *last == cta && offset <= range.end => range.end = end,
                _ => ranges.push((cta, offset..end)),
            }
        }
        Footprint::of_writes(
            ranges
                .into_iter()
                .map(|(cta, bytes)| Region::shared(cta, bytes))
                .collect(),
        )
    }

    /// The lanes that copy.
    pub fn active_lanes(&self) -> u32 {
        let lanes = self.lanes.iter().enumerate();
        lanes.fold(0, |mask, (lane, copy)| {
            mask | u32::from(copy.is_some()) << lane
        })
    }

    /// Whether the thread has a copy among them.
    pub fn includes(&self, issuer: &Issuer, thread: &Issuer) -> bool {
        issuer.same_warp(thread) && self.lanes[thread.lane as usize].is_some()
    }

    pub fn commit(&mut self, lane: u32, number: u32) {
        self.groups[lane as usize].get_or_insert(number);
    }

    /// Whether the lane's copy is in a group below `number`.
    pub fn in_group_below(&self, lane: u32, number: u32) -> bool {
        self.groups[lane as usize].is_some_and(|group| group < number)
    }
}
