//! Tensor maps that a kernel makes or changes: TMA reads them through the tensormap proxy, which sees a change once the
//! writer has released it and the reader has acquired it (PTX ISA §8.6, §9.7.13.4 `fence.proxy.tensormap`).

use super::report::SourceLine;
use crate::isa::ir::Kernel;

/// A map in global memory that was changed.
#[derive(Clone, Copy, Debug)]
struct Change {
    address: u64,
    /// Line of the instruction that changed it last.
    line: u32,
    released: bool,
    /// One bit per CTA of the cluster that has acquired the change. The fence by one warp is enough when the others
    /// wait for it at a barrier, as in code that Triton generates.
    acquired: u32,
}

/// The maps that a cluster's CTAs have changed.
#[derive(Debug, Default)]
pub struct ChangedMaps(Vec<Change>);

/// What is missing before TMA may read a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingFence {
    Release { line: u32 },
    Acquire { line: u32 },
}

impl MissingFence {
    pub fn describe(self, kernel: &Kernel) -> String {
        let (fence, line) = match self {
            Self::Release { line } => ("release", line),
            Self::Acquire { line } => ("acquire", line),
        };
        format!(
            "the tensor map was changed by this kernel ({}); `fence.proxy.tensormap::generic.{fence}` is missing",
            SourceLine::of(kernel, line)
        )
    }
}

impl ChangedMaps {
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// A map was changed at `address`; `released`: by an instruction that releases it, too.
    pub fn change(&mut self, address: u64, line: u32, released: bool) {
        self.0.retain(|change| change.address != address);
        self.0.push(Change {
            address,
            line,
            released,
            acquired: 0,
        });
    }

    /// `fence.proxy.tensormap::generic.release`
    pub fn release(&mut self) {
        for change in &mut self.0 {
            change.released = true;
        }
    }

    /// `fence.proxy.tensormap::generic.acquire` of one map. What is not released is not acquired.
    pub fn acquire(&mut self, address: u64, cta: u32) {
        for change in &mut self.0 {
            if change.address == address && change.released {
                change.acquired |= 1 << cta;
            }
        }
    }

    pub fn missing(&self, address: u64, cta: u32) -> Option<MissingFence> {
        let change = self.0.iter().find(|change| change.address == address)?;
        let line = change.line;
        match (change.released, change.acquired & 1 << cta) {
            (false, _) => Some(MissingFence::Release { line }),
            (true, 0) => Some(MissingFence::Acquire { line }),
            _ => None,
        }
    }
}
