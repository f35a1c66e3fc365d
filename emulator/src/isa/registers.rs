//! What each instruction does to registers: which it reads, what becomes of their values, which it writes.

use super::alu::{AluOp, BitsOp, Function};
use super::ir::{
    Address, Dst, Inst, LaunchControlOp, MbarrierOp, MbarrierPhase, MmaOperandA, Op, Reg, Src,
    Tcgen05Op, TensorMapOp,
};
use super::matrix::{MatrixOp, WarpgroupA};

/// What a register's value is used for, where it does more than become part of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It decides whether the instruction is executed, or where it branches to.
    Control,
    /// Of memory.
    Address,
    /// It is stored.
    Value,
    /// Of a tensor core, an asynchronous engine, a barrier or a collective.
    Operand,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Self::Control => "branches by",
            Self::Address => "takes an address from",
            Self::Value => "stores",
            Self::Operand => "takes as an operand",
        }
    }
}

/// Where a result is defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Results {
    /// Where all sources are.
    FromAll,
    /// Where one source is: compilers put registers together of which they need a part.
    FromAny,
    /// Where the chosen one of the first two sources is.
    Select { predicate: Reg },
    /// Where any lane's source is: values come from other lanes.
    FromAnyLane,
    /// Everywhere.
    Defined,
}

/// D of a `wgmma`, which is read where `scale_d` says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accumulator {
    pub registers: Box<[Reg]>,
    pub scale_d: Src,
    pub negated: bool,
}

/// One instruction's registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterUse {
    pub consumed: Box<[(Reg, Role)]>,
    pub accumulator: Option<Accumulator>,
    pub sources: Box<[Src]>,
    pub written: Box<[Reg]>,
    pub results: Results,
    /// Lanes execute it together, and are ordered behind it.
    pub meets: bool,
}

#[derive(Default)]
struct Uses {
    consumed: Vec<(Reg, Role)>,
    accumulator: Option<Accumulator>,
    sources: Vec<Src>,
    written: Vec<Reg>,
}

impl Uses {
    fn consume(&mut self, source: Src, role: Role) {
        if let Src::Reg(register) = source {
            self.consumed.push((register, role));
        }
    }

    fn address(&mut self, address: &Address) {
        self.consume(address.base, Role::Address);
    }

    fn operand(&mut self, source: Src) {
        self.consume(source, Role::Operand);
    }

    fn operands(&mut self, sources: impl IntoIterator<Item = Src>) {
        sources.into_iter().for_each(|source| self.operand(source));
    }

    fn values(&mut self, sources: &[Src]) {
        for source in sources {
            self.consume(*source, Role::Value);
        }
    }

    fn write(&mut self, destination: Dst) {
        self.written.extend(destination);
    }

    fn writes(&mut self, destinations: &[Dst]) {
        self.written.extend(destinations.iter().flatten());
    }
}

impl RegisterUse {
    /// Of an instruction, its guard aside.
    pub fn of(inst: &Inst) -> Self {
        let mut uses = Uses::default();
        let results = collect(&inst.op, &mut uses);
        Self {
            consumed: uses.consumed.into(),
            accumulator: uses.accumulator,
            sources: uses.sources.into(),
            written: uses.written.into(),
            results,
            meets: matches!(inst.op, Op::Matrix(_) | Op::Tcgen05(_)),
        }
    }
}

