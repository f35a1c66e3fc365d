//! A warp: registers, and the groups of lanes that run together.
//!
//! Lanes diverge at a branch and meet again at its immediate post-dominator, as the convergence barriers of Volta and
//! later do it: the branch opens a [`Merge`] for its lanes; a group that reaches the merge's instruction waits there
//! for the others, while these run on independently. Lanes that exit are taken out of every merge they belong to.

use super::cluster_barrier::ClusterBarrier;
use super::warpgroup::WarpgroupState;
use crate::isa::ir::{Address, LANES, Reg, Src};

/// Values of one register slot, by lane.
pub type Slot = [u64; LANES];

/// Index of a pending [`Merge`] of the warp.
pub type MergeId = u32;

/// Lanes that share a program counter and run together.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    pub mask: u32,
    pub pc: u32,
    /// The innermost merge that the lanes are on their way to.
    pub merge: Option<MergeId>,
    pub state: State,
}

/// Whether a group can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Ready,
    Blocked(Wait),
}

/// What a blocked group waits for. The instruction at its program counter is the one that blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// `mbarrier.try_wait` by `lanes`, all on the same barrier and phase parity.
    Mbarrier {
        offset: u32,
        parity: u32,
        lanes: u32,
        predicate: Option<Reg>,
    },
    /// Threads of the own warp that have not arrived at this barrier yet.
    BarrierWarp { id: u32 },
    /// Completion of a named barrier.
    Barrier { id: u32 },
    /// The other members of a warp collective; `lanes` are there.
    Collective { lanes: u32, members: u32 },
    /// The rest of the warp, for an `.aligned` instruction.
    Aligned { lanes: u32 },
    /// Free columns of tensor memory.
    TensorMemory { columns: u32 },
    /// The other CTA of the pair, which has to execute the same `tcgen05.alloc` or `.dealloc`.
    Pair,
    /// At most `allowed` bulk groups that are pending.
    BulkGroup { allowed: u32, read: bool },
    /// At most `allowed` groups of `cp.async` that are pending.
    CopyGroup { allowed: u32 },
    /// At most `allowed` groups of `wgmma` that are pending.
    WarpgroupMma { allowed: u32 },
    /// All threads of the cluster.
    ClusterBarrier,
    /// More registers in the CTA's pool, so that each thread can have so many.
    Registers { wanted: u32 },
    /// The end of the grid before, of which this is a dependent.
    Grid,
}

/// Lanes that wait for each other at an instruction.
#[derive(Clone, Copy, Debug)]
struct Merge {
    pc: u32,
    expected: u32,
    arrived: u32,
    parent: Option<MergeId>,
}

#[derive(Debug, Default)]
pub struct Warp {
    pub registers: Vec<Slot>,
    pub groups: Vec<Group>,
    /// Lanes that exist: all 32 but in the last warp of a block whose size is no multiple of 32.
    pub populated: u32,
    /// Lanes that have not exited.
    pub live: u32,
    /// Index of the group whose turn is next.
    pub turn: usize,
    /// Local memory, lane after lane.
    pub local: Vec<u8>,
    /// Bulk groups that each lane has committed.
    pub bulk_groups: [u32; LANES],
    /// Groups of `cp.async` that each lane has committed.
    pub copy_groups: [u32; LANES],
    pub cluster_barrier: ClusterBarrier,
    pub warpgroup: WarpgroupState,
    merges: Vec<Option<Merge>>,
}

impl Warp {
    /// Makes the warp start a kernel at instruction 0. Registers are zero: PTX leaves them undefined, and no other value
    /// is legal for every register width.
    pub fn reset(&mut self, registers: usize, local_bytes: u32, populated: u32) {
        self.registers.clear();
        self.registers.resize(registers, [0; LANES]);
        self.local.clear();
        self.local
            .resize(local_bytes as usize * LANES, super::global::POISON);
        self.populated = populated;
        self.live = populated;
        self.turn = 0;
        self.bulk_groups = [0; LANES];
        self.copy_groups = [0; LANES];
        self.cluster_barrier = ClusterBarrier::default();
        self.warpgroup.reset();
        self.merges.clear();
        self.groups.clear();
        self.groups.push(Group {
            mask: populated,
            pc: 0,
            merge: None,
            state: State::Ready,
        });
    }

    /// The value of a source operand in one lane.
    #[inline]
    pub fn value(&self, source: Src, lane: usize) -> u64 {
        match source {
            Src::Imm(value) => value,
            Src::Reg(slot) => self.registers[slot as usize][lane],
        }
    }

    /// The address that an operand means in one lane.
    #[inline]
    pub fn address(&self, address: &Address, lane: usize) -> u64 {
        self.value(address.base, lane)
            .wrapping_add_signed(address.offset)
    }

    /// Sets a destination register in one lane; the sink `_` takes nothing.
    #[inline]
    pub fn set(&mut self, destination: Option<Reg>, lane: usize, value: u64) {
        if let Some(slot) = destination {
            self.registers[slot as usize][lane] = value;
        }
    }

