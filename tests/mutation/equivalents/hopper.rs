//! Of the kernels for Hopper.

use nvfp4_dual_gemm_kernel::contract::hopper::{
    ACTIVATIONS, Design, KERNELS, STAGE_K, STAGES_PER_ROUND, WGMMA_K,
};

use super::{Equivalent, Operator};

/// What is listed for the entry, if it is one of these.
pub fn lists(entry: &str) -> Option<&'static [&'static [Equivalent]]> {
    if entry == ACTIVATIONS.name {
        return Some(&[BEFORE]);
    }
    let found = KERNELS.iter().find(|kernel| kernel.launch.name == entry)?;
    let shape = found.hopper_shape()?;
    Some(match shape.design {
        Design::Decode if shape.pieces_per_stage() == 1 => &[MULTIPLIES, DECODE, WHOLE_STAGES],
        Design::Decode => &[MULTIPLIES, DECODE],
        Design::Prefill if shape.pieces_per_stage() == 2 => &[MULTIPLIES, PREFILL, HALF_STAGES],
        Design::Prefill => &[MULTIPLIES, PREFILL],
    })
}

/// Of the grid before.
const BEFORE: &[Equivalent] = &[Equivalent {
    operator: Operator::ConstantChanged,
    detail: "255 to 254",
    statement: "and.b32 %r, %r, 255;",
    at_most: 1,
    proof: "K modulo 256: K is a multiple of 64",
}];

const WGMMAS_IN_LOOP: usize = (STAGES_PER_ROUND * STAGE_K / WGMMA_K) as usize;

const REGISTERS: &str = "ptxas gives a role no more registers than it may have, and moves what does not fit to memory: \
                slower, and as right (`build-ptx` refuses it); the pool has what is asked for either way";

const LEADING: &str = "the leading offset of B, which a K-major operand with a swizzle does not use (PTX ISA §9.7.15.5.1.2)";
const STARTED: &str =
    "the operand is true here anyway: only the first `wgmma` of a tile starts from nothing";

/// Of those that multiply.
const MULTIPLIES: &[Equivalent] = &[
    Equivalent {
        operator: Operator::DescriptorField,
        detail: "operand 2: leading offset",
        statement: "wgmma.mma_async",
        at_most: 16,
        proof: LEADING,
    },
    Equivalent {
        operator: Operator::ConstantChanged,
        detail: "4611686293305360384 to",
        statement: "or.b64 %rd, %rd, 4611686293305360384;",
        at_most: 8,
        proof: LEADING,
    },
    Equivalent {
        operator: Operator::DescriptorField,
        detail: "operand 2: stride offset",
        statement: "wgmma.mma_async.sync.aligned.m64n8k16",
        at_most: 8,
        proof: "the distance between groups of eight tokens, of which there is one",
    },
    Equivalent {
        operator: Operator::RegistersChanged,
        detail: "-8",
        statement: "setmaxnreg",
        at_most: 3,
        proof: REGISTERS,
    },
    Equivalent {
        operator: Operator::RegistersChanged,
        detail: "deleted",
        statement: "setmaxnreg.inc",
        at_most: 1,
        proof: REGISTERS,
    },
    where_a_stage_is_given_back("before mbarrier.arrive", STAGES_PER_ROUND as usize),
];

/// … in the prefill design.
const PREFILL: &[Equivalent] = &[Equivalent {
    operator: Operator::AccumulateChanged,
    detail: "always true",
    statement: "wgmma.mma_async",
    at_most: 15,
    proof: STARTED,
}];

/// … where slots are given back half a stage at a time.
const HALF_STAGES: &[Equivalent] = &[
    within_a_piece(Operator::WaitDeleted, "", 2),
    within_a_piece(Operator::WaitChanged, "+1", 2),
    // One thread's arrival stands behind the next block of code.
    where_a_stage_is_given_back("before wgmma.fence", 1),
];

/// … in the decode design, where slots are given back a stage at a time.
const WHOLE_STAGES: &[Equivalent] = &[
    within_a_piece(Operator::WaitDeleted, "", 3),
    within_a_piece(Operator::WaitChanged, "+1", 3),
    Equivalent {
        operator: Operator::CommitDeleted,
        detail: "",
        statement: "wgmma.commit_group",
        at_most: 2 * STAGES_PER_ROUND as usize,
        proof: "of the second and third slot of a stage: the next one's commits theirs, before the wait for both",
    },
];

/// … in the decode design.
const DECODE: &[Equivalent] = &[
    Equivalent {
        operator: Operator::AccumulateChanged,
        detail: "always true",
        statement: "wgmma.mma_async",
        at_most: WGMMAS_IN_LOOP - 1,
        proof: STARTED,
    },
    Equivalent {
        operator: Operator::BarrierDeleted,
        detail: "",
        statement: "barrier.cluster.wait.acquire.aligned",
        at_most: 1,
        proof: "by warps that copy, which end behind it: nobody waits for their wait, and threads that have exited \
                count as arrived (PTX ISA §9.7.13.3)",
    },
];

const fn where_a_stage_is_given_back(detail: &'static str, at_most: usize) -> Equivalent {
    Equivalent {
        operator: Operator::BarrierDeleted,
        detail,
        statement: "bar.warp.sync",
        at_most,
        proof: "where a stage is given back: every lane's loads have brought their values, since a `wgmma` takes what is \
                computed from them, and the warp executes that together before",
    }
}

/// Of `slots` of a stage's four.
const fn within_a_piece(operator: Operator, detail: &'static str, slots: usize) -> Equivalent {
    Equivalent {
        operator,
        detail,
        statement: "wgmma.wait_group.sync.aligned 1;",
        at_most: slots * STAGES_PER_ROUND as usize,
        proof: "of a slot but the first of a piece: a piece is given back behind the wait of the next one's first slot, or \
                the last of all, either of which waits for these slots too; the registers that are in use meanwhile are \
                ptxas' matter",
    }
}
