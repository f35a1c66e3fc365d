//! [`Emulator`]: a device with buffers, modules and launches, as Rust values.

mod buffer;
mod launch;
mod parameter;

use std::sync::Arc;

use thiserror::Error;

use crate::isa;
use crate::isa::ir;
use crate::machine::global::AllocationError;
use crate::machine::{Device, DeviceProperties, LaunchOptions, ModuleError};
use crate::tma::{TensorMap, TensorMapError, TiledDescription};

pub use buffer::{Buffer, BufferError, Element};
pub use launch::{LaunchError, LaunchShape};
pub use parameter::{ByValue, Parameter};

/// An emulated GPU.
///
/// Every emulator has a memory of its own, and nothing is shared between them. Modules and buffers
/// borrow it and free what they hold when they are dropped. All methods may be called from several
/// threads at once.
#[derive(Debug)]
pub struct Emulator {
    device: Device,
    /// How launches run: how suspicious they are, on which schedule, on how many threads.
    pub options: LaunchOptions,
}

impl Default for Emulator {
    fn default() -> Self {
        Self::new(DeviceProperties::b200())
    }
}

impl Emulator {
    /// A device with empty memory. [`Emulator::default`] is a B200.
    pub fn new(properties: DeviceProperties) -> Self {
        Self {
            device: Device::new(properties),
            options: LaunchOptions::default(),
        }
    }

    /// What the device is.
    pub fn properties(&self) -> &DeviceProperties {
        &self.device.properties
    }

    /// The device below: raw addresses, launches with a raw parameter buffer.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Loads a PTX module and initialises its variables.
    ///
    /// # Errors
    /// [`ModuleError`]: with all syntax errors of the text, or else with everything that it uses and
    /// that the emulator does not support, each with its line.
    pub fn load(&self, ptx: &str) -> Result<Module<'_>, ModuleError> {
        Ok(Module {
            emulator: self,
            module: self.device.load(ptx)?,
        })
    }

    /// A buffer of `len` elements. It holds a pattern, not zeros: a kernel that relies on fresh
    /// memory being zero is wrong here too.
    ///
    /// # Errors
    /// [`AllocationError`], also for an empty buffer, as in CUDA.
    pub fn allocate<T: Element>(&self, len: usize) -> Result<Buffer<'_, T>, AllocationError> {
        Buffer::new(&self.device.memory, len)
    }

    /// A buffer with these elements.
    ///
    /// # Errors
    /// As [`Emulator::allocate`].
    pub fn upload<T: Element>(&self, elements: &[T]) -> Result<Buffer<'_, T>, AllocationError> {
        let buffer = self.allocate(elements.len())?;
        buffer.fill_from(elements);
        Ok(buffer)
    }

    /// Encodes a tensor map, as `cuTensorMapEncodeTiled` does; pass it to a kernel as a parameter.
    ///
    /// # Errors
    /// [`TensorMapError`]: the requirement that the description does not meet.
    pub fn encode_tiled(&self, tensor: &TiledDescription) -> Result<TensorMap, TensorMapError> {
        TensorMap::encode_tiled(tensor)
    }
}

/// A loaded PTX module. Its variables are freed when it is dropped.
#[derive(Debug)]
pub struct Module<'e> {
    emulator: &'e Emulator,
    module: isa::Module,
}

/// A name that a module does not define.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the module has no {what} `{name}`; it has: {}", known.join(", "))]
pub struct UnknownName {
    /// `kernel` or `variable`.
    pub what: &'static str,
    pub name: String,
    /// What there is instead.
    pub known: Vec<String>,
}

impl UnknownName {
    fn new<'a>(what: &'static str, name: &str, known: impl Iterator<Item = &'a String>) -> Self {
        let mut known: Vec<String> = known.cloned().collect();
        known.sort();
        Self {
            what,
            name: name.to_owned(),
            known,
        }
    }
}

impl Module<'_> {
    /// A kernel by the name of its `.entry`.
    ///
    /// # Errors
    /// [`UnknownName`], with the kernels that there are.
    pub fn kernel(&self, name: &str) -> Result<Kernel<'_>, UnknownName> {
        let kernels = &self.module.kernels;
        match kernels.get(name) {
            Some(kernel) => Ok(Kernel { kernel }),
            None => Err(UnknownName::new("kernel", name, kernels.keys())),
        }
    }

    /// The kernels' names, sorted.
    pub fn kernel_names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.module.kernels.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// Copies the bytes of a `.global` or `.const` variable.
    ///
    /// # Errors
    /// [`UnknownName`].
    pub fn read_variable(&self, name: &str) -> Result<Vec<u8>, UnknownName> {
        let (address, bytes) = self.variable(name)?;
        let mut contents = vec![0; bytes as usize];
        // The module holds the allocation, of at least so many bytes.
        let _ = self.emulator.device.memory.read(address, &mut contents);
        Ok(contents)
    }

    /// Overwrites a `.global` or `.const` variable from its start on.
    ///
    /// # Errors
    /// [`VariableError`]: there is no such variable, or it has fewer bytes.
    pub fn write_variable(&self, name: &str, contents: &[u8]) -> Result<(), VariableError> {
        let (address, bytes) = self.variable(name)?;
        if contents.len() as u64 > bytes {
            return Err(VariableError::Length {
                name: name.to_owned(),
                found: contents.len(),
                bytes,
            });
        }
        // As above.
        let _ = self.emulator.device.memory.write(address, contents);
        Ok(())
    }

    fn variable(&self, name: &str) -> Result<(u64, u64), UnknownName> {
        let globals = &self.module.globals;
        let found = globals.get(name).copied();
        found.ok_or_else(|| UnknownName::new("variable", name, globals.keys()))
    }
}

impl Drop for Module<'_> {
    fn drop(&mut self) {
        self.emulator.device.unload(&self.module);
    }
}

/// Why a variable cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum VariableError {
    #[error(transparent)]
    Unknown(#[from] UnknownName),
    #[error("variable `{name}` has {bytes} bytes; {found} were given")]
    Length {
        name: String,
        found: usize,
        bytes: u64,
    },
}

/// A kernel of a loaded module.
#[derive(Clone, Copy, Debug)]
pub struct Kernel<'m> {
    kernel: &'m Arc<ir::Kernel>,
}

impl<'m> Kernel<'m> {
    /// The name of its `.entry`.
    pub fn name(&self) -> &'m str {
        &self.kernel.name
    }

    /// Its `.param` list: names, offsets and sizes.
    pub fn parameters(&self) -> &'m [ir::Param] {
        &self.kernel.params
    }

    /// Its decoded form.
    pub fn decoded(&self) -> &'m Arc<ir::Kernel> {
        self.kernel
    }
}
