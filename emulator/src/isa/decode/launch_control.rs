//! `clusterlaunchcontrol` (PTX ISA §9.7.13.17, §9.7.13.18).

use super::super::ir::{LaunchControlOp, Op, Space, Src};
use super::modifiers::Modifiers;
use super::operands::exactly;
use super::{Decoded, Decoder};
use crate::ptx::ast::Operand;

impl Decoder<'_> {
    pub fn launch_control(&mut self, m: &mut Modifiers, operands: &[Operand]) -> Decoded<()> {
        let op = if m.flag("try_cancel") {
            self.try_cancel(m, operands)?
        } else {
            m.require("query_cancel")?;
            self.query_cancel(m, operands)?
        };
        m.require("b128")?;
        self.emit(Op::LaunchControl(op));
        Ok(())
    }

    /// `[response], [barrier]`
    fn try_cancel(&mut self, m: &mut Modifiers, operands: &[Operand]) -> Decoded<LaunchControlOp> {
        m.require("async")?;
        let space = match m.flag("shared::cta") {
            true => Space::SharedCta,
            false => Space::Generic,
        };
        m.require("mbarrier::complete_tx::bytes")?;
        let multicast = m.flag("multicast::cluster::all");
        let [response, barrier] = exactly(operands)?;
        let (response, space) = self.address_in(response, space)?;
        let (barrier, _) = self.address_in(barrier, space)?;
        Ok(LaunchControlOp::TryCancel {
            response,
            barrier,
            space,
            multicast,
        })
    }

    fn query_cancel(
        &mut self,
        m: &mut Modifiers,
        operands: &[Operand],
    ) -> Decoded<LaunchControlOp> {
        let [destination, response] = exactly(operands)?;
        let response = self.wide_register(response)?.map(Src::Reg);
        if m.flag("is_canceled") {
            m.require("pred")?;
            self.check_width(destination, 1)?;
            let dst = self.dst(destination)?;
            return Ok(LaunchControlOp::IsCanceled { dst, response });
        }
        let dsts = if m.flag("get_first_ctaid") {
            m.require("v4")?;
            let dsts = self.dsts(destination)?;
            let [x, y, z, _] = dsts[..] else {
                return Err("needs a vector of 4 registers".into());
            };
            [x, y, z]
        } else {
            let dimension = m.require_one_of(&[
                ("get_first_ctaid::x", 0),
                ("get_first_ctaid::y", 1),
                ("get_first_ctaid::z", 2),
            ])?;
            let mut dsts = [None; 3];
            dsts[dimension] = self.dst(destination)?;
            dsts
        };
        m.require("b32")?;
        Ok(LaunchControlOp::FirstCta { dsts, response })
    }
}
