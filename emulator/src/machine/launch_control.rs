//! Cluster launch control: clusters of the grid that have not started yet, and requests that take one over (PTX ISA
//! §9.7.13.17, §9.7.13.18).

use std::sync::atomic::{AtomicU64, Ordering};

use super::random::Permutation;

/// Bytes of the response to `clusterlaunchcontrol.try_cancel`.
pub const RESPONSE_BYTES: u32 = 16;

/// Set in the high half of a response: a cluster was cancelled.
const CANCELED: u64 = 1 << 63;

/// Hands out the clusters of a grid: to run, or to those who cancel them.
#[derive(Debug)]
pub struct PendingClusters {
    next: AtomicU64,
    count: u64,
    order: Option<Permutation>,
}

impl PendingClusters {
    /// Of so many clusters: in ascending order, or in one that the seed decides. A device promises none.
    pub fn new(count: u64, seed: Option<u64>) -> Self {
        Self {
            next: AtomicU64::new(0),
            count,
            order: seed.map(|seed| Permutation::new(seed, count)),
        }
    }

    /// Clusters that nobody has got yet.
    pub fn remaining(&self) -> u64 {
        self.count - self.next.load(Ordering::Relaxed)
    }

    pub fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    /// The index of a cluster that nobody else gets.
    pub fn take(&self) -> Option<u64> {
        let next = |next: u64| (next < self.count).then_some(next + 1);
        let position = self
            .next
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .ok()?;
        Some(match &self.order {
            None => position,
            Some(order) => order.at(position),
        })
    }
}

/// The opaque response, low half first: the first CTA of the cancelled cluster, or none.
pub fn response(first_cta: Option<[u32; 3]>) -> [u64; 2] {
    match first_cta {
        Some([x, y, z]) => [u64::from(x) | u64::from(y) << 32, u64::from(z) | CANCELED],
        None => [0, 0],
    }
}

/// What a response says.
pub fn first_cta([low, high]: [u64; 2]) -> Option<[u32; 3]> {
    (high & CANCELED != 0).then_some([low as u32, (low >> 32) as u32, high as u32])
}
