//! Lane-wise instructions.
//!
//! The function is matched once per warp instruction; inside, the lane loop runs a closure that the
//! compiler inlines and, where the function allows it, vectorises.

mod bits;
mod compare;
mod convert;
mod float;
mod format;
mod integer;

pub use bits::{BitsOp, PermuteMode};
pub use compare::{BooleanOp, Comparison, FloatClass, Operator, SetResult};
pub use convert::{Conversion, FloatOptions};
pub use float::{FloatFunction, FloatOp, extremum_f32};
pub use format::{Finite, Format, Rounding, Value};
pub use integer::{CarryOp, IntType, IntegerOp};

use super::ir::{Dst, LANES, Src};

/// One lane-wise instruction: the same function of each lane's own registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AluOp {
    pub function: Function,
    pub dst: Dst,
    /// The second result of functions that have one: `setp`'s second predicate, the carry flag.
    pub dst2: Dst,
    /// Unused sources are `Src::Imm(0)`.
    pub srcs: [Src; 4],
}

/// What an [`AluOp`] computes. `a`, `b`, `c` and `d` are its sources in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    Mov,
    /// `selp`: `c ? a : b`.
    Select,
    /// `slct`: `c ≥ 0 ? a : b`; `c` is `.f32` or `.s32`.
    SelectSign {
        float: bool,
        ftz: bool,
    },
    Integer {
        op: IntegerOp,
        ty: IntType,
    },
    /// The same operation on both 16-bit halves.
    Packed16 {
        op: IntegerOp,
        signed: bool,
    },
    /// Arithmetic on the condition-code register (PTX ISA §9.7.2): the last source is the carry in,
    /// `dst2` the carry out.
    Carry {
        op: CarryOp,
        ty: IntType,
    },
    Bits(BitsOp),
    Float(FloatFunction),
    /// `testp`
    Classify {
        class: FloatClass,
        format: Format,
    },
    /// `setp`: `c` is the predicate to combine with; `dst2` gets the negated comparison.
    Compare {
        comparison: Comparison,
        combine: Option<BooleanOp>,
        negate_combined: bool,
    },
    /// `setp.f16x2`: `dst` compares the low halves, `dst2` the high halves.
    ComparePacked {
        comparison: Comparison,
        combine: Option<BooleanOp>,
        negate_combined: bool,
    },
    /// `set`
    Set {
        comparison: Comparison,
        packed: bool,
        combine: Option<BooleanOp>,
        negate_combined: bool,
        result: SetResult,
    },
    Convert(Conversion),
}

/// Executes `op` in the lanes whose bit is set in `active`; the other lanes' registers keep their
/// values.
///
/// `registers` is indexed by slot. Slots hold zero-extended values, predicates 0 or 1.
pub fn execute(op: &AluOp, registers: &mut [[u64; LANES]], active: u32) {
    let mut lanes = Lanes {
        op,
        registers,
        active,
    };
    match op.function {
        Function::Mov => lanes.map1(|a| a),
        Function::Select => lanes.map3(|a, b, c| if c != 0 { a } else { b }),
        Function::SelectSign { float, ftz } => compare::select_sign(float, ftz, &mut lanes),
        Function::Integer { op, ty } => integer::run(op, ty, &mut lanes),
        Function::Packed16 { op, signed } => integer::run_packed(op, signed, &mut lanes),
        Function::Carry { op, ty } => integer::run_carry(op, ty, &mut lanes),
        Function::Bits(op) => bits::run(op, &mut lanes),
        Function::Float(function) => float::run(function, &mut lanes),
        Function::Classify { class, format } => {
            lanes.map1(|a| u64::from(compare::classify(class, format, a)));
        }
        Function::Compare {
            comparison,
            combine,
            negate_combined,
        } => {
            compare::run(comparison, combine, negate_combined, &mut lanes);
        }
        Function::ComparePacked {
            comparison,
            combine,
            negate_combined,
        } => {
            compare::run_packed(comparison, combine, negate_combined, &mut lanes);
        }
        Function::Set {
            comparison,
            packed,
            combine,
            negate_combined,
            result,
        } => {
            compare::run_set(
                comparison,
                packed,
                combine,
                negate_combined,
                result,
                &mut lanes,
            );
        }
        Function::Convert(conversion) => convert::run(conversion, &mut lanes),
    }
}

/// The lanes of one warp instruction.
struct Lanes<'a> {
    op: &'a AluOp,
    registers: &'a mut [[u64; LANES]],
    active: u32,
}

