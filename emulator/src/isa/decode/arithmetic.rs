//! Lane-wise arithmetic, logic and comparison (PTX ISA §9.7.1–9.7.8).
//!
//! PTX lets a compiler contract `mul` and `add` without a rounding modifier into one `fma`
//! (§9.7.3.5); here every instruction rounds for itself.

use super::super::alu::{
    BitsOp, BooleanOp, CarryOp, Comparison, FloatClass, FloatFunction, FloatOp, Format, Function,
    IntType, IntegerOp, Operator, PermuteMode, Rounding, SetResult,
};
use super::super::ir::Src;
use super::modifiers::{Modifiers, ValueType};
use super::operands::{B32, NONE, constant_u32, exactly, operand_count};
use super::{Decoded, Decoder};
use crate::ptx::ast::Operand;

/// Which result bits of a product an instruction keeps.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Low,
    High,
    Wide,
}

const PARTS: &[(&str, Part)] = &[("lo", Part::Low), ("hi", Part::High), ("wide", Part::Wide)];

const BOOLEANS: &[(&str, BooleanOp)] = &[
    ("and", BooleanOp::And),
    ("or", BooleanOp::Or),
    ("xor", BooleanOp::Xor),
];

const CLAMP_OR_WRAP: &[(&str, bool)] = &[("clamp", false), ("wrap", true)];

