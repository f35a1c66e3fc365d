//! Release and acquire through words of global memory (PTX ISA §8.8): what orders CTAs that share nothing else.

use std::collections::HashMap;
use std::sync::MutexGuard;

use super::grid_clock::{ClusterIndex, GridClock};
use super::{Order, WarpClocks};
use crate::isa::ir::{Scope, Semantics};
use crate::machine::operation::Issuer;

/// What the operations of a launch on words of global memory have released, by address.
#[derive(Debug, Default)]
pub struct Words(HashMap<u64, Word>);

/// What releases an acquire takes over: those of the last store and of the atomics since, which continue its release
/// sequence.
#[derive(Debug, Default)]
struct Word {
    /// With GPU scope, or wider.
    wide: GridClock,
    /// With narrower scopes: for a cluster, or one CTA of it.
    near: Vec<(ClusterIndex, Option<u32>, GridClock)>,
    /// Cluster, CTA and warp of the last store: later ones of the same thread are part of its release pattern.
    writer: Option<(ClusterIndex, u32, u32)>,
}

/// The semantics and scope of a strong operation.
#[derive(Clone, Copy, Debug)]
pub struct Strength {
    pub semantics: Semantics,
    pub scope: Scope,
}

impl Strength {
    fn is_wide(self) -> bool {
        self.scope >= Scope::Gpu
    }

    fn acquires(self) -> bool {
        use Semantics::{AcqRel, Acquire, SeqCst};
        matches!(self.semantics, Acquire | AcqRel | SeqCst)
    }

    fn releases(self) -> bool {
        use Semantics::{AcqRel, Release, SeqCst};
        matches!(self.semantics, Release | AcqRel | SeqCst)
    }
}

impl WarpClocks {
    /// What a release by it hands over.
    fn snapshot(&self, cluster: ClusterIndex) -> GridClock {
        let known = &self.known;
        let mut snapshot = GridClock::of(cluster, &known.ordinary, &known.proxy);
        snapshot.join(&known.grid);
        snapshot
    }

    /// Learns what was acquired.
    fn absorb(&mut self, cluster: ClusterIndex, acquired: &GridClock) {
        // Who polls a word sees the same many times.
        if acquired.is(&self.absorbed) {
            return self.lanes_waited();
        }
        self.absorbed = acquired.clone();
        if let Some(own) = acquired.get(cluster) {
            self.known.ordinary.join(&own.ordinary);
            self.known.proxy.join(&own.proxy);
        }
        self.known.grid.join(acquired);
        self.lanes_waited();
    }

    /// A memory fence: relaxed reads before it acquire, and relaxed writes behind it release, as far as its scope goes.
    pub(super) fn fence_words(&mut self, cluster: ClusterIndex, scope: Scope) {
        if scope >= Scope::Gpu {
            let unfenced = std::mem::take(&mut self.known.unfenced);
            self.absorb(cluster, &unfenced);
        } else {
            let unfenced = self.known.unfenced.only(cluster);
            self.absorb(cluster, &unfenced);
        }
        let snapshot = self.snapshot(cluster);
        if scope >= Scope::Gpu {
            self.known.fenced_wide = snapshot.clone();
        }
        self.known.fenced_near = snapshot;
    }
}

impl<'l> Order<'l> {
    /// The words, for one strong operation: others must not come between the operation and what it hands over.
    pub fn words(&self) -> MutexGuard<'l, Words> {
        self.grid.words()
    }

    /// A strong store or atomic is about to publish through the word that it writes. An atomic continues what was
    /// published there, a store replaces it.
    pub fn global_release(
        &mut self,
        words: &mut Words,
        by: Issuer,
        address: u64,
        strength: Strength,
        is_atomic: bool,
    ) {
        let cluster = self.cluster;
        let clocks = self.clocks_mut(by);
        let (wide, near) = if strength.releases() {
            let snapshot = clocks.snapshot(cluster);
            clocks.tick();
            (snapshot.clone(), snapshot)
        } else {
            let known = &clocks.known;
            (known.fenced_wide.clone(), known.fenced_near.clone())
        };
        let writer = Some((cluster, by.cta, by.warp));
        if !is_atomic
            && words
                .0
                .get(&address)
                .is_some_and(|word| word.writer != writer)
        {
            words.0.remove(&address);
        }
        if near.is_empty() {
            return;
        }
        let word = words.0.entry(address).or_default();
        word.writer = (!is_atomic).then_some(writer).flatten();
        if strength.is_wide() {
            word.wide.join(&wide);
        }
        if strength.is_wide() && near.is(&wide) {
            return;
        }
        let cta = (strength.scope == Scope::Cta).then_some(by.cta);
        let mut entries = word.near.iter_mut();
        match entries.find(|entry| (entry.0, entry.1) == (cluster, cta)) {
            Some((_, _, known)) => known.join(&near),
            None => word.near.push((cluster, cta, near)),
        }
    }

    /// A strong load or atomic has read a word, and learns what was published there.
    pub fn global_acquire(&mut self, words: &Words, by: Issuer, address: u64, strength: Strength) {
        let Some(word) = words.0.get(&address) else {
            return;
        };
        let cluster = self.cluster;
        let mut seen = match strength.is_wide() {
            true => word.wide.clone(),
            false => word.wide.only(cluster),
        };
        for (other, cta, known) in &word.near {
            if *other == cluster && cta.is_none_or(|cta| cta == by.cta) {
                seen.join(known);
            }
        }
        let clocks = self.clocks_mut(by);
        match strength.acquires() {
            true => clocks.absorb(cluster, &seen),
            false => clocks.known.unfenced.join(&seen),
        }
    }
}