    /// The instruction at which the merge waits.
    pub fn merge_pc(&self, merge: Option<MergeId>) -> Option<u32> {
        Some(self.merges.get(merge? as usize)?.as_ref()?.pc)
    }

    /// Opens a merge for lanes about to diverge, unless they already are on their way to one at the same instruction:
    /// a loop whose lanes leave one by one must not nest.
    pub fn open_merge(&mut self, mask: u32, pc: u32, parent: Option<MergeId>) -> MergeId {
        if let Some(id) = parent
            && self.merge_pc(parent) == Some(pc)
        {
            return id;
        }
        let merge = Merge {
            pc,
            expected: mask,
            arrived: 0,
            parent,
        };
        match self.merges.iter().position(Option::is_none) {
            Some(free) => {
                self.merges[free] = Some(merge);
                free as MergeId
            }
            None => {
                self.merges.push(Some(merge));
                (self.merges.len() - 1) as MergeId
            }
        }
    }

    /// Adds a group that is ready to run at `pc`; it may complete a merge there or start to wait in one.
    pub fn add_group(&mut self, mask: u32, pc: u32, merge: Option<MergeId>) {
        if let Some(group) = self.settle(mask, pc, merge) {
            self.groups.push(group);
        }
    }

    /// Lets lanes that reached `pc` enter the merges that wait there. `None`: they wait for others now.
    pub fn settle(
        &mut self,
        mut mask: u32,
        pc: u32,
        mut innermost: Option<MergeId>,
    ) -> Option<Group> {
        while let Some(id) = innermost
            && let Some(merge) = &mut self.merges[id as usize]
            && merge.pc == pc
        {
            merge.arrived |= mask;
            if merge.arrived != merge.expected {
                return None;
            }
            mask = merge.expected;
            innermost = merge.parent;
            self.merges[id as usize] = None;
        }
        Some(Group {
            mask,
            pc,
            merge: innermost,
            state: State::Ready,
        })
    }

    /// Takes exited lanes out of the warp and out of every merge from `innermost` outwards; merges that waited only for
    /// them are complete. Blocked collectives look again at whom they wait for.
    pub fn exit(&mut self, lanes: u32, innermost: Option<MergeId>) {
        self.live &= !lanes;
        let mut next = innermost;
        while let Some(id) = next
            && let Some(merge) = &mut self.merges[id as usize]
        {
            merge.expected &= !lanes;
            next = merge.parent;
        }
        let mut next = innermost;
        while let Some(id) = next
            && let Some(merge) = self.merges[id as usize]
        {
            next = merge.parent;
            if merge.expected == merge.arrived {
                self.merges[id as usize] = None;
                if merge.expected != 0 {
                    self.add_group(merge.expected, merge.pc, merge.parent);
                }
            }
        }
        self.retry(|wait| matches!(wait, Wait::Collective { .. } | Wait::Aligned { .. }));
    }

    /// Lets a blocked group go on behind the instruction that blocked it.
    pub fn release(&mut self, group: usize) {
        let group = &mut self.groups[group];
        group.pc += 1;
        group.state = State::Ready;
    }

    /// Makes groups that wait as `which` says execute their instruction again.
    pub fn retry(&mut self, which: impl Fn(&Wait) -> bool) {
        for group in &mut self.groups {
            if matches!(&group.state, State::Blocked(wait) if which(wait)) {
                group.state = State::Ready;
            }
        }
    }

    /// Joins ready groups that stand at the same instruction inside the same merge.
    pub fn join_groups(&mut self, pc: u32) {
        let mut kept = 0;
        while kept < self.groups.len() {
            let group = self.groups[kept];
            let mut other = kept + 1;
            while other < self.groups.len() {
                let candidate = self.groups[other];
                if group.pc == pc
                    && candidate.pc == pc
                    && candidate.merge == group.merge
                    && group.state == State::Ready
                    && candidate.state == State::Ready
                {
                    self.groups[kept].mask |= candidate.mask;
                    self.groups.remove(other);
                } else {
                    other += 1;
                }
            }
            kept += 1;
        }
    }

    /// Lets lanes go on that wait at a merge for lanes that wait at none, nor for them; returns the instructions of those
    /// merges.
    pub fn separate(&mut self) -> Vec<u32> {
        let (mut waiting, mut others) = (0, 0);
        for group in &self.groups {
            use Wait::{Aligned, BarrierWarp, Collective};
            match group.state {
                State::Blocked(Aligned { .. } | BarrierWarp { .. } | Collective { .. }) => {
                    waiting |= group.mask;
                }
                _ => others |= group.mask,
            }
        }
        let mut separated = Vec::new();
        for id in 0..self.merges.len() {
            let Some(merge) = self.merges[id] else {
                continue;
            };
            let missing = merge.expected & !merge.arrived;
            let is_innermost = missing & !(waiting | others) == 0;
            if merge.arrived == 0 || missing & others == 0 || !is_innermost {
                continue;
            }
            // Nobody is on the way to it any more.
            self.merges[id] = None;
            let groups = self.groups.iter_mut().map(|group| &mut group.merge);
            let merges = self.merges.iter_mut().flatten();
            for outer in groups.chain(merges.map(|merge| &mut merge.parent)) {
                if *outer == Some(id as MergeId) {
                    *outer = merge.parent;
                }
            }
            separated.push(merge.pc);
            self.add_group(merge.arrived, merge.pc, merge.parent);
        }
        separated
    }

