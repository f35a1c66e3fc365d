//! Decoded instructions. Every field that an instruction's text can carry is resolved here, once, at load.

use std::sync::{Arc, OnceLock};

use super::registers::RegisterUse;

/// A register slot. Each slot holds 64 bits per lane; narrower registers are zero-extended; a predicate is 0 or 1.
pub type Reg = u32;

/// The number of lanes of a warp.
pub const LANES: usize = 32;

/// A source operand. Immediates are already in the representation of the instruction's type (f32 bits, two's
/// complement truncated to the type's width); symbol addresses are already numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Src {
    Reg(Reg),
    Imm(u64),
}

/// `None` is the sink `_`.
pub type Dst = Option<Reg>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    pub predicate: Reg,
    pub negated: bool,
}

/// `[base + offset]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    pub base: Src,
    pub offset: i64,
}

#[derive(Clone, Debug)]
pub struct Inst {
    pub guard: Option<Guard>,
    pub op: Op,
    /// Line in the PTX text.
    pub line: u32,
}

/// A kernel ready to run.
#[derive(Debug)]
pub struct Kernel {
    pub name: String,
    pub code: Vec<Inst>,
    /// Number of register slots.
    pub registers: usize,
    pub params: Vec<Param>,
    /// Bytes of the whole parameter buffer.
    pub param_bytes: u32,
    /// Statically declared shared memory: bytes, and the offset at which dynamic shared memory starts relative to the
    /// CTA's first usable byte.
    pub static_shared_bytes: u32,
    pub dynamic_shared_offset: u32,
    /// In no order.
    pub shared_variables: Vec<SharedVariable>,
    pub local_bytes: u32,
    pub directives: crate::ptx::ast::Directives,
    /// For each instruction that can split a warp (`Op::Branch` with a guard, `Op::BranchIndexed`): the index of the
    /// first instruction of its immediate post-dominator, where the lanes meet again; `None` where paths only meet at
    /// the exit. Indexed like `code`.
    pub reconvergence: Vec<Option<u32>>,
    /// The registers that each instruction names, `wgmma` aside: only in kernels with `wgmma`, whose operations own
    /// registers while they are in flight. Indexed like `code`.
    pub register_accesses: Option<Vec<Box<[Reg]>>>,
    /// Names in the text, by slot; empty for slots that the decoder added.
    pub register_names: Vec<Box<str>>,
    pub(super) register_uses: OnceLock<Box<[RegisterUse]>>,
    /// Source text lines, for reports.
    pub text: Arc<[String]>,
}

impl Kernel {
    /// What each instruction does to registers. Indexed like `code`.
    pub fn register_uses(&self) -> &[RegisterUse] {
        let uses = || self.code.iter().map(RegisterUse::of).collect();
        self.register_uses.get_or_init(uses)
    }
}

/// A `.shared` variable, for reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedVariable {
    pub name: String,
    /// In the CTA's window.
    pub offset: u32,
    /// `None` of dynamic shared memory.
    pub bytes: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    pub name: String,
    pub offset: u32,
    pub size: u32,
    pub align: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Space {
    Generic,
    Global,
    /// The executing CTA's own shared memory.
    SharedCta,
    /// The shared memory of any CTA of the cluster; rank in the address bits from 24 up.
    SharedCluster,
    Local,
    Param,
    Const,
}

/// Type of one element in memory and of its register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    Pred,
    B8,
    B16,
    B32,
    B64,
    B128,
    U8,
    U16,
    U32,
    U64,
    S8,
    S16,
    S32,
    S64,
    F16,
    F16x2,
    Bf16,
    Bf16x2,
    F32,
    F64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    Cta,
    Cluster,
    Gpu,
    Sys,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Semantics {
    Weak,
    Relaxed,
    Acquire,
    Release,
    AcqRel,
    SeqCst,
    Volatile,
}

#[derive(Clone, Debug)]
pub enum Op {
    // ---- control -------------------------------------------------------------------------------------------------
    /// To an instruction index. Divergent where guarded.
    Branch {
        target: u32,
        uniform: bool,
    },
    BranchIndexed {
        index: Src,
        targets: Vec<u32>,
    },
    Exit,
    Trap,
    Nop,

    // ---- registers -----------------------------------------------------------------------------------------------
    /// Lane-wise arithmetic, logic, comparison, conversion and moves; executed by `isa::alu`.
    Alu(crate::isa::alu::AluOp),
    /// `mov.b64 %rd, {%r0, %r1}`: low part first.
    Pack {
        dst: Dst,
        parts: Vec<Src>,
        part_bits: u32,
    },
    Unpack {
        dsts: Vec<Dst>,
        src: Src,
        part_bits: u32,
    },
    Special {
        dst: Dst,
        register: SpecialRegister,
    },

