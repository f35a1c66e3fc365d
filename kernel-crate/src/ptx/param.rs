//! The address of the parameter block.

/// The generic address of an entry's by-value parameter, which TMA needs to read tensor maps from
/// it.
///
/// PTX ISA §9.7.9.20 `cvta.param` (PTX 7.7). Only inline assembly can name the parameter: taking
/// its address in Rust would copy the block to local memory first, and `cp.async.bulk.tensor` must
/// not read its map from there.
macro_rules! param_block_address {
    ($entry:ident) => {{
        let address: u64;
        // SAFETY: names the first parameter of the entry that the macro is expanded in; reads no
        // memory.
        unsafe {
            core::arch::asm!(
                concat!("mov.b64 {0}, ", stringify!($entry), "_param_0;"),
                "cvta.param.u64 {0}, {0};",
                out(reg64) address,
                options(nomem, nostack),
            );
        }
        address
    }};
}
