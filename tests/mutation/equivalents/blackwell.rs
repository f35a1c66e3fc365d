//! Of the kernels for Blackwell.

use super::{Equivalent, Operator};

const PARTIAL_TILE: &str = "where a partial tile's scale factors lie: it has three K steps at most, so that the columns of a \
                fourth are free; the copy and the MMA take the address from one register";

pub const ALL: &[Equivalent] = &[
    Equivalent {
        operator: Operator::ConstantChanged,
        detail: "132 to 136",
        statement: "add.s32 %r, %r, 132;",
        at_most: 1,
        proof: PARTIAL_TILE,
    },
    Equivalent {
        operator: Operator::ConstantChanged,
        detail: "260 to 264",
        statement: "add.s32 %r, %r, 260;",
        at_most: 1,
        proof: PARTIAL_TILE,
    },
    Equivalent {
        operator: Operator::ConstantChanged,
        detail: "276 to 280",
        statement: "add.s32 %r, %r, 276;",
        at_most: 1,
        proof: PARTIAL_TILE,
    },
    Equivalent {
        operator: Operator::ConstantChanged,
        detail: "292 to 296",
        statement: "add.s32 %r, %r, 292;",
        at_most: 1,
        proof: PARTIAL_TILE,
    },
    Equivalent {
        operator: Operator::ConstantChanged,
        detail: "4 to 8",
        statement: "add.s32 %r, %r, 4;",
        at_most: 1,
        proof: PARTIAL_TILE,
    },
    Equivalent {
        operator: Operator::FenceDeleted,
        detail: "",
        statement: "tcgen05.fence::before_thread_sync",
        at_most: 2,
        proof: "it orders asynchronous tcgen05 operations before it, and at the set-up there are none \
                (PTX ISA §9.7.16.6.4)",
    },
    Equivalent {
        operator: Operator::FenceDeleted,
        detail: "",
        statement: "tcgen05.fence::after_thread_sync",
        at_most: 4,
        proof: "it orders tcgen05 operations of other threads before those behind it; behind the set-up \
                barrier and where the MMA warp waits for TMA's bytes there are none to be ordered",
    },
    Equivalent {
        operator: Operator::DescriptorField,
        detail: "operand 1: leading offset",
        statement: "tcgen05.cp.cta_group::1.32x128b.warpx4",
        at_most: 18,
        proof: "a row of 128 bits is one 16-byte chunk, so the distance between chunks is not used \
                (PTX ISA §9.7.16.4.1)",
    },
    Equivalent {
        operator: Operator::DescriptorField,
        detail: "operand 1: base offset",
        statement: "tcgen05.cp.cta_group::1.32x128b.warpx4",
        at_most: 18,
        proof: "without a swizzle there is no pattern whose start could be offset (PTX ISA \
                §9.7.16.4.1)",
    },
    Equivalent {
        operator: Operator::ConstantChanged,
        detail: "48 to 64",
        statement: "mad.lo.s32 %r, %r, 48, %r;",
        at_most: 1,
        proof: "the distance between the scale factors of stages: the copy and the MMA take it from one \
                register, and tensor memory has room for it",
    },
    Equivalent {
        operator: Operator::ConstantChanged,
        detail: "48 to 64",
        statement: "mul.lo.s32 %r, %r, 48;",
        at_most: 1,
        proof: "as in the loop: a partial tile's scale factors lie elsewhere, in columns that no MMA in \
                flight reads",
    },
    Equivalent {
        operator: Operator::ConstantChanged,
        detail: "128 to 256",
        statement: "add.s32 %r, %r, 128;",
        at_most: 2,
        proof: "where the scale factors begin: as for their distance",
    },
    Equivalent {
        operator: Operator::ConstantChanged,
        detail: "224 to 96",
        statement: "and.b32 %r, %r, 224;",
        at_most: 1,
        proof: "the column of a fragment: eight fragments of 32 columns by 16 rows make an N of 128, so \
                that column 128 never occurs",
    },
    Equivalent {
        operator: Operator::DescriptorField,
        detail: "operand 1: leading offset",
        statement: "tcgen05.mma",
        at_most: 12,
        proof: "K-major operands with a swizzle do not use the leading offset (PTX ISA §9.7.16.4.1)",
    },
    Equivalent {
        operator: Operator::DescriptorField,
        detail: "operand 2: leading offset",
        statement: "tcgen05.mma",
        at_most: 12,
        proof: "as for operand 1",
    },
    Equivalent {
        operator: Operator::AccumulateChanged,
        detail: "always true",
        statement: "tcgen05.mma",
        at_most: 8,
        proof: "the operand is true here anyway: only the first K step of a tile starts from nothing",
    },
    Equivalent {
        operator: Operator::InstructionField,
        detail: "operand 3: N",
        statement: "tcgen05.mma.cta_group::1.kind::mxf4nvf4.block_scale.block16.collector::a::lastuse",
        at_most: 2,
        proof: "eight more columns behind the second accumulator: scale factors of the first stage's \
                first two K steps, which are copied again before they are read; the eight more rows \
                of B2 are the scale factors of the same stage",
    },
    Equivalent {
        operator: Operator::TensorMemoryDeleted,
        detail: "",
        statement: "tcgen05.relinquish_alloc_permit",
        at_most: 1,
        proof: "all 512 columns are allocated: nobody else's allocation can succeed before they are freed, \
                with the permit or without",
    },
    Equivalent {
        operator: Operator::ConstantChanged,
        detail: "127 to 126",
        statement: "and.b32 %r, %r, 127;",
        at_most: 1,
        proof: "N modulo 128: N is a multiple of 8",
    },
    Equivalent {
        operator: Operator::ConstantChanged,
        detail: "0 to 1",
        statement: "setp.ne.b32 %p, %r, 0;",
        at_most: 1,
        proof: "whether N modulo 128 is 0: N is a multiple of 8, and the remainder never 1",
    },
    Equivalent {
        operator: Operator::ConstantChanged,
        detail: "16 to 0",
        statement: "mov.b32 %r, 16;",
        at_most: 1,
        proof: "the fragment that the epilogue loads second: it loads the first once more, and writes \
                its outputs twice",
    },
    Equivalent {
        operator: Operator::ConstantChanged,
        detail: "96 to 32",
        statement: "and.b32 %r, %r, 96;",
        at_most: 1,
        proof: "the column of a fragment: four fragments of 32 columns by 16 rows make an N of 64, so \
                that column 64 never occurs",
    },
];
