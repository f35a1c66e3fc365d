//! Tells the checker of the order of accesses what a warp instruction does to global memory.

use std::ops::Range;
use std::sync::MutexGuard;

use super::memory::{Place, place};
use crate::isa::ir::{Address, Scope, Semantics, Space};
use crate::machine::cluster::{At, Cluster};
use crate::machine::footprint::Access as AccessKind;
use crate::machine::operation::Issuer;
use crate::machine::order::{Effect, GlobalAccess, Strength, Words};
use crate::machine::report::Step;
use crate::machine::warp::lanes;

/// What a load, store or atomic does in each of its lanes.
#[derive(Clone, Copy, Debug)]
pub struct Access<'i> {
    pub space: Space,
    pub address: &'i Address,
    pub bytes: u32,
    pub writes: bool,
    pub is_atomic: bool,
    /// `atom.cas`
    pub swaps: bool,
    pub semantics: Semantics,
    pub scope: Scope,
}

impl Access<'_> {
    fn may_be_global(&self) -> bool {
        matches!(self.space, Space::Global | Space::Generic)
    }

    fn is_strong(&self) -> bool {
        self.semantics != Semantics::Weak
    }

    fn kind(&self) -> AccessKind {
        match (self.writes, self.is_atomic) {
            (_, true) => AccessKind::Atomic,
            (true, false) => AccessKind::Write,
            (false, false) => AccessKind::Read,
        }
    }

    fn strength(&self) -> Strength {
        Strength {
            semantics: self.semantics,
            scope: self.scope,
        }
    }
}

/// Checks the accesses of all lanes of `active`. `repeats`: whether a lane stores what its address holds already. Who
/// writes to global memory gets the turn to do so, and keeps it until it has: what others find there must be settled.
#[inline]
pub fn check<'l>(
    cluster: &mut Cluster<'l>,
    at: At,
    active: u32,
    access: Access,
    repeats: impl Fn(&Cluster, usize, u64) -> bool,
) -> Step<Option<MutexGuard<'l, ()>>> {
    let Some(order) = cluster.order.as_ref().filter(|_| access.may_be_global()) else {
        return Ok(None);
    };
    let warp = &cluster.ctas[at.cta].warps[at.warp];
    let is_global = |lane| {
        let address = warp.address(access.address, lane);
        matches!(
            place(cluster, at, access.space, address),
            Ok(Place::Global(_))
        )
    };
    let takes_turn = access.writes && lanes(active).any(is_global);
    let turn = takes_turn.then(|| order.turn_to_write());
    if order.tells_lanes_apart() {
        for lane in lanes(active) {
            check_lanes(cluster, at, 1 << lane, access, &repeats)?;
        }
    } else {
        check_lanes(cluster, at, active, access, &repeats)?;
    }
    Ok(turn)
}

fn check_lanes(
    cluster: &mut Cluster,
    at: At,
    active: u32,
    access: Access,
    repeats: &dyn Fn(&Cluster, usize, u64) -> bool,
) -> Step<()> {
    let mut bytes: Vec<Range<u64>> = Vec::new();
    let mut global = 0u32;
    let mut all_repeat = access.writes;
    for lane in lanes(active) {
        let warp = &cluster.ctas[at.cta].warps[at.warp];
        let address = warp.address(access.address, lane);
        // What is wrong with an address shows at the access itself.
        let Ok(Place::Global(start)) = place(cluster, at, access.space, address) else {
            continue;
        };
        cluster.check_global(start, access.bytes, access.kind())?;
        global |= 1 << lane;
        all_repeat = all_repeat && repeats(cluster, lane, start);
        let end = start.saturating_add(access.bytes.into());
        match bytes.last_mut() {
            Some(last) if last.end == start => last.end = end,
            Some(last) if last.start <= start && end <= last.end => {}
            _ => bytes.push(start..end),
        }
    }
    let Some(order) = &mut cluster.order else {
        return Ok(());
    };
    if bytes.is_empty() {
        return Ok(());
    }
    let access = GlobalAccess {
        lanes: global,
        bytes,
        writes: access.writes,
        strong: access.is_strong().then_some(access.scope),
        effect: match (all_repeat, access.swaps) {
            (true, _) => Effect::Repeats,
            (_, true) => Effect::Swaps,
            _ => Effect::Changes,
        },
    };
    let by = at.issuer(global.trailing_zeros() as usize);
    order.access_global(by, access, &cluster.global)?;
    Ok(())
}

/// Through which words of global memory an instruction may publish or learn something. While it is held, no other does.
#[derive(Debug)]
pub struct Exchange<'l> {
    words: Option<MutexGuard<'l, Words>>,
    strength: Strength,
}

impl<'l> Exchange<'l> {
    #[inline]
    pub fn of(cluster: &Cluster<'l>, access: Access) -> Self {
        let order = cluster.order.as_ref();
        let order = order.filter(|_| access.is_strong() && access.may_be_global());
        Self {
            words: order.map(|order| order.words()),
            strength: access.strength(),
        }
    }

    /// Before a lane stores to `address`.
    #[inline]
    pub fn release(&mut self, cluster: &mut Cluster, by: Issuer, address: u64, is_atomic: bool) {
        if let (Some(words), Some(order)) = (&mut self.words, &mut cluster.order) {
            order.global_release(words, by, address, self.strength, is_atomic);
        }
    }

    /// After a lane has loaded from `address`.
    #[inline]
    pub fn acquire(&self, cluster: &mut Cluster, by: Issuer, address: u64) {
        if let (Some(words), Some(order)) = (&self.words, &mut cluster.order) {
            order.global_acquire(words, by, address, self.strength);
        }
    }
}
