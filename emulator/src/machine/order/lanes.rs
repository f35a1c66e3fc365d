//! The lanes of one warp. Since Volta each has a program counter of its own: what orders their accesses is not that they
//! usually run together, but `bar.warp.sync` and whatever else they meet at (PTX ISA §9.7.13.2). Known in strict mode.

use super::clock::{Agent, Epoch, Knowledge};
use super::shadow::Record;
use super::{Order, WarpClocks};
use crate::isa::ir::LANES;
use crate::machine::Mode;
use crate::machine::operation::Issuer;
use crate::machine::warp::lanes;

/// A moment in a lane's own time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LaneMoment {
    pub lane: u8,
    pub time: u32,
}

/// How far each lane of a warp knows each other one to have come; of itself, how far it is.
#[derive(Clone, Debug)]
pub struct LaneClocks([[u32; LANES]; LANES]);

impl Default for LaneClocks {
    fn default() -> Self {
        let mut clocks = Self([[0; LANES]; LANES]);
        clocks.tick(u32::MAX);
        clocks
    }
}

impl LaneClocks {
    fn tick(&mut self, mask: u32) {
        for lane in lanes(mask) {
            self.0[lane][lane] += 1;
        }
    }

    /// These lanes synchronise with each other.
    fn meet(&mut self, mask: u32) {
        let mut all = [0; LANES];
        for lane in lanes(mask) {
            for (all, known) in all.iter_mut().zip(&self.0[lane]) {
                *all = (*all).max(*known);
            }
        }
        for lane in lanes(mask) {
            self.0[lane] = all;
        }
        self.tick(mask);
    }

    fn now(&self, lane: usize) -> LaneMoment {
        LaneMoment {
            lane: lane as u8,
            time: self.0[lane][lane],
        }
    }

    fn knows(&self, lane: usize, moment: LaneMoment) -> bool {
        self.0[lane][usize::from(moment.lane)] >= moment.time
    }

    /// How far each lane has come, as the releasing one knows; all of them release where there is no such one.
    fn released_by(&self, lane: Option<u32>, of: usize) -> u32 {
        self.0[lane.map_or(of, |lane| lane as usize)][of]
    }
}

/// The component of [`Knowledge::lanes`] that belongs to a lane of a warp.
fn lane_agent(warp: Agent, lane: usize) -> Agent {
    warp * LANES as Agent + lane as Agent
}

impl WarpClocks {
    /// The warp has waited for others, or acquired something: its lanes' order is no longer told apart from the warps'.
    pub(super) fn lanes_waited(&mut self) {
        if let Some(lanes) = &mut self.lanes {
            lanes.meet(u32::MAX);
        }
    }

    /// Adds what `lane` may tell of its warp's accesses, or each lane of its own.
    pub(super) fn tell_lanes(&self, lane: Option<u32>, into: &mut Knowledge) {
        let Some(lanes) = &self.lanes else {
            return;
        };
        // The last one's component first: the clock grows once.
        for of in (0..LANES).rev() {
            let (agent, time) = (lane_agent(self.agent, of), lanes.released_by(lane, of));
            into.lanes.learn(Epoch { agent, time });
        }
    }

    /// Whether an access by a lane of another warp is among those that it was told of.
    pub(super) fn was_told(&self, earlier: &Record) -> bool {
        let (Some(_), Some(moment)) = (&self.lanes, earlier.moment) else {
            return true;
        };
        self.known.lanes.covers(Epoch {
            agent: lane_agent(earlier.epoch.agent, moment.lane.into()),
            time: moment.time,
        })
    }

    /// Whether an access by another lane of this warp is ordered before what `lane` does now.
    pub(super) fn lane_knows(&self, lane: u32, earlier: &Record) -> bool {
        match (&self.lanes, earlier.moment) {
            (Some(lanes), Some(moment)) => lanes.knows(lane as usize, moment),
            _ => true,
        }
    }
}

impl Order<'_> {
    pub(super) fn new_lanes(&self) -> Option<Box<LaneClocks>> {
        (self.mode == Mode::Strict).then(Box::default)
    }

    /// Whether accesses of the lanes of one warp are told apart.
    pub fn tells_lanes_apart(&self) -> bool {
        self.mode == Mode::Strict
    }

    /// The moment of the lane, where that is known.
    pub(super) fn lane_moment(&self, by: Issuer) -> Option<LaneMoment> {
        let lanes = self.clocks(by).lanes.as_ref()?;
        Some(lanes.now(by.lane as usize))
    }

    /// Lanes of a warp execute a collective together.
    #[inline]
    pub fn lanes_meet(&mut self, by: Issuer, mask: u32) {
        if let Some(lanes) = &mut self.clocks_mut(by).lanes {
            lanes.meet(mask);
        }
    }
}

/// What would order the two lanes.
pub const MISSING: &str = "both are lanes of one warp, and no `bar.warp.sync` or other collective of the two lies between them";

/// What would order somebody behind the lane.
pub const UNTOLD: &str = "what orders the two is a release by another lane of that warp, and no `bar.warp.sync` or other collective of \
     the two lanes lies before it";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_know_of_each_other_by_meeting() {
        let mut clocks = LaneClocks::default();
        let [early, other] = [clocks.now(0), clocks.now(2)];
        assert!(clocks.knows(0, early) && !clocks.knows(1, early));
        clocks.meet(0b11);
        assert!(clocks.knows(1, early) && !clocks.knows(1, clocks.now(0)));
        assert!(!clocks.knows(2, early) && !clocks.knows(1, other));
        // Through one that both met.
        clocks.meet(0b110);
        assert!(clocks.knows(2, early) && clocks.knows(1, other) && !clocks.knows(0, other));
    }
}