    // ---- warp collectives ----------------------------------------------------------------------------------------
    Shuffle {
        mode: ShuffleMode,
        dst: Dst,
        in_range: Dst,
        value: Src,
        lane: Src,
        clamp: Src,
        members: Src,
    },
    Vote {
        mode: VoteMode,
        dst: Dst,
        predicate: Src,
        negated: bool,
        members: Src,
    },
    Match {
        all: bool,
        ty: Type,
        dst: Dst,
        predicate: Dst,
        value: Src,
        members: Src,
    },
    Redux {
        op: ReduxOp,
        ty: Type,
        dst: Dst,
        value: Src,
        members: Src,
    },
    ActiveMask {
        dst: Dst,
    },
    /// `elect.sync d|p, members`: the lowest lane of the mask is elected.
    Elect {
        leader: Dst,
        predicate: Dst,
        members: Src,
    },
    WarpSync {
        members: Src,
    },

    // ---- memory --------------------------------------------------------------------------------------------------
    Load {
        space: Space,
        ty: Type,
        /// Declared width of the destination registers: a signed `ty` narrower than it is sign-extended to it.
        register_bits: u32,
        dsts: Vec<Dst>,
        address: Address,
        semantics: Semantics,
        scope: Scope,
    },
    Store {
        space: Space,
        ty: Type,
        srcs: Vec<Src>,
        address: Address,
        semantics: Semantics,
        scope: Scope,
    },
    /// `dst` is `None` for `red`.
    Atomic {
        space: Space,
        op: AtomicOp,
        ty: Type,
        dst: Dst,
        address: Address,
        a: Src,
        b: Option<Src>,
        /// Bytes that the address is a multiple of; those of the whole vector in its first element.
        alignment: u32,
        semantics: Semantics,
        scope: Scope,
    },
    /// `atom.exch.b128`, and `.cas` where there is a `b`; halves, low first.
    WideAtomic {
        space: Space,
        dsts: [Dst; 2],
        address: Address,
        a: [Src; 2],
        b: Option<[Src; 2]>,
        semantics: Semantics,
        scope: Scope,
    },
    Fence {
        kind: FenceKind,
        scope: Scope,
    },
    /// `prefetch`, `prefetch.tensormap`, `cp.async.bulk.prefetch…`, `applypriority`, `discard`: the addresses are
    /// checked, nothing else happens.
    Prefetch {
        space: Space,
        address: Address,
        tensormap: bool,
    },
    /// `cvta`: generic ↔ space.
    ConvertAddress {
        dst: Dst,
        src: Src,
        space: Space,
        to_generic: bool,
        bits: u32,
    },
    IsSpace {
        dst: Dst,
        src: Src,
        space: Space,
    },
    /// `mapa`: the address of the same variable in CTA `rank` of the cluster.
    MapShared {
        dst: Dst,
        address: Src,
        rank: Src,
        generic: bool,
    },
    /// `createpolicy`: an opaque cache policy; always 0.
    CreatePolicy {
        dst: Dst,
    },

    // ---- barriers ------------------------------------------------------------------------------------------------
    /// `bar`/`barrier`. `threads` is `None` for the whole CTA.
    Barrier {
        kind: BarrierKind,
        id: Src,
        threads: Option<Src>,
        aligned: bool,
        reduction: Option<BarrierReduction>,
    },
    ClusterBarrier {
        arrive: bool,
        wait: bool,
        aligned: bool,
        semantics: Semantics,
    },
    Mbarrier(MbarrierOp),

    // ---- asynchronous copies ---------------------------------------------------------------------------------------
    /// `cp.async.bulk.tensor` global → shared.
    TmaLoad(TmaLoad),
    /// `cp.async.bulk.tensor` and `cp.reduce.async.bulk.tensor` shared → global, bulk group completion.
    TmaStore(TmaStore),
    /// Changes of tensor maps in memory.
    TensorMap(TensorMapOp),
    LaunchControl(LaunchControlOp),
    /// `cp.async.bulk`, one-dimensional.
    BulkCopy(BulkCopy),
    /// `st.async`, `red.async`
    StoreAsync(StoreAsync),
    BulkCommitGroup,
    BulkWaitGroup {
        pending: u32,
        read: bool,
    },
    CpAsync {
        destination: Address,
        source: Address,
        bytes: u32,
        source_bytes: Option<Src>,
    },
    CpAsyncCommitGroup,
    CpAsyncWaitGroup {
        pending: Option<u32>,
    },

    // ---- fifth-generation tensor core ------------------------------------------------------------------------------
    Tcgen05(Tcgen05Op),

    // ---- tensor cores of warps and warpgroups ----------------------------------------------------------------------
    Matrix(super::matrix::MatrixOp),

