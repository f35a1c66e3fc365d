//! Stores and reductions from shared to global memory, and the bulk groups through which they complete.

use super::copies::{check_tile, check_window, shared_region, tile_region};
use super::{Flow, tensor_map};
use crate::isa::ir::{AtomicOp, BulkCopy, Space, TmaStore, Type};
use crate::machine::cluster::{At, Cluster};
use crate::machine::footprint::{Footprint, SharedAddress};
use crate::machine::operation::Work;
use crate::machine::report::{FailureKind, Step};
use crate::machine::store::{Reduction, StoreRead, StoreWrite, Target, Tile};
use crate::machine::warp::{Wait, lanes};
use crate::tma::bulk::BULK_GRANULE;
use crate::tma::{self, DataType};

/// `cp.async.bulk.tensor` and `cp.reduce.async.bulk.tensor`, shared to global. Each lane issues a store of its own.
pub fn tensor(cluster: &mut Cluster, at: At, store: &TmaStore, active: u32) -> Step<()> {
    for lane in lanes(active) {
        let warp = &cluster.ctas[at.cta].warps[at.warp];
        let source = warp.address(&store.source, lane);
        let source = cluster.shared_address(at, Space::SharedCta, source)?;
        let map = tensor_map::used(cluster, at, warp.address(&store.map, lane))?;
        let coordinates: Vec<i32> = store
            .coordinates
            .iter()
            .map(|coordinate| warp.value(*coordinate, lane) as i32)
            .collect();
        let available = cluster.ctas[at.cta].shared.window().len();
        tma::check_store(&map, &coordinates, source.offset, available)
            .map_err(FailureKind::tile)?;
        check_tile(cluster, &map, source)?;
        let reduction = match store.reduction {
            None => None,
            Some(op) => Some(reduction_of(op, map.data_type())?),
        };
        let target = Target::Tile(Box::new(Tile { map, coordinates }));
        issue(cluster, at, lane, source, target, reduction)?;
    }
    Ok(())
}

/// `cp.async.bulk` and `cp.reduce.async.bulk`, shared to global.
pub fn linear(cluster: &mut Cluster, at: At, copy: &BulkCopy, active: u32) -> Step<()> {
    for lane in lanes(active) {
        let warp = &cluster.ctas[at.cta].warps[at.warp];
        let address = warp.address(&copy.destination, lane);
        let source = warp.address(&copy.source, lane);
        let bytes = warp.value(copy.bytes, lane) as u32;
        let source = cluster.shared_address(at, copy.source_space, source)?;
        tma::check_bulk_copy(address, source.offset.into(), bytes).map_err(FailureKind::tma)?;
        check_window(cluster, source, bytes, BULK_GRANULE)?;
        let target = Target::Linear { address, bytes };
        let reduction = copy.reduction.map(|(op, ty)| Reduction::of(op, ty));
        issue(cluster, at, lane, source, target, reduction)?;
    }
    Ok(())
}

/// Puts both steps of a store in flight.
fn issue(
    cluster: &mut Cluster,
    at: At,
    lane: usize,
    source: SharedAddress,
    target: Target,
    reduction: Option<Reduction>,
) -> Step<()> {
    target.check(&cluster.global)?;
    let name = match (&target, reduction) {
        (Target::Linear { .. }, None) => "bulk store",
        (Target::Linear { .. }, Some(_)) => "bulk reduction",
        (Target::Tile(_), None) => "TMA store",
        (Target::Tile(_), Some(_)) => "TMA reduction",
    };
    let ticket = cluster.engine.new_ticket();
    let read = match &target {
        Target::Linear { bytes, .. } => shared_region(source, *bytes),
        Target::Tile(tile) => tile_region(&tile.map, source),
    };
    let reads = Footprint::of_reads(vec![read]);
    let writes = Footprint::of_destination(target.regions(), reduction);
    let read = StoreRead {
        name,
        ticket,
        source,
        target: target.clone(),
        group: None,
    };
    let write = StoreWrite {
        name,
        ticket,
        target,
        reduction,
        group: None,
        data: None,
        part: None,
    };
    cluster.issue(at, lane, Work::StoreRead(read), reads)?;
    cluster.issue(at, lane, Work::StoreWrite(write), writes)
}

/// A reduction on a tensor, by the tensor's type (PTX ISA §9.7.9.27.1.3); which types an operation takes, and that TF32 is
/// added as f32, is what an H100 does.
fn reduction_of(op: AtomicOp, data_type: DataType) -> Step<Reduction> {
    let ty = match data_type {
        DataType::Uint32 => Some(Type::U32),
        DataType::Int32 => Some(Type::S32),
        DataType::Uint64 => Some(Type::U64),
        DataType::Int64 => Some(Type::S64),
        DataType::Float16 => Some(Type::F16),
        DataType::Bfloat16 => Some(Type::Bf16),
        DataType::Float32 | DataType::Float32Ftz | DataType::Tfloat32 | DataType::Tfloat32Ftz => {
            Some(Type::F32)
        }
        DataType::Float64 => Some(Type::F64),
        _ => None,
    };
    let is_legal = |ty: &Type| match op {
        AtomicOp::And | AtomicOp::Or | AtomicOp::Xor => {
            matches!(ty, Type::U32 | Type::S32 | Type::U64)
        }
        AtomicOp::Inc | AtomicOp::Dec => *ty == Type::U32,
        AtomicOp::Min | AtomicOp::Max => !matches!(ty, Type::F32 | Type::F64),
        _ => *ty != Type::S64,
    };
    match ty.filter(is_legal) {
        Some(ty) => Ok(Reduction {
            op,
            ty,
            ftz: matches!(data_type, DataType::Float32Ftz | DataType::Tfloat32Ftz),
        }),
        None => Err(FailureKind::IllegalTma(format!(
            "a tensor of {data_type:?} cannot be reduced by {op:?}"
        ))),
    }
}

/// `cp.async.bulk.commit_group`, per thread.
pub fn commit_group(cluster: &mut Cluster, at: At, active: u32) {
    for lane in lanes(active) {
        let number = &mut cluster.ctas[at.cta].warps[at.warp].bulk_groups[lane];
        let group = *number;
        *number += 1;
        cluster.engine.commit_bulk_group(at.issuer(lane), group);
    }
}

/// `cp.async.bulk.wait_group`: all but the last `pending` groups of each thread have completed, or with `read`, their
/// sources have been read.
pub fn wait_group(cluster: &mut Cluster, at: At, pending: u32, read: bool, active: u32) -> Flow {
    let committed = cluster.ctas[at.cta].warps[at.warp].bulk_groups;
    let complete = lanes(active).all(|lane| {
        let before = committed[lane].saturating_sub(pending);
        let engine = &cluster.engine;
        engine.bulk_groups_complete(at.issuer(lane), before, read)
    });
    if !complete {
        return Flow::Block(Wait::BulkGroup {
            allowed: pending,
            read,
        });
    }
    if let Some(order) = &mut cluster.order {
        for lane in lanes(active) {
            let groups = committed[lane].saturating_sub(pending);
            order.wait_bulk_groups(at.issuer(lane), groups, read);
        }
    }
    Flow::Next
}
