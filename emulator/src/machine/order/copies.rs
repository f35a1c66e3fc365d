//! What is waited for by groups: bulk stores, `cp.async` and `wgmma.mma_async` (PTX ISA §9.7.9.25.3, §9.7.9.27.2,
//! §9.7.15.7).

use super::agents::AgentKind;
use super::clock::Epoch;
use super::shadow::{Proxy, Record};
use super::{Order, Ticket};
use crate::machine::operation::Issuer;

impl Order<'_> {
    /// A bulk store's moment: when its thread's group, the next to be committed, has read its source.
    pub(super) fn in_bulk_group(
        &mut self,
        by: Issuer,
        group: u32,
        operation: &'static str,
    ) -> Record {
        let agent = self.of_thread(by, AgentKind::BulkReads);
        let time = group + 1;
        self.record(by, Epoch { agent, time }, Proxy::Async, Some(operation))
    }

    /// `cp.async.bulk.wait_group`: the thread's first groups are complete, or with `read`, their sources have been read.
    pub fn wait_bulk_groups(&mut self, by: Issuer, groups: u32, read: bool) {
        let mut learn = |kind| {
            let agent = self.of_thread(by, kind);
            let complete = Epoch {
                agent,
                time: groups,
            };
            self.clocks_mut(by).known.ordinary.learn(complete);
        };
        learn(AgentKind::BulkReads);
        if !read {
            learn(AgentKind::BulkWrites);
        }
    }

    /// The next `cp.async` of the warp. It writes through the generic proxy (PTX ISA §8.6).
    pub(super) fn next_copy(&mut self, by: Issuer, operation: &'static str) -> Record {
        let agent = self.copies_of(by);
        let clocks = self.clocks_mut(by);
        clocks.copies += 1;
        let time = clocks.copies;
        self.record(by, Epoch { agent, time }, Proxy::Generic, Some(operation))
    }

    /// `cp.async.commit_group` of one lane.
    pub fn commit_copies(&mut self, by: Issuer) {
        let clocks = self.clocks_mut(by);
        clocks.copy_groups[by.lane as usize].push(clocks.copies);
    }

    /// `cp.async.wait_group`: the lane's first groups are complete.
    pub fn wait_copy_groups(&mut self, by: Issuer, groups: u32) {
        let agent = self.copies_of(by);
        let clocks = self.clocks_mut(by);
        let last = (groups as usize).checked_sub(1);
        if let Some(&time) = last.and_then(|last| clocks.copy_groups[by.lane as usize].get(last)) {
            clocks.known.ordinary.learn(Epoch { agent, time });
        }
    }

    /// What a `cp.async.mbarrier.arrive` hands to its barrier: what its warp knew, and that its copies are complete.
    pub(super) fn arrive_behind_copies(&mut self, by: Issuer) -> Ticket {
        let agent = self.copies_of(by);
        let clocks = self.clocks_mut(by);
        let mut knowledge = clocks.known.clone();
        clocks.tell_lanes(Some(by.lane), &mut knowledge);
        let time = clocks.copies;
        knowledge.ordinary.learn(Epoch { agent, time });
        clocks.tick();
        Ticket::Arrival(Box::new(knowledge))
    }

    /// The warp's part of its next `wgmma.mma_async`.
    pub(super) fn next_warpgroup_mma(&mut self, by: Issuer, operation: &'static str) -> Record {
        let agent = self.warpgroup_mmas_of(by);
        let clocks = self.clocks_mut(by);
        clocks.warpgroup_mmas += 1;
        let time = clocks.warpgroup_mmas;
        self.record(by, Epoch { agent, time }, Proxy::Async, Some(operation))
    }

    /// `wgmma.commit_group`
    pub fn commit_warpgroup_mmas(&mut self, by: Issuer) {
        let clocks = self.clocks_mut(by);
        clocks.warpgroup_groups.push(clocks.warpgroup_mmas);
    }

    /// `wgmma.wait_group`: all but the last groups are complete.
    pub fn wait_warpgroup_mmas(&mut self, by: Issuer, pending: u32) {
        let agent = self.warpgroup_mmas_of(by);
        let clocks = self.clocks_mut(by);
        let mut groups = clocks.warpgroup_groups.iter().rev();
        if let Some(&time) = groups.nth(pending as usize) {
            clocks.known.ordinary.learn(Epoch { agent, time });
        }
    }

    fn warpgroup_mmas_of(&mut self, by: Issuer) -> u32 {
        let (cta, warp) = (by.cta, by.warp);
        self.agents.number(AgentKind::WarpgroupMmas { cta, warp })
    }

    fn copies_of(&mut self, by: Issuer) -> u32 {
        let (cta, warp) = (by.cta, by.warp);
        self.agents.number(AgentKind::Copies { cta, warp })
    }
}
