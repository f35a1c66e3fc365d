//! Global memory: accesses of all CTAs of a launch (PTX ISA §8.7.1).

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::agents::AgentKind;
use super::clock::Epoch;
use super::lanes;
use super::pages::{EarlierBytes, Pages};
use super::shadow::{Effect, Proxy, Record, RecordId, Records};
use super::words::Words;
use super::{Finding, Found, Order, Rule, Severity, WarpClocks};
use crate::isa::ir::Scope;
use crate::machine::footprint::Memory;
use crate::machine::global::GlobalView;
use crate::machine::operation::{Issuer, Operation, Work};
use crate::tma;

/// Readers of a byte that are remembered: the last ones. A write that all but these are ordered before is never found
/// racing with the others, but a byte that thousands of CTAs read costs no more than one that few do.
const MOST_READERS: usize = 4;

/// Records and sets of them above which those that nothing names are forgotten.
const MOST_RECORDS: usize = 1 << 20;

/// What the clusters of a launch have done to global memory, and have told each other through it.
#[derive(Debug, Default)]
pub struct GridOrder {
    shadow: Mutex<GlobalShadow>,
    words: Mutex<Words>,
    /// Held from looking at what is there to having written.
    writes: Mutex<()>,
}

#[derive(Debug)]
struct GlobalShadow {
    pages: Pages,
    records: Records,
    numbers: HashMap<Record, RecordId>,
    most_records: usize,
}

impl Default for GlobalShadow {
    fn default() -> Self {
        Self {
            pages: Pages::default(),
            records: Records::with_most_members(MOST_READERS),
            numbers: HashMap::new(),
            most_records: MOST_RECORDS,
        }
    }
}

impl GridOrder {
    pub(super) fn words(&self) -> MutexGuard<'_, Words> {
        self.words.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writes(&self) -> MutexGuard<'_, ()> {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shadow(&self) -> MutexGuard<'_, GlobalShadow> {
        self.shadow.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GlobalShadow {
    fn intern(&mut self, record: Record) -> RecordId {
        if let Some(known) = self.numbers.get(&record) {
            return *known;
        }
        if self.records.size() >= self.most_records {
            self.records.collect(self.pages.shadows());
            self.numbers.clear();
            self.most_records = MOST_RECORDS.max(2 * self.records.size());
        }
        let id = self.records.add(record);
        self.numbers.insert(record, id);
        id
    }
}

/// A load, store or atomic of one warp instruction.
#[derive(Debug)]
pub struct GlobalAccess {
    pub lanes: u32,
    /// Neighbouring lanes' bytes joined.
    pub bytes: Vec<Range<u64>>,
    pub writes: bool,
    /// The scope of a strong access.
    pub strong: Option<Scope>,
    /// If it writes.
    pub effect: Effect,
}

/// How an access meets an earlier one that it conflicts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hazard {
    /// Nothing orders them.
    Unordered,
    /// … but one value was written over itself: harmless.
    Repeated,
    /// A weak load meets an `atom.cas`. The CUDA C++ Programming Guide builds other atomics of the two: where the load
    /// is wrong, the comparison fails and they try again.
    Retried,
    /// Two atomics through different proxies.
    MixedProxies,
    /// A release was seen by a relaxed read that no fence follows. CUDA's threadFenceReduction sample does without.
    Unfenced,
    /// Two lanes of one warp, and nothing orders them.
    Lanes,
    /// No proxy fence lies between them; `severity` as in shared memory.
    ProxyFence(Severity),
}

impl Hazard {
    fn severity(self) -> Severity {
        match self {
            Self::Unordered => Severity::Error,
            Self::ProxyFence(severity) => severity,
            Self::Repeated | Self::Retried | Self::Lanes | Self::MixedProxies | Self::Unfenced => {
                Severity::Warning
            }
        }
    }
}

/// Whether one stored, or stores, what was there. An operation may yet have to write it.
fn repeats(earlier: &Record, now: &Record, writes: bool) -> bool {
    match now.effect {
        Effect::Repeats => earlier.proxy == Proxy::Generic,
        _ => earlier.effect == Effect::Repeats && !writes,
    }
}

/// Whether one is a load, and the other an `atom.cas`.
fn is_retried(earlier: &Record, wrote: bool, now: &Record, writes: bool) -> bool {
    match (wrote, writes) {
        (true, false) => earlier.effect == Effect::Swaps,
        (false, true) => now.effect == Effect::Swaps,
        _ => false,
    }
}

/// The scope that includes both.
fn common_scope(a: &Record, b: &Record) -> Scope {
    match (a.cluster == b.cluster, a.cta == b.cta) {
        (true, true) => Scope::Cta,
        (true, false) => Scope::Cluster,
        (false, _) => Scope::Gpu,
    }
}

/// How `now`, by a warp with these clocks, meets `earlier`; `wrote`: that was a write.
fn hazard(
    clocks: &WarpClocks,
    earlier: &Record,
    wrote: bool,
    now: &Record,
    writes: bool,
) -> Option<Hazard> {
    let mut mixes = false;
    if let (Some(a), Some(b)) = (earlier.strong, now.strong)
        && a.min(b) >= common_scope(earlier, now)
    {
        if earlier.proxy == now.proxy {
            return None;
        }
        mixes = true;
    }
    let known = &clocks.known;
    let (cluster, epoch) = (earlier.cluster, earlier.epoch);
    let is_own = cluster == now.cluster;
    let is_ordered = match is_own {
        true => known.ordinary.covers(epoch),
        false => known.grid.covers(cluster, epoch),
    };
    if !is_ordered {
        return Some(if mixes {
            Hazard::MixedProxies
        } else if known.unfenced.covers(cluster, epoch) {
            Hazard::Unfenced
        } else if is_retried(earlier, wrote, now, writes) {
            Hazard::Retried
        } else if repeats(earlier, now, writes) {
            Hazard::Repeated
        } else {
            Hazard::Unordered
        });
    }
    let is_same_warp = is_own && (earlier.cta, earlier.warp) == (now.cta, now.warp);
    if is_same_warp
        && let Some(moment) = now.moment
        && now.effect != Effect::Repeats
        && !clocks.lane_knows(moment.lane.into(), earlier)
    {
        return Some(Hazard::Lanes);
    }
    let is_visible = match is_own {
        true => known.proxy.covers(epoch),
        false => known.grid.covers_by_proxy(cluster, epoch),
    };
    // The completion of an asynchronous operation is a proxy fence (PTX ISA §8.6).
    if is_visible || now.proxy == Proxy::Generic || earlier.proxy == Proxy::Async {
        return None;
    }
    Some(Hazard::ProxyFence(match wrote && !writes {
        true => Severity::Error,
        false => Severity::Warning,
    }))
}

impl<'l> Order<'l> {
    /// The turn to write: whether a store repeats what is there must not change before it is done.
    pub fn turn_to_write(&self) -> MutexGuard<'l, ()> {
        self.grid.writes()
    }

