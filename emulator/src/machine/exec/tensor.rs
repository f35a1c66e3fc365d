//! tcgen05 instructions (PTX ISA §9.7.16).

use super::copies::check_barrier;
use super::multicast::ctas_of;
use super::{Flow, converge, pair, uniform};
use crate::isa::ir::{LANES, Src, Tcgen05Op};
use crate::machine::Mode;
use crate::machine::cluster::{At, Cluster};
use crate::machine::cluster_fault::ClusterFault;
use crate::machine::footprint::{Footprint, Region, SharedAddress};
use crate::machine::operation::Work;
use crate::machine::pair::group;
use crate::machine::report::{FailureKind, Step};
use crate::machine::tensor_unit;
use crate::machine::warp::lanes;
use crate::tensor::TensorAddress;
use crate::tensor::fragment::{self, FragmentError, FragmentShape, MOST_REGISTERS, WarpRegister};

pub fn execute(cluster: &mut Cluster, at: At, op: &Tcgen05Op, active: u32) -> Step<Flow> {
    if is_aligned(op)
        && let Some(wait) = converge(cluster, at, active)?
    {
        return Ok(Flow::Block(wait));
    }
    let cta_group = match op {
        Tcgen05Op::Alloc { cta_group, .. }
        | Tcgen05Op::Dealloc { cta_group, .. }
        | Tcgen05Op::RelinquishAllocPermit { cta_group }
        | Tcgen05Op::Copy { cta_group, .. }
        | Tcgen05Op::Commit { cta_group, .. } => Some(*cta_group),
        Tcgen05Op::Mma(mma) => Some(mma.cta_group),
        _ => None,
    };
    if let Some(found) = cta_group {
        enter_group(cluster, found)?;
        // Allocation waits for the other CTA by itself, which may be done and gone meanwhile.
        if found == 2 && !matches!(op, Tcgen05Op::Alloc { .. } | Tcgen05Op::Dealloc { .. }) {
            cluster.peer(at.cta)?;
        }
    }
    match op {
        Tcgen05Op::Alloc {
            destination,
            space,
            columns,
            cta_group,
        } => {
            let warp = &cluster.ctas[at.cta].warps[at.warp];
            let columns = uniform(warp, *columns, active, "the number of columns")? as u32;
            let base = uniform(warp, destination.base, active, "the destination")?;
            let address = base.wrapping_add_signed(destination.offset);
            let destination = cluster.shared_address(at, *space, address)?;
            // The address is written as by any store.
            cluster.check_shared(at.issuer(0), destination, 4, 4, true)?;
            return pair::allocate(cluster, at, *cta_group, columns, destination);
        }
        Tcgen05Op::Dealloc {
            address,
            columns,
            cta_group,
        } => {
            let warp = &cluster.ctas[at.cta].warps[at.warp];
            let address = uniform(warp, *address, active, "the tensor memory address")? as u32;
            let columns = uniform(warp, *columns, active, "the number of columns")? as u32;
            return pair::deallocate(cluster, at, *cta_group, address, columns);
        }
        Tcgen05Op::RelinquishAllocPermit { .. } => cluster.ctas[at.cta].tensor.relinquish(),
        Tcgen05Op::Load { .. } => load(cluster, at, op, active)?,
        Tcgen05Op::Store { .. } => store(cluster, at, op, active)?,
        Tcgen05Op::WaitLoad | Tcgen05Op::WaitStore => {
            let loads = matches!(op, Tcgen05Op::WaitLoad);
            let (cta, warp) = (at.cta as u32, at.warp as u32);
            cluster.engine.retire_warp(cta, warp, loads);
            if let Some(order) = &mut cluster.order {
                order.wait_fragments(at.issuer(0), loads);
            }
        }
        Tcgen05Op::Copy {
            shape,
            address,
            descriptor,
            cta_group,
        } => {
            for lane in lanes(active) {
                let warp = &cluster.ctas[at.cta].warps[at.warp];
                let (work, footprint) = tensor_unit::copy(
                    &cluster.ctas,
                    at.cta,
                    *cta_group,
                    *shape,
                    warp.value(*address, lane) as u32,
                    warp.value(*descriptor, lane),
                    cluster.engine.checks_order(),
                )?;
                cluster.issue(at, lane, work, footprint)?;
            }
        }
        Tcgen05Op::Mma(mma) => {
            for lane in lanes(active) {
                let group = group(at.cta, mma.cta_group);
                let warp = &cluster.ctas[at.cta].warps[at.warp];
                let exact = cluster.engine.checks_order();
                let (work, footprint) =
                    tensor_unit::mma(&cluster.ctas, group, mma, warp, lane, exact)?;
                cluster.issue(at, lane, work, footprint)?;
            }
        }
        Tcgen05Op::Commit {
            barrier,
            space,
            multicast,
            ..
        } => {
            for lane in lanes(active) {
                let warp = &cluster.ctas[at.cta].warps[at.warp];
                let address = warp.address(barrier, lane);
                let mask = multicast.map(|mask| warp.value(mask, lane));
                let barrier = cluster.shared_address(at, *space, address)?;
                // The same offset in each CTA of the mask.
                let ctas = match mask {
                    Some(mask) => ctas_of(cluster, mask)?,
                    None => vec![barrier.cta],
                };
                let at_cta = |cta| SharedAddress { cta, ..barrier };
                let barriers: Vec<_> = ctas.into_iter().map(at_cta).collect();
                for barrier in &barriers {
                    check_barrier(cluster, *barrier)?;
                }
                cluster.issue(at, lane, Work::Commit { barriers }, Footprint::default())?;
            }
        }
        Tcgen05Op::FenceBeforeThreadSync => {
            if let Some(order) = &mut cluster.order {
                order.fence_before_thread_sync(at.issuer(0));
            }
        }
        Tcgen05Op::FenceAfterThreadSync => {
            if let Some(order) = &mut cluster.order {
                order.fence_after_thread_sync(at.issuer(0));
            }
        }
    }
    Ok(Flow::Next)
}

