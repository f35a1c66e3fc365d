//! Launching with typed arguments.

use std::sync::Arc;

use thiserror::Error;

use super::parameter::Parameter;
use super::{Emulator, Kernel};
use crate::isa::ir;
use crate::machine::{Exploration, Launch, LaunchFailure, LaunchOptions, LaunchReport, explore};

/// How many threads a launch has, and how much memory they share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaunchShape {
    /// CTAs in x, y and z.
    pub grid: [u32; 3],
    /// Threads of a CTA in x, y and z.
    pub block: [u32; 3],
    /// CTAs of a cluster in x, y and z; `None` takes the kernel's `.reqnctapercluster`, or 1.
    pub cluster: Option<[u32; 3]>,
    /// Dynamic shared memory of a CTA.
    pub dynamic_shared_bytes: u32,
    /// Whether nothing starts unless all CTAs are resident together, so that they may wait for each other.
    pub cooperative: bool,
}

impl LaunchShape {
    /// `ctas` CTAs of `threads` threads, all along x.
    pub fn linear(ctas: u32, threads: u32) -> Self {
        Self::new([ctas, 1, 1], [threads, 1, 1])
    }

    /// A grid and a block.
    pub fn new(grid: [u32; 3], block: [u32; 3]) -> Self {
        Self {
            grid,
            block,
            cluster: None,
            dynamic_shared_bytes: 0,
            cooperative: false,
        }
    }

    /// With clusters of that shape.
    pub fn cluster(self, cluster: [u32; 3]) -> Self {
        Self {
            cluster: Some(cluster),
            ..self
        }
    }

    /// Refused unless all CTAs are resident together.
    pub fn cooperative(self) -> Self {
        Self {
            cooperative: true,
            ..self
        }
    }

    /// With so much dynamic shared memory per CTA, in bytes.
    pub fn dynamic_shared(self, bytes: u32) -> Self {
        Self {
            dynamic_shared_bytes: bytes,
            ..self
        }
    }
}

/// Why a launch did not take place, or failed.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum LaunchError {
    #[error(
        "kernel `{kernel}` takes {} parameters ({}); {found} were given",
        needed.len(), needed.join(", ")
    )]
    ParameterCount {
        kernel: String,
        found: usize,
        /// Their names.
        needed: Vec<String>,
    },
    #[error(
        "parameter {index} of kernel `{kernel}`, `{name}`, has {needed} bytes; {kind} of {found} \
         bytes was given"
    )]
    ParameterSize {
        kernel: String,
        /// From 0.
        index: usize,
        name: String,
        kind: String,
        found: usize,
        needed: u32,
    },
    /// The device refused the launch, or a rule was broken while it ran.
    #[error(transparent)]
    Failed(#[from] LaunchFailure),
}

impl Emulator {
    /// Runs a kernel to completion, as [`Emulator::options`] say.
    ///
    /// # Errors
    /// [`LaunchError`]: an argument that does not fit its `.param`, a shape that the device does not
    /// take, or the report of what went wrong where.
    pub fn launch(
        &self,
        kernel: &Kernel,
        shape: LaunchShape,
        arguments: &[&dyn Parameter],
    ) -> Result<LaunchReport, LaunchError> {
        self.launch_with(kernel, shape, arguments, self.options.clone())
    }

    /// As [`Emulator::launch`], with other options.
    ///
    /// # Errors
    /// As [`Emulator::launch`].
    pub fn launch_with(
        &self,
        kernel: &Kernel,
        shape: LaunchShape,
        arguments: &[&dyn Parameter],
        options: LaunchOptions,
    ) -> Result<LaunchReport, LaunchError> {
        let kernel = kernel.kernel;
        let required = kernel.directives.reqnctapercluster;
        let launch = Launch {
            grid: shape.grid,
            block: shape.block,
            cluster: shape.cluster.or(required).unwrap_or([1; 3]),
            dynamic_shared_bytes: shape.dynamic_shared_bytes,
            cooperative: shape.cooperative,
            params: parameter_buffer(kernel, arguments)?,
            options,
            kernel: Arc::clone(kernel),
        };
        Ok(self.device.launch(&launch)?)
    }

    /// Runs a program under `count` schedules, chosen by `seed`, until one fails.
    ///
    /// `run` prepares the buffers afresh, launches with the options that it is given (these are
    /// [`Emulator::options`] with another schedule), and judges what comes out.
    pub fn explore<E>(
        &self,
        count: u64,
        seed: u64,
        mut run: impl FnMut(LaunchOptions) -> Result<(), E>,
    ) -> Exploration<E> {
        explore(count, seed, |schedule| {
            run(LaunchOptions {
                schedule: *schedule,
                ..self.options.clone()
            })
        })
    }
}

/// Lays the arguments out as the kernel's `.param` list says.
fn parameter_buffer(
    kernel: &ir::Kernel,
    arguments: &[&dyn Parameter],
) -> Result<Vec<u8>, LaunchError> {
    if arguments.len() != kernel.params.len() {
        return Err(LaunchError::ParameterCount {
            kernel: kernel.name.clone(),
            found: arguments.len(),
            needed: kernel.params.iter().map(|p| p.name.clone()).collect(),
        });
    }
    let mut buffer = vec![0; kernel.param_bytes as usize];
    for (index, (param, argument)) in kernel.params.iter().zip(arguments).enumerate() {
        let bytes = argument.bytes();
        if bytes.len() != param.size as usize {
            return Err(LaunchError::ParameterSize {
                kernel: kernel.name.clone(),
                index,
                name: param.name.clone(),
                kind: argument.kind().into_owned(),
                found: bytes.len(),
                needed: param.size,
            });
        }
        let start = param.offset as usize;
        buffer[start..start + bytes.len()].copy_from_slice(&bytes);
    }
    Ok(buffer)
}