fn collect(op: &Op, uses: &mut Uses) -> Results {
    match op {
        Op::Alu(op) => return alu(op, uses),
        Op::Pack { dst, parts, .. } => {
            uses.sources.extend(parts);
            uses.write(*dst);
            return Results::FromAny;
        }
        Op::Unpack { dsts, src, .. } => {
            uses.sources.push(*src);
            uses.writes(dsts);
            return Results::FromAll;
        }
        Op::ConvertAddress { dst, src, .. } | Op::IsSpace { dst, src, .. } => {
            uses.sources.push(*src);
            uses.write(*dst);
            return Results::FromAll;
        }
        Op::MapShared {
            dst, address, rank, ..
        } => {
            uses.sources.extend([*address, *rank]);
            uses.write(*dst);
            return Results::FromAll;
        }
        Op::Shuffle {
            dst,
            in_range,
            value,
            lane,
            clamp,
            members,
            ..
        } => {
            uses.operands([*lane, *clamp, *members]);
            uses.sources.push(*value);
            uses.write(*dst);
            uses.write(*in_range);
            return Results::FromAnyLane;
        }
        Op::Vote {
            dst,
            predicate,
            members,
            ..
        } => {
            uses.operand(*members);
            uses.sources.push(*predicate);
            uses.write(*dst);
            return Results::FromAnyLane;
        }
        Op::Match {
            dst,
            predicate,
            value,
            members,
            ..
        } => {
            uses.operand(*members);
            uses.sources.push(*value);
            uses.write(*dst);
            uses.write(*predicate);
            return Results::FromAnyLane;
        }
        Op::Redux {
            dst,
            value,
            members,
            ..
        } => {
            uses.operand(*members);
            uses.sources.push(*value);
            uses.write(*dst);
            return Results::FromAnyLane;
        }
        Op::LaunchControl(op) => return launch_control(op, uses),

        Op::Branch { .. }
        | Op::Exit
        | Op::Trap
        | Op::Nop
        | Op::Fence { .. }
        | Op::ClusterBarrier { .. }
        | Op::BulkCommitGroup
        | Op::BulkWaitGroup { .. }
        | Op::CpAsyncCommitGroup
        | Op::CpAsyncWaitGroup { .. }
        | Op::SetMaxRegisters { .. }
        | Op::GridDependency { .. }
        | Op::Nanosleep { .. }
        // Hints: a device ignores an address that leads nowhere.
        | Op::Prefetch { .. } => {}
        Op::BranchIndexed { index, .. } => uses.consume(*index, Role::Control),
        Op::Special { dst, .. } | Op::ActiveMask { dst } | Op::CreatePolicy { dst } => {
            uses.write(*dst);
        }
        Op::Elect {
            leader,
            predicate,
            members,
        } => {
            uses.operand(*members);
            uses.write(*leader);
            uses.write(*predicate);
        }
        Op::WarpSync { members } => uses.operand(*members),
        Op::Load { dsts, address, .. } => {
            uses.address(address);
            uses.writes(dsts);
        }
        Op::Store { srcs, address, .. } => {
            uses.address(address);
            uses.values(srcs);
        }
        Op::Atomic {
            dst, address, a, b, ..
        } => {
            uses.address(address);
            uses.values(&[*a]);
            uses.values(b.as_slice());
            uses.write(*dst);
        }
        Op::WideAtomic {
            dsts,
            address,
            a,
            b,
            ..
        } => {
            uses.address(address);
            uses.values(a);
            uses.values(b.as_ref().map_or(&[], |b| b));
            uses.writes(dsts);
        }
        Op::Barrier {
            id,
            threads,
            reduction,
            ..
        } => {
            uses.operand(*id);
            uses.operands(*threads);
            if let Some(reduction) = reduction {
                uses.operand(reduction.predicate);
                uses.written.push(reduction.dst);
            }
        }
        Op::Mbarrier(op) => mbarrier(op, uses),
        Op::TmaLoad(load) => {
            for address in [&load.map, &load.destination, &load.barrier] {
                uses.address(address);
            }
            uses.operands(load.coordinates.iter().copied().chain(load.multicast));
        }
        Op::TmaStore(store) => {
            uses.address(&store.map);
            uses.address(&store.source);
            uses.operands(store.coordinates.iter().copied());
        }
        Op::TensorMap(op) => match op {
            TensorMapOp::Replace { map, value, .. } => {
                uses.address(map);
                uses.values(&[*value]);
            }
            TensorMapOp::Copy {
                destination,
                source,
            } => {
                uses.address(destination);
                uses.address(source);
            }
            TensorMapOp::Release => {}
            TensorMapOp::Acquire { map } => uses.address(map),
        },
        Op::BulkCopy(copy) => {
            uses.address(&copy.destination);
            uses.address(&copy.source);
            copy.barrier.iter().for_each(|barrier| uses.address(barrier));
            uses.operand(copy.bytes);
            uses.operands(copy.multicast);
        }
        Op::StoreAsync(store) => {
            uses.address(&store.destination);
            uses.address(&store.barrier);
            uses.values(&store.srcs);
        }
        Op::CpAsync {
            destination,
            source,
            source_bytes,
            ..
        } => {
            uses.address(destination);
            uses.address(source);
            uses.operands(*source_bytes);
        }
        Op::Tcgen05(op) => tcgen05(op, uses),
        Op::Matrix(op) => matrix(op, uses),
    }
    Results::Defined
}

fn alu(op: &AluOp, uses: &mut Uses) -> Results {
    uses.write(op.dst);
    uses.write(op.dst2);
    if let (Function::Select, [a, b, Src::Reg(predicate), _]) = (op.function, op.srcs) {
        uses.sources.extend([a, b]);
        return Results::Select { predicate };
    }
    // Unused sources are immediates. They must not count as defined ones where one suffices.
    let registers = op.srcs.iter().filter(|src| matches!(src, Src::Reg(_)));
    uses.sources.extend(registers);
    match op.function {
        Function::Bits(BitsOp::ShiftLeft { .. } | BitsOp::ShiftRight { .. }) => Results::FromAll,
        Function::Bits(_) | Function::Convert(_) => Results::FromAny,
        _ => Results::FromAll,
    }
}

