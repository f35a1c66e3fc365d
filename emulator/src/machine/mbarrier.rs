//! mbarrier objects (PTX ISA §9.7.13.15). Their state is kept beside shared memory; the eight bytes themselves hold a
//! pattern that means nothing.

use super::report::MbarrierMisuse as Misuse;

/// Largest count and largest magnitude of the tx-count (PTX ISA §9.7.13.15.2).
pub const MAX_COUNT: u32 = (1 << 20) - 1;

/// Size and alignment of an mbarrier object.
pub const MBARRIER_BYTES: u32 = 8;

/// A live mbarrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mbarrier {
    /// Completed phases.
    pub phase: u64,
    /// Arrivals that each phase needs.
    pub expected: u32,
    /// Arrivals that the current phase still needs.
    pub pending: u32,
    /// Bytes expected minus bytes delivered. Negative where the copy was faster than the `expect_tx`.
    pub tx: i64,
    /// Line of the instruction that initialised it.
    pub initialised_at: u32,
}

/// Whether an operation completed the current phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    SamePhase,
    PhaseComplete,
}

impl Mbarrier {
    pub fn new(count: u64) -> Result<Self, Misuse> {
        let expected = u32::try_from(count)
            .ok()
            .filter(|count| (1..=MAX_COUNT).contains(count))
            .ok_or(Misuse::Count { count })?;
        Ok(Self {
            phase: 0,
            expected,
            pending: expected,
            tx: 0,
            initialised_at: 0,
        })
    }

    pub fn expect_tx(&mut self, bytes: u32) -> Result<(), Misuse> {
        self.add_tx(i64::from(bytes))
    }

    pub fn complete_tx(&mut self, bytes: u32) -> Result<Progress, Misuse> {
        self.add_tx(-i64::from(bytes))?;
        Ok(self.advance())
    }

    pub fn arrive(&mut self, count: u64) -> Result<Progress, Misuse> {
        let arrivals = u32::try_from(count)
            .ok()
            .filter(|count| (1..=MAX_COUNT).contains(count))
            .ok_or(Misuse::Count { count })?;
        self.pending = self
            .pending
            .checked_sub(arrivals)
            .ok_or(Misuse::ArrivalUnderflow {
                arrivals,
                pending: self.pending,
            })?;
        Ok(self.advance())
    }

    /// One more arrival is pending in the current phase.
    pub fn expect_arrival(&mut self) -> Result<(), Misuse> {
        let count = u64::from(self.pending) + 1;
        if count > u64::from(MAX_COUNT) {
            return Err(Misuse::Count { count });
        }
        self.pending += 1;
        Ok(())
    }

    /// `arrive_drop`: the dropped arrivals are missing from all later phases too.
    pub fn arrive_drop(&mut self, count: u64) -> Result<Progress, Misuse> {
        let pending = self.pending;
        self.expected = u32::try_from(count)
            .ok()
            .and_then(|count| self.expected.checked_sub(count))
            .ok_or(Misuse::ArrivalUnderflow {
                arrivals: u32::try_from(count).unwrap_or(u32::MAX),
                pending,
            })?;
        self.arrive(count)
    }

    fn add_tx(&mut self, bytes: i64) -> Result<(), Misuse> {
        let tx = self.tx + bytes;
        if tx.abs() > i64::from(MAX_COUNT) {
            return Err(Misuse::TransactionCount { tx });
        }
        self.tx = tx;
        Ok(())
    }

    /// Completes the phase if it needs nothing more.
    pub fn advance(&mut self) -> Progress {
        if self.pending != 0 || self.tx != 0 {
            return Progress::SamePhase;
        }
        self.phase += 1;
        self.pending = self.expected;
        Progress::PhaseComplete
    }

