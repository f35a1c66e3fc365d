//! Allocation of tensor memory, by one CTA or by both of a pair (PTX ISA §9.7.16.7).
//!
//! With `.cta_group::2` one warp of each CTA executes the instruction. The first one waits for the second, which acts
//! for both; that `dealloc` waits as well is the letter of the PTX ISA ("may block").

use super::Flow;
use crate::machine::cluster::{At, Cluster};
use crate::machine::cluster_fault::ClusterFault;
use crate::machine::footprint::{ALL_PARTITIONS, Region, SharedAddress};
use crate::machine::pair::{Request, group};
use crate::machine::places::ColumnOwner;
use crate::machine::report::{FailureKind, Step};
use crate::machine::warp::Wait;
use crate::tensor::TensorMemory;

/// What freshly allocated columns hold: NaN, so that an accumulator that was never written shows.
const FRESH_COLUMNS: u32 = 0xFFFF_FFFF;

/// Allocates and stores the address at `destination`, of the CTA's own.
pub fn allocate(
    cluster: &mut Cluster,
    at: At,
    cta_group: u8,
    columns: u32,
    destination: SharedAddress,
) -> Step<Flow> {
    let result = match cta_group {
        2 => together(cluster, at, Request::Allocate { columns })?,
        _ => act(cluster, at, 1, Request::Allocate { columns })?,
    };
    let address = match result {
        Ok(address) => address,
        Err(wait) => return Ok(Flow::Block(wait)),
    };
    if let Some(order) = &mut cluster.order {
        order.allocated(at.cta as u32, address..address + columns);
    }
    let shared = &mut cluster.ctas[destination.cta as usize].shared;
    shared.store(destination.offset, 4, address.into());
    Ok(Flow::Next)
}

pub fn deallocate(
    cluster: &mut Cluster,
    at: At,
    cta_group: u8,
    address: u32,
    columns: u32,
) -> Step<Flow> {
    let start = address & 0xffff;
    let region = start..start.saturating_add(columns);
    let region = Region::tensor(at.cta as u32, region, ALL_PARTITIONS);
    cluster.check_race(&region, true)?;
    if let Some(order) = &mut cluster.order {
        order.deallocated(at.issuer(0), region)?;
    }
    let request = Request::Deallocate { address, columns };
    let result = match cta_group {
        2 => together(cluster, at, request)?,
        _ => act(cluster, at, 1, request)?,
    };
    Ok(match result {
        Ok(_) => Flow::Next,
        Err(wait) => Flow::Block(wait),
    })
}

/// The result of `request`, or what to wait for before trying again.
fn together(cluster: &mut Cluster, at: At, request: Request) -> Step<Result<u32, Wait>> {
    let own = &mut cluster.ctas[at.cta].pair;
    if let Some((warp, result)) = own.done
        && warp == at.warp
    {
        own.done = None;
        return Ok(Ok(result));
    }
    // Another warp of the CTA is at it.
    let busy = |entry: Option<usize>| entry.is_some_and(|warp| warp != at.warp);
    if busy(own.request.map(|(warp, _)| warp)) || busy(own.done.map(|(warp, _)| warp)) {
        return Ok(Err(Wait::Pair));
    }
    own.request = Some((at.warp, request));
    let peer = cluster.peer(at.cta)?;
    let Some((warp, theirs)) = cluster.ctas[peer].pair.request else {
        return Ok(Err(Wait::Pair));
    };
    match (request, theirs) {
        (Request::Allocate { columns: own }, Request::Allocate { columns: peer })
            if own != peer =>
        {
            return Err(ClusterFault::PairColumns { own, peer }.into());
        }
        (Request::Allocate { .. }, Request::Allocate { .. }) => {}
        (mine, theirs) if mine == theirs => {}
        // One allocates, the other frees: neither can go on.
        _ => return Ok(Err(Wait::Pair)),
    }
    let result = act(cluster, at, 2, request)?;
    if let Ok(result) = result {
        cluster.ctas[at.cta].pair.request = None;
        let state = &mut cluster.ctas[peer].pair;
        state.request = None;
        state.done = Some((warp, result));
        wake(cluster, at);
    }
    Ok(result)
}

fn act(cluster: &mut Cluster, at: At, cta_group: u8, request: Request) -> Step<Result<u32, Wait>> {
    let ctas = &mut cluster.ctas[group(at.cta, cta_group)];
    match request {
        Request::Allocate { columns } => {
            let mut memories: Vec<_> = ctas.iter_mut().map(|cta| &mut cta.tensor).collect();
            let address =
                TensorMemory::allocate_in(&mut memories, columns).map_err(FailureKind::tensor)?;
            let Some(address) = address else {
                return Ok(Err(Wait::TensorMemory { columns }));
            };
            for cta in ctas {
                cta.column_owners.push(ColumnOwner {
                    columns: address..address + columns,
                    warp: at.warp as u32,
                    line: at.line,
                });
                cta.tensor_in_use = true;
                cta.tensor.poison(address..address + columns, FRESH_COLUMNS);
            }
            Ok(Ok(address))
        }
        Request::Deallocate { address, columns } => {
            for cta in ctas {
                cta.tensor
                    .deallocate(address, columns)
                    .map_err(FailureKind::tensor)?;
                let first = address & 0xffff;
                cta.column_owners
                    .retain(|owner| owner.columns.start != first);
            }
            wake(cluster, at);
            Ok(Ok(address))
        }
    }
}

/// Lets those try again that wait for the pair or for columns.
fn wake(cluster: &mut Cluster, at: At) {
    for cta in [at.cta, at.cta ^ 1] {
        for warp in cluster
            .ctas
            .get_mut(cta)
            .into_iter()
            .flat_map(|cta| &mut cta.warps)
        {
            warp.retry(|wait| matches!(wait, Wait::Pair | Wait::TensorMemory { .. }));
        }
    }
}
