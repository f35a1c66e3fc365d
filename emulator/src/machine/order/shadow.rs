//! Who wrote each cell of a memory last, and who has read it since. A cell is a byte of shared memory, or one column of
//! half a warp's partition of tensor memory.
//!
//! Cells hold numbers of interned records and sets of records: most of an access's cells share both, so they are looked
//! at run by run.

use std::collections::HashMap;
use std::ops::Range;

use super::clock::{Agent, Epoch};
use super::grid_clock::ClusterIndex;
use super::lanes::LaneMoment;
use crate::isa::ir::Scope;

/// Which path an access takes to memory (PTX ISA §8.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Proxy {
    Generic,
    Async,
}

/// What a write does to the value that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    Changes,
    /// A store of what was there already.
    Repeats,
    /// `atom.cas`
    Swaps,
}

/// One access by one instruction, or one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// Who knows this moment knows that the access is complete.
    pub epoch: Epoch,
    pub proxy: Proxy,
    /// The scope of a strong access: two strong ones don't race if each one's scope includes the other (PTX ISA §8.7.1).
    pub strong: Option<Scope>,
    pub effect: Effect,
    /// The thread's issue counter, for operations of the tensor pipe: its time is that of `epoch`.
    pub pipe: Option<Agent>,
    /// Of the launch, for global memory; 0 for memories of the cluster.
    pub cluster: ClusterIndex,
    pub cta: u32,
    pub warp: u32,
    /// The lanes that executed the instruction, for global memory; 0 for memories of the cluster.
    pub lanes: u32,
    /// Of one lane, in strict mode.
    pub moment: Option<LaneMoment>,
    pub line: u32,
    /// Name of the operation; `None` for the instruction itself.
    pub operation: Option<&'static str>,
}

impl Record {
    /// Who made the access, among those of the launch.
    fn agent(&self) -> (ClusterIndex, Agent, Option<u8>) {
        let lane = self.moment.map(|moment| moment.lane);
        (self.cluster, self.epoch.agent, lane)
    }
}

pub type RecordId = u32;
type SetId = u32;

/// Nobody: memory that was never written.
pub const NOBODY: RecordId = 0;

/// The set of no records.
const EMPTY: SetId = 0;

/// Records above which those that no cell names are forgotten.
const MOST_RECORDS: usize = 1 << 20;

/// Interned records and sets of them.
#[derive(Debug, Default)]
pub struct Records {
    records: Vec<Record>,
    /// Sorted by number; at most one record per agent, its last.
    sets: Vec<Box<[RecordId]>>,
    numbers: HashMap<Box<[RecordId]>, SetId>,
    extended: HashMap<(SetId, RecordId), SetId>,
    /// Members of a set, where there is a limit: older ones are forgotten.
    most_members: Option<usize>,
}

impl Records {
    /// Of which at most so many are in a set.
    pub fn with_most_members(most: usize) -> Self {
        let mut records = Self {
            most_members: Some(most),
            ..Self::default()
        };
        records.clear();
        records
    }

    pub fn clear(&mut self) {
        self.records.clear();
        self.sets.clear();
        self.numbers.clear();
        self.extended.clear();
        self.sets.push(Box::default());
    }

    pub fn add(&mut self, record: Record) -> RecordId {
        self.records.push(record);
        self.records.len() as RecordId
    }

    /// # Panics
    /// For [`NOBODY`].
    pub fn get(&self, id: RecordId) -> &Record {
        &self.records[id as usize - 1]
    }

    fn with(&mut self, set: SetId, record: RecordId) -> SetId {
        if let Some(known) = self.extended.get(&(set, record)) {
            return *known;
        }
        let agent = self.get(record).agent();
        let mut members: Vec<_> = self.sets[set as usize]
            .iter()
            .copied()
            .filter(|member| self.get(*member).agent() != agent)
            .collect();
        members.sort_unstable();
        if let Some(most) = self.most_members {
            members.drain(..(members.len() + 1).saturating_sub(most));
        }
        members.push(record);
        members.sort_unstable();
        let extended = self.intern(members.into_boxed_slice());
        self.extended.insert((set, record), extended);
        extended
    }

