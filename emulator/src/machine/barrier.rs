//! The sixteen named barriers of a CTA (PTX ISA §9.7.13.1).
//!
//! Arrival counts in whole warps: a `barrier` instruction waits for all non-exited threads of its
//! warp and then marks the warp's arrival, with 32 threads towards an explicit thread count. Where
//! no count is given, all warps that have threads left take part, so a warp that exits releases the
//! others, as devices since Volta do. An explicit count is not lowered by threads that exit.

use super::report::{BarrierMisuse as Misuse, FailureKind, Step};
use super::warp::Warp;
use crate::isa::ir::LANES;

const BARRIERS: usize = 16;
const MAX_WARPS: usize = 32;

#[derive(Clone, Copy, Debug)]
struct Barrier {
    /// Lanes that arrived, by warp.
    lanes: [u32; MAX_WARPS],
    /// Warps all of whose threads arrived.
    warps: u32,
    /// Explicit thread count of the first arrival.
    threads: Option<u32>,
    reduction: Reduction,
    is_reduction: bool,
    in_use: bool,
}

/// Predicates gathered by `barrier.red`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reduction {
    pub count: u32,
    pub all: bool,
    pub any: bool,
}

impl Reduction {
    const EMPTY: Self = Self {
        count: 0,
        all: true,
        any: false,
    };
}

const UNUSED: Barrier = Barrier {
    lanes: [0; MAX_WARPS],
    warps: 0,
    threads: None,
    reduction: Reduction::EMPTY,
    is_reduction: false,
    in_use: false,
};

/// How one group arrives.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub warp: u32,
    pub lanes: u32,
    /// Threads of the warp that have not exited.
    pub live: u32,
    pub threads: Option<u64>,
    /// Lanes whose predicate holds, for `barrier.red`.
    pub predicate: Option<u32>,
}

/// What an arrival did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrived {
    /// Other threads of the warp have to come first.
    WarpIncomplete,
    /// The warp has arrived; others have not.
    Pending,
    /// The barrier completed and is ready for its next generation.
    Complete(Reduction),
}

#[derive(Debug)]
pub struct NamedBarriers {
    barriers: [Barrier; BARRIERS],
    cta_threads: u32,
}

impl Default for NamedBarriers {
    fn default() -> Self {
        Self {
            barriers: [UNUSED; BARRIERS],
            cta_threads: 0,
        }
    }
}

impl NamedBarriers {
    pub fn reset(&mut self, cta_threads: u32) {
        self.barriers = [UNUSED; BARRIERS];
        self.cta_threads = cta_threads;
    }

    /// `live` tells whether a warp has threads that have not exited.
    pub fn arrive(&mut self, id: u64, arrival: Arrival, warps: &[Warp]) -> Step<Arrived> {
        let fail = |misuse| FailureKind::Barrier { id, misuse };
        let limit = self.cta_threads.next_multiple_of(LANES as u32);
        let barrier = usize::try_from(id)
            .ok()
            .and_then(|id| self.barriers.get_mut(id))
            .ok_or(fail(Misuse::NoSuchBarrier))?;
        let threads = match arrival.threads {
            None => None,
            Some(threads) => Some(
                u32::try_from(threads)
                    .ok()
                    .filter(|t| *t != 0 && t.is_multiple_of(LANES as u32) && *t <= limit)
                    .ok_or(fail(Misuse::ThreadCount { threads, limit }))?,
            ),
        };
        if !barrier.in_use {
            barrier.in_use = true;
            barrier.threads = threads;
            barrier.is_reduction = arrival.predicate.is_some();
        }
        // A count that names the whole CTA is the same as none.
        let whole = |threads: Option<u32>| threads.unwrap_or(limit);
        if whole(barrier.threads) != whole(threads) {
            return Err(fail(Misuse::DifferentCounts {
                found: whole(threads),
                expected: whole(barrier.threads),
            }));
        }
        if barrier.is_reduction != arrival.predicate.is_some() {
            return Err(fail(Misuse::MixedReduction));
        }
        let warp_bit = 1 << arrival.warp;
        let lanes = &mut barrier.lanes[arrival.warp as usize];
        if *lanes & arrival.lanes != 0 || barrier.warps & warp_bit != 0 {
            return Err(fail(Misuse::ArrivedTwice {
                warp: arrival.warp,
                lanes: arrival.lanes,
            }));
        }
        *lanes |= arrival.lanes;
        if let Some(predicate) = arrival.predicate {
            let holds = predicate & arrival.lanes;
            barrier.reduction.count += holds.count_ones();
            barrier.reduction.all &= holds == arrival.lanes;
            barrier.reduction.any |= holds != 0;
        }
        if arrival.live & !*lanes != 0 {
            return Ok(Arrived::WarpIncomplete);
        }
        barrier.warps |= warp_bit;
        Ok(match self.take_complete(id as usize, warps)? {
            Some(reduction) => Arrived::Complete(reduction),
            None => Arrived::Pending,
        })
    }

    /// Resets the barrier and returns its reduction if everyone has arrived.
    fn take_complete(&mut self, id: usize, warps: &[Warp]) -> Step<Option<Reduction>> {
        let barrier = &mut self.barriers[id];
        if barrier.warps == 0 {
            return Ok(None);
        }
        let complete = match barrier.threads {
            Some(expected) => {
                let arrived = barrier.warps.count_ones() * LANES as u32;
                if arrived > expected {
                    return Err(FailureKind::Barrier {
                        id: id as u64,
                        misuse: Misuse::TooManyArrivals { arrived, expected },
                    });
                }
                arrived == expected
            }
            None => warps
                .iter()
                .enumerate()
                .all(|(index, warp)| warp.live == 0 || barrier.warps & (1 << index) != 0),
        };
        if !complete {
            return Ok(None);
        }
        let reduction = barrier.reduction;
        *barrier = UNUSED;
        Ok(Some(reduction))
    }

