//! Matrices of 8×8 16-bit elements in shared memory. PTX ISA §9.7.14.5.16 `stmatrix`.

use core::arch::asm;

/// Stores two transposed 8×8 matrices. Thread `t` has elements `2·(t%4)` and the next of row `t/4` of
/// each; lanes 0–7 and 8–15 pass the 16-byte aligned addresses of the first and second matrix's
/// columns. Called by a converged warp.
#[inline(always)]
pub fn store_2_transposed(address: u32, [first, second]: [u32; 2]) {
    // SAFETY: addresses of the shared-memory plan.
    unsafe {
        asm!(
            "stmatrix.sync.aligned.m8n8.x2.trans.shared.b16 [{0}], {{{1}, {2}}};",
            in(reg32) address,
            in(reg32) first,
            in(reg32) second,
            options(nostack),
        );
    }
}
