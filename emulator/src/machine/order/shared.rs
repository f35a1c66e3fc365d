//! Shared memory: generic and asynchronous accesses (PTX ISA §8.6, §8.7).

use std::iter;
use std::ops::Range;

use super::agents::AgentKind;
use super::clock::Epoch;
use super::lanes;
use super::shadow::{Proxy, Record};
use super::{Finding, Found, Order, Rule, Severity, WarpClocks};
use crate::isa::ir::Scope;
use crate::machine::footprint::{Memory, Region, SharedAddress};
use crate::machine::operation::Issuer;

/// How an access meets an earlier one that it conflicts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hazard {
    /// Nothing orders them. That several warps store one value to one place is harmless, and Triton's code does it.
    Unordered(Severity),
    /// Two lanes of one warp, and nothing orders them.
    Lanes,
    /// Two warps, and another lane than the earlier one released, which nothing orders with it.
    Untold,
    /// They are ordered, but no proxy fence lies between them.
    Unfenced(Severity),
}

/// An access that is about to happen.
#[derive(Clone, Copy, Debug)]
struct Access {
    by: Issuer,
    proxy: Proxy,
    strong: bool,
    writes: bool,
    /// It stores what is there already.
    repeats: bool,
}

/// How `now`, by a warp with these clocks, meets `earlier`; `wrote`: that was a write.
fn hazard(clocks: &WarpClocks, earlier: &Record, wrote: bool, now: Access) -> Option<Hazard> {
    if earlier.strong.is_some() && now.strong {
        return None;
    }
    if !clocks.known.ordinary.covers(earlier.epoch) {
        let harmless = now.repeats && earlier.proxy == Proxy::Generic;
        return Some(Hazard::Unordered(match harmless {
            true => Severity::Warning,
            false => Severity::Error,
        }));
    }
    let is_own = (earlier.cta, earlier.warp) == (now.by.cta, now.by.warp);
    if is_own && !now.repeats && !clocks.lane_knows(now.by.lane, earlier) {
        return Some(Hazard::Lanes);
    }
    if !is_own && !now.repeats && !clocks.was_told(earlier) {
        return Some(Hazard::Untold);
    }
    if now.proxy == Proxy::Generic || earlier.proxy == Proxy::Async {
        // The completion of an asynchronous operation is a proxy fence (PTX ISA §8.6).
        return None;
    }
    if clocks.known.proxy.covers(earlier.epoch) {
        return None;
    }
    // Stale bytes would be read. To overwrite what was read, or written and passed on, is against the letter only:
    // CUTLASS and DeepGEMM refill stages after an mbarrier alone.
    Some(Hazard::Unfenced(match wrote && !now.writes {
        true => Severity::Error,
        false => Severity::Warning,
    }))
}

