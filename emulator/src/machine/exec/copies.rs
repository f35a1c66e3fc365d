//! TMA loads and bulk copies to shared memory: operands are gathered and checked at issue, bytes move later.

use super::multicast::{Delivery, deliveries};
use super::{stores, tensor_map};
use crate::isa::ir::{BulkCopy, Space, TmaLoad};
use crate::machine::cluster::{At, Cluster};
use crate::machine::footprint::{Footprint, Region, SharedAddress};
use crate::machine::operation::Work;
use crate::machine::remote::SharedCopy;
use crate::machine::report::{FailureKind, Step};
use crate::machine::store::Reduction;
use crate::machine::warp::lanes;
use crate::tma::tile::{CHUNK, TILE_ALIGNMENT};
use crate::tma::{self, TensorMap};

/// `cp.async.bulk.tensor`, global to shared. Each lane issues a load of its own.
pub fn tma_load(cluster: &mut Cluster, at: At, load: &TmaLoad, active: u32) -> Step<()> {
    for lane in lanes(active) {
        let warp = &cluster.ctas[at.cta].warps[at.warp];
        let value = |source| warp.value(source, lane);
        let address = |address| warp.address(address, lane);
        let map_address = address(&load.map);
        let map = tensor_map::used(cluster, at, map_address)?;
        let coordinates: Vec<i32> = load
            .coordinates
            .iter()
            .map(|source| value(*source) as i32)
            .collect();
        let destination =
            cluster.shared_address(at, Space::SharedCluster, address(&load.destination))?;
        let barrier = cluster.shared_address(at, Space::SharedCluster, address(&load.barrier))?;
        let mask = load.multicast.map(value);
        for Delivery {
            destination,
            barrier,
        } in deliveries(cluster, destination, barrier, mask, load.cta_group)?
        {
            let bytes = map.extent_bytes();
            check_tile(cluster, &map, destination)?;
            check_barrier(cluster, barrier)?;
            let footprint = Footprint::of_writes(vec![tile_region(&map, destination)]);
            let work = Work::TmaLoad {
                map: Box::new(map),
                coordinates: Vec::clone(&coordinates),
                destination,
                barrier,
            };
            cluster.issue(at, lane, work, footprint)?;
            let tile = Some((&coordinates[..], &map));
            cluster.note_copy(at, destination, bytes, map_address, tile);
        }
    }
    Ok(())
}

/// `cp.async.bulk`. Each lane issues a copy of its own.
pub fn bulk(cluster: &mut Cluster, at: At, copy: &BulkCopy, active: u32) -> Step<()> {
    if copy.destination_space == Space::Global {
        return stores::linear(cluster, at, copy, active);
    }
    for lane in lanes(active) {
        let warp = &cluster.ctas[at.cta].warps[at.warp];
        let value = |source| warp.value(source, lane);
        let address = |address| warp.address(address, lane);
        let (from, to) = (address(&copy.source), address(&copy.destination));
        let bytes = value(copy.bytes) as u32;
        let barrier = match &copy.barrier {
            None => None,
            Some(barrier) => {
                Some(cluster.shared_address(at, Space::SharedCluster, address(barrier))?)
            }
        };
        let check = |to, from| tma::check_bulk_copy(to, from, bytes).map_err(FailureKind::tma);
        match (copy.source_space, copy.destination_space, barrier) {
            (Space::Global, Space::SharedCta | Space::SharedCluster, Some(barrier)) => {
                let destination = cluster.shared_address(at, copy.destination_space, to)?;
                check(destination.offset.into(), from)?;
                cluster.global.check(from, bytes.into())?;
                let mask = copy.multicast.map(value);
                for Delivery {
                    destination,
                    barrier,
                } in deliveries(cluster, destination, barrier, mask, None)?
                {
                    check_window(cluster, destination, bytes, tma::bulk::BULK_GRANULE)?;
                    check_barrier(cluster, barrier)?;
                    let footprint = Footprint::of_writes(vec![shared_region(destination, bytes)]);
                    let work = Work::BulkLoad {
                        source: from,
                        destination,
                        bytes,
                        barrier,
                    };
                    cluster.issue(at, lane, work, footprint)?;
                    cluster.note_copy(at, destination, bytes, from, None);
                }
            }
            (Space::SharedCta, Space::SharedCluster, Some(barrier)) => {
                let destination = cluster.shared_address(at, copy.destination_space, to)?;
                let source = cluster.shared_address(at, copy.source_space, from)?;
                check(destination.offset.into(), source.offset.into())?;
                deliveries(cluster, destination, barrier, None, None)?;
                check_window(cluster, source, bytes, tma::bulk::BULK_GRANULE)?;
                check_window(cluster, destination, bytes, tma::bulk::BULK_GRANULE)?;
                check_barrier(cluster, barrier)?;
                let reduction = copy.reduction.map(|(op, ty)| Reduction::of(op, ty));
                let work = Work::SharedCopy(SharedCopy {
                    source,
                    destination,
                    bytes,
                    reduction,
                    barrier,
                });
                let region = shared_region(destination, bytes);
                let mut footprint = Footprint::of_destination(vec![region], reduction);
                footprint.reads.push(shared_region(source, bytes));
                cluster.issue(at, lane, work, footprint)?;
            }
            _ => {
                return Err(FailureKind::unsupported(
                    "bulk copies between these memories",
                ));
            }
        }
    }
    Ok(())
}

pub fn shared_region(address: SharedAddress, bytes: u32) -> Region {
    Region::shared(address.cta, address.offset..address.offset + bytes)
}

/// The shared memory of a tile: without what lies between its rows.
pub fn tile_region(map: &TensorMap, at: SharedAddress) -> Region {
    let extent = tma::extent(map, at.offset);
    match map.has_adjacent_rows() {
        true => Region::shared(at.cta, extent),
        false => Region::scattered(at.cta, extent, tma::chunks(map, at.offset).collect()),
    }
}

/// [`check_window`] for a tile: an mbarrier may lie between its rows.
pub fn check_tile(cluster: &Cluster, map: &TensorMap, at: SharedAddress) -> Step<()> {
    if map.has_adjacent_rows() {
        return check_window(cluster, at, map.extent_bytes(), TILE_ALIGNMENT);
    }
    check_window(cluster, at, 0, TILE_ALIGNMENT)?;
    tma::chunks(map, at.offset).try_for_each(|offset| {
        let chunk = SharedAddress { offset, ..at };
        check_window(cluster, chunk, CHUNK as u32, CHUNK as u32)
    })
}

/// The shared-memory side of a copy: in bounds, aligned, no mbarrier in it.
pub fn check_window(
    cluster: &Cluster,
    address: SharedAddress,
    bytes: u32,
    alignment: u32,
) -> Step<()> {
    let shared = &cluster.ctas[address.cta as usize].shared;
    shared.check_ordinary(address.offset, bytes, alignment)
}

/// The barrier that a copy reports to has to be live when the copy is issued, not only when it completes.
pub fn check_barrier(cluster: &mut Cluster, barrier: SharedAddress) -> Step<()> {
    let shared = &mut cluster.ctas[barrier.cta as usize].shared;
    shared.mbarrier(barrier.offset).map(|_| ())
}
