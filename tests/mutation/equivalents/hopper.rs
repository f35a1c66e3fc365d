//! Of the kernels for Hopper.

use nvfp4_dual_gemm_kernel::contract::hopper::{
    ACTIVATIONS, Design, KERNELS, STAGES_PER_ROUND, TileShape,
};

use super::{Equivalent, Operator};

/// What is listed for the entry, if it is one of these.
pub fn lists(entry: &str) -> Option<[&'static [Equivalent]; 2]> {
    if entry == ACTIVATIONS.name {
        return Some([BEFORE, &[]]);
    }
    let found = KERNELS.iter().find(|kernel| kernel.launch.name == entry)?;
    let shape = TileShape {
        tokens: found.tile_m,
    };
    Some(match shape.design() {
        Design::Decode => [MULTIPLIES, DECODE],
        Design::Prefill => [MULTIPLIES, PREFILL],
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
        at_most: 2,
        proof: REGISTERS,
    },
    Equivalent {
        operator: Operator::RegistersChanged,
        detail: "deleted",
        statement: "setmaxnreg.inc",
        at_most: 1,
        proof: REGISTERS,
    },
    Equivalent {
        operator: Operator::BarrierDeleted,
        detail: "before mbarrier.arrive",
        statement: "bar.warp.sync",
        at_most: STAGES_PER_ROUND as usize,
        proof: "where a stage is given back: every lane's loads have brought their values, since a `wgmma` takes what is \
                computed from them, and the warp executes that together before",
    },
];

/// … in the prefill design.
const PREFILL: &[Equivalent] = &[Equivalent {
    operator: Operator::AccumulateChanged,
    detail: "always true",
    statement: "wgmma.mma_async",
    at_most: 15,
    proof: STARTED,
}];

/// … in the decode design.
const DECODE: &[Equivalent] = &[
    Equivalent {
        operator: Operator::AccumulateChanged,
        detail: "always true",
        statement: "wgmma.mma_async",
        at_most: 7,
        proof: STARTED,
    },
    Equivalent {
        operator: Operator::BarrierDeleted,
        detail: "",
        statement: "barrier.cluster.wait.acquire.aligned",
        at_most: 2,
        proof: "by warps that copy and dequantise, which end behind it: nobody waits for their wait, and threads \
                that have exited count as arrived (PTX ISA §9.7.13.3)",
    },
    Equivalent {
        operator: Operator::FenceDeleted,
        detail: "",
        statement: "fence.mbarrier_init",
        at_most: 1,
        proof: "the one for the stages' barriers: the thread that initialises them copies, behind a fence of the \
                asynchronous proxy of its own; other warps use them behind a barrier of the CTA",
    },
    Equivalent {
        operator: Operator::WaitNotRepeated,
        detail: "",
        statement: "@!complete bra WAIT",
        at_most: 2,
        proof: "of slots that a warp fills together, with tiles of 8 and 16 tokens: it arrives for all of them at once, and \
                warps give them back one after the other, so that the wait for another of them says the same",
    },
];