impl Order<'_> {
    /// Whether the next store of a lane writes what is there already.
    pub fn next_repeats(&mut self, repeats: bool) {
        self.repeats = repeats;
    }

    /// A load, store or atomic of one lane.
    pub fn access(
        &mut self,
        by: Issuer,
        address: SharedAddress,
        bytes: u32,
        writes: bool,
        strong: bool,
    ) -> Found {
        let cells = address.offset as usize..(address.offset + bytes) as usize;
        let proxy = Proxy::Generic;
        let repeats = std::mem::take(&mut self.repeats);
        let access = Access {
            by,
            proxy,
            strong,
            writes,
            repeats,
        };
        if !writes {
            self.initialised(by, address.cta, iter::once(cells.clone()), false)?;
        }
        self.ordered(access, address.cta, cells.clone())?;
        let epoch = self.clocks(by).now();
        let mut record = self.record(by, epoch, proxy, None);
        record.strong = strong.then_some(Scope::Cta);
        record.moment = self.lane_moment(by);
        let id = self.intern(record);
        let shadow = &mut self.shared[address.cta as usize];
        match writes {
            true => shadow.write(cells, id),
            false => shadow.read(&mut self.records, cells, id),
        }
        Ok(())
    }

    /// An asynchronous operation is issued: what it will do must be ordered behind what was done.
    /// `is_operand`: the tensor core multiplies what is read.
    pub(super) fn issue_shared(
        &mut self,
        by: Issuer,
        region: &Region,
        proxy: Proxy,
        writes: bool,
        is_operand: bool,
    ) -> Found {
        let access = Access {
            by,
            proxy,
            strong: false,
            writes,
            repeats: false,
        };
        let cta = region.cta();
        if !writes {
            self.initialised(by, cta, region.cells(), is_operand)?;
        }
        region
            .cells()
            .try_for_each(|cells| self.ordered(access, cta, cells))
    }

    /// An asynchronous operation is busy with the region until `record`'s moment.
    pub(super) fn until(&mut self, region: &Region, record: Record, writes: bool) {
        let id = self.intern(record);
        let shadows = match region.memory() {
            Memory::Shared => &mut self.shared,
            Memory::Tensor => &mut self.tensor,
            Memory::Global => return,
        };
        let shadow = &mut shadows[region.cta() as usize];
        for cells in region.cells() {
            match writes {
                true => shadow.write(cells, id),
                false => shadow.read(&mut self.records, cells, id),
            }
        }
    }

    /// A copy has read or written its bytes; who sees the current phase of the barrier complete knows that.
    pub(super) fn until_phase(
        &mut self,
        by: Issuer,
        region: &Region,
        barrier: SharedAddress,
        operation: &'static str,
        writes: bool,
    ) {
        let agent = self.agents.number(AgentKind::Phases(barrier));
        let clocks = self.mbarriers.entry(barrier).or_default();
        let time = clocks.current_phase(by);
        let record = self.record(by, Epoch { agent, time }, Proxy::Async, Some(operation));
        self.until(region, record, writes);
    }

    fn ordered(&mut self, access: Access, cta: u32, cells: Range<usize>) -> Found {
        let clocks = self.clocks(access.by);
        let shadow = &self.shared[cta as usize];
        let find = |wanted: &dyn Fn(Hazard) -> bool| {
            shadow.find(
                &self.records,
                cells.clone(),
                access.writes,
                |earlier, wrote| hazard(clocks, earlier, wrote, access).is_some_and(wanted),
            )
        };
        let is_error = |hazard| {
            matches!(
                hazard,
                Hazard::Unordered(Severity::Error) | Hazard::Unfenced(Severity::Error)
            )
        };
        let may_warn = access.proxy == Proxy::Async || access.repeats || self.tells_lanes_apart();
        let earlier = find(&is_error).or_else(|| match may_warn {
            true => find(&|_| true),
            false => None,
        });
        let Some(earlier) = earlier else {
            return Ok(());
        };
        let record = *self.records.get(earlier.record);
        let (rule, severity, missing) = match hazard(clocks, &record, earlier.writes, access) {
            Some(Hazard::Unfenced(severity)) => (
                Rule::ProxyFence,
                severity,
                "no `fence.proxy.async` lies between the two".to_owned(),
            ),
            Some(Hazard::Unordered(severity)) => {
                (Rule::Race, severity, missing_order(&record).to_owned())
            }
            Some(Hazard::Lanes) => (Rule::Race, Severity::Warning, lanes::MISSING.to_owned()),
            Some(Hazard::Untold) => (Rule::Race, Severity::Warning, lanes::UNTOLD.to_owned()),
            None => return Ok(()),
        };
        if self.is_known(rule, severity, access.by, Some(&record)) {
            return Ok(());
        }
        let finding = Finding {
            rule,
            severity,
            now: if access.writes { "writes" } else { "reads" },
            space: "bytes of shared memory",
            range: earlier.cell as u64..cells.end as u64,
            memory_of: Some(self.cta_ids[cta as usize]),
            allocation: None,
            register: None,
            other: Some(self.party(&record, earlier.writes)),
            missing,
        };
        self.report(access.by, finding)
    }

    /// To compute with what nobody wrote is an error. To load it is not yet: tiles at the border of a matrix are often
    /// written in part, and what is not needed is thrown away later.
    fn initialised(
        &mut self,
        by: Issuer,
        cta: u32,
        cells: impl Iterator<Item = Range<usize>>,
        is_operand: bool,
    ) -> Found {
        let shadow = &self.shared[cta as usize];
        let (mut unwritten, mut all) = (0, 0);
        let (mut start, mut end) = (usize::MAX, 0);
        for cells in cells {
            all += cells.len();
            (start, end) = (start.min(cells.start), end.max(cells.end));
            unwritten += shadow.unwritten(cells);
        }
        let rule = Rule::Uninitialised;
        let severity = match is_operand && unwritten == all {
            true => Severity::Error,
            false => Severity::Warning,
        };
        if unwritten == 0 || self.is_known(rule, severity, by, None) {
            return Ok(());
        }
        let finding = Finding {
            rule,
            severity,
            now: "reads",
            space: "bytes of shared memory",
            range: start as u64..end as u64,
            memory_of: Some(self.cta_ids[cta as usize]),
            allocation: None,
            register: None,
            other: None,
            missing: match unwritten == all {
                true => "they were never written".to_owned(),
                false => format!("{unwritten} of them were never written"),
            },
        };
        self.report(by, finding)
    }
}

/// What would order somebody behind the access.
fn missing_order(earlier: &Record) -> &'static str {
    match (earlier.operation, earlier.pipe) {
        (None, _) => "no barrier, or release and acquire, orders the two",
        (_, Some(_)) => "no wait for a `tcgen05.commit` after it lies between the two",
        (Some(_), None) => "no wait for its completion lies between the two",
    }
}
