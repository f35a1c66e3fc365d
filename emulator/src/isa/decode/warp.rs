//! Collectives of a warp (PTX ISA §9.7.9.6, §9.7.13.9–14).

use super::super::ir::{Op, ReduxOp, ShuffleMode, Type, VoteMode};
use super::modifiers::Modifiers;
use super::operands::{bits_type, exactly};
use super::{Decoded, Decoder};
use crate::ptx::ast::Operand;

impl Decoder<'_> {
    pub fn collective(
        &mut self,
        opcode: &str,
        m: &mut Modifiers,
        operands: &[Operand],
    ) -> Decoded<()> {
        if opcode != "activemask" {
            m.require("sync")?;
        }
        match opcode {
            "shfl" => self.shuffle(m, operands),
            "vote" => self.vote(m, operands),
            "match" => self.match_sync(m, operands),
            "redux" => self.redux(m, operands),
            "activemask" => {
                m.require("b32")?;
                let [dst] = exactly(operands)?;
                self.check_width(dst, 32)?;
                let dst = self.dst(dst)?;
                self.emit(Op::ActiveMask { dst });
                Ok(())
            }
            _ => {
                let [dst, members] = exactly(operands)?;
                let (leader, predicate) = self.word_dst_pair(dst)?;
                let members = self.word(members)?;
                self.emit(Op::Elect {
                    leader,
                    predicate,
                    members,
                });
                Ok(())
            }
        }
    }

    fn shuffle(&mut self, m: &mut Modifiers, operands: &[Operand]) -> Decoded<()> {
        let mode = m.require_one_of(&[
            ("up", ShuffleMode::Up),
            ("down", ShuffleMode::Down),
            ("bfly", ShuffleMode::Bfly),
            ("idx", ShuffleMode::Idx),
        ])?;
        m.require("b32")?;
        let [dst, value, lane, clamp, members] = exactly(operands)?;
        let (dst, in_range) = self.word_dst_pair(dst)?;
        let value = self.word(value)?;
        let lane = self.word(lane)?;
        let clamp = self.word(clamp)?;
        let members = self.word(members)?;
        self.emit(Op::Shuffle {
            mode,
            dst,
            in_range,
            value,
            lane,
            clamp,
            members,
        });
        Ok(())
    }

    fn vote(&mut self, m: &mut Modifiers, operands: &[Operand]) -> Decoded<()> {
        let mode = m.require_one_of(&[
            ("all", VoteMode::All),
            ("any", VoteMode::Any),
            ("uni", VoteMode::Uni),
            ("ballot", VoteMode::Ballot),
        ])?;
        m.require(if mode == VoteMode::Ballot {
            "b32"
        } else {
            "pred"
        })?;
        let [dst, predicate, members] = exactly(operands)?;
        self.check_width(dst, if mode == VoteMode::Ballot { 32 } else { 1 })?;
        let dst = self.dst(dst)?;
        let (predicate, negated) = self.predicate(predicate)?;
        let members = self.word(members)?;
        self.emit(Op::Vote {
            mode,
            dst,
            predicate,
            negated,
            members,
        });
        Ok(())
    }

    fn match_sync(&mut self, m: &mut Modifiers, operands: &[Operand]) -> Decoded<()> {
        let all = m.require_one_of(&[("all", true), ("any", false)])?;
        let ty = m.require_one_of(&[("b32", Type::B32), ("b64", Type::B64)])?;
        let [dst, value, members] = exactly(operands)?;
        let (dst, predicate) = self.word_dst_pair(dst)?;
        let bits = super::memory::type_bits(ty);
        self.check_width(value, bits)?;
        let value = self.src(value, bits_type(bits))?;
        let members = self.word(members)?;
        self.emit(Op::Match {
            all,
            ty,
            dst,
            predicate,
            value,
            members,
        });
        Ok(())
    }

    fn redux(&mut self, m: &mut Modifiers, operands: &[Operand]) -> Decoded<()> {
        let op = m.require_one_of(&[
            ("add", ReduxOp::Add),
            ("min", ReduxOp::Min),
            ("max", ReduxOp::Max),
            ("and", ReduxOp::And),
            ("or", ReduxOp::Or),
            ("xor", ReduxOp::Xor),
        ])?;
        let ty = m.require_one_of(&[
            ("u32", Type::U32),
            ("s32", Type::S32),
            ("b32", Type::B32),
            ("f32", Type::F32),
        ])?;
        let op = match (op, ty) {
            (ReduxOp::Min | ReduxOp::Max, Type::F32) => ReduxOp::Float {
                largest: op == ReduxOp::Max,
                magnitude: m.flag("abs"),
                nan: m.flag("NaN"),
            },
            (_, Type::F32) => return Err("`.f32` needs `.min` or `.max`".into()),
            _ => op,
        };
        let [dst, value, members] = exactly(operands)?;
        self.check_width(dst, 32)?;
        let dst = self.dst(dst)?;
        let value = self.word(value)?;
        let members = self.word(members)?;
        self.emit(Op::Redux {
            op,
            ty,
            dst,
            value,
            members,
        });
        Ok(())
    }
}
