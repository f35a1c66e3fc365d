//! Warpgroup matrix multiplication. PTX ISA §9.7.15 `wgmma`.
//!
//! Called by all four warps of a warpgroup, converged.

use core::arch::asm;

/// Orders register accesses before it with the `wgmma`s after it. §9.7.15.7.1.
#[inline(always)]
pub fn fence() {
    // SAFETY: an ordering without operands.
    unsafe { asm!("wgmma.fence.sync.aligned;", options(nostack)) }
}

/// Makes a group of the `wgmma`s since the last one. §9.7.15.7.2.
#[inline(always)]
pub fn commit_group() {
    // SAFETY: an ordering without operands.
    unsafe { asm!("wgmma.commit_group.sync.aligned;", options(nostack)) }
}

/// Waits until at most `PENDING` groups are in flight. §9.7.15.7.3.
#[inline(always)]
pub fn wait_group<const PENDING: u32>() {
    // SAFETY: an ordering without operands that reach memory.
    unsafe { asm!("wgmma.wait_group.sync.aligned {0};", const PENDING, options(nostack)) }
}

/// The f32 accumulator of `m64nNk16`, spread over a warpgroup: `N / 2` registers a thread.
///
/// ```text
/// warp w, lane t, register i: row 16·w + t/4 + 8·(i/2 % 2), column 8·(i/4) + 2·(t%4) + i%2
/// ```
///
/// PTX ISA §9.7.15.5.1.1, figure of the D fragment.
pub trait Accumulator: Copy {
    /// N of the instruction.
    const TOKENS: u32;

    /// Registers with any content, for a first [`Accumulator::multiply`] that does not accumulate.
    ///
    /// ptxas keeps `wgmma`s in flight together only if nothing else defines their accumulators.
    fn undefined() -> Self;

    /// A·B, added to `self` unless `accumulate` is 0: A 64×16 f16 in registers, B 16×N f16 in shared memory by its descriptor, K-major.
    ///
    /// Neither `a` nor `self` may be touched before the group has been waited for.
    fn multiply(&mut self, a: [u32; 4], b: u64, accumulate: u32);

    /// Calls `visit` with each group of four registers, by its number.
    fn for_each_group(&self, visit: impl Fn(u32, [f32; 4]));
}

macro_rules! accumulator {
    ($registers:literal, $shape:literal, [$($i:literal)*], $last:literal, [$a0:literal $a1:literal $a2:literal $a3:literal $b:literal $accumulate:literal]) => {
        impl Accumulator for [f32; $registers] {
            const TOKENS: u32 = 2 * $registers;

            #[inline(always)]
            fn undefined() -> Self {
                let register = || {
                    let any: f32;
                    // SAFETY: an f32 may have any bits.
                    unsafe { asm!("// {0}", out(reg32) any, options(nomem, nostack)) };
                    any
                };
                [$({ let _ = $i; register() },)* register()]
            }

            #[inline(always)]
            fn multiply(&mut self, a: [u32; 4], b: u64, accumulate: u32) {
                // SAFETY: the caller keeps the operands as they are until the group is complete.
                unsafe {
                    asm!(
                        concat!(
                            "{{ .reg .pred accumulate; setp.ne.u32 accumulate, {", $accumulate, "}, 0; ",
                            "wgmma.mma_async.sync.aligned.", $shape, ".f32.f16.f16 {{",
                            $("{", $i, "}, ",)* "{", $last, "}}}, {{{", $a0, "}, {", $a1, "}, {", $a2, "}, {", $a3, "}}}, {", $b,
                            "}, accumulate, 1, 1, 0; }}"
                        ),
                        $(inout(reg32) self[$i],)*
                        inout(reg32) self[$last],
                        in(reg32) a[0],
                        in(reg32) a[1],
                        in(reg32) a[2],
                        in(reg32) a[3],
                        in(reg64) b,
                        in(reg32) accumulate,
                        options(nostack),
                    );
                }
            }

            #[inline(always)]
            fn for_each_group(&self, visit: impl Fn(u32, [f32; 4])) {
                $(if $i % 4 == 3 {
                    visit($i / 4, [self[$i - 3], self[$i - 2], self[$i - 1], self[$i]]);
                })*
                visit($last / 4, [self[$last - 3], self[$last - 2], self[$last - 1], self[$last]]);
            }
        }
    };
}

accumulator!(4, "m64n8k16", [0 1 2], 3, [4 5 6 7 8 9]);
accumulator!(8, "m64n16k16", [0 1 2 3 4 5 6], 7, [8 9 10 11 12 13]);
accumulator!(16, "m64n32k16", [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14], 15, [16 17 18 19 20 21]);
accumulator!(
    32, "m64n64k16",
    [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30], 31,
    [32 33 34 35 36 37]
);
accumulator!(
    64, "m64n128k16",
    [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31
     32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62], 63,
    [64 65 66 67 68 69]
);
accumulator!(
    128, "m64n256k16",
    [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63 64 65 66 67 68 69 70 71 72 73 74 75 76 77 78 79 80 81 82 83 84 85 86 87 88 89 90 91 92 93 94 95 96 97 98 99 100 101 102 103 104 105 106 107 108 109 110 111 112 113 114 115 116 117 118 119 120 121 122 123 124 125 126], 127,
    [128 129 130 131 132 133]
);

/// The descriptor of a K-major operand of 128-byte rows in 128-byte swizzle (PTX ISA §9.7.15.5.1.2.2):
/// bits 0–13 address / 16, 16–29 leading offset (unused), 32–45 stride / 16 from eight rows to the
/// next eight, 62–63 swizzle, 1 for 128 bytes.
#[inline(always)]
pub fn descriptor(address: u32) -> u64 {
    const EIGHT_ROWS: u64 = 8 * 128;
    const SWIZZLE_128: u64 = 1;
    ((address >> 4) & 0x3FFF) as u64 | 1 << 16 | (EIGHT_ROWS >> 4) << 32 | SWIZZLE_128 << 62
}