    /// Barriers that complete because `warp` has lost its last thread, or the last of its threads
    /// that had not arrived.
    pub fn threads_exited(
        &mut self,
        warp: usize,
        warps: &[Warp],
    ) -> Step<Vec<(u32, Option<Reduction>)>> {
        let mut woken = Vec::new();
        for id in 0..BARRIERS {
            let barrier = &mut self.barriers[id];
            if !barrier.in_use {
                continue;
            }
            let live = warps[warp].live;
            let lanes = barrier.lanes[warp];
            if lanes != 0 && live != 0 && live & !lanes == 0 {
                barrier.warps |= 1 << warp;
            }
            if let Some(reduction) = self.take_complete(id, warps)? {
                woken.push((id as u32, Some(reduction)));
            } else if self.barriers[id].warps & (1 << warp) != 0 {
                woken.push((id as u32, None));
            }
        }
        Ok(woken)
    }

    /// Threads that arrived and threads that are expected, for reports.
    pub fn arrivals(&self, id: u32) -> (u32, u32) {
        let Some(barrier) = self.barriers.get(id as usize) else {
            return (0, 0);
        };
        let arrived = barrier.lanes.iter().map(|lanes| lanes.count_ones()).sum();
        (arrived, barrier.threads.unwrap_or(self.cta_threads))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warps(count: usize) -> Vec<Warp> {
        let warp = || {
            let mut warp = Warp::default();
            warp.reset(0, 0, u32::MAX);
            warp
        };
        (0..count).map(|_| warp()).collect()
    }

    fn barriers(warps: u32) -> NamedBarriers {
        let mut barriers = NamedBarriers::default();
        barriers.reset(warps * 32);
        barriers
    }

    fn whole(warp: u32, threads: Option<u64>) -> Arrival {
        Arrival {
            warp,
            lanes: u32::MAX,
            live: u32::MAX,
            threads,
            predicate: None,
        }
    }

    #[test]
    fn all_warps_have_to_come() {
        let warps = warps(3);
        let mut barriers = barriers(3);
        for generation in 0..2 {
            for warp in 0..2 {
                let arrived = barriers.arrive(0, whole(warp, None), &warps).unwrap();
                assert_eq!(arrived, Arrived::Pending, "generation {generation}");
            }
            let last = barriers.arrive(0, whole(2, None), &warps).unwrap();
            assert!(matches!(last, Arrived::Complete(_)));
        }
    }

    #[test]
    fn an_explicit_count_takes_any_warps() {
        let warps = warps(4);
        let mut barriers = barriers(4);
        let first = barriers.arrive(3, whole(3, Some(64)), &warps).unwrap();
        assert_eq!(first, Arrived::Pending);
        assert_eq!(barriers.arrivals(3), (32, 64));
        let second = barriers.arrive(3, whole(1, Some(64)), &warps).unwrap();
        assert!(matches!(second, Arrived::Complete(_)));
    }

    #[test]
    fn a_split_warp_arrives_with_its_last_part() {
        let warps = warps(1);
        let mut barriers = barriers(1);
        let part = |lanes| Arrival {
            lanes,
            ..whole(0, None)
        };
        assert_eq!(
            barriers.arrive(0, part(0xffff), &warps).unwrap(),
            Arrived::WarpIncomplete
        );
        assert!(matches!(
            barriers.arrive(0, part(0xffff_0000), &warps).unwrap(),
            Arrived::Complete(_)
        ));
    }

    #[test]
    fn warps_that_exit_release_the_others() {
        let mut warps = warps(2);
        let mut barriers = barriers(2);
        let _ = barriers.arrive(0, whole(0, None), &warps).unwrap();
        warps[1].live = 0;
        let woken = barriers.threads_exited(1, &warps).unwrap();
        assert!(matches!(woken[..], [(0, Some(_))]));
    }

    #[test]
    fn reductions() {
        let warps = warps(2);
        let mut barriers = barriers(2);
        let part = |warp, predicate| Arrival {
            predicate: Some(predicate),
            ..whole(warp, None)
        };
        let _ = barriers.arrive(1, part(0, 0b111), &warps).unwrap();
        let last = barriers.arrive(1, part(1, u32::MAX), &warps).unwrap();
        assert_eq!(
            last,
            Arrived::Complete(Reduction {
                count: 35,
                all: false,
                any: true
            })
        );
    }

    #[test]
    fn misuse_is_named() {
        let warps = warps(4);
        let mut barriers = barriers(4);
        let mut misuse = |id, arrival| match barriers.arrive(id, arrival, &warps) {
            Err(FailureKind::Barrier { misuse, .. }) => Some(misuse),
            _ => None,
        };
        assert_eq!(misuse(16, whole(0, None)), Some(Misuse::NoSuchBarrier));
        assert!(matches!(
            misuse(0, whole(0, Some(48))),
            Some(Misuse::ThreadCount { threads: 48, .. })
        ));
        assert!(matches!(
            misuse(0, whole(0, Some(160))),
            Some(Misuse::ThreadCount { .. })
        ));
        assert_eq!(misuse(0, whole(0, Some(96))), None);
        assert_eq!(
            misuse(0, whole(1, Some(64))),
            Some(Misuse::DifferentCounts {
                found: 64,
                expected: 96
            })
        );
        assert!(matches!(
            misuse(0, whole(0, Some(96))),
            Some(Misuse::ArrivedTwice { warp: 0, .. })
        ));
    }
}