fn is_aligned(op: &Tcgen05Op) -> bool {
    matches!(
        op,
        Tcgen05Op::Alloc { .. }
            | Tcgen05Op::Dealloc { .. }
            | Tcgen05Op::RelinquishAllocPermit { .. }
            | Tcgen05Op::Load { .. }
            | Tcgen05Op::Store { .. }
            | Tcgen05Op::WaitLoad
            | Tcgen05Op::WaitStore
    )
}

/// All tcgen05 instructions of a kernel have the same `.cta_group` (PTX ISA §9.7.16.5).
fn enter_group(cluster: &mut Cluster, found: u8) -> Step<()> {
    match *cluster.cta_group.get_or_insert(found) {
        earlier if earlier != found => Err(ClusterFault::MixedGroups { found, earlier }.into()),
        _ => Ok(()),
    }
}

/// The values are delivered at once: a register dependency on `tcgen05.ld` is honoured without a wait. The columns are
/// in use until `tcgen05.wait::ld`, though.
fn load(cluster: &mut Cluster, at: At, op: &Tcgen05Op, active: u32) -> Step<()> {
    let Tcgen05Op::Load {
        shape,
        repeat,
        pack16,
        dsts,
        address,
        half_split_offset,
    } = op
    else {
        return Ok(());
    };
    let Fragment {
        shape,
        address,
        regions,
    } = Fragment::new(
        FragmentShape::new(*shape, *repeat, *pack16, *half_split_offset),
        cluster,
        at,
        *address,
        active,
    )?;
    let mut values = [[0; LANES]; MOST_REGISTERS];
    let values = registers(&mut values, dsts.len())?;
    let cta = &mut cluster.ctas[at.cta];
    fragment::load(&cta.tensor, shape, address, at.warp, values).map_err(FailureKind::tensor)?;
    for (dst, value) in dsts.iter().zip(values.iter()) {
        if let Some(slot) = dst {
            let slot = &mut cta.warps[at.warp].registers[*slot as usize];
            for lane in lanes(active) {
                slot[lane] = value[lane].into();
            }
        }
    }
    let footprint = Footprint::of_reads(regions);
    cluster.issue(at, 0, Work::TensorLoad, footprint)
}

fn store(cluster: &mut Cluster, at: At, op: &Tcgen05Op, active: u32) -> Step<()> {
    let Tcgen05Op::Store {
        shape,
        repeat,
        unpack16,
        srcs,
        address,
        half_split_offset,
    } = op
    else {
        return Ok(());
    };
    let Fragment {
        shape,
        address,
        regions,
    } = Fragment::new(
        FragmentShape::new(*shape, *repeat, *unpack16, *half_split_offset),
        cluster,
        at,
        *address,
        active,
    )?;
    let footprint = Footprint::of_writes(regions);
    let mut values = [[0; LANES]; MOST_REGISTERS];
    let values = registers(&mut values, srcs.len())?;
    let warp = &cluster.ctas[at.cta].warps[at.warp];
    for (value, source) in values.iter_mut().zip(srcs) {
        for (lane, entry) in value.iter_mut().enumerate() {
            *entry = warp.value(*source, lane) as u32;
        }
    }
    cluster.issue(at, 0, Work::TensorStore, footprint)?;
    let tensor = &mut cluster.ctas[at.cta].tensor;
    fragment::store(tensor, shape, address, at.warp, values).map_err(FailureKind::tensor)
}

fn registers(all: &mut [WarpRegister; MOST_REGISTERS], count: usize) -> Step<&mut [WarpRegister]> {
    all.get_mut(..count)
        .ok_or_else(|| FailureKind::unsupported("fragments of more than 128 registers"))
}

/// Where a warp's fragment lies in tensor memory.
struct Fragment {
    shape: FragmentShape,
    address: u32,
    /// What it touches.
    regions: Vec<Region>,
}

impl Fragment {
    fn new(
        shape: Result<FragmentShape, FragmentError>,
        cluster: &Cluster,
        at: At,
        address: Src,
        active: u32,
    ) -> Step<Fragment> {
        let shape = shape.map_err(FailureKind::tensor)?;
        let warp = &cluster.ctas[at.cta].warps[at.warp];
        let address = uniform(warp, address, active, "the tensor memory address")? as u32;
        let (lane, partition) = (TensorAddress::from_bits(address).lane, at.warp as u32 % 4);
        // Devices ignore these bits, and kernels leave them zero for every warp.
        if cluster.context.launch.options.mode == Mode::Strict && lane / 32 != partition {
            return Err(FailureKind::IllegalOperand(format!(
                "a tensor memory address of lane {lane}; warp {} may access lanes {} to {} (PTX ISA §9.7.16.8.1)",
                at.warp,
                32 * partition,
                32 * partition + 31
            )));
        }
        // Lanes in halves of a partition: the 16-lane shapes touch one of them.
        let halves = match TensorAddress::from_bits(address).lane % 32 {
            _ if shape.is_full_height() => 0b11,
            0..16 => 0b01,
            _ => 0b10,
        };
        let lanes = halves << (2 * (at.warp % 4));
        let columns = shape.columns(address).into_iter();
        Ok(Fragment {
            shape,
            address,
            regions: columns
                .map(|columns| Region::tensor(at.cta as u32, columns, lanes))
                .collect(),
        })
    }
}