impl Decoder<'_> {
    pub fn arithmetic(&mut self, opcode: &str, m: &mut Modifiers, o: &[Operand]) -> Decoded<()> {
        match opcode {
            "add" | "sub" => self.add_or_sub(opcode == "sub", m, o),
            "addc" | "subc" => {
                let op = if opcode == "addc" {
                    CarryOp::Add
                } else {
                    CarryOp::Sub
                };
                self.with_carry(op, true, m, o)
            }
            "mul" => self.mul(m, o),
            "mad" => self.mad(m, o),
            "madc" => self.mad_with_carry(true, m, o),
            "fma" => {
                let ValueType::Float { format, packed } = m.value_type()? else {
                    return Err("needs a floating-point type".into());
                };
                let rounding = m.rounding().ok_or("needs a rounding modifier")?;
                self.float(FloatOp::Fma, format, packed, Some(rounding), m, o)
            }
            "mul24" | "mad24" => self.mul24(opcode == "mad24", m, o),
            "sad" => {
                let ty = m.int_type()?;
                self.integer(IntegerOp::SumAbsoluteDifference, ty, o)
            }
            "div" => self.div(m, o),
            "rem" => {
                let ty = m.int_type()?;
                self.integer(IntegerOp::Rem, ty, o)
            }
            "abs" | "neg" => self.abs_or_neg(opcode == "abs", m, o),
            "min" | "max" => self.min_or_max(opcode == "max", m, o),
            "rcp" | "sqrt" | "rsqrt" | "ex2" | "lg2" | "sin" | "cos" | "tanh" => {
                self.unary_float(opcode, m, o)
            }
            "copysign" => {
                let ValueType::Float {
                    format: format @ (Format::F32 | Format::F64),
                    packed: false,
                } = m.value_type()?
                else {
                    return Err("needs `.f32` or `.f64`".into());
                };
                self.float(FloatOp::CopySign, format, false, None, m, o)
            }
            "testp" => self.testp(m, o),
            "setp" => self.setp(m, o),
            "set" => self.set(m, o),
            "selp" => {
                let ty = m.value_type()?;
                let [dst, a, b, c] = exactly(o)?;
                for operand in [dst, a, b] {
                    self.check_width(operand, ty.bits())?;
                }
                let (a, b) = (self.src(a, ty)?, self.src(b, ty)?);
                let (c, negated) = self.predicate(c)?;
                let (a, b) = if negated { (b, a) } else { (a, b) };
                let dst = self.dst(dst)?;
                self.emit_alu(Function::Select, dst, &[a, b, c]);
                Ok(())
            }
            "slct" => self.slct(m, o),
            _ => self.bits(opcode, m, o),
        }
    }

    fn integer(&mut self, op: IntegerOp, ty: IntType, o: &[Operand]) -> Decoded<()> {
        let ty_operand = ValueType::Int { ty, untyped: false };
        self.plain(
            Function::Integer { op, ty },
            &[ty_operand; 3][..integer_sources(op)],
            o,
        )
    }

    /// `d, a, b, …` with one source per type.
    fn plain(&mut self, function: Function, types: &[ValueType], o: &[Operand]) -> Decoded<()> {
        operand_count(o, 1 + types.len(), 1 + types.len())?;
        let mut sources = [NONE; 4];
        for ((source, operand), ty) in sources.iter_mut().zip(&o[1..]).zip(types) {
            self.check_width(operand, ty.bits())?;
            *source = self.src(operand, *ty)?;
        }
        self.check_width(&o[0], result_bits(function, types[0].bits()))?;
        let dst = self.dst(&o[0])?;
        self.emit_alu(function, dst, &sources);
        Ok(())
    }

    fn float(
        &mut self,
        op: FloatOp,
        format: Format,
        packed: bool,
        rounding: Option<Rounding>,
        m: &mut Modifiers,
        o: &[Operand],
    ) -> Decoded<()> {
        let half = matches!(format, Format::F16 | Format::Bf16);
        let rounding = rounding.or_else(|| m.rounding());
        if half && rounding.is_some_and(|mode| mode != Rounding::NearestEven) {
            return Err("half-precision results round to nearest only".into());
        }
        if rounding == Some(Rounding::NearestAway) {
            return Err("`.rna` is not supported here".into());
        }
        let flushes = matches!(format, Format::F32 | Format::F16)
            || matches!(
                op,
                FloatOp::Ex2 | FloatOp::RcpApproximate64 | FloatOp::RsqrtApproximate64
            );
        let ftz = flushes && m.flag("ftz");
        // The only forms of these.
        if !ftz && (op == FloatOp::RcpApproximate64 || (op, format) == (FloatOp::Ex2, Format::Bf16))
        {
            return Err("needs `.ftz`".into());
        }
        let saturates = matches!(
            op,
            FloatOp::Add | FloatOp::Sub | FloatOp::Mul | FloatOp::Fma
        );
        let saturate = saturates && format != Format::F64 && m.flag("sat");
        let relu = half && op == FloatOp::Fma && m.flag("relu");
        let function = FloatFunction {
            op,
            format,
            packed,
            rounding: rounding.unwrap_or(Rounding::NearestEven),
            ftz,
            saturate,
            relu,
        };
        let ty = ValueType::Float { format, packed };
        self.plain(Function::Float(function), &[ty; 3][..float_sources(op)], o)
    }

    fn add_or_sub(&mut self, subtract: bool, m: &mut Modifiers, o: &[Operand]) -> Decoded<()> {
        if m.flag("cc") {
            let op = if subtract { CarryOp::Sub } else { CarryOp::Add };
            return self.carry_instruction(op, false, true, m, o);
        }
        match m.value_type()? {
            ValueType::Int { ty, untyped: false } => {
                let saturate = ty == IntType::S32 && m.flag("sat");
                let op = match (subtract, saturate) {
                    (false, false) => IntegerOp::Add,
                    (false, true) => IntegerOp::AddSaturating,
                    (true, false) => IntegerOp::Sub,
                    (true, true) => IntegerOp::SubSaturating,
                };
                self.integer(op, ty, o)
            }
            ValueType::Float { format, packed } => {
                let op = if subtract { FloatOp::Sub } else { FloatOp::Add };
                self.float(op, format, packed, None, m, o)
            }
            ty @ ValueType::PackedInt { signed } if !subtract => {
                let function = Function::Packed16 {
                    op: IntegerOp::Add,
                    signed,
                };
                self.plain(function, &[ty; 2], o)
            }
            _ => Err("this type is not supported".into()),
        }
    }

    /// `addc`, `subc`: the carry out only with `.cc`.
    fn with_carry(
        &mut self,
        op: CarryOp,
        carry_in: bool,
        m: &mut Modifiers,
        o: &[Operand],
    ) -> Decoded<()> {
        let carry_out = m.flag("cc");
        self.carry_instruction(op, carry_in, carry_out, m, o)
    }

    fn mad_with_carry(&mut self, carry_in: bool, m: &mut Modifiers, o: &[Operand]) -> Decoded<()> {
        let op = m.require_one_of(&[("lo", CarryOp::MadLow), ("hi", CarryOp::MadHigh)])?;
        self.with_carry(op, carry_in, m, o)
    }

    fn carry_instruction(
        &mut self,
        op: CarryOp,
        carry_in: bool,
        carry_out: bool,
        m: &mut Modifiers,
        o: &[Operand],
    ) -> Decoded<()> {
        let ty = m.int_type()?;
        if ty.bits() < 32 {
            return Err("needs a 32-bit or 64-bit type".into());
        }
        let operands = match op {
            CarryOp::Add | CarryOp::Sub => 2,
            CarryOp::MadLow | CarryOp::MadHigh => 3,
        };
        operand_count(o, 1 + operands, 1 + operands)?;
        let carry = *self.carry.get_or_insert_with(|| self.scopes.new_slot());
        let mut sources = [NONE; 4];
        for (source, operand) in sources.iter_mut().zip(&o[1..]) {
            *source = self.src(operand, ValueType::Int { ty, untyped: false })?;
        }
        if carry_in {
            sources[operands] = Src::Reg(carry);
        }
        let dst = self.dst(&o[0])?;
        let dst2 = carry_out.then_some(carry);
        self.emit_alu_pair(Function::Carry { op, ty }, dst, dst2, &sources);
        Ok(())
    }

    fn mul(&mut self, m: &mut Modifiers, o: &[Operand]) -> Decoded<()> {
        match m.value_type()? {
            ValueType::Int { ty, untyped: false } => {
                let op = match m.require_one_of(PARTS)? {
                    Part::Low => IntegerOp::MulLow,
                    Part::High => IntegerOp::MulHigh,
                    Part::Wide => IntegerOp::MulWide,
                };
                check_wide(op == IntegerOp::MulWide, ty)?;
                self.integer(op, ty, o)
            }
            ValueType::Float { format, packed } => {
                self.float(FloatOp::Mul, format, packed, None, m, o)
            }
            _ => Err("this type is not supported".into()),
        }
    }

    fn mad(&mut self, m: &mut Modifiers, o: &[Operand]) -> Decoded<()> {
        if m.flag("cc") {
            let op = m.require_one_of(&[("lo", CarryOp::MadLow), ("hi", CarryOp::MadHigh)])?;
            return self.carry_instruction(op, false, true, m, o);
        }
        match m.value_type()? {
            ValueType::Int { ty, untyped: false } => match m.require_one_of(PARTS)? {
                Part::Low => self.integer(IntegerOp::MadLow, ty, o),
                Part::High if ty == IntType::S32 && m.flag("sat") => {
                    self.integer(IntegerOp::MadHighSaturating, ty, o)
                }
                Part::High => self.integer(IntegerOp::MadHigh, ty, o),
                Part::Wide => {
                    check_wide(true, ty)?;
                    let narrow = ValueType::Int { ty, untyped: false };
                    let wide = super::operands::bits_type(2 * ty.bits());
                    let function = Function::Integer {
                        op: IntegerOp::MadWide,
                        ty,
                    };
                    self.plain(function, &[narrow, narrow, wide], o)
                }
            },
            // On every target since sm_20 a fused multiply-add.
            ValueType::Float {
                format: format @ (Format::F32 | Format::F64),
                packed: false,
            } => {
                let rounding = m.rounding().ok_or("needs a rounding modifier")?;
                self.float(FloatOp::Fma, format, false, Some(rounding), m, o)
            }
            _ => Err("this type is not supported".into()),
        }
    }

    fn mul24(&mut self, add: bool, m: &mut Modifiers, o: &[Operand]) -> Decoded<()> {
        let high = m.require_one_of(&[("lo", false), ("hi", true)])?;
        let saturate = add && high && m.flag("sat");
        let ty = m.int_type()?;
        if ty.bits() != 32 || (saturate && ty != IntType::S32) {
            return Err("needs `.u32` or `.s32`, and `.s32` with `.sat`".into());
        }
        let op = match (add, high) {
            (false, false) => IntegerOp::Mul24Low,
            (false, true) => IntegerOp::Mul24High,
            (true, false) => IntegerOp::Mad24Low,
            (true, true) if saturate => IntegerOp::Mad24HighSaturating,
            (true, true) => IntegerOp::Mad24High,
        };
        self.integer(op, ty, o)
    }

    fn div(&mut self, m: &mut Modifiers, o: &[Operand]) -> Decoded<()> {
        match m.value_type()? {
            ValueType::Int { ty, untyped: false } => self.integer(IntegerOp::Div, ty, o),
            ValueType::Float {
                format: format @ (Format::F32 | Format::F64),
                packed: false,
            } => {
                let approximate = format == Format::F32 && m.flag("approx");
                let full = format == Format::F32 && m.flag("full");
                let rounding = m.rounding();
                if usize::from(approximate) + usize::from(full) + usize::from(rounding.is_some())
                    != 1
                {
                    return Err("needs `.approx`, `.full` or a rounding modifier".into());
                }
                let op = if approximate {
                    FloatOp::DivApproximate
                } else {
                    FloatOp::Div
                };
                let rounding = rounding.unwrap_or(Rounding::NearestEven);
                self.float(op, format, false, Some(rounding), m, o)
            }
            _ => Err("this type is not supported".into()),
        }
    }

    fn abs_or_neg(&mut self, abs: bool, m: &mut Modifiers, o: &[Operand]) -> Decoded<()> {
        match m.value_type()? {
            ValueType::Int { ty, untyped: false } if ty.signed() => {
                self.integer(if abs { IntegerOp::Abs } else { IntegerOp::Neg }, ty, o)
            }
            ValueType::Float { format, packed } if !(packed && format == Format::F32) => {
                let op = if abs { FloatOp::Abs } else { FloatOp::Neg };
                self.float(op, format, packed, None, m, o)
            }
            _ => Err("this type is not supported".into()),
        }
    }

    fn min_or_max(&mut self, largest: bool, m: &mut Modifiers, o: &[Operand]) -> Decoded<()> {
        match m.value_type()? {
            ValueType::Int { ty, untyped: false } => {
                let relu = ty == IntType::S32 && m.flag("relu");
                self.integer(integer_extremum(largest, relu), ty, o)
            }
            ty @ ValueType::PackedInt { signed } => {
                let relu = signed && m.flag("relu");
                let op = integer_extremum(largest, relu);
                self.plain(Function::Packed16 { op, signed }, &[ty; 2], o)
            }
            ValueType::Float { format, packed } if !(packed && format == Format::F32) => {
                let nan = format != Format::F64 && m.flag("NaN");
                let xor_sign = format != Format::F64 && m.flag("xorsign");
                if xor_sign {
                    m.require("abs")?;
                }
                let three = format == Format::F32 && o.len() == 4;
                if three && (xor_sign || m.flag("abs")) {
                    return Err("three operands with `.abs` are not supported".into());
                }
                let op = match (largest, three) {
                    (false, false) => FloatOp::Min { nan, xor_sign },
                    (true, false) => FloatOp::Max { nan, xor_sign },
                    (false, true) => FloatOp::Min3 { nan },
                    (true, true) => FloatOp::Max3 { nan },
                };
                self.float(op, format, packed, None, m, o)
            }
            _ => Err("this type is not supported".into()),
        }
    }

    fn unary_float(&mut self, opcode: &str, m: &mut Modifiers, o: &[Operand]) -> Decoded<()> {
        let ValueType::Float { format, packed } = m.value_type()? else {
            return Err("needs a floating-point type".into());
        };
        let half = matches!(format, Format::F16 | Format::Bf16);
        let single = format == Format::F32 && !packed;
        let approximate = m.flag("approx");
        let exact = matches!(opcode, "rcp" | "sqrt");
        let rounding = if exact && !approximate {
            m.rounding()
        } else {
            None
        };
        if approximate == rounding.is_some() {
            return Err(if exact {
                "needs `.approx` or a rounding modifier"
            } else {
                "needs `.approx`"
            }
            .into());
        }
        let op = match (opcode, format) {
            ("rcp", Format::F64) if approximate => FloatOp::RcpApproximate64,
            ("rsqrt", Format::F64) => FloatOp::RsqrtApproximate64,
            ("rcp", Format::F32 | Format::F64) => FloatOp::Rcp,
            ("sqrt", Format::F32) => FloatOp::Sqrt,
            ("sqrt", Format::F64) if !approximate => FloatOp::Sqrt,
            ("rsqrt", Format::F32) => FloatOp::Rsqrt,
            ("ex2", _) if half || single => FloatOp::Ex2,
            ("lg2", _) if single => FloatOp::Lg2,
            ("sin", _) if single => FloatOp::Sin,
            ("cos", _) if single => FloatOp::Cos,
            ("tanh", _) if half || single => FloatOp::Tanh,
            _ => return Err("this type is not supported".into()),
        };
        if packed && !half {
            return Err("this type is not supported".into());
        }
        self.float(
            op,
            format,
            packed,
            rounding.or(Some(Rounding::NearestEven)),
            m,
            o,
        )
    }

    fn testp(&mut self, m: &mut Modifiers, o: &[Operand]) -> Decoded<()> {
        let class = m.require_one_of(&[
            ("finite", FloatClass::Finite),
            ("infinite", FloatClass::Infinite),
            ("number", FloatClass::Number),
            ("notanumber", FloatClass::NotANumber),
            ("normal", FloatClass::Normal),
            ("subnormal", FloatClass::Subnormal),
        ])?;
        let ty = m.value_type()?;
        let ValueType::Float {
            format: format @ (Format::F32 | Format::F64),
            packed: false,
        } = ty
        else {
            return Err("needs `.f32` or `.f64`".into());
        };
        self.plain(Function::Classify { class, format }, &[ty], o)
    }

    /// The comparison of `setp` and `set`, and whether it is of packed halves.
    fn comparison(m: &mut Modifiers) -> Decoded<(Comparison, ValueType)> {
        #[derive(Clone, Copy)]
        enum Order {
            Plain,
            /// `lo`, `ls`, `hi`, `hs`: unsigned whatever the type says.
            Unsigned,
            Unordered,
        }
        let (operator, order) = m
            .take(|name| {
                Some(match name {
                    "eq" => (Operator::Eq, Order::Plain),
                    "ne" => (Operator::Ne, Order::Plain),
                    "lt" => (Operator::Lt, Order::Plain),
                    "le" => (Operator::Le, Order::Plain),
                    "gt" => (Operator::Gt, Order::Plain),
                    "ge" => (Operator::Ge, Order::Plain),
                    "lo" => (Operator::Lt, Order::Unsigned),
                    "ls" => (Operator::Le, Order::Unsigned),
                    "hi" => (Operator::Gt, Order::Unsigned),
                    "hs" => (Operator::Ge, Order::Unsigned),
                    "equ" => (Operator::Eq, Order::Unordered),
                    "neu" => (Operator::Ne, Order::Unordered),
                    "ltu" => (Operator::Lt, Order::Unordered),
                    "leu" => (Operator::Le, Order::Unordered),
                    "gtu" => (Operator::Gt, Order::Unordered),
                    "geu" => (Operator::Ge, Order::Unordered),
                    "num" => (Operator::Num, Order::Plain),
                    "nan" => (Operator::Nan, Order::Plain),
                    _ => return None,
                })
            })
            .ok_or("found no comparison operator")?;
        let ty = m.value_type()?;
        let comparison = match (ty, order) {
            (ValueType::Int { ty, untyped }, Order::Plain | Order::Unsigned)
                if ty.bits() >= 16 && !matches!(operator, Operator::Num | Operator::Nan) =>
            {
                let equality = matches!(operator, Operator::Eq | Operator::Ne);
                if untyped && !equality {
                    return Err("bit strings compare for equality only".into());
                }
                if ty.signed() && matches!(order, Order::Unsigned) {
                    return Err("an unsigned comparison needs an unsigned type".into());
                }
                Comparison::Integer { operator, ty }
            }
            (ValueType::Float { format, packed }, Order::Plain | Order::Unordered)
                if !(packed && format == Format::F32) =>
            {
                let ftz = matches!(format, Format::F32 | Format::F16) && m.flag("ftz");
                let unordered = matches!(order, Order::Unordered);
                Comparison::Float {
                    operator,
                    unordered,
                    format,
                    ftz,
                }
            }
            _ => return Err("this comparison of this type is not supported".into()),
        };
        Ok((comparison, ty))
    }

    /// The predicate that a comparison's result is combined with.
    fn combined(&mut self, combine: Option<BooleanOp>, o: &[Operand]) -> Decoded<(Src, bool)> {
        let count = if combine.is_some() { 4 } else { 3 };
        operand_count(o, count, count)?;
        match combine {
            Some(_) => self.predicate(&o[3]),
            None => Ok((NONE, false)),
        }
    }

    fn setp(&mut self, m: &mut Modifiers, o: &[Operand]) -> Decoded<()> {
        let combine = m.one_of(BOOLEANS);
        let (comparison, ty) = Self::comparison(m)?;
        let (c, negate_combined) = self.combined(combine, o)?;
        for operand in &o[1..3] {
            self.check_width(operand, ty.bits())?;
        }
        let sources = [self.src(&o[1], ty)?, self.src(&o[2], ty)?, c];
        match &o[0] {
            Operand::Pair(first, second) => {
                self.check_width(first, 1)?;
                self.check_width(second, 1)?;
            }
            single => self.check_width(single, 1)?,
        }
        let (dst, dst2) = self.dst_pair(&o[0])?;
        let function = if matches!(ty, ValueType::Float { packed: true, .. }) {
            Function::ComparePacked {
                comparison,
                combine,
                negate_combined,
            }
        } else {
            Function::Compare {
                comparison,
                combine,
                negate_combined,
            }
        };
        self.emit_alu_pair(function, dst, dst2, &sources);
        Ok(())
    }

    fn set(&mut self, m: &mut Modifiers, o: &[Operand]) -> Decoded<()> {
        let combine = m.one_of(BOOLEANS);
        // `set.op.dtype.stype`: the destination's type comes first.
        let to = m.value_type()?;
        let (comparison, ty) = Self::comparison(m)?;
        let packed = matches!(ty, ValueType::Float { packed: true, .. });
        let result = match to {
            ValueType::Int { ty, .. } if packed && ty.bits() == 32 => SetResult::Ones { bits: 16 },
            ValueType::Int { ty, .. } => SetResult::Ones { bits: ty.bits() },
            ValueType::Float {
                format,
                packed: result,
            } if result == packed => SetResult::One { format },
            _ => return Err("this destination type is not supported".into()),
        };
        let (c, negate_combined) = self.combined(combine, o)?;
        let sources = [self.src(&o[1], ty)?, self.src(&o[2], ty)?, c];
        let dst = self.dst(&o[0])?;
        let function = Function::Set {
            comparison,
            packed,
            combine,
            negate_combined,
            result,
        };
        self.emit_alu(function, dst, &sources);
        Ok(())
    }

    fn slct(&mut self, m: &mut Modifiers, o: &[Operand]) -> Decoded<()> {
        let ftz = m.flag("ftz");
        let ty = m.value_type()?;
        let sign = m.value_type()?;
        let float = match sign {
            ValueType::Float {
                format: Format::F32,
                packed: false,
            } => true,
            ValueType::Int {
                ty: IntType::S32,
                untyped: false,
            } if !ftz => false,
            _ => return Err("needs a selector of type `.s32` or `.f32`".into()),
        };
        self.plain(Function::SelectSign { float, ftz }, &[ty, ty, sign], o)
    }

    fn bits(&mut self, opcode: &str, m: &mut Modifiers, o: &[Operand]) -> Decoded<()> {
        match opcode {
            "lop3" => return self.lop3(m, o),
            "prmt" => return self.prmt(m, o),
            "shf" => {
                let left = m.require_one_of(&[("l", true), ("r", false)])?;
                let wrap = m.require_one_of(CLAMP_OR_WRAP)?;
                m.require("b32")?;
                return self.plain(Function::Bits(BitsOp::Funnel { left, wrap }), &[B32; 3], o);
            }
            "dp4a" | "dp2a" => return self.dot(opcode == "dp2a", m, o),
            "fns" => {
                m.require("b32")?;
                return self.plain(Function::Bits(BitsOp::FindNth), &[B32; 3], o);
            }
            "bmsk" => {
                let wrap = m.require_one_of(CLAMP_OR_WRAP)?;
                m.require("b32")?;
                return self.plain(Function::Bits(BitsOp::Mask { wrap }), &[B32; 2], o);
            }
            "and" | "or" | "xor" | "not" | "cnot" | "shl" | "shr" | "popc" | "clz" | "brev"
            | "bfind" | "bfe" | "bfi" | "szext" => {}
            _ => return Err(format!("instruction `{opcode}` is not supported")),
        }
        let shift_amount = opcode == "bfind" && m.flag("shiftamt");
        let wrap = if opcode == "szext" {
            m.require_one_of(CLAMP_OR_WRAP)?
        } else {
            false
        };
        let ty = m.value_type()?;
        let (int, bits) = match ty {
            ValueType::Int { ty, .. } if ty.bits() >= 16 => (ty, ty.bits()),
            ValueType::Predicate if matches!(opcode, "and" | "or" | "xor" | "not") => {
                (IntType::U8, 1)
            }
            _ => return Err("this type is not supported".into()),
        };
        let (op, types): (BitsOp, &[ValueType]) = match opcode {
            "and" => (BitsOp::And, &[ty, ty]),
            "or" => (BitsOp::Or, &[ty, ty]),
            "xor" => (BitsOp::Xor, &[ty, ty]),
            "not" => (BitsOp::Not { bits }, &[ty]),
            "cnot" => (BitsOp::LogicalNot { bits }, &[ty]),
            "shl" => (BitsOp::ShiftLeft { bits }, &[ty, B32]),
            "shr" => (BitsOp::ShiftRight { ty: int }, &[ty, B32]),
            _ if bits < 32 => return Err("needs a 32-bit or 64-bit type".into()),
            "popc" => (BitsOp::PopulationCount { bits }, &[ty]),
            "clz" => (BitsOp::LeadingZeros { bits }, &[ty]),
            "brev" => (BitsOp::Reverse { bits }, &[ty]),
            "bfind" => (
                BitsOp::FindLeading {
                    ty: int,
                    shift_amount,
                },
                &[ty],
            ),
            "bfe" => (BitsOp::Extract { ty: int }, &[ty, B32, B32]),
            "bfi" => (BitsOp::Insert { bits }, &[ty, ty, B32, B32]),
            _ => (
                BitsOp::SignOrZeroExtend {
                    signed: int.signed(),
                    wrap,
                },
                &[ty, B32],
            ),
        };
        self.plain(Function::Bits(op), types, o)
    }

    /// `lop3.b32 d, a, b, c, table` or `lop3.op.b32 d|p, a, b, c, table, q`
    fn lop3(&mut self, m: &mut Modifiers, o: &[Operand]) -> Decoded<()> {
        let combine = m.one_of(BOOLEANS);
        m.require("b32")?;
        let count = if combine.is_some() { 6 } else { 5 };
        operand_count(o, count, count)?;
        let mut sources = [NONE; 4];
        for (source, operand) in sources.iter_mut().zip(&o[1..4]) {
            *source = self.src(operand, B32)?;
        }
        let table = constant_u32(&o[4])?;
        let table =
            u8::try_from(table).map_err(|_| format!("found table {table}, needs 0 to 255"))?;
        let (dst, dst2) = self.dst_pair(&o[0])?;
        let op = match combine {
            Some(combine) => {
                let (predicate, negated) = self.predicate(&o[5])?;
                sources[3] = self.plain_predicate(predicate, negated);
                BitsOp::Lop3Predicate { table, combine }
            }
            None => BitsOp::Lop3 { table },
        };
        self.emit_alu_pair(Function::Bits(op), dst, dst2, &sources);
        Ok(())
    }

    fn prmt(&mut self, m: &mut Modifiers, o: &[Operand]) -> Decoded<()> {
        m.require("b32")?;
        let mode = m
            .one_of(&[
                ("f4e", PermuteMode::Forward4),
                ("b4e", PermuteMode::Backward4),
                ("rc8", PermuteMode::Replicate8),
                ("ecl", PermuteMode::EdgeClampLeft),
                ("ecr", PermuteMode::EdgeClampRight),
                ("rc16", PermuteMode::Replicate16),
            ])
            .unwrap_or(PermuteMode::Generic);
        self.plain(Function::Bits(BitsOp::Permute { mode }), &[B32; 3], o)
    }

    fn dot(&mut self, two: bool, m: &mut Modifiers, o: &[Operand]) -> Decoded<()> {
        const SIGNS: &[(&str, bool)] = &[("u32", false), ("s32", true)];
        let high = two && m.require_one_of(&[("lo", false), ("hi", true)])?;
        let a_signed = m.require_one_of(SIGNS)?;
        let b_signed = m.require_one_of(SIGNS)?;
        let op = match two {
            true => BitsOp::Dot2 {
                a_signed,
                b_signed,
                high,
            },
            false => BitsOp::Dot4 { a_signed, b_signed },
        };
        self.plain(Function::Bits(op), &[B32; 3], o)
    }
}