fn launch_control(op: &LaunchControlOp, uses: &mut Uses) -> Results {
    match op {
        LaunchControlOp::TryCancel {
            response, barrier, ..
        } => {
            uses.address(response);
            uses.address(barrier);
            return Results::Defined;
        }
        LaunchControlOp::IsCanceled { dst, response } => {
            uses.sources.extend(response);
            uses.write(*dst);
        }
        LaunchControlOp::FirstCta { dsts, response } => {
            uses.sources.extend(response);
            uses.writes(dsts);
        }
    }
    Results::FromAll
}

fn mbarrier(op: &MbarrierOp, uses: &mut Uses) {
    match op {
        MbarrierOp::Init { barrier, count, .. } => {
            uses.address(barrier);
            uses.operand(*count);
        }
        MbarrierOp::Inval { barrier, .. } | MbarrierOp::CpAsyncArrive { barrier, .. } => {
            uses.address(barrier);
        }
        MbarrierOp::Arrive {
            barrier,
            count,
            expect_tx,
            state,
            ..
        } => {
            uses.address(barrier);
            uses.operands(count.iter().chain(expect_tx).copied());
            uses.write(*state);
        }
        MbarrierOp::ExpectTx { barrier, bytes, .. }
        | MbarrierOp::CompleteTx { barrier, bytes, .. } => {
            uses.address(barrier);
            uses.operand(*bytes);
        }
        MbarrierOp::Wait {
            barrier,
            predicate,
            phase: MbarrierPhase::Token(phase) | MbarrierPhase::Parity(phase),
            ..
        } => {
            uses.address(barrier);
            uses.operand(*phase);
            uses.write(*predicate);
        }
        MbarrierOp::PendingCount { dst, state } => {
            uses.operand(*state);
            uses.write(*dst);
        }
    }
}

fn tcgen05(op: &Tcgen05Op, uses: &mut Uses) {
    match op {
        Tcgen05Op::Alloc {
            destination,
            columns,
            ..
        } => {
            uses.address(destination);
            uses.operand(*columns);
        }
        Tcgen05Op::Dealloc {
            address, columns, ..
        } => {
            uses.consume(*address, Role::Address);
            uses.operand(*columns);
        }
        Tcgen05Op::Load { dsts, address, .. } => {
            uses.consume(*address, Role::Address);
            uses.writes(dsts);
        }
        Tcgen05Op::Store { srcs, address, .. } => {
            uses.consume(*address, Role::Address);
            uses.values(srcs);
        }
        Tcgen05Op::Copy {
            address,
            descriptor,
            ..
        } => {
            uses.consume(*address, Role::Address);
            uses.operand(*descriptor);
        }
        Tcgen05Op::Mma(mma) => {
            let (MmaOperandA::Descriptor(a) | MmaOperandA::TensorMemory(a)) = mma.a;
            uses.consume(mma.d, Role::Address);
            uses.operands([
                a,
                mma.b_descriptor,
                mma.instruction_descriptor,
                mma.accumulate,
            ]);
            uses.operands(mma.scale_a.into_iter().chain(mma.scale_b));
            uses.operands(mma.disabled_lanes.iter().copied());
        }
        Tcgen05Op::Commit {
            barrier, multicast, ..
        } => {
            uses.address(barrier);
            uses.operands(*multicast);
        }
        Tcgen05Op::RelinquishAllocPermit { .. }
        | Tcgen05Op::WaitLoad
        | Tcgen05Op::WaitStore
        | Tcgen05Op::FenceBeforeThreadSync
        | Tcgen05Op::FenceAfterThreadSync => {}
    }
}

fn matrix(op: &MatrixOp, uses: &mut Uses) {
    match op {
        MatrixOp::Load { dsts, address, .. } => {
            uses.address(address);
            uses.writes(dsts);
        }
        MatrixOp::Store { srcs, address, .. } => {
            uses.address(address);
            uses.values(srcs);
        }
        MatrixOp::Transpose { dst, src } => {
            uses.operand(*src);
            uses.write(*dst);
        }
        MatrixOp::Mma(mma) => {
            uses.operands([&mma.a, &mma.b, &mma.c].into_iter().flatten().copied());
            uses.writes(&mma.d);
        }
        MatrixOp::WarpgroupMma(mma) => {
            match &mma.a {
                WarpgroupA::Registers(registers) => {
                    uses.operands(registers.iter().map(|register| Src::Reg(*register)));
                }
                WarpgroupA::Descriptor { descriptor, .. } => uses.operand(*descriptor),
            }
            uses.operands([mma.b_descriptor, mma.accumulate]);
            uses.accumulator = Some(Accumulator {
                registers: mma.d.iter().copied().collect(),
                scale_d: mma.accumulate,
                negated: mma.accumulate_negated,
            });
            uses.written.extend(&mma.d);
        }
        MatrixOp::WarpgroupFence | MatrixOp::WarpgroupCommit | MatrixOp::WarpgroupWait { .. } => {}
    }
}