    // ---- the rest --------------------------------------------------------------------------------------------------
    SetMaxRegisters {
        registers: u32,
        increase: bool,
    },
    /// `griddepcontrol.launch_dependents` / `.wait`
    GridDependency {
        wait: bool,
    },
    Nanosleep {
        duration: Src,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpecialRegister {
    Tid(u8),
    Ntid(u8),
    Ctaid(u8),
    Nctaid(u8),
    LaneId,
    WarpId,
    NwarpId,
    SmId,
    NsmId,
    GridId,
    ClusterId(u8),
    NclusterId(u8),
    ClusterCtaid(u8),
    ClusterNctaid(u8),
    ClusterCtarank,
    ClusterNctarank,
    IsExplicitCluster,
    LanemaskEq,
    LanemaskLe,
    LanemaskLt,
    LanemaskGe,
    LanemaskGt,
    Clock,
    ClockHi,
    Clock64,
    GlobalTimer,
    GlobalTimerLo,
    GlobalTimerHi,
    DynamicSharedSize,
    TotalSharedSize,
    AggregateSharedSize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShuffleMode {
    Up,
    Down,
    Bfly,
    Idx,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoteMode {
    All,
    Any,
    Uni,
    Ballot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReduxOp {
    Add,
    Min,
    Max,
    And,
    Or,
    Xor,
    /// `min.f32`, `max.f32`: of magnitudes with `.abs`; a NaN wins with `.NaN` and loses otherwise.
    Float {
        largest: bool,
        magnitude: bool,
        nan: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtomicOp {
    Add,
    Min,
    Max,
    And,
    Or,
    Xor,
    Inc,
    Dec,
    Exchange,
    CompareAndSwap,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FenceKind {
    /// `fence.sc/acq_rel`, `membar`
    Memory,
    /// `fence.proxy.async…`
    ProxyAsync,
    ProxyAlias,
    /// `fence.mbarrier_init.release.cluster`
    MbarrierInit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarrierKind {
    Sync,
    Arrive,
    Reduce,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarrierReduction {
    pub op: VoteMode,
    pub popc: bool,
    pub dst: Reg,
    pub predicate: Src,
    pub negated: bool,
}

/// PTX ISA §9.7.13.15. Addresses are shared-memory addresses unless `generic`.
#[derive(Clone, Debug)]
pub enum MbarrierOp {
    Init {
        barrier: Address,
        count: Src,
        space: Space,
    },
    Inval {
        barrier: Address,
        space: Space,
    },
    /// `expect_tx` is `Some` for `arrive.expect_tx`. `state` is the returned phase token. `drop`: `arrive_drop`.
    Arrive {
        barrier: Address,
        space: Space,
        count: Option<Src>,
        expect_tx: Option<Src>,
        drop: bool,
        no_complete: bool,
        /// `.relaxed`: orders nothing.
        relaxed: bool,
        state: Dst,
    },
    ExpectTx {
        barrier: Address,
        space: Space,
        bytes: Src,
    },
    CompleteTx {
        barrier: Address,
        space: Space,
        bytes: Src,
    },
    /// `test_wait` / `try_wait`, by token or by parity.
    Wait {
        barrier: Address,
        space: Space,
        predicate: Dst,
        phase: MbarrierPhase,
        potentially_blocking: bool,
        /// `.relaxed`: orders nothing.
        relaxed: bool,
    },
    PendingCount {
        dst: Dst,
        state: Src,
    },
    /// `cp.async.mbarrier.arrive`
    CpAsyncArrive {
        barrier: Address,
        space: Space,
        no_inc: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MbarrierPhase {
    Token(Src),
    Parity(Src),
}

#[derive(Clone, Debug)]
pub struct TmaLoad {
    /// Generic address of the 128-byte tensor map.
    pub map: Address,
    /// Innermost first, one per dimension.
    pub coordinates: Vec<Src>,
    /// Shared address of the tile.
    pub destination: Address,
    pub barrier: Address,
    /// CTA mask of `.multicast::cluster`.
    pub multicast: Option<Src>,
    /// `.cta_group::N`
    pub cta_group: Option<u8>,
}

/// PTX ISA §9.7.9.28, and the fences of the tensormap proxy.
#[derive(Clone, Debug)]
pub enum TensorMapOp {
    Replace {
        map: Address,
        space: Space,
        field: crate::tma::Field,
        value: Src,
    },
    /// `tensormap.cp_fenceproxy`, shared to global.
    Copy {
        destination: Address,
        source: Address,
    },
    /// `fence.proxy.tensormap::generic.release`
    Release,
    /// `fence.proxy.tensormap::generic.acquire`
    Acquire {
        /// Generic address of the map.
        map: Address,
    },
}

/// PTX ISA §9.7.13.17, §9.7.13.18. Responses are 128-bit registers, low half first.
#[derive(Clone, Debug)]
pub enum LaunchControlOp {
    TryCancel {
        response: Address,
        barrier: Address,
        space: Space,
        /// `.multicast::cluster::all`
        multicast: bool,
    },
    IsCanceled {
        dst: Dst,
        response: [Src; 2],
    },
    FirstCta {
        dsts: [Dst; 3],
        response: [Src; 2],
    },
}

#[derive(Clone, Debug)]
pub struct TmaStore {
    /// Generic address of the 128-byte tensor map.
    pub map: Address,
    /// Innermost first, one per dimension.
    pub coordinates: Vec<Src>,
    /// Shared address of the tile, in the CTA's own memory.
    pub source: Address,
    /// What is done to each element; `None` overwrites it.
    pub reduction: Option<AtomicOp>,
}

#[derive(Clone, Debug)]
pub struct BulkCopy {
    pub destination: Address,
    pub destination_space: Space,
    pub source: Address,
    pub source_space: Space,
    pub bytes: Src,
    /// `None`: completes through the bulk group.
    pub barrier: Option<Address>,
    pub multicast: Option<Src>,
    pub reduction: Option<(AtomicOp, Type)>,
}

#[derive(Clone, Debug)]
pub struct StoreAsync {
    pub destination: Address,
    pub barrier: Address,
    /// Of both: `.shared::cluster` or generic.
    pub space: Space,
    pub ty: Type,
    /// One per element of the vector.
    pub srcs: Vec<Src>,
    /// `red.async`
    pub reduction: Option<AtomicOp>,
}

/// PTX ISA §9.7.16.
#[derive(Clone, Debug)]
pub enum Tcgen05Op {
    Alloc {
        destination: Address,
        space: Space,
        columns: Src,
        cta_group: u8,
    },
    Dealloc {
        address: Src,
        columns: Src,
        cta_group: u8,
    },
    RelinquishAllocPermit {
        cta_group: u8,
    },
    Load {
        shape: TmemShape,
        repeat: u32,
        pack16: bool,
        dsts: Vec<Dst>,
        address: Src,
        half_split_offset: Option<i64>,
    },
    Store {
        shape: TmemShape,
        repeat: u32,
        unpack16: bool,
        srcs: Vec<Src>,
        address: Src,
        half_split_offset: Option<i64>,
    },
    WaitLoad,
    WaitStore,
    Copy {
        shape: CopyShape,
        address: Src,
        descriptor: Src,
        cta_group: u8,
    },
    Mma(Tcgen05Mma),
    Commit {
        barrier: Address,
        space: Space,
        multicast: Option<Src>,
        cta_group: u8,
    },
    FenceBeforeThreadSync,
    FenceAfterThreadSync,
}

/// Shapes of `tcgen05.ld`/`.st`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TmemShape {
    S32x32b,
    S16x64b,
    S16x128b,
    S16x256b,
    S16x32bx2,
}

impl TmemShape {
    /// 32-bit registers of each thread, without a repeat (PTX ISA §9.7.16.8.1).
    pub fn registers(self) -> u32 {
        match self {
            TmemShape::S32x32b | TmemShape::S16x64b | TmemShape::S16x32bx2 => 1,
            TmemShape::S16x128b => 2,
            TmemShape::S16x256b => 4,
        }
    }
}

/// Shapes of `tcgen05.cp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CopyShape {
    S128x256b,
    S128x128b,
    S4x256b,
    S64x128bWarpx2_02_13,
    S64x128bWarpx2_01_23,
    S32x128bWarpx4,
}

#[derive(Clone, Debug)]
pub struct Tcgen05Mma {
    pub kind: MmaKind,
    pub cta_group: u8,
    pub d: Src,
    pub a: MmaOperandA,
    pub b_descriptor: Src,
    pub instruction_descriptor: Src,
    pub scale_a: Option<Src>,
    pub scale_b: Option<Src>,
    /// Elements of K that share one scale factor: 16 or 32. `None` without block scaling.
    pub scale_block: Option<u32>,
    /// The `enable-input-d` predicate.
    pub accumulate: Src,
    pub accumulate_negated: bool,
    /// `disable-output-lane`: 32 lanes a word, 4 words a CTA; empty if absent.
    pub disabled_lanes: Vec<Src>,
    /// `scale-input-d`.
    pub scale_d: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MmaOperandA {
    Descriptor(Src),
    TensorMemory(Src),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MmaKind {
    F16,
    Tf32,
    F8f6f4,
    I8,
    Mxf8f6f4,
    Mxf4,
    Mxf4nvf4,
}

impl MmaKind {
    pub fn is_block_scaled(self) -> bool {
        matches!(self, Self::Mxf8f6f4 | Self::Mxf4 | Self::Mxf4nvf4)
    }
}
