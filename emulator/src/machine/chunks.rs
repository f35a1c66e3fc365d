//! Copies whose bytes land piece by piece, under [`Asynchrony::Chunked`](super::Asynchrony::Chunked).
//!
//! A copy is no single event: its bytes become visible in any order, and each part counts at the barrier when it is
//! there (PTX ISA §8.9.1.1). When such a copy would complete, it becomes several operations in flight instead.

use std::ops::Range;

use super::cluster::Cluster;
use super::completion::LateFailure;
use super::footprint::{Footprint, Region, SharedAddress};
use super::operation::{Operation, Work};
use super::random::SplitMix64;
use super::report::{FailureKind, Step};
use super::store::StoreWrite;
use crate::tma;

/// Nothing smaller than this is ever seen in parts.
const GRANULE: u32 = 16;

/// Parts of a copy, at most.
const MOST: usize = 5;

/// A part of a load that has not landed in shared memory.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// Name of the copy.
    pub name: &'static str,
    pub destination: SharedAddress,
    pub bytes: Box<[u8]>,
    pub barrier: SharedAddress,
}

/// The work of a part of an operation, and what it touches if that is less than the whole does.
type Part = (Work, Option<Footprint>);

impl Cluster<'_> {
    /// Puts the parts of a store that is due in flight, or those of a load, which reads its source then; other operations
    /// come back.
    pub fn split(&mut self, operation: Operation) -> Result<Option<Operation>, LateFailure> {
        let issuer = operation.issuer;
        let parts = match &operation.work {
            Work::StoreWrite(store @ StoreWrite { part: None, .. }) => self.parts_of_store(store),
            load => self
                .parts_of_load(load)
                .map_err(|kind| LateFailure { issuer, kind })?,
        };
        if parts.is_empty() {
            return Ok(Some(operation));
        }
        for (work, landing) in parts {
            self.engine.put(Operation {
                issuer,
                issued: operation.issued,
                work,
                footprint: landing.unwrap_or_else(|| operation.footprint.clone()),
                ticket: operation.ticket.clone(),
                snapshot: None,
            });
        }
        Ok(None)
    }

    fn parts_of_store(&mut self, store: &StoreWrite) -> Vec<Part> {
        let ranges = self.engine.cut(store.target.bytes());
        let part = |range: Range<u32>| {
            let part = Some(range.start as usize..range.end as usize);
            let store = store.clone();
            (Work::StoreWrite(StoreWrite { part, ..store }), None)
        };
        ranges.into_iter().map(part).collect()
    }

    /// None of other operations.
    fn parts_of_load(&mut self, work: &Work) -> Step<Vec<Part>> {
        let Some((destination, barrier, bytes)) = self.fetch(work)? else {
            return Ok(Vec::new());
        };
        let ranges = self.engine.cut(bytes.len() as u32);
        let part = |range: Range<u32>| {
            let landing = destination.offset + range.start..destination.offset + range.end;
            let chunk = Work::Chunk(Chunk {
                name: work.name(),
                destination: SharedAddress {
                    offset: landing.start,
                    ..destination
                },
                bytes: bytes[range.start as usize..range.end as usize].into(),
                barrier,
            });
            let region = Region::shared(destination.cta, landing);
            (chunk, Some(Footprint::of_writes(vec![region])))
        };
        Ok(ranges.into_iter().map(part).collect())
    }

    /// Destination, barrier and bytes of a load; `None` of other operations.
    fn fetch(&self, work: &Work) -> Step<Option<(SharedAddress, SharedAddress, Vec<u8>)>> {
        match work {
            Work::TmaLoad {
                map,
                coordinates,
                destination,
                barrier,
                // With gaps a piece credits fewer bytes than it writes: it lands whole.
            } if map.is_dense() => {
                // Tiles are laid out by absolute address.
                let window = self.ctas[destination.cta as usize].shared.window();
                let mut window = window.to_vec();
                let start = destination.offset;
                let bytes = tma::load_tile(map, coordinates, start, &self.global, &mut window)
                    .map_err(FailureKind::tile)?;
                let tile = window[start as usize..(start + bytes) as usize].to_vec();
                Ok(Some((*destination, *barrier, tile)))
            }
            Work::BulkLoad {
                source,
                destination,
                bytes,
                barrier,
            } => {
                let mut data = vec![0; *bytes as usize];
                self.global.read(*source, &mut data)?;
                Ok(Some((*destination, *barrier, data)))
            }
            _ => Ok(None),
        }
    }

    pub fn land(&mut self, chunk: &Chunk) -> Step<()> {
        let start = chunk.destination.offset as usize;
        let window = self.ctas[chunk.destination.cta as usize]
            .shared
            .window_mut();
        window[start..start + chunk.bytes.len()].copy_from_slice(&chunk.bytes);
        let bytes = chunk.bytes.len() as u32;
        self.report.tma_bytes += u64::from(bytes);
        self.complete_tx(chunk.barrier, bytes)
    }
}

/// Cuts `bytes` into up to [`MOST`] ranges at random places.
pub fn cut(random: &mut SplitMix64, bytes: u32) -> Vec<Range<u32>> {
    let granules = bytes.div_ceil(GRANULE).max(1) as usize;
    let mut cuts: Vec<u32> = (1..MOST)
        .map(|_| random.below(granules) as u32 * GRANULE)
        .chain([0, bytes])
        .collect();
    cuts.sort_unstable();
    cuts.dedup();
    cuts.windows(2).map(|pair| pair[0]..pair[1]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_make_up_the_whole() {
        let mut random = SplitMix64::new(1, 0);
        let mut parts = [0; MOST + 1];
        for bytes in (16..4096).step_by(16) {
            let ranges = cut(&mut random, bytes);
            parts[ranges.len()] += 1;
            let ends: Vec<_> = ranges.iter().map(|range| range.end).collect();
            assert_eq!(ranges[0].start, 0);
            assert_eq!(ends.last(), Some(&bytes));
            assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start));
            assert!(ranges.iter().all(|range| !range.is_empty()));
        }
        assert!(parts[2..].iter().all(|count| *count > 0), "{parts:?}");
    }
}
