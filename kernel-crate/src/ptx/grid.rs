//! Programmatic dependent launch: one grid starts while the one before it still runs. PTX ISA
//! §9.7.13.13 `griddepcontrol`.

use core::arch::asm;

/// Lets the next grid of the stream start once every CTA of this one has called it, or exited.
#[inline(always)]
pub fn launch_dependents() {
    // SAFETY: a hint to the scheduler.
    unsafe { asm!("griddepcontrol.launch_dependents;", options(nostack)) }
}

/// Waits until the grid before this one has finished; what it wrote is visible after.
#[inline(always)]
pub fn wait_for_prerequisites() {
    // SAFETY: a wait without operands.
    unsafe { asm!("griddepcontrol.wait;", options(nostack)) }
}
