//! Tensor memory (PTX ISA §9.7.16.6): which tcgen05 operations are ordered.

use super::agents::AgentKind;
use super::clock::{Epoch, Knowledge};
use super::shadow::{Proxy, Record};
use super::{Finding, Found, Order, Rule, Severity, Ticket, WarpClocks};
use crate::machine::footprint::Region;
use crate::machine::operation::Issuer;
use crate::tensor::memory::COLUMNS;

/// Halves of the four partitions.
const HALVES: usize = 8;

/// Columns of the first half of a partition, then of the next.
pub const CELLS: usize = HALVES * COLUMNS;

/// Names of operations ([`crate::machine::operation::Work::name`]).
const MMA: &str = "tcgen05.mma";
const COPY: &str = "tcgen05.cp";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hazard {
    Unordered,
    /// Ordered by waits, but not by the fences that tcgen05 operations of different threads need.
    Unfenced,
    /// A `tcgen05.cp` behind a `tcgen05.mma` of the same thread: not among the pairs that the PTX ISA lists as executed
    /// in order (§9.7.16.6.2), though kernels rely on it.
    MmaThenCopy,
}

/// How an operation by a warp with these clocks, and in this pipe, meets an earlier one of which it needs the
/// completion, or the issue where both are in pipes.
fn hazard(
    clocks: &WarpClocks,
    is_own: bool,
    earlier: &Record,
    later: Option<&Record>,
) -> Option<Hazard> {
    let pipe = later.and_then(|later| later.pipe);
    if earlier.pipe.is_some() && earlier.pipe == pipe {
        // tcgen05.mma and .cp of a thread execute in order (PTX ISA §9.7.16.6.2).
        let names = [Some(earlier), later].map(|record| record.and_then(|r| r.operation));
        let is_listed = names != [Some(MMA), Some(COPY)];
        let is_complete = clocks.known.ordinary.covers(earlier.epoch);
        return (!is_listed && !is_complete).then_some(Hazard::MmaThenCopy);
    }
    let issue = earlier.pipe.filter(|_| pipe.is_some()).map(|agent| Epoch {
        agent,
        time: earlier.epoch.time,
    });
    let covered =
        |covers: &dyn Fn(Epoch) -> bool| covers(earlier.epoch) || issue.is_some_and(covers);
    if covered(&|epoch| clocks.tensor.covers(epoch) || clocks.own_tensor.covers(epoch)) {
        return None;
    }
    match covered(&|epoch| clocks.known.ordinary.covers(epoch)) {
        false => Some(Hazard::Unordered),
        true if is_own => None,
        true => Some(Hazard::Unfenced),
    }
}

