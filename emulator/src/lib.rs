//! An emulator of NVIDIA GPUs at PTX level.
//!
//! A module's text is parsed ([`ptx`]), decoded ([`isa`]) and run ([`machine`]) with the
//! asynchronous engines of a Blackwell SM: the tensor memory accelerator ([`tma`]) and the
//! fifth-generation tensor core ([`tensor`]). The [`driver`] module offers all of it behind the
//! CUDA driver API.

pub mod driver;
pub mod isa;
pub mod machine;
pub mod ptx;
pub mod tensor;
pub mod tma;
