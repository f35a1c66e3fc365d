//! From PTX text to kernels that can run.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::ir::Kernel;

/// What a module's meaning depends on besides its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadEnvironment {
    /// Shared-memory offset of a CTA's first usable byte: what the driver reserves before it (1024 on Blackwell).
    pub shared_base: u32,
}

/// A module-scope `.global` or `.const` variable, ready to be placed in device memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VariableImage {
    pub name: String,
    pub align: u64,
    /// Initial contents; zero where the text gives no value (PTX ISA §5.4.4).
    pub bytes: Vec<u8>,
}

/// A loaded module.
#[derive(Debug)]
pub struct Module {
    /// `.version MAJOR.MINOR`
    pub version: (u32, u32),
    /// `.target` and its options, as written.
    pub target: Vec<String>,
    pub kernels: HashMap<String, Arc<Kernel>>,
    /// Address and size in bytes of each `.global` and `.const` variable.
    pub globals: HashMap<String, (u64, u64)>,
    /// The source, line by line, for reports.
    pub text: Arc<[String]>,
}

/// One thing in a module that cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// Line in the PTX text, from 1.
    pub line: u32,
    /// The text of that line.
    pub text: String,
    pub message: String,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}\n    {}", self.line, self.message, self.text)
    }
}

/// Why a module cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    #[error("the PTX text has syntax errors:\n{0}")]
    Syntax(#[from] crate::ptx::ParseErrors),
    #[error("the module uses what the emulator does not support:\n{}", join(.0))]
    Unsupported(Vec<DecodeError>),
    #[error("variable `{name}` of {bytes} bytes cannot be placed in device memory: {reason}")]
    Allocation {
        name: String,
        bytes: u64,
        reason: String,
    },
}

fn join(errors: &[DecodeError]) -> String {
    errors
        .iter()
        .map(DecodeError::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}
