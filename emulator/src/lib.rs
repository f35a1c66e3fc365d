#![doc = include_str!("../README.md")]

pub mod driver;
mod emulator;
pub mod isa;
mod json;
pub mod machine;
pub mod observe;
pub mod ptx;
pub mod tensor;
pub mod tma;

pub use emulator::{
    Buffer, BufferError, ByValue, Element, Emulator, Kernel, LaunchError, LaunchShape, Module,
    Parameter, UnknownName, VariableError,
};
pub use machine::global::AllocationError;
pub use machine::{
    Asynchrony, DeviceProperties, Exploration, LaunchFailure, LaunchOptions, LaunchReport, Mode,
    ModuleError, Schedule,
};