    fn intern(&mut self, members: Box<[RecordId]>) -> SetId {
        if let Some(known) = self.numbers.get(&members) {
            return *known;
        }
        let id = self.sets.len() as SetId;
        self.sets.push(members.clone());
        self.numbers.insert(members, id);
        id
    }

    pub fn is_full(&self) -> bool {
        self.size() >= MOST_RECORDS
    }

    /// Of the larger of its two tables.
    pub fn size(&self) -> usize {
        self.records.len().max(self.sets.len())
    }

    /// Forgets what no cell of `shadows` names any more. Numbers change.
    pub fn collect<'s>(&mut self, shadows: impl Iterator<Item = &'s mut Shadow>) {
        let mut old = std::mem::take(self);
        self.most_members = old.most_members;
        self.clear();
        let mut records = vec![NOBODY; old.records.len() + 1];
        let mut sets = vec![None; old.sets.len()];
        sets[EMPTY as usize] = Some(EMPTY);
        let mut keep = |kept: &mut Records, id: RecordId| {
            let new = &mut records[id as usize];
            if id != NOBODY && *new == NOBODY {
                *new = kept.add(old.records[id as usize - 1]);
            }
            *new
        };
        for shadow in shadows {
            for write in &mut shadow.writes {
                *write = keep(self, *write);
            }
            for read in &mut shadow.reads {
                let new = match sets[*read as usize] {
                    Some(new) => new,
                    None => {
                        let members = std::mem::take(&mut old.sets[*read as usize]);
                        let mut members = members.into_vec();
                        members.iter_mut().for_each(|id| *id = keep(self, *id));
                        members.sort_unstable();
                        self.intern(members.into_boxed_slice())
                    }
                };
                sets[*read as usize] = Some(new);
                *read = new;
            }
        }
    }
}

/// The accesses to each cell of one memory.
#[derive(Debug, Default)]
pub struct Shadow {
    writes: Vec<RecordId>,
    reads: Vec<SetId>,
}

/// An earlier access to some of the cells of a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Earlier {
    pub record: RecordId,
    pub writes: bool,
    /// The first cell that both touch.
    pub cell: usize,
}

impl Shadow {
    /// Makes it the shadow of fresh memory.
    pub fn reset(&mut self, cells: usize) {
        self.writes.clear();
        self.writes.resize(cells, NOBODY);
        self.reads.clear();
        self.reads.resize(cells, EMPTY);
    }

    /// The first access to the cells for which `is_hazard`: writes, and for a write also the reads since.
    pub fn find(
        &self,
        records: &Records,
        cells: Range<usize>,
        writes: bool,
        mut is_hazard: impl FnMut(&Record, bool) -> bool,
    ) -> Option<Earlier> {
        let mut last = NOBODY;
        for cell in cells.clone() {
            let record = self.writes[cell];
            if record == last || record == NOBODY {
                continue;
            }
            last = record;
            if is_hazard(records.get(record), true) {
                return Some(Earlier {
                    record,
                    writes: true,
                    cell,
                });
            }
        }
        if !writes {
            return None;
        }
        let mut last = EMPTY;
        for cell in cells {
            let set = self.reads[cell];
            if set == last {
                continue;
            }
            last = set;
            let mut members = records.sets[set as usize].iter();
            if let Some(record) = members.find(|record| is_hazard(records.get(**record), false)) {
                let record = *record;
                return Some(Earlier {
                    record,
                    writes: false,
                    cell,
                });
            }
        }
        None
    }

    /// The cell behind those from `earlier.cell` on, up to `end`, that share its record.
    pub fn extent(&self, records: &Records, earlier: &Earlier, end: usize) -> usize {
        let shares = |cell: &usize| match earlier.writes {
            true => self.writes[*cell] == earlier.record,
            false => records.sets[self.reads[*cell] as usize].contains(&earlier.record),
        };
        (earlier.cell..end)
            .find(|cell| !shares(cell))
            .unwrap_or(end)
    }

