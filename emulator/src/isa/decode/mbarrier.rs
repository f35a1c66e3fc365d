//! `mbarrier` (PTX ISA §9.7.13.15).

use super::super::ir::{MbarrierOp, MbarrierPhase, Op, Semantics, Space};
use super::modifiers::{Modifiers, SHARED_SPACES};
use super::operands::{B32, B64, exactly, operand_count};
use super::{Decoded, Decoder};
use crate::ptx::ast::Operand;

impl Decoder<'_> {
    pub fn mbarrier(&mut self, m: &mut Modifiers, operands: &[Operand]) -> Decoded<()> {
        #[derive(Clone, Copy)]
        enum Verb {
            Init,
            Inval,
            Arrive { drop: bool },
            ExpectTx,
            CompleteTx,
            Wait { try_wait: bool },
            PendingCount,
        }
        // `arrive.expect_tx` has both words; the arrival is the verb.
        let verb = m
            .one_of(&[
                ("arrive", Verb::Arrive { drop: false }),
                ("arrive_drop", Verb::Arrive { drop: true }),
            ])
            .or_else(|| {
                m.one_of(&[
                    ("init", Verb::Init),
                    ("inval", Verb::Inval),
                    ("expect_tx", Verb::ExpectTx),
                    ("complete_tx", Verb::CompleteTx),
                    ("test_wait", Verb::Wait { try_wait: false }),
                    ("try_wait", Verb::Wait { try_wait: true }),
                    ("pending_count", Verb::PendingCount),
                ])
            })
            .ok_or("found no mbarrier operation")?;
        let space = m.one_of(SHARED_SPACES).unwrap_or(Space::Generic);
        // Release for arrivals, acquire for waits, or relaxed; at CTA or cluster scope.
        let relaxed = m.semantics() == Some(Semantics::Relaxed);
        m.scope();
        let op = match verb {
            Verb::Init => {
                m.require("b64")?;
                let [barrier, count] = exactly(operands)?;
                let (barrier, space) = self.address_in(barrier, space)?;
                MbarrierOp::Init {
                    barrier,
                    count: self.src(count, B32)?,
                    space,
                }
            }
            Verb::Inval => {
                m.require("b64")?;
                let [barrier] = exactly(operands)?;
                let (barrier, space) = self.address_in(barrier, space)?;
                MbarrierOp::Inval { barrier, space }
            }
            Verb::Arrive { drop } => self.arrive(m, operands, space, drop, relaxed)?,
            Verb::ExpectTx | Verb::CompleteTx => {
                m.require("b64")?;
                let [barrier, bytes] = exactly(operands)?;
                let (barrier, space) = self.address_in(barrier, space)?;
                let bytes = self.src(bytes, B32)?;
                match verb {
                    Verb::ExpectTx => MbarrierOp::ExpectTx {
                        barrier,
                        space,
                        bytes,
                    },
                    _ => MbarrierOp::CompleteTx {
                        barrier,
                        space,
                        bytes,
                    },
                }
            }
            Verb::Wait { try_wait } => self.wait(m, operands, space, try_wait, relaxed)?,
            Verb::PendingCount => {
                m.require("b64")?;
                let [dst, state] = exactly(operands)?;
                MbarrierOp::PendingCount {
                    dst: self.dst(dst)?,
                    state: self.src(state, B64)?,
                }
            }
        };
        self.emit(Op::Mbarrier(op));
        Ok(())
    }

    /// `mbarrier.arrive{.expect_tx|.noComplete}.b64 {state,} [barrier]{, count or bytes}`
    fn arrive(
        &mut self,
        m: &mut Modifiers,
        operands: &[Operand],
        space: Space,
        drop: bool,
        relaxed: bool,
    ) -> Decoded<MbarrierOp> {
        let expects = m.flag("expect_tx");
        let no_complete = m.flag("noComplete");
        m.require("b64")?;
        let (state, rest) = match operands {
            [Operand::Address { .. }, ..] => (None, operands),
            [state, rest @ ..] => (self.dst(state)?, rest),
            [] => return Err("found no operands".into()),
        };
        let needed = usize::from(expects || no_complete);
        operand_count(rest, 1 + needed, 2)?;
        let (barrier, space) = self.address_in(&rest[0], space)?;
        if space == Space::SharedCluster && state.is_some() {
            return Err(
                "an arrival at a `.shared::cluster` barrier has no state; write `_`".into(),
            );
        }
        let value = match rest.get(1) {
            Some(value) => Some(self.src(value, B32)?),
            None => None,
        };
        let (count, expect_tx) = if expects {
            (None, value)
        } else {
            (value, None)
        };
        Ok(MbarrierOp::Arrive {
            barrier,
            space,
            count,
            expect_tx,
            drop,
            no_complete,
            relaxed,
            state,
        })
    }

    /// `mbarrier.try_wait{.parity}.b64 done, [barrier], state or parity{, time hint}`
    fn wait(
        &mut self,
        m: &mut Modifiers,
        operands: &[Operand],
        space: Space,
        potentially_blocking: bool,
        relaxed: bool,
    ) -> Decoded<MbarrierOp> {
        let by_parity = m.flag("parity");
        m.require("b64")?;
        operand_count(operands, 3, if potentially_blocking { 4 } else { 3 })?;
        let predicate = self.dst(&operands[0])?;
        let (barrier, space) = self.address_in(&operands[1], space)?;
        if space == Space::SharedCluster {
            return Err("waiting is only possible at a barrier of the CTA's own".into());
        }
        let phase = if by_parity {
            MbarrierPhase::Parity(self.src(&operands[2], B32)?)
        } else {
            MbarrierPhase::Token(self.src(&operands[2], B64)?)
        };
        if let Some(hint) = operands.get(3) {
            self.src(hint, B32)?;
        }
        Ok(MbarrierOp::Wait {
            barrier,
            space,
            predicate,
            phase,
            potentially_blocking,
            relaxed,
        })
    }
}
