//! Loading a module into a device: its variables into memory, its kernels ready to launch.

use thiserror::Error;

use super::global::{ALLOCATION_ALIGNMENT, GlobalMemory};
use super::{Device, header};
use crate::isa::{self, LoadEnvironment, LoadError, VariableImage};

/// Why a device does not take a module.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ModuleError {
    #[error(
        "PTX .version {}.{} is newer than what this emulator takes, which is up to {}.{}",
        found.0, found.1, newest.0, newest.1
    )]
    Version {
        found: (u32, u32),
        newest: (u32, u32),
    },
    #[error(
        "PTX .target {found} does not run on compute capability {}.{}: a target without suffix \
         runs on the same or a later device, sm_{0}{1}a and sm_{0}{1}f only on this one or its family",
        capability.0, capability.1
    )]
    Target {
        found: String,
        capability: (u32, u32),
    },
    #[error(transparent)]
    Load(#[from] LoadError),
}

impl Device {
    /// Loads a module; [`Device::unload`] frees its variables.
    ///
    /// # Errors
    /// [`ModuleError`], with everything that is wrong with the text at once. Nothing stays allocated.
    pub fn load(&self, ptx: &str) -> Result<isa::Module, ModuleError> {
        header::check(ptx, self.properties.compute_capability)?;
        let environment = LoadEnvironment {
            shared_base: self.properties.reserved_shared_bytes,
        };
        let mut placed = Vec::new();
        let loaded = isa::load(ptx, &environment, &mut |image| {
            let address = place(&self.memory, image)?;
            placed.push(address);
            Ok(address)
        });
        loaded.map_err(|error| {
            for address in placed {
                // Allocated above.
                let _ = self.memory.free(address);
            }
            error.into()
        })
    }

    /// Frees the variables of a module that this device loaded.
    pub fn unload(&self, module: &isa::Module) {
        for &(address, _) in module.globals.values() {
            // Placed when the module was loaded, and freed only here.
            let _ = self.memory.free(address);
        }
    }
}

/// Puts a module's variable into device memory.
fn place(memory: &GlobalMemory, image: &VariableImage) -> Result<u64, String> {
    if image.align > ALLOCATION_ALIGNMENT {
        return Err(format!(
            "an alignment of {} bytes; {ALLOCATION_ALIGNMENT} are possible",
            image.align
        ));
    }
    let bytes = image.bytes.len().max(1) as u64;
    let address = memory.allocate(bytes).map_err(|error| error.to_string())?;
    match memory.write(address, &image.bytes) {
        Ok(()) => Ok(address),
        Err(fault) => Err(fault.to_string()),
    }
}
