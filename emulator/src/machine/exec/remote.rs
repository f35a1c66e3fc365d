//! `st.async` and `red.async`.

use super::copies::shared_region;
use super::multicast::deliveries;
use crate::isa::ir::StoreAsync;
use crate::machine::atomics::element_bytes;
use crate::machine::cluster::{At, Cluster};
use crate::machine::footprint::Footprint;
use crate::machine::operation::Work;
use crate::machine::remote::AsyncStore;
use crate::machine::report::Step;
use crate::machine::store::Reduction;
use crate::machine::warp::lanes;

/// Each lane issues a store of its own.
pub fn store_async(cluster: &mut Cluster, at: At, store: &StoreAsync, active: u32) -> Step<()> {
    let element_bytes = element_bytes(store.ty)?;
    let total = element_bytes * store.srcs.len() as u32;
    for lane in lanes(active) {
        let warp = &cluster.ctas[at.cta].warps[at.warp];
        let elements = store.srcs.iter().map(|src| warp.value(*src, lane));
        let elements = elements.collect();
        let locate = |address| cluster.shared_address(at, store.space, warp.address(address, lane));
        let destination = locate(&store.destination)?;
        let barrier = locate(&store.barrier)?;
        deliveries(cluster, destination, barrier, None, None)?;
        let shared = &mut cluster.ctas[destination.cta as usize].shared;
        shared.check_ordinary(destination.offset, total, total)?;
        shared.mbarrier(barrier.offset)?;
        let region = shared_region(destination, total);
        let reduction = store.reduction.map(|op| Reduction::of(op, store.ty));
        let footprint = Footprint::of_destination(vec![region], reduction);
        let work = Work::AsyncStore(AsyncStore {
            destination,
            elements,
            element_bytes,
            reduction,
            barrier,
        });
        cluster.issue(at, lane, work, footprint)?;
    }
    Ok(())
}
