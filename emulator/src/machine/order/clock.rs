//! Vector clocks: what an agent knows of the others' progress.

use super::grid_clock::GridClock;

/// A component of a clock. Warps are agents, and so is everything whose completion can be waited for: a phase of an
/// mbarrier, the tensor operations of a thread, a bulk group.
pub type Agent = u32;

/// A moment in an agent's own time, which starts at 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch {
    pub agent: Agent,
    pub time: u32,
}

/// For each agent, how much of its time has passed; 0 where nothing is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clock(Vec<u32>);

impl Clock {
    pub fn time(&self, agent: Agent) -> u32 {
        self.0.get(agent as usize).copied().unwrap_or(0)
    }

    /// Whether the moment is known to have passed.
    pub fn covers(&self, epoch: Epoch) -> bool {
        self.time(epoch.agent) >= epoch.time
    }

    pub fn learn(&mut self, epoch: Epoch) {
        let index = epoch.agent as usize;
        if index >= self.0.len() {
            self.0.resize(index + 1, 0);
        }
        self.0[index] = self.0[index].max(epoch.time);
    }

    pub fn join(&mut self, other: &Clock) {
        if other.0.len() > self.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine = (*mine).max(*theirs);
        }
    }
}

/// What synchronisation hands from one warp to another.
#[derive(Clone, Debug, Default)]
pub struct Knowledge {
    /// Happens-before.
    pub ordinary: Clock,
    /// Of that, which accesses of each lane: who releases tells of those lanes only that its own has met ([`lane_agent`]).
    /// Known in strict mode.
    ///
    /// [`lane_agent`]: super::lanes::lane_agent
    pub lanes: Clock,
    /// Of that, what a proxy fence has made visible to the asynchronous proxy (PTX ISA §8.6).
    pub proxy: Clock,
    /// tcgen05 operations that `tcgen05.fence::before_thread_sync` or `tcgen05.commit` has published (PTX ISA
    /// §9.7.16.6.4).
    pub tensor: Clock,
    /// mbarriers whose initialisation `fence.mbarrier_init` has published.
    pub inits: Clock,
    /// What the issuers of asynchronous copies had done before. A copy that lands was issued, so this has happened too;
    /// but it makes no memory visible: only the copy's own bytes are (PTX ISA §9.7.9.25.4).
    pub happened: Clock,
    /// Happens-before of other clusters, through words of global memory.
    pub grid: GridClock,
    /// What relaxed reads of global words have shown, and no fence has followed up.
    pub unfenced: GridClock,
    /// What fences have made ready to be published by relaxed operations on global words: any fences, and those with GPU
    /// scope. Barriers pass it on: in split-K kernels all threads fence, and behind a barrier one of them counts up.
    pub fenced_near: GridClock,
    pub fenced_wide: GridClock,
}

impl Knowledge {
    pub fn join(&mut self, other: &Knowledge) {
        self.ordinary.join(&other.ordinary);
        self.lanes.join(&other.lanes);
        self.proxy.join(&other.proxy);
        self.grid.join(&other.grid);
        self.unfenced.join(&other.unfenced);
        self.fenced_near.join(&other.fenced_near);
        self.fenced_wide.join(&other.fenced_wide);
        self.join_published(other);
    }

    /// What even relaxed synchronisation hands over: fences have published it before.
    pub fn join_published(&mut self, other: &Knowledge) {
        self.tensor.join(&other.tensor);
        self.inits.join(&other.inits);
        self.happened.join(&other.happened);
    }

    /// Whether the moment has passed for sure, visible or not.
    pub fn has_happened(&self, epoch: Epoch) -> bool {
        self.ordinary.covers(epoch) || self.happened.covers(epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_take_the_later_time_of_each_agent() {
        let at = |agent, time| Epoch { agent, time };
        let (mut a, mut b) = (Clock::default(), Clock::default());
        a.learn(at(0, 3));
        b.learn(at(0, 2));
        b.learn(at(2, 7));
        a.join(&b);
        assert!(a.covers(at(0, 3)) && a.covers(at(2, 7)));
        assert!(!a.covers(at(1, 1)) && !a.covers(at(0, 4)) && !a.covers(at(9, 1)));
        b.join(&a);
        assert_eq!(a, b);
    }
}
