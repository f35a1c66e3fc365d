//! The fixed cost of a launch, and the rates of the device's memory.

use std::ffi::c_void;

use cust::function::Function;
use cust::memory::{AsyncCopyDestination, DeviceBuffer};
use cust::module::Module;
use cust::stream::Stream;

use super::ceilings::Memory;
use super::error::BenchError;
use super::statistics::Summary;
use super::timing::{Sequence, Stopwatch, Submission};
use crate::check::cuda_error;
use crate::driver::DriverError;
use crate::driver::api::{self, LaunchConfig};
use crate::plan::Gpu;

/// Threads of a CTA, CTAs an SM, and bytes that a thread reads in one round of `bench_read`.
const THREADS: u32 = 256;
const CTAS_PER_SM: u32 = 8;
const BYTES_PER_ROUND: usize = 64;

/// A module with `bench_empty` and `bench_read`.
pub struct Baseline {
    module: Module,
}

/// Microseconds of a kernel that does nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EmptyLaunch {
    /// As [`super::Measurement::replay`].
    pub replay: Summary,
    /// As [`super::Measurement::back_to_back`].
    pub back_to_back: Summary,
}

impl Baseline {
    /// Loads the module into the current context.
    ///
    /// # Errors
    /// [`BenchError::Check`] as the driver fails.
    pub fn load() -> Result<Self, BenchError> {
        let module = api::load_module_with_log(include_str!("baseline.ptx"))?;
        Ok(Self { module })
    }

    fn function(&self, name: &'static str) -> Result<Function<'_>, BenchError> {
        let found = self.module.get_function(name);
        Ok(found.map_err(|error| DriverError::from_cust("cuModuleGetFunction", error))?)
    }

    /// Times an empty kernel in both modes.
    ///
    /// # Errors
    /// [`BenchError`] as the driver fails.
    pub fn empty_launch(
        &self,
        stream: &Stream,
        submission: Submission,
        samples: usize,
        calls: usize,
    ) -> Result<EmptyLaunch, BenchError> {
        let function = self.function("bench_empty")?;
        let config = config(1, 32);
        let enqueue = |calls: usize| {
            let function = &function;
            move |stream: &Stream| -> Result<(), BenchError> {
                for _ in 0..calls {
                    // SAFETY: the kernel has no parameter and touches no memory.
                    unsafe {
                        api::launch_kernel_ex(function, &config, stream.as_inner(), &mut [])?
                    };
                }
                Ok(())
            }
        };
        // SAFETY: as above; the function outlives the sequences.
        let one = [unsafe { Sequence::new(stream, submission, enqueue(1))? }];
        // SAFETY: as above.
        let many = [unsafe { Sequence::new(stream, submission, enqueue(calls))? }];
        let watch = Stopwatch::new(stream)?;
        watch.warm_up(&one, 0.0)?;
        watch.warm_up(&many, 0.0)?;
        Ok(EmptyLaunch {
            replay: watch.sample(&one, samples, 1)?,
            back_to_back: watch.sample(&many, samples, calls)?,
        })
    }

    /// Times a copy of half of about `bytes` into the other half, and a kernel that reads all of them.
    ///
    /// # Errors
    /// [`BenchError`] as the driver fails; out of memory among others.
    pub fn memory(
        &self,
        stream: &Stream,
        submission: Submission,
        gpu: Gpu,
        bytes: usize,
        samples: usize,
    ) -> Result<Memory, BenchError> {
        let ctas = gpu.multiprocessors * CTAS_PER_SM;
        let round = (ctas * THREADS) as usize * BYTES_PER_ROUND;
        let rounds = bytes.div_ceil(round).max(1);
        let bytes = rounds * round;
        let allocate = cuda_error("allocating memory to measure its rate");
        // SAFETY: filled in the next statement.
        let mut buffer = unsafe { DeviceBuffer::<u8>::uninitialized(bytes) }.map_err(&allocate)?;
        buffer.set_8(0x5A).map_err(&allocate)?;
        let sink = DeviceBuffer::from_slice(&[0u32]).map_err(&allocate)?;
        super::synchronize()?;
        let watch = Stopwatch::new(stream)?;
        let rate = |sequence: Sequence<'_>| -> Result<f64, BenchError> {
            let sequence = [sequence];
            watch.warm_up(&sequence, 0.0)?;
            let microseconds = watch.sample(&sequence, samples, 1)?.median;
            Ok(bytes as f64 / (1e-6 * microseconds))
        };

        let copy = |stream: &Stream| copy_to_start(&buffer, stream);
        // SAFETY: the buffer lives until both rates are measured.
        let copy = rate(unsafe { Sequence::new(stream, submission, copy)? })?;

        let function = self.function("bench_read")?;
        let read = |stream: &Stream| -> Result<(), BenchError> {
            let mut from = buffer.as_device_ptr().as_raw();
            let mut to = sink.as_device_ptr().as_raw();
            let mut rounds = rounds as u32;
            let mut params = [
                (&raw mut from).cast::<c_void>(),
                (&raw mut to).cast(),
                (&raw mut rounds).cast(),
            ];
            // SAFETY: the parameters are those of the entry; it reads `bytes` bytes and writes 4 at most.
            unsafe {
                api::launch_kernel_ex(
                    &function,
                    &config(ctas, THREADS),
                    stream.as_inner(),
                    &mut params,
                )?;
            }
            Ok(())
        };
        // SAFETY: as above.
        let read = rate(unsafe { Sequence::new(stream, submission, read)? })?;
        Ok(Memory { copy, read })
    }
}

/// Copies the second half of `buffer` over the first.
fn copy_to_start(buffer: &DeviceBuffer<u8>, stream: &Stream) -> Result<(), BenchError> {
    let middle = buffer.len() / 2;
    let (mut first, second) = (buffer.index(..middle), buffer.index(middle..));
    // SAFETY: both halves are alive as long as the sequence that copies; nobody else uses them.
    let copied = unsafe { second.async_copy_to(&mut first, stream) };
    Ok(copied.map_err(cuda_error("copying from device to device"))?)
}

fn config(ctas: u32, threads: u32) -> LaunchConfig {
    LaunchConfig {
        grid: [ctas, 1, 1],
        block: [threads, 1, 1],
        cluster: None,
        dynamic_shared_bytes: 0,
        programmatic_dependent_launch: false,
    }
}
