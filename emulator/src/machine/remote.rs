//! Asynchronous copies, stores and reductions into the shared memory of a cluster's CTAs, which report to an mbarrier there.

use super::atomics::{combine, element, element_bytes};
use super::cluster::Cluster;
use super::footprint::SharedAddress;
use super::report::Step;
use super::store::Reduction;

/// `cp.async.bulk` and `cp.reduce.async.bulk` from shared memory to shared memory (PTX ISA §9.7.9.25.4).
#[derive(Clone, Debug)]
pub struct SharedCopy {
    pub source: SharedAddress,
    pub destination: SharedAddress,
    pub bytes: u32,
    /// `cp.reduce.async.bulk`
    pub reduction: Option<Reduction>,
    pub barrier: SharedAddress,
}

impl SharedCopy {
    pub fn execute(self, cluster: &mut Cluster) -> Step<()> {
        let Self {
            source,
            destination,
            bytes,
            reduction,
            barrier,
        } = self;
        let range = |at: SharedAddress| at.offset as usize..(at.offset + bytes) as usize;
        let from = cluster.ctas[source.cta as usize].shared.window();
        let data = from[range(source)].to_vec();
        let to = &mut cluster.ctas[destination.cta as usize].shared;
        match reduction {
            None => to.window_mut()[range(destination)].copy_from_slice(&data),
            Some(Reduction { op, ty, .. }) => {
                let size = element_bytes(ty)?;
                for (index, source) in data.chunks_exact(size as usize).enumerate() {
                    let offset = destination.offset + size * index as u32;
                    let old = to.load(offset, size);
                    to.store(offset, size, combine(op, ty, old, element(source), 0));
                }
            }
        }
        cluster.complete_tx(barrier, bytes)
    }
}

/// `st.async`, and `red.async` where there is a reduction (PTX ISA §9.7.9.12, §9.7.13.7).
#[derive(Clone, Debug)]
pub struct AsyncStore {
    pub destination: SharedAddress,
    /// One after the other.
    pub elements: Vec<u64>,
    pub element_bytes: u32,
    pub reduction: Option<Reduction>,
    pub barrier: SharedAddress,
}

impl AsyncStore {
    pub fn bytes(&self) -> u32 {
        self.element_bytes * self.elements.len() as u32
    }

    pub fn execute(self, cluster: &mut Cluster) -> Step<()> {
        let shared = &mut cluster.ctas[self.destination.cta as usize].shared;
        for (index, element) in self.elements.iter().enumerate() {
            let offset = self.destination.offset + self.element_bytes * index as u32;
            let value = match self.reduction {
                None => *element,
                Some(Reduction { op, ty, .. }) => {
                    let old = shared.load(offset, self.element_bytes);
                    combine(op, ty, old, *element, 0)
                }
            };
            shared.store(offset, self.element_bytes, value);
        }
        let bytes = self.bytes();
        cluster.complete_tx(self.barrier, bytes)
    }
}