    /// A load, store or atomic of a warp; `by` is its first lane.
    pub fn access_global(
        &mut self,
        by: Issuer,
        access: GlobalAccess,
        memory: &GlobalView,
    ) -> Found {
        let epoch = self.clocks(by).now();
        let mut record = self.record(by, epoch, Proxy::Generic, None);
        record.lanes = access.lanes;
        record.moment = self.lane_moment(by);
        record.strong = access.strong;
        record.effect = access.effect;
        self.touch(by, record, &access.bytes, access.writes, memory)
    }

    /// An operation that reads or writes global memory is issued. `record` is its moment, where that does not depend on
    /// what it does there.
    pub(super) fn issue_global(
        &mut self,
        operation: &Operation,
        record: Option<Record>,
        group: u32,
        memory: &GlobalView,
    ) -> Found {
        let by = operation.issuer;
        let name = Some(operation.work.name());
        let reads = global_reads(&operation.work);
        if !reads.is_empty() {
            let record = match (record, operation.work.barriers().first()) {
                (None, Some(barrier)) => {
                    let agent = self.agents.number(AgentKind::Phases(*barrier));
                    let phases = self.mbarriers.get(barrier).map_or(0, |b| b.phases);
                    let epoch = Epoch {
                        agent,
                        time: phases + 1,
                    };
                    self.record(by, epoch, Proxy::Async, name)
                }
                (Some(record), _) => record,
                (None, None) => return Ok(()),
            };
            self.touch(by, self.in_grid(record, operation), &reads, false, memory)?;
        }
        let footprint = &operation.footprint;
        for (regions, reduces) in [(&footprint.writes, false), (&footprint.updates, true)] {
            let global = regions
                .iter()
                .filter(|region| region.memory() == Memory::Global);
            let bytes: Vec<_> = global.map(|region| region.range()).collect();
            if bytes.is_empty() {
                continue;
            }
            let agent = self.of_thread(by, AgentKind::BulkWrites);
            let time = group + 1;
            let mut record = self.record(by, Epoch { agent, time }, Proxy::Async, name);
            // PTX ISA §9.7.9.25.4.2: each reduction is relaxed, at GPU scope.
            record.strong = reduces.then_some(Scope::Gpu);
            self.touch(by, self.in_grid(record, operation), &bytes, true, memory)?;
        }
        Ok(())
    }

    fn in_grid(&self, record: Record, operation: &Operation) -> Record {
        let lanes = match &operation.work {
            Work::SmallCopies(copies) => copies.active_lanes(),
            _ => 1 << operation.issuer.lane,
        };
        Record { lanes, ..record }
    }

