//! Tensor maps: where instructions find them, and how kernels change them.

use super::{Flow, converge, memory, uniform};
use crate::isa::ir::{Address, Src, TensorMapOp};
use crate::machine::cluster::{At, Cluster};
use crate::machine::exec::memory::Place;
use crate::machine::footprint::Access;
use crate::machine::report::{FailureKind, Step};
use crate::machine::warp::lanes;
use crate::tma::tensor_map::{TENSOR_MAP_ALIGNMENT, TENSOR_MAP_BYTES};
use crate::tma::{self, TensorMap, TensorMapError};

const BYTES: u32 = TENSOR_MAP_BYTES as u32;
const ALIGNMENT: u32 = TENSOR_MAP_ALIGNMENT as u32;

/// The tensor map that a copy by CTA `at.cta` finds at a generic address.
pub fn used(cluster: &Cluster, at: At, address: u64) -> Step<TensorMap> {
    let bytes = memory::tensor_map(cluster, address)?;
    let map = TensorMap::from_bytes(&bytes).map_err(unusable)?;
    if cluster.engine.checks_order()
        && let Some(missing) = cluster.changed_maps.missing(address, at.cta as u32)
    {
        return Err(FailureKind::Tma(missing.describe(cluster.context.kernel)));
    }
    Ok(map)
}

fn unusable(error: TensorMapError) -> FailureKind {
    FailureKind::Tma(format!("the tensor map is unusable: {error}"))
}

pub fn execute(cluster: &mut Cluster, at: At, op: &TensorMapOp, active: u32) -> Step<Flow> {
    match op {
        TensorMapOp::Replace {
            map,
            space,
            field,
            value,
        } => {
            for lane in lanes(active) {
                let warp = &cluster.ctas[at.cta].warps[at.warp];
                let value = warp.value(*value, lane);
                let address = warp.address(map, lane);
                let place = memory::place(cluster, at, *space, address)?;
                change(cluster, at, place, |bytes| {
                    tma::replace(bytes, *field, value)
                })?;
            }
        }
        TensorMapOp::Copy {
            destination,
            source,
        } => {
            if let Some(wait) = converge(cluster, at, active)? {
                return Ok(Flow::Block(wait));
            }
            copy(cluster, at, destination, source, active)?;
        }
        TensorMapOp::Release => cluster.changed_maps.release(),
        TensorMapOp::Acquire { map } => {
            for lane in lanes(active) {
                let warp = &cluster.ctas[at.cta].warps[at.warp];
                let address = warp.address(map, lane);
                memory::aligned("tensor map", address, ALIGNMENT)?;
                cluster.changed_maps.acquire(address, at.cta as u32);
            }
        }
    }
    Ok(Flow::Next)
}

/// Reads, changes and writes the 128 bytes of a map in shared or global memory.
fn change(
    cluster: &mut Cluster,
    at: At,
    place: Place,
    change: impl FnOnce(&mut [u8; TENSOR_MAP_BYTES]) -> Result<(), TensorMapError>,
) -> Step<()> {
    let mut bytes = [0; TENSOR_MAP_BYTES];
    match place {
        Place::Shared(address) => {
            cluster.check_shared(at.issuer(0), address, BYTES, ALIGNMENT, true)?;
            let window = cluster.ctas[address.cta as usize].shared.window_mut();
            let window = &mut window[address.offset as usize..][..TENSOR_MAP_BYTES];
            bytes.copy_from_slice(window);
            change(&mut bytes).map_err(unusable)?;
            window.copy_from_slice(&bytes);
        }
        Place::Global(address) => {
            memory::aligned("tensor map", address, ALIGNMENT)?;
            cluster.check_global(address, BYTES, Access::Write)?;
            cluster.global.read(address, &mut bytes)?;
            change(&mut bytes).map_err(unusable)?;
            cluster.global.write(address, &bytes)?;
            cluster.changed_maps.change(address, at.line, false);
        }
        Place::Local(_) | Place::Param(_) => {
            return Err(FailureKind::IllegalOperand(
                "a change of a tensor map in local or parameter memory".to_owned(),
            ));
        }
    }
    Ok(())
}

/// `tensormap.cp_fenceproxy`: one copy by the whole warp.
fn copy(
    cluster: &mut Cluster,
    at: At,
    destination: &Address,
    source: &Address,
    active: u32,
) -> Step<()> {
    let warp = &cluster.ctas[at.cta].warps[at.warp];
    let address = |address: &Address, what| -> Step<u64> {
        let Address { base, offset } = *address;
        let base = match base {
            Src::Imm(value) => value,
            register => uniform(warp, register, active, what)?,
        };
        Ok(base.wrapping_add_signed(offset))
    };
    let to = address(destination, "the destination of a tensor map")?;
    let from = address(source, "the source of a tensor map")?;
    let from = cluster.shared_address(at, crate::isa::ir::Space::SharedCta, from)?;
    cluster.check_shared(at.issuer(0), from, BYTES, BYTES, false)?;
    memory::aligned("tensor map", to, BYTES)?;
    cluster.check_global(to, BYTES, Access::Write)?;
    let window = cluster.ctas[from.cta as usize].shared.window();
    let bytes = &window[from.offset as usize..][..TENSOR_MAP_BYTES];
    cluster.global.write(to, bytes)?;
    cluster.changed_maps.change(to, at.line, true);
    Ok(())
}
