//! One function per PTX instruction form, one file per family; the only inline assembly of the
//! crate.
//!
//! Shared memory and tensor memory are `u32` addresses throughout: no Rust reference ever points
//! into them. A function's documentation names the section of the PTX ISA that defines the
//! instruction, its operands, who may call it (one thread, or a converged warp) and what orders its
//! effect.
//!
//! None of the functions is `pure` or free of a memory clobber unless it only computes: the order
//! of the source is the order of the PTX.

#[macro_use]
pub mod param;
pub mod barrier;
#[macro_use]
pub mod bulk;
pub mod cluster;
pub mod global;
pub mod grid;
pub mod math;
pub mod matrix;
pub mod mbarrier;
pub mod registers;
pub mod shared;
pub mod tcgen05;
pub mod tma;
pub mod warp;
pub mod wgmma;

/// `trap`: ends the grid with an error.
pub fn trap() -> ! {
    // SAFETY: `trap` has no operands and does not return.
    unsafe { core::arch::asm!("trap;", options(noreturn)) }
}