    fn touch(
        &mut self,
        by: Issuer,
        record: Record,
        bytes: &[Range<u64>],
        writes: bool,
        memory: &GlobalView,
    ) -> Found {
        let cluster = self.cluster;
        let record = Record { cluster, ..record };
        let grid = self.grid;
        let mut shadow = grid.shadow();
        let clocks = self.clocks(by);
        let find = |wanted: &mut dyn FnMut(Hazard) -> bool| {
            bytes.iter().find_map(|range| {
                let (pages, records) = (&shadow.pages, &shadow.records);
                pages.find(records, range.clone(), writes, &mut |earlier, wrote| {
                    hazard(clocks, earlier, wrote, &record, writes).is_some_and(&mut *wanted)
                })
            })
        };
        let mut may_warn = false;
        let found = find(&mut |hazard| {
            may_warn |= hazard.severity() == Severity::Warning;
            hazard.severity() == Severity::Error
        });
        let found = found.or_else(|| may_warn.then(|| find(&mut |_| true)).flatten());
        if let Some(found) = found {
            let earlier = *shadow.records.get(found.record);
            let hazard = hazard(clocks, &earlier, found.writes, &record, writes);
            if let Some(hazard) = hazard {
                self.found_global(by, hazard, &record, writes, &earlier, found, memory)?;
            }
        }
        let id = shadow.intern(record);
        let GlobalShadow { pages, records, .. } = &mut *shadow;
        for range in bytes {
            match writes {
                // Whoever wrote the value first is still the one who wrote it.
                true if record.effect == Effect::Repeats => pages.read(records, range.clone(), id),
                true => pages.write(range.clone(), id),
                false => pages.read(records, range.clone(), id),
            }
        }
        Ok(())
    }

    #[cold]
    #[expect(clippy::too_many_arguments, reason = "the two parties of one report")]
    fn found_global(
        &mut self,
        by: Issuer,
        hazard: Hazard,
        record: &Record,
        writes: bool,
        earlier: &Record,
        found: EarlierBytes,
        memory: &GlobalView,
    ) -> Found {
        let rule = match hazard {
            Hazard::ProxyFence(_) => Rule::ProxyFence,
            _ => Rule::GlobalRace,
        };
        let severity = hazard.severity();
        if self.is_known(rule, severity, by, Some(earlier)) {
            return Ok(());
        }
        let finding = Finding {
            rule,
            severity,
            now: if writes { "writes" } else { "reads" },
            space: "bytes of global memory",
            memory_of: None,
            allocation: memory.extent(found.bytes.start),
            register: None,
            range: found.bytes,
            other: Some(self.party(earlier, found.writes || earlier.effect == Effect::Repeats)),
            missing: missing(hazard, earlier, record).to_owned(),
        };
        self.report(by, finding)
    }
}

/// What would order the two.
fn missing(hazard: Hazard, earlier: &Record, now: &Record) -> &'static str {
    match hazard {
        Hazard::ProxyFence(_) => return "no `fence.proxy.async` lies between the two",
        Hazard::Unfenced => {
            return "a relaxed read has seen a release that follows it, but no fence follows that read: nothing is acquired";
        }
        Hazard::Retried => return "the load is weak: a relaxed one would not race with `atom.cas`",
        Hazard::MixedProxies => {
            return "atomics through different proxies are not ordered with each other";
        }
        Hazard::Repeated => {
            return "nothing orders the two, though the value that is stored is there already";
        }
        Hazard::Lanes => return lanes::MISSING,
        Hazard::Unordered => {}
    }
    if earlier.strong.is_some() && now.strong.is_some() {
        return "both are strong, but the scope of one does not include the other";
    }
    match (earlier.operation, common_scope(earlier, now)) {
        (Some(_), Scope::Cta) => "no wait for its completion lies between the two",
        (Some(_), _) => {
            "no wait for its completion, and release and acquire behind it, lie between the two"
        }
        (None, Scope::Cta) => "no barrier, or release and acquire, orders the two",
        (None, Scope::Cluster) => {
            "no cluster barrier, or release and acquire at cluster scope, orders the two"
        }
        (None, _) => {
            "no release and acquire at GPU scope, or fences and atomics, orders the two CTAs"
        }
    }
}

/// The global memory that an operation will read, neighbouring rows joined.
fn global_reads(work: &Work) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    let mut add = |start: u64, bytes: u64| match ranges.last_mut() {
        Some(last) if last.end == start => last.end = last.end.saturating_add(bytes),
        _ => ranges.push(start..start.saturating_add(bytes)),
    };
    match work {
        Work::TmaLoad {
            map, coordinates, ..
        } if !map.data_type().is_gapped() && coordinates.len() == map.rank() => {
            for (piece, address) in tma::pieces(map, coordinates) {
                add(address, piece.len() as u64);
            }
        }
        Work::BulkLoad { source, bytes, .. } => add(*source, u64::from(*bytes)),
        Work::SmallCopies(copies) => {
            for copy in copies.lanes.iter().flatten() {
                add(copy.source, u64::from(copy.source_bytes));
            }
        }
        _ => {}
    }
    ranges.retain(|range| !range.is_empty());
    ranges
}