    /// `test_wait.parity`: whether the phase of this parity has completed. It is the current phase or the one before,
    /// by the contract of the instruction; a fresh barrier counts as having completed parity 1.
    pub fn parity_complete(&self, parity: u32) -> bool {
        self.phase & 1 != u64::from(parity & 1)
    }

    /// The opaque value that `arrive` returns: the phase it arrived in and the arrivals pending before it.
    pub fn token(&self) -> u64 {
        (self.phase << 20) | u64::from(self.pending)
    }

    /// `test_wait` by token: whether the token's phase has completed.
    pub fn token_complete(&self, token: u64) -> Result<bool, Misuse> {
        let phase = token >> 20;
        match self.phase.checked_sub(phase) {
            Some(0) => Ok(false),
            Some(1) => Ok(true),
            _ => Err(Misuse::StaleToken {
                phase,
                current: self.phase,
            }),
        }
    }
}

/// `mbarrier.pending_count`.
pub fn pending_count(token: u64) -> u64 {
    token & u64::from(MAX_COUNT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_barrier_blocks_parity_0_and_passes_parity_1() {
        let barrier = Mbarrier::new(1).unwrap();
        assert!(!barrier.parity_complete(0));
        assert!(barrier.parity_complete(1));
    }

    #[test]
    fn a_phase_needs_all_arrivals_and_all_bytes() {
        let mut barrier = Mbarrier::new(2).unwrap();
        barrier.expect_tx(64).unwrap();
        assert_eq!(barrier.arrive(2), Ok(Progress::SamePhase));
        assert_eq!(barrier.complete_tx(32), Ok(Progress::SamePhase));
        assert_eq!(barrier.complete_tx(32), Ok(Progress::PhaseComplete));
        assert_eq!((barrier.phase, barrier.pending), (1, 2));
    }

    #[test]
    fn bytes_may_arrive_before_they_are_expected() {
        let mut barrier = Mbarrier::new(1).unwrap();
        assert_eq!(barrier.complete_tx(128), Ok(Progress::SamePhase));
        assert_eq!(barrier.tx, -128);
        barrier.expect_tx(128).unwrap();
        assert_eq!(barrier.arrive(1), Ok(Progress::PhaseComplete));
    }

    #[test]
    fn limits() {
        assert_eq!(Mbarrier::new(0), Err(Misuse::Count { count: 0 }));
        assert_eq!(
            Mbarrier::new(1 << 20),
            Err(Misuse::Count { count: 1 << 20 })
        );
        let mut barrier = Mbarrier::new(1).unwrap();
        assert_eq!(barrier.expect_tx(MAX_COUNT), Ok(()));
        assert_eq!(
            barrier.expect_tx(1),
            Err(Misuse::TransactionCount { tx: 1 << 20 })
        );
        assert_eq!(
            barrier.arrive(2),
            Err(Misuse::ArrivalUnderflow {
                arrivals: 2,
                pending: 1
            })
        );
    }

    #[test]
    fn dropped_arrivals_are_missing_from_later_phases() {
        let mut barrier = Mbarrier::new(2).unwrap();
        assert_eq!(barrier.arrive_drop(1), Ok(Progress::SamePhase));
        assert_eq!(barrier.arrive(1), Ok(Progress::PhaseComplete));
        assert_eq!(barrier.arrive(1), Ok(Progress::PhaseComplete));
    }

    #[test]
    fn tokens_know_their_phase() {
        let mut barrier = Mbarrier::new(1).unwrap();
        let token = barrier.token();
        assert_eq!(pending_count(token), 1);
        assert_eq!(barrier.token_complete(token), Ok(false));
        assert_eq!(barrier.arrive(1), Ok(Progress::PhaseComplete));
        assert_eq!(barrier.token_complete(token), Ok(true));
        assert_eq!(barrier.arrive(1), Ok(Progress::PhaseComplete));
        assert!(matches!(
            barrier.token_complete(token),
            Err(Misuse::StaleToken {
                phase: 0,
                current: 2
            })
        ));
    }
}