    /// Lanes that wait at merges, with the instruction and the lanes that they wait for.
    pub fn waiting_at_merges(&self) -> impl Iterator<Item = (u32, u32, u32)> {
        self.merges
            .iter()
            .flatten()
            .filter(|merge| merge.arrived != 0)
            .map(|merge| (merge.arrived, merge.pc, merge.expected & !merge.arrived))
    }
}

/// The lanes of a mask, in ascending order.
#[inline]
pub fn lanes(mask: u32) -> impl Iterator<Item = usize> {
    let mut rest = mask;
    std::iter::from_fn(move || {
        if rest == 0 {
            return None;
        }
        let lane = rest.trailing_zeros() as usize;
        rest &= rest - 1;
        Some(lane)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warp() -> Warp {
        let mut warp = Warp::default();
        warp.reset(1, 0, u32::MAX);
        warp.groups.clear();
        warp
    }

    #[test]
    fn both_sides_meet_at_the_merge() {
        let mut warp = warp();
        let merge = warp.open_merge(u32::MAX, 9, None);
        assert!(warp.settle(0xffff, 9, Some(merge)).is_none());
        assert_eq!(
            warp.waiting_at_merges().collect::<Vec<_>>(),
            [(0xffff, 9, 0xffff_0000)]
        );
        let group = warp.settle(0xffff_0000, 9, Some(merge)).unwrap();
        assert_eq!((group.mask, group.merge), (u32::MAX, None));
    }

    #[test]
    fn loop_exits_share_one_merge() {
        let mut warp = warp();
        let first = warp.open_merge(u32::MAX, 9, None);
        assert_eq!(warp.open_merge(u32::MAX - 1, 9, Some(first)), first);
        assert_eq!(warp.merges.len(), 1);
    }

    #[test]
    fn nested_merges_at_one_instruction_release_together() {
        let mut warp = warp();
        let outer = warp.open_merge(0xff, 9, None);
        let inner = warp.open_merge(0x0f, 5, Some(outer));
        assert!(warp.settle(0xf0, 9, Some(outer)).is_none());
        assert!(warp.settle(0x03, 5, Some(inner)).is_none());
        let met = warp.settle(0x0c, 5, Some(inner)).unwrap();
        assert_eq!((met.mask, met.pc, met.merge), (0x0f, 5, Some(outer)));
        let all = warp.settle(met.mask, 9, met.merge).unwrap();
        assert_eq!(all.mask, 0xff);
    }

    #[test]
    fn lanes_that_wait_for_running_ones_may_be_separated() {
        let mut warp = warp();
        let outer = warp.open_merge(0xff, 9, None);
        let inner = warp.open_merge(0x0f, 5, Some(outer));
        assert!(warp.settle(0x03, 5, Some(inner)).is_none());
        // The outer merge waits for the lanes of the inner one, which is to go first.
        warp.add_group(0x0c, 4, Some(inner));
        assert!(warp.settle(0xf0, 9, Some(outer)).is_none());
        assert_eq!(warp.separate(), [5]);
        let groups = warp
            .groups
            .iter()
            .map(|group| (group.mask, group.pc, group.merge));
        let expected = [(0x0c, 4, Some(outer)), (0x03, 5, Some(outer))];
        assert_eq!(groups.collect::<Vec<_>>(), expected);
        assert!(warp.settle(0x03, 9, Some(outer)).is_none());
        assert_eq!(warp.settle(0x0c, 9, Some(outer)).unwrap().mask, 0xff);
    }

    #[test]
    fn exited_lanes_leave_every_merge() {
        let mut warp = warp();
        let outer = warp.open_merge(0xff, 9, None);
        let inner = warp.open_merge(0x0f, 5, Some(outer));
        assert!(warp.settle(0xf0, 9, Some(outer)).is_none());
        assert!(warp.settle(0x03, 5, Some(inner)).is_none());
        warp.exit(0x0c, Some(inner));
        let [group] = warp.groups[..] else {
            panic!("{:?}", warp.groups)
        };
        assert_eq!((group.mask, group.pc), (0x03, 5));
        warp.groups.clear();
        warp.exit(0x03, group.merge);
        let [group] = warp.groups[..] else {
            panic!("{:?}", warp.groups)
        };
        assert_eq!((group.mask, group.pc, group.merge), (0xf0, 9, None));
    }
}
