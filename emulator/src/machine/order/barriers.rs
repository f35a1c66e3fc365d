//! What synchronisation hands over: mbarriers, named barriers, the cluster barrier, fences, and release and acquire
//! through words of shared memory.

use super::agents::AgentKind;
use super::clock::{Epoch, Knowledge};
use super::{Finding, Found, Order, Rule, Severity, Ticket, WarpClocks};
use crate::isa::ir::{FenceKind, Scope, Semantics};
use crate::machine::footprint::SharedAddress;
use crate::machine::mbarrier::MBARRIER_BYTES;
use crate::machine::operation::Issuer;
use crate::machine::report::SourceLine;

/// An mbarrier's side of the clocks.
#[derive(Debug, Default)]
pub struct MbarrierClocks {
    /// Completed since the cluster started, whatever was initialised again in between.
    pub phases: u32,
    /// Who knows this moment knows that it is initialised.
    initialised: Option<(Epoch, Issuer)>,
    /// What arrivals have brought.
    arriving: Knowledge,
    /// … up to the last completed phase.
    complete: Knowledge,
    /// Warps that have seen the last completed phase, and when.
    observers: Vec<(Epoch, Issuer)>,
    /// Phases completed before the last `mbarrier.init`.
    first_phase: u32,
    /// Who arrived last, or loaded the last bytes.
    last: Option<Issuer>,
}

impl MbarrierClocks {
    /// The moment at which its current phase completes.
    pub fn current_phase(&mut self, by: Issuer) -> u32 {
        self.last = Some(by);
        self.phases + 1
    }
}

/// How an mbarrier is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// By an mbarrier instruction.
    Instruction,
    /// By an operation that will complete on it.
    Asynchronous,
}

impl WarpClocks {
    /// Arrives: adds what the warp knows, or what its last fence has released. By one lane, or by all.
    fn publish(&mut self, into: &mut Knowledge, lane: Option<u32>, relaxed: bool) {
        match relaxed {
            false => {
                into.join(&self.known);
                self.tell_lanes(lane, into);
            }
            true => {
                into.join(&self.released);
                into.join_published(&self.known);
            }
        }
        self.tick();
    }

    /// Waits: takes over what the others knew, or keeps it for the next fence.
    fn acquire(&mut self, from: &Knowledge, relaxed: bool) {
        match relaxed {
            false => self.known.join(from),
            true => {
                self.known.join_published(from);
                self.seen.join(from);
            }
        }
        self.lanes_waited();
    }
}