impl Order<'_> {
    /// The next moment of the thread's pipe; its operations are complete at that of the second agent.
    pub(super) fn next_in_pipe(&mut self, by: Issuer, operation: &'static str) -> Record {
        let issue = self.of_thread(by, AgentKind::PipeIssue);
        let agent = self.of_thread(by, AgentKind::PipeDone);
        let clocks = self.clocks_mut(by);
        let time = clocks.known.ordinary.time(issue) + 1;
        let issued = Epoch { agent: issue, time };
        clocks.known.ordinary.learn(issued);
        clocks.own_tensor.learn(issued);
        let mut record = self.record(by, Epoch { agent, time }, Proxy::Async, Some(operation));
        record.pipe = Some(issue);
        record
    }

    /// What a `tcgen05.commit` hands to its barrier when it completes: all that its thread knew at issue, and that the
    /// thread's operations are complete. It implies `tcgen05.fence::before_thread_sync` (PTX ISA §9.7.16.12.1).
    pub(super) fn commit(&mut self, by: Issuer) -> Ticket {
        let issue = self.of_thread(by, AgentKind::PipeIssue);
        let agent = self.of_thread(by, AgentKind::PipeDone);
        let clocks = self.clocks_mut(by);
        let time = clocks.known.ordinary.time(issue);
        let mut knowledge: Knowledge = clocks.known.clone();
        clocks.tell_lanes(Some(by.lane), &mut knowledge);
        knowledge.tensor.join(&clocks.own_tensor);
        if time > 0 {
            knowledge.ordinary.learn(Epoch { agent, time });
            knowledge.tensor.learn(Epoch { agent, time });
        }
        clocks.tick();
        Ticket::Arrival(Box::new(knowledge))
    }

    /// The next `tcgen05.ld` or `.st` of the warp.
    pub(super) fn next_fragment(&mut self, by: Issuer, loads: bool) -> Record {
        let (kind, name) = fragments(by, loads);
        let agent = self.agents.number(kind);
        let clocks = self.clocks_mut(by);
        let issued = match loads {
            true => &mut clocks.tensor_loads,
            false => &mut clocks.tensor_stores,
        };
        *issued += 1;
        let time = *issued;
        self.record(by, Epoch { agent, time }, Proxy::Async, Some(name))
    }

    /// `tcgen05.wait::ld` or `::st`.
    pub fn wait_fragments(&mut self, by: Issuer, loads: bool) {
        let agent = self.agents.number(fragments(by, loads).0);
        let clocks = self.clocks_mut(by);
        let time = match loads {
            true => clocks.tensor_loads,
            false => clocks.tensor_stores,
        };
        let complete = Epoch { agent, time };
        clocks.known.ordinary.learn(complete);
        clocks.own_tensor.learn(complete);
    }

    /// `tcgen05.fence::before_thread_sync`
    pub fn fence_before_thread_sync(&mut self, by: Issuer) {
        let clocks = self.clocks_mut(by);
        clocks.known.tensor.join(&clocks.own_tensor);
        clocks.known.tensor.join(&clocks.tensor);
    }

    /// `tcgen05.fence::after_thread_sync`
    pub fn fence_after_thread_sync(&mut self, by: Issuer) {
        let clocks = self.clocks_mut(by);
        clocks.tensor.join(&clocks.known.tensor);
    }

    /// `tcgen05.alloc`: the columns hold nothing.
    pub fn allocated(&mut self, cta: u32, columns: std::ops::Range<u32>) {
        let region = Region::tensor(cta, columns, u8::MAX);
        for cells in region.cells() {
            self.tensor[cta as usize].forget(cells);
        }
    }

    /// `tcgen05.dealloc`: somebody else's columns from now on, who overwrites them by asynchronous operations. What was
    /// done to them has to be ordered as for such an operation.
    pub fn deallocated(&mut self, by: Issuer, region: Region) -> Found {
        self.ordered_tensor(by, &region, Some("frees"), None)
    }

    /// An access to tensor memory is issued; `record` is its own moment.
    pub(super) fn issue_tensor(
        &mut self,
        by: Issuer,
        region: &Region,
        record: Record,
        writes: bool,
    ) -> Found {
        if !writes {
            self.initialised_tensor(by, region, record.pipe.is_some())?;
        }
        let does = if writes { Some("writes") } else { None };
        self.ordered_tensor(by, region, does, Some(&record))?;
        self.until(region, record, writes);
        Ok(())
    }

    /// `writes`: what the instruction does to the columns, if it does not only read them. `later` is its
    /// own moment, if it is asynchronous.
    fn ordered_tensor(
        &mut self,
        by: Issuer,
        region: &Region,
        writes: Option<&'static str>,
        later: Option<&Record>,
    ) -> Found {
        let clocks = self.clocks(by);
        let shadow = &self.tensor[region.cta() as usize];
        let meets = |earlier: &Record| {
            let is_own = (earlier.cta, earlier.warp) == (by.cta, by.warp);
            hazard(clocks, is_own, earlier, later)
        };
        let find = |wanted: &dyn Fn(Hazard) -> bool| {
            region.cells().find_map(|cells| {
                let end = cells.end;
                shadow
                    .find(&self.records, cells, writes.is_some(), |earlier, _| {
                        meets(earlier).is_some_and(wanted)
                    })
                    .map(|earlier| (earlier, end))
            })
        };
        let found = find(&|hazard| hazard == Hazard::Unordered).or_else(|| find(&|_| true));
        let Some((earlier, end)) = found else {
            return Ok(());
        };
        let record = *self.records.get(earlier.record);
        let (severity, missing) = match meets(&record) {
            Some(Hazard::Unfenced) => {
                let published = clocks.known.tensor.covers(record.epoch)
                    || record.pipe.is_some_and(|agent| {
                        let time = record.epoch.time;
                        clocks.known.tensor.covers(Epoch { agent, time })
                    });
                let missing = match published {
                    true => "no `tcgen05.fence::after_thread_sync` follows the wait for it",
                    false => {
                        "its thread executed no `tcgen05.fence::before_thread_sync` before it arrived"
                    }
                };
                (Severity::Warning, missing)
            }
            Some(Hazard::MmaThenCopy) => (
                Severity::Warning,
                "the PTX ISA does not list tcgen05.mma, then tcgen05.cp as executed in order; wait for its commit",
            ),
            _ => (Severity::Error, missing_order(&record)),
        };
        let rule = Rule::TensorOrder;
        if self.is_known(rule, severity, by, Some(&record)) {
            return Ok(());
        }
        let column = |cell: usize| (cell % COLUMNS) as u64;
        let finding = Finding {
            rule,
            severity,
            now: writes.unwrap_or("reads"),
            space: "columns of tensor memory",
            range: column(earlier.cell)..column(end - 1) + 1,
            memory_of: Some(self.cta_ids[region.cta() as usize]),
            allocation: None,
            register: None,
            other: Some(self.party(&record, earlier.writes)),
            missing: missing.to_owned(),
        };
        self.report(by, finding)
    }

    fn initialised_tensor(&mut self, by: Issuer, region: &Region, is_operand: bool) -> Found {
        let shadow = &self.tensor[region.cta() as usize];
        let (unwritten, all) = region.cells().fold((0, 0), |(unwritten, all), cells| {
            (
                unwritten + shadow.unwritten(cells.clone()),
                all + cells.len(),
            )
        });
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
            space: "columns of tensor memory",
            range: region.range(),
            memory_of: Some(self.cta_ids[region.cta() as usize]),
            allocation: None,
            register: None,
            other: None,
            missing: match unwritten == all {
                true => "they were never written".to_owned(),
                false => "not all of them were written in all lanes".to_owned(),
            },
        };
        self.report(by, finding)
    }
}

fn fragments(by: Issuer, loads: bool) -> (AgentKind, &'static str) {
    let (cta, warp) = (by.cta, by.warp);
    match loads {
        true => (AgentKind::TensorLoads { cta, warp }, "tcgen05.ld"),
        false => (AgentKind::TensorStores { cta, warp }, "tcgen05.st"),
    }
}

fn missing_order(earlier: &Record) -> &'static str {
    match earlier.pipe {
        Some(_) => "no wait for a `tcgen05.commit` after it lies between the two",
        None => "no `tcgen05.wait` and synchronisation lie between the two",
    }
}
