//! What is known of several clusters of a launch, each of which counts time by itself.

use std::sync::Arc;

use super::clock::{Clock, Epoch};

/// Index of a cluster in its grid.
pub type ClusterIndex = u32;

/// How far one cluster is known to have come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub ordinary: Clock,
    /// Of that, what a proxy fence has made visible to the asynchronous proxy.
    pub proxy: Clock,
}

impl Progress {
    fn join(&mut self, other: &Progress) {
        self.ordinary.join(&other.ordinary);
        self.proxy.join(&other.proxy);
    }
}

/// How far each cluster is known to have come. Most kernels' clusters know nothing of each other; copies are cheap, as
/// every barrier makes some.
#[derive(Clone, Debug, Default)]
pub struct GridClock(Option<Arc<Vec<Entry>>>);

/// A cluster and how far it has come.
type Entry = (ClusterIndex, Arc<Progress>);

impl GridClock {
    /// Of one cluster.
    pub fn of(cluster: ClusterIndex, ordinary: &Clock, proxy: &Clock) -> Self {
        let progress = Progress {
            ordinary: ordinary.clone(),
            proxy: proxy.clone(),
        };
        Self(Some(Arc::new(vec![(cluster, Arc::new(progress))])))
    }

    /// What it knows of one cluster alone.
    pub fn only(&self, cluster: ClusterIndex) -> Self {
        let entry = self.find(cluster).cloned();
        Self(entry.map(|progress| Arc::new(vec![(cluster, progress)])))
    }

    /// Whether both are copies of one.
    pub fn is(&self, other: &GridClock) -> bool {
        match (&self.0, &other.0) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (a, b) => a.is_none() && b.is_none(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub fn get(&self, cluster: ClusterIndex) -> Option<&Progress> {
        self.find(cluster).map(|progress| &**progress)
    }

    fn find(&self, cluster: ClusterIndex) -> Option<&Arc<Progress>> {
        let entries = self.0.as_ref()?;
        let index = entries.binary_search_by_key(&cluster, |entry| entry.0);
        Some(&entries[index.ok()?].1)
    }

    /// Whether the moment of that cluster is known to have passed.
    pub fn covers(&self, cluster: ClusterIndex, epoch: Epoch) -> bool {
        let progress = self.get(cluster);
        progress.is_some_and(|progress| progress.ordinary.covers(epoch))
    }

    /// [`covers`](Self::covers), and a proxy fence has made it visible to the asynchronous proxy.
    pub fn covers_by_proxy(&self, cluster: ClusterIndex, epoch: Epoch) -> bool {
        let progress = self.get(cluster);
        progress.is_some_and(|progress| progress.proxy.covers(epoch))
    }

    pub fn join(&mut self, other: &GridClock) {
        let (mine, theirs) = match (&self.0, &other.0) {
            (_, None) => return,
            (None, Some(_)) => return *self = other.clone(),
            (Some(mine), Some(theirs)) => (mine, theirs),
        };
        if Arc::ptr_eq(mine, theirs) {
            return;
        }
        let mut joined = Vec::with_capacity(mine.len().max(theirs.len()));
        let (mut left, mut right) = (mine.iter().peekable(), theirs.iter().peekable());
        loop {
            let next = match (left.peek(), right.peek()) {
                (Some(a), Some(b)) if a.0 == b.0 => {
                    let both = (a.0, both(&a.1, &b.1));
                    left.next();
                    right.next();
                    both
                }
                (Some(a), Some(b)) if b.0 < a.0 => {
                    let b = (*b).clone();
                    right.next();
                    b
                }
                (Some(a), _) => {
                    let a = (*a).clone();
                    left.next();
                    a
                }
                (None, Some(b)) => {
                    let b = (*b).clone();
                    right.next();
                    b
                }
                (None, None) => break,
            };
            joined.push(next);
        }
        self.0 = Some(Arc::new(joined));
    }

    /// A proxy fence: all that is known is visible to the asynchronous proxy.
    pub fn fence_proxy(&mut self) {
        let Some(entries) = &mut self.0 else { return };
        for (_, progress) in Arc::make_mut(entries) {
            if progress.proxy != progress.ordinary {
                let progress = Arc::make_mut(progress);
                let ordinary = progress.ordinary.clone();
                progress.proxy.join(&ordinary);
            }
        }
    }
}

fn both(a: &Arc<Progress>, b: &Arc<Progress>) -> Arc<Progress> {
    if Arc::ptr_eq(a, b) {
        return Arc::clone(a);
    }
    let mut joined = Progress::clone(a);
    joined.join(b);
    Arc::new(joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(cluster: ClusterIndex, agent: u32, time: u32) -> GridClock {
        let mut clock = Clock::default();
        clock.learn(Epoch { agent, time });
        GridClock::of(cluster, &clock, &Clock::default())
    }

    #[test]
    fn a_join_knows_what_either_knows_of_each_cluster() {
        let mut all = at(3, 0, 5);
        for other in [at(1, 0, 2), at(3, 1, 7), at(9, 0, 1), at(3, 0, 4)] {
            all.join(&other);
        }
        let epoch = |agent, time| Epoch { agent, time };
        assert!(all.covers(3, epoch(0, 5)) && all.covers(3, epoch(1, 7)));
        assert!(all.covers(1, epoch(0, 2)) && all.covers(9, epoch(0, 1)));
        assert!(!all.covers(3, epoch(0, 6)) && !all.covers(2, epoch(0, 1)));
        assert!(all.only(1).covers(1, epoch(0, 2)) && all.only(1).get(3).is_none());
    }

    #[test]
    fn a_proxy_fence_covers_what_is_known_then() {
        let mut known = at(2, 0, 5);
        let epoch = |time| Epoch { agent: 0, time };
        assert!(!known.covers_by_proxy(2, epoch(5)));
        known.fence_proxy();
        known.join(&at(2, 0, 6));
        assert!(known.covers_by_proxy(2, epoch(5)) && !known.covers_by_proxy(2, epoch(6)));
    }
}