impl Order<'_> {
    // ---- mbarriers -------------------------------------------------------------------------------------------------

    /// `mbarrier.init`, which writes the object as any store does.
    pub fn mbarrier_init(&mut self, by: Issuer, address: SharedAddress) -> Found {
        self.access(by, address, MBARRIER_BYTES, true, false)?;
        let now = self.clocks(by).now();
        let barrier = self.mbarriers.entry(address).or_default();
        barrier.initialised = Some((now, by));
        barrier.first_phase = barrier.phases;
        barrier.arriving = Knowledge::default();
        barrier.complete = Knowledge::default();
        barrier.observers.clear();
        Ok(())
    }

    /// `mbarrier.inval`
    pub fn mbarrier_inval(&mut self, by: Issuer, address: SharedAddress) -> Found {
        self.mbarrier_use(by, address, Use::Instruction)?;
        self.access(by, address, MBARRIER_BYTES, true, false)
    }

    /// The warp has to know that the barrier is initialised. For what an asynchronous operation does to it, a fence has
    /// to have published that, to the letter: `fence.mbarrier_init` or a proxy fence.
    pub fn mbarrier_use(&mut self, by: Issuer, address: SharedAddress, how: Use) -> Found {
        let Some(barrier) = self.mbarriers.get(&address) else {
            return Ok(());
        };
        let Some((init, initialiser)) = barrier.initialised else {
            return Ok(());
        };
        let known = &self.clocks(by).known;
        let published = known.inits.covers(init) || known.proxy.covers(init);
        let (rule, severity, missing) = match how {
            _ if !published && !known.ordinary.covers(init) => (
                Rule::Mbarrier,
                Severity::Error,
                "no barrier lies between its initialisation and this",
            ),
            Use::Asynchronous if !published => (
                Rule::ProxyFence,
                Severity::Warning,
                "no `fence.mbarrier_init` or `fence.proxy.async` follows its initialisation",
            ),
            _ => return Ok(()),
        };
        let mut finding = self.about_mbarrier(rule, severity, "uses", address, missing);
        let mut party = self.party_of(initialiser, "initialised");
        party.operation = None;
        finding.other = Some(party);
        self.report(by, finding)
    }

    /// An arrival by an instruction.
    pub fn mbarrier_arrive(&mut self, by: Issuer, address: SharedAddress, relaxed: bool) -> Found {
        self.mbarrier_use(by, address, Use::Instruction)?;
        // It has to come first, and publishes nothing: behind a copy that was issued behind it is as good.
        let known = &self.clocks(by).known;
        let unseen = self.mbarriers.get(&address).is_some_and(|barrier| {
            barrier.phases > barrier.first_phase
                && !barrier
                    .observers
                    .iter()
                    .any(|(seen, _)| known.has_happened(*seen))
        });
        if unseen {
            // PTX ISA §9.7.13.15.4
            let missing = "no successful wait for its last phase is known to precede this arrival";
            let (rule, severity) = (Rule::Mbarrier, Severity::Warning);
            let finding = self.about_mbarrier(rule, severity, "arrives at", address, missing);
            self.report(by, finding)?;
        }
        let index = self.index(by);
        let barrier = self.mbarriers.entry(address).or_default();
        barrier.last = Some(by);
        self.warps[index].publish(&mut barrier.arriving, Some(by.lane), relaxed);
        Ok(())
    }

    /// An operation will complete on the barrier: when its phase is complete, the issuer had come this far.
    pub(super) fn issued_for(&mut self, by: Issuer, address: SharedAddress) {
        let index = self.index(by);
        let known = &self.warps[index].known;
        let arriving = &mut self.mbarriers.entry(address).or_default().arriving;
        arriving.happened.join(&known.ordinary);
        arriving.happened.join(&known.happened);
    }

    /// The arrival of a `tcgen05.commit`, or behind copies, whose operations are complete.
    pub fn completion_arrives(&mut self, by: Issuer, ticket: &Ticket, address: SharedAddress) {
        if let Ticket::Arrival(knowledge) = ticket {
            let barrier = self.mbarriers.entry(address).or_default();
            barrier.last = Some(by);
            barrier.arriving.join(knowledge);
        }
    }

    /// A phase is complete: who waits for it from now on learns what its arrivals knew.
    pub fn phase_complete(&mut self, address: SharedAddress) -> Found {
        let agent = self.agents.number(AgentKind::Phases(address));
        let barrier = self.mbarriers.entry(address).or_default();
        barrier.phases += 1;
        let time = barrier.phases;
        barrier.arriving.ordinary.learn(Epoch { agent, time });
        barrier.complete.join(&barrier.arriving);
        let observers = std::mem::take(&mut barrier.observers);
        let lapped = observers
            .iter()
            .find(|(seen, _)| !barrier.arriving.has_happened(*seen));
        let (Some((_, waiter)), Some(by)) = (lapped, barrier.last) else {
            return Ok(());
        };
        // The next phase could have completed before it looked; it would then have waited for the one after.
        let missing = "the phase completes whether or not the other has seen the one before; it can be lapped";
        let (rule, severity) = (Rule::Mbarrier, Severity::Warning);
        let mut finding = self.about_mbarrier(rule, severity, "completes", address, missing);
        finding.other = Some(self.party_of(*waiter, "waits for"));
        self.report(by, finding)
    }

    /// A successful wait.
    pub fn mbarrier_wait(&mut self, by: Issuer, address: SharedAddress, relaxed: bool) {
        let index = self.index(by);
        let Some(barrier) = self.mbarriers.get_mut(&address) else {
            return;
        };
        let clocks = &mut self.warps[index];
        clocks.acquire(&barrier.complete, relaxed);
        if barrier.phases > barrier.first_phase {
            let now = clocks.now();
            barrier
                .observers
                .retain(|(seen, _)| seen.agent != now.agent);
            barrier.observers.push((now, by));
        }
    }

    fn about_mbarrier(
        &self,
        rule: Rule,
        severity: Severity,
        now: &'static str,
        address: SharedAddress,
        missing: &str,
    ) -> Finding {
        Finding {
            rule,
            severity,
            now,
            space: "the mbarrier at",
            range: address.offset.into()..u64::from(address.offset) + u64::from(MBARRIER_BYTES),
            memory_of: Some(self.cta_ids[address.cta as usize]),
            allocation: None,
            register: None,
            other: None,
            missing: missing.to_owned(),
        }
    }

    fn party_of(&self, by: Issuer, did: &'static str) -> super::Party {
        super::Party {
            cta: self.cta_ids[by.cta as usize],
            warp: by.warp,
            lanes: None,
            did,
            operation: None,
            source: SourceLine::of(self.kernel, by.line),
        }
    }

    // ---- named barriers and the cluster's --------------------------------------------------------------------------

    /// A warp arrives at a named barrier of its CTA.
    pub fn named_arrive(&mut self, by: Issuer, id: u32) {
        let index = self.index(by);
        let arriving = self.named.entry((by.cta as usize, id)).or_default();
        self.warps[index].publish(arriving, None, false);
    }

    /// A named barrier completes and releases these warps.
    pub fn named_complete(&mut self, cta: usize, id: u32, released: impl Iterator<Item = usize>) {
        let Some(knowledge) = self.named.remove(&(cta, id)) else {
            return;
        };
        for warp in released {
            self.warps[cta * self.warps_per_cta + warp].acquire(&knowledge, false);
        }
    }

    pub fn cluster_arrive(&mut self, by: Issuer, relaxed: bool) {
        let index = self.index(by);
        self.warps[index].publish(&mut self.cluster_arrived, None, relaxed);
    }

    pub fn cluster_complete(&mut self) {
        let arrived = std::mem::take(&mut self.cluster_arrived);
        self.cluster_complete.join(&arrived);
    }

    pub fn cluster_wait(&mut self, by: Issuer) {
        let index = self.index(by);
        self.warps[index].acquire(&self.cluster_complete, false);
    }

    // ---- fences and words ------------------------------------------------------------------------------------------

    pub fn fence(&mut self, by: Issuer, kind: FenceKind, scope: Scope) {
        let cluster = self.cluster;
        let clocks = self.clocks_mut(by);
        match kind {
            FenceKind::Memory => {
                let seen = std::mem::take(&mut clocks.seen);
                clocks.known.join(&seen);
                clocks.fence_words(cluster, scope);
                let mut released = clocks.known.clone();
                clocks.tell_lanes(None, &mut released);
                clocks.released = released;
            }
            FenceKind::ProxyAsync => {
                clocks.known.proxy.join(&clocks.known.ordinary);
                clocks.known.grid.fence_proxy();
            }
            FenceKind::MbarrierInit => {
                let now = clocks.now();
                clocks.known.inits.learn(now);
            }
            FenceKind::ProxyAlias => {}
        }
        clocks.tick();
    }

    /// A strong store or atomic publishes through the word that it writes.
    pub fn word_release(&mut self, by: Issuer, word: SharedAddress, semantics: Semantics) {
        let relaxed = !matches!(
            semantics,
            Semantics::Release | Semantics::AcqRel | Semantics::SeqCst
        );
        let index = self.index(by);
        let published = self.words.entry(word).or_default();
        self.warps[index].publish(published, Some(by.lane), relaxed);
    }

    /// A strong load or atomic learns through the word that it reads.
    pub fn word_acquire(&mut self, by: Issuer, word: SharedAddress, semantics: Semantics) {
        let relaxed = !matches!(
            semantics,
            Semantics::Acquire | Semantics::AcqRel | Semantics::SeqCst
        );
        let index = self.index(by);
        if let Some(published) = self.words.get(&word) {
            self.warps[index].acquire(published, relaxed);
        }
    }
}