/// Bits of the result of a function whose first operand has `operand_bits`.
fn result_bits(function: Function, operand_bits: u32) -> u32 {
    match function {
        Function::Integer {
            op: IntegerOp::MulWide | IntegerOp::MadWide,
            ..
        } => 2 * operand_bits,
        Function::Bits(
            BitsOp::PopulationCount { .. }
            | BitsOp::LeadingZeros { .. }
            | BitsOp::FindLeading { .. },
        ) => 32,
        Function::Classify { .. } => 1,
        _ => operand_bits,
    }
}

fn integer_extremum(largest: bool, relu: bool) -> IntegerOp {
    match (largest, relu) {
        (false, false) => IntegerOp::Min,
        (false, true) => IntegerOp::MinRelu,
        (true, false) => IntegerOp::Max,
        (true, true) => IntegerOp::MaxRelu,
    }
}

fn integer_sources(op: IntegerOp) -> usize {
    match op {
        IntegerOp::Abs | IntegerOp::Neg => 1,
        IntegerOp::MadLow
        | IntegerOp::MadHigh
        | IntegerOp::MadHighSaturating
        | IntegerOp::MadWide
        | IntegerOp::Mad24Low
        | IntegerOp::Mad24High
        | IntegerOp::Mad24HighSaturating
        | IntegerOp::SumAbsoluteDifference => 3,
        _ => 2,
    }
}

fn float_sources(op: FloatOp) -> usize {
    match op {
        FloatOp::Fma | FloatOp::Min3 { .. } | FloatOp::Max3 { .. } => 3,
        FloatOp::Add
        | FloatOp::Sub
        | FloatOp::Mul
        | FloatOp::Div
        | FloatOp::DivApproximate
        | FloatOp::Min { .. }
        | FloatOp::Max { .. }
        | FloatOp::CopySign => 2,
        _ => 1,
    }
}

fn check_wide(wide: bool, ty: IntType) -> Decoded<()> {
    match ty.bits() {
        8 => Err("8-bit arithmetic is not supported".into()),
        64 if wide => Err("a wide product needs a 16-bit or 32-bit type".into()),
        _ => Ok(()),
    }
}
