//! The CUDA driver API of `ptx_emulator::driver` as a shared library: every name that NVIDIA's `libcuda.so.1` exports.
//!
//! `cargo xtask libcuda DIR` builds it. A program that finds it before the driver (`LD_LIBRARY_PATH=DIR`) runs on the
//! emulated device, unchanged.

use std::arch::naked_asm;
use std::ffi::c_void;

/// Address of the function that answers.
#[repr(transparent)]
pub struct Target(*const c_void);

// SAFETY: the address of a function, which any thread may call.
unsafe impl Sync for Target {}

impl Target {
    /// Evaluated at compile time: a name that the emulator does not know is a compile error.
    const fn of(name: &str) -> Self {
        match ptx_emulator::driver::lookup(name) {
            Some(address) => Self(address),
            None => panic!("the driver has no function of this name"),
        }
    }
}

/// Exports functions that jump to the emulator's: arguments stay where the caller put them, whatever they are.
macro_rules! export {
    ($($name:ident)*) => {$(
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        #[allow(non_snake_case)]
        extern "C" fn $name() {
            static TARGET: Target = Target::of(stringify!($name));
            #[cfg(target_arch = "x86_64")]
            naked_asm!("jmp qword ptr [rip + {target}]", target = sym TARGET);
            // x16 is the register that the procedure call standard leaves to such jumps.
            #[cfg(target_arch = "aarch64")]
            naked_asm!(
                "adrp x16, {target}",
                "ldr x16, [x16, :lo12:{target}]",
                "br x16",
                target = sym TARGET,
            );
        }
    )*};
}

ptx_emulator::for_each_driver_function!(export);
