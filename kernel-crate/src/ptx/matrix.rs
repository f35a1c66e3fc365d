//! Matrices of 8×8 16-bit elements across a warp. PTX ISA §9.7.14.5.17 `movmatrix`.

use core::arch::asm;

/// Transposes an 8×8 matrix of which thread `t` has elements `2·(t%4)` and the next of row `t/4`.
/// Called by a converged warp.
#[inline(always)]
pub fn transpose(elements: u32) -> u32 {
    let transposed: u32;
    // SAFETY: every lane takes part, as the caller's convergence guarantees.
    unsafe {
        asm!(
            "movmatrix.sync.aligned.m8n8.trans.b16 {0}, {1};",
            out(reg32) transposed,
            in(reg32) elements,
            options(nomem, nostack),
        );
    }
    transposed
}