    /// A shadow of so many cells that are all like this one.
    pub fn spread(&self, cell: usize, cells: usize) -> Self {
        Self {
            writes: vec![self.writes[cell]; cells],
            reads: vec![self.reads[cell]; cells],
        }
    }

    pub fn write(&mut self, cells: Range<usize>, record: RecordId) {
        self.writes[cells.clone()].fill(record);
        self.reads[cells].fill(EMPTY);
    }

    pub fn read(&mut self, records: &mut Records, cells: Range<usize>, record: RecordId) {
        let mut last = (EMPTY, records.with(EMPTY, record));
        for set in &mut self.reads[cells] {
            if *set != last.0 {
                last = (*set, records.with(*set, record));
            }
            *set = last.1;
        }
    }

    /// How many of the cells were never written.
    pub fn unwritten(&self, cells: Range<usize>) -> usize {
        let cells = self.writes[cells].iter();
        cells.filter(|record| **record == NOBODY).count()
    }

    /// Forgets what was written: the cells belong to somebody new.
    pub fn forget(&mut self, cells: Range<usize>) {
        self.write(cells, NOBODY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(agent: Agent, time: u32) -> Record {
        Record {
            epoch: Epoch { agent, time },
            proxy: Proxy::Generic,
            strong: None,
            effect: Effect::Changes,
            pipe: None,
            cluster: 0,
            cta: 0,
            warp: agent,
            lanes: 0,
            moment: None,
            line: time,
            operation: None,
        }
    }

    fn fresh() -> (Records, Shadow) {
        let (mut records, mut shadow) = (Records::default(), Shadow::default());
        records.clear();
        shadow.reset(16);
        (records, shadow)
    }

    /// Agents that wrote the cell, or have read it since.
    fn touched(records: &Records, shadow: &Shadow, cell: usize) -> Vec<(u32, u32)> {
        let mut found = Vec::new();
        shadow.find(records, cell..cell + 1, true, |record, _| {
            found.push((record.epoch.agent, record.epoch.time));
            false
        });
        found
    }

    #[test]
    fn a_write_replaces_what_was_read_before() {
        let (mut records, mut shadow) = fresh();
        let [a, b, c] = [record(0, 1), record(1, 1), record(2, 5)].map(|r| records.add(r));
        shadow.write(0..8, a);
        shadow.read(&mut records, 4..12, b);
        shadow.read(&mut records, 4..6, c);
        assert_eq!(touched(&records, &shadow, 3), [(0, 1)]);
        assert_eq!(touched(&records, &shadow, 5), [(0, 1), (1, 1), (2, 5)]);
        assert_eq!(touched(&records, &shadow, 9), [(1, 1)]);
        shadow.write(5..6, c);
        assert_eq!(touched(&records, &shadow, 5), [(2, 5)]);
        assert_eq!(touched(&records, &shadow, 4), [(0, 1), (1, 1), (2, 5)]);
        assert_eq!(shadow.unwritten(0..16), 8);
    }

    #[test]
    fn an_agent_is_in_a_set_once() {
        let (mut records, mut shadow) = fresh();
        for time in 1..5 {
            let reader = records.add(record(3, time));
            shadow.read(&mut records, 0..16, reader);
        }
        assert_eq!(touched(&records, &shadow, 0), [(3, 4)]);
    }

    #[test]
    fn a_collection_keeps_what_cells_name() {
        let (mut records, mut shadow) = fresh();
        for time in 1..100 {
            let writer = records.add(record(0, time));
            shadow.write(0..8, writer);
            let reader = records.add(record(1, time));
            shadow.read(&mut records, 4..12, reader);
        }
        let before: Vec<_> = (0..16)
            .map(|cell| touched(&records, &shadow, cell))
            .collect();
        records.collect([&mut shadow].into_iter());
        let after: Vec<_> = (0..16)
            .map(|cell| touched(&records, &shadow, cell))
            .collect();
        assert_eq!(before, after);
        assert_eq!((records.records.len(), records.sets.len()), (2, 2));
    }
}