impl Lanes<'_> {
    #[inline(always)]
    fn source(&self, index: usize) -> [u64; LANES] {
        match self.op.srcs[index] {
            Src::Reg(slot) => self.registers[slot as usize],
            Src::Imm(value) => [value; LANES],
        }
    }

    /// Writes `value(lane)` to `dst` in the active lanes.
    #[inline(always)]
    fn write(&mut self, dst: Dst, value: impl Fn(usize) -> u64) {
        let Some(slot) = dst else { return };
        let out = &mut self.registers[slot as usize];
        if self.active == u32::MAX {
            for (lane, out) in out.iter_mut().enumerate() {
                *out = value(lane);
            }
        } else {
            let mut remaining = self.active;
            while remaining != 0 {
                let lane = remaining.trailing_zeros() as usize;
                out[lane] = value(lane);
                remaining &= remaining - 1;
            }
        }
    }

    #[inline(always)]
    fn map1(&mut self, f: impl Fn(u64) -> u64) {
        let a = self.source(0);
        self.write(self.op.dst, |lane| f(a[lane]));
    }

    #[inline(always)]
    fn map2(&mut self, f: impl Fn(u64, u64) -> u64) {
        let (a, b) = (self.source(0), self.source(1));
        self.write(self.op.dst, |lane| f(a[lane], b[lane]));
    }

    #[inline(always)]
    fn map3(&mut self, f: impl Fn(u64, u64, u64) -> u64) {
        let (a, b, c) = (self.source(0), self.source(1), self.source(2));
        self.write(self.op.dst, |lane| f(a[lane], b[lane], c[lane]));
    }

    #[inline(always)]
    fn map4(&mut self, f: impl Fn(u64, u64, u64, u64) -> u64) {
        let (a, b, c, d) = (
            self.source(0),
            self.source(1),
            self.source(2),
            self.source(3),
        );
        self.write(self.op.dst, |lane| f(a[lane], b[lane], c[lane], d[lane]));
    }

    /// Two results per lane, for `dst` and `dst2`. All sources are read before anything is written.
    #[inline(always)]
    fn map4_pair(&mut self, f: impl Fn(u64, u64, u64, u64) -> (u64, u64)) {
        let (a, b, c, d) = (
            self.source(0),
            self.source(1),
            self.source(2),
            self.source(3),
        );
        self.write(self.op.dst, |lane| f(a[lane], b[lane], c[lane], d[lane]).0);
        self.write(self.op.dst2, |lane| f(a[lane], b[lane], c[lane], d[lane]).1);
    }
}

#[cfg(test)]
mod testing {
    use super::*;

    /// Runs `function` in one lane and returns both results.
    pub fn run1(function: Function, sources: &[u64]) -> (u64, u64) {
        let mut srcs = [Src::Imm(0); 4];
        for (src, value) in srcs.iter_mut().zip(sources) {
            *src = Src::Imm(*value);
        }
        let op = AluOp {
            function,
            dst: Some(0),
            dst2: Some(1),
            srcs,
        };
        let mut registers = [[0; LANES]; 2];
        execute(&op, &mut registers, u32::MAX);
        for slot in registers {
            assert!(slot.iter().all(|value| *value == slot[0]), "lanes differ");
        }
        let (first, second) = (registers[0][0], registers[1][0]);
        let mut registers = [[0xdead; LANES]; 2];
        execute(&op, &mut registers, 1 << 7);
        assert_eq!(registers[0][7], first);
        assert!(
            registers[0]
                .iter()
                .enumerate()
                .all(|(lane, v)| lane == 7 || *v == 0xdead)
        );
        (first, second)
    }

    pub fn run(function: Function, sources: &[u64]) -> u64 {
        run1(function, sources).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read_before_the_destination_is_written() {
        let mut registers = [[3u64; LANES], [4; LANES]];
        let op = AluOp {
            function: Function::Integer {
                op: IntegerOp::Add,
                ty: IntType::U32,
            },
            dst: Some(0),
            dst2: None,
            srcs: [Src::Reg(0), Src::Reg(1), Src::Imm(0), Src::Imm(0)],
        };
        execute(&op, &mut registers, 0xffff);
        assert_eq!(registers[0][15], 7);
        assert_eq!(registers[0][16], 3);
    }

    #[test]
    fn a_sink_destination_is_allowed() {
        let op = AluOp {
            function: Function::Mov,
            dst: None,
            dst2: None,
            srcs: [Src::Imm(1); 4],
        };
        execute(&op, &mut [], u32::MAX);
    }
}
