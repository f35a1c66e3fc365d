//! Several sets of operands and outputs, so that no call finds its weights in the L2 cache.

use cust::stream::Stream;
use half::f16;

use super::ceilings::Work;
use super::error::BenchError;
use crate::check::{CheckError, DeviceInputs, GuardedOutput, cuda_error};
use crate::inputs::{InputKind, Inputs};
use crate::launch::{Bound, Kernels};
use crate::plan::{DualGemm, Shape};

/// The fewest sets, as a peer with larger weights would get.
const MIN_SETS: usize = 4;
/// The most sets: weights so small stay in the L2 cache in practice too.
const MAX_SETS: usize = 32;
/// How many times the L2 cache everything that the sets' calls read and write is.
const CACHES: usize = 4;

/// How many sets `shape` gets on a device with `l2_bytes` of L2 cache: what their calls read and write
/// fills it four times, within 4 and 32 sets.
pub fn set_count(shape: &Shape, l2_bytes: usize) -> usize {
    let bytes = usize::try_from(Work::of(shape).bytes).unwrap_or(usize::MAX);
    (CACHES * l2_bytes)
        .div_ceil(bytes)
        .clamp(MIN_SETS, MAX_SETS)
}

/// One call's operands, output and workspace.
pub(super) struct OperandSet<'k> {
    pub inputs: Inputs,
    pub bound: Bound<'k>,
    c: GuardedOutput,
    workspace: GuardedOutput,
    // What `bound` reads.
    _device: DeviceInputs,
}

impl<'k> OperandSet<'k> {
    pub fn new(
        kernels: &'k Kernels,
        plan: &DualGemm,
        kind: InputKind,
        seed: u64,
    ) -> Result<Self, BenchError> {
        let shape = plan.shape();
        let [m, n, k, batch] = [shape.m(), shape.n(), shape.k(), shape.batch()];
        let inputs = Inputs::new(kind, m, n, k, batch, seed)?;
        let device = DeviceInputs::upload(&inputs)?;
        let c = GuardedOutput::new(plan.output_bytes())?;
        let workspace = GuardedOutput::new(plan.workspace_bytes())?;
        let arguments = device.arguments(&inputs, c.span(), None, workspace.span());
        Ok(Self {
            bound: plan.bind(kernels, &arguments)?,
            inputs,
            c,
            workspace,
            _device: device,
        })
    }

    /// Fills C with NaN, which no finite input gives.
    pub fn poison(&mut self) -> Result<(), BenchError> {
        Ok(self.c.fill(0xFF)?)
    }

    pub fn launch(&self, stream: &Stream) -> Result<(), BenchError> {
        // SAFETY: the buffers live as long as the set, and whoever uses them waits for the stream first.
        unsafe { self.bound.launch_overlapped(stream) }.map_err(BenchError::from)
    }

    /// C, and how many bytes around C and the workspace were written.
    pub fn download(&self) -> Result<(Vec<f16>, usize), BenchError> {
        let (c, around_c) = self.c.download(f16::from_le_bytes)?;
        Ok((c, around_c + self.workspace.guard_bytes_written()?))
    }
}

/// Runs every set once and waits.
pub(super) fn run_once(sets: &[OperandSet<'_>], stream: &Stream) -> Result<(), BenchError> {
    for set in sets {
        set.launch(stream)?;
    }
    let synchronized: Result<(), CheckError> = stream
        .synchronize()
        .map_err(cuda_error("running the kernel"));
    Ok(synchronized?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_fill_the_cache_four_times() {
        let sets = |m, n, k, l2| set_count(&Shape::new(m, n, k, 1).unwrap(), l2);
        // 33 042 368 bytes, an H100's 50 MiB: 6.3 sets fill it four times.
        assert_eq!(sets(1, 4096, 7168, 50 << 20), 7);
        // 41 586 944 bytes: 5.04.
        assert_eq!(sets(700, 4096, 7168, 50 << 20), 6);
        assert_eq!(sets(1, 4096, 7168, 1 << 20), MIN_SETS);
        assert_eq!(sets(1, 8, 64, 50 << 20), MAX_SETS);
    }
}
