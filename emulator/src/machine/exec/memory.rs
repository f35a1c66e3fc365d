//! Loads, stores, atomics and addresses.

use std::sync::atomic::{Ordering, fence};

use super::global_order::{self, Exchange};
use super::low_bits;
use crate::isa::ir::{Address, AtomicOp, Op, Semantics, Space, Src, Type};
use crate::isa::windows::{self, generic_window};
use crate::machine::atomics::{self, element, element_bytes};
use crate::machine::cluster::{At, Cluster};
use crate::machine::footprint::SharedAddress;
use crate::machine::report::{FailureKind, Step};
use crate::machine::warp::{Warp, lanes};
use crate::tma::tensor_map::{TENSOR_MAP_ALIGNMENT, TENSOR_MAP_BYTES};

/// Where an address leads.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// Constant memory is part of it.
    Global(u64),
    Shared(SharedAddress),
    Local(u64),
    Param(u64),
}

fn is_signed(ty: Type) -> bool {
    matches!(ty, Type::S8 | Type::S16 | Type::S32 | Type::S64)
}

#[inline]
pub fn place(cluster: &Cluster, at: At, space: Space, address: u64) -> Step<Place> {
    Ok(match space {
        Space::Global | Space::Const => Place::Global(address),
        Space::SharedCta | Space::SharedCluster => {
            Place::Shared(cluster.shared_address(at, space, address)?)
        }
        Space::Local => Place::Local(address),
        Space::Param => Place::Param(address),
        Space::Generic => match generic_window(address) {
            Some((Space::Local, offset)) => Place::Local(offset),
            Some((Space::Param, offset)) => Place::Param(offset),
            Some(_) => Place::Shared(cluster.shared_address(at, space, address)?),
            None => Place::Global(address),
        },
    })
}

/// Checks an access to a small buffer (local or parameter memory) and returns its position.
fn position(space: &'static str, offset: u64, bytes: u32, available: u64) -> Step<usize> {
    let end = offset.checked_add(bytes.into());
    if end.is_none_or(|end| end > available) {
        return Err(FailureKind::OutOfBounds {
            space,
            address: offset,
            bytes: bytes.into(),
            valid: 0..available,
        });
    }
    Ok(offset as usize)
}

pub fn aligned(space: &'static str, address: u64, alignment: u32) -> Step<()> {
    match address.is_multiple_of(alignment.into()) {
        true => Ok(()),
        false => Err(FailureKind::Misaligned {
            space,
            address,
            alignment: alignment.into(),
        }),
    }
}

/// A vector access has to be aligned to its whole size (PTX ISA §6.4.1).
pub fn load(cluster: &mut Cluster, at: At, op: &Op, active: u32) -> Step<()> {
    let Op::Load {
        space,
        ty,
        register_bits,
        dsts,
        address,
        semantics,
        scope,
    } = op
    else {
        return Ok(());
    };
    let bytes = element_bytes(*ty)?;
    let total = bytes * dsts.len() as u32;
    let access = global_order::Access {
        space: *space,
        address,
        bytes: total,
        writes: false,
        is_atomic: false,
        swaps: false,
        semantics: *semantics,
        scope: *scope,
    };
    global_order::check(cluster, at, active, access, |_, _, _| false)?;
    let exchange = Exchange::of(cluster, access);
    let extend = is_signed(*ty).then_some((bytes * 8, *register_bits));
    for lane in lanes(active) {
        let warp = &cluster.ctas[at.cta].warps[at.warp];
        let from = place(cluster, at, *space, warp.address(address, lane))?;
        let mut values = [0; 8];
        let values = values
            .get_mut(..dsts.len())
            .ok_or_else(|| FailureKind::unsupported("vectors of more than 8 elements"))?;
        match from {
            Place::Global(address) => {
                aligned("global", address, total)?;
                for (index, value) in values.iter_mut().enumerate() {
                    let step = u64::from(bytes) * index as u64;
                    *value = cluster.global.load(address + step, bytes.into())?;
                    exchange.acquire(cluster, at.issuer(lane), address + step);
                }
            }
            Place::Shared(address) => {
                let by = at.issuer(lane);
                cluster.check_shared_access(by, address, total, total, false, *semantics)?;
                if *semantics != Semantics::Weak
                    && let Some(order) = &mut cluster.order
                {
                    order.word_acquire(by, address, *semantics);
                }
                let shared = &cluster.ctas[address.cta as usize].shared;
                for (index, value) in values.iter_mut().enumerate() {
                    *value = shared.load(address.offset + bytes * index as u32, bytes);
                }
            }
            Place::Local(offset) => {
                let warp = &cluster.ctas[at.cta].warps[at.warp];
                let memory = local(warp, lane, cluster.context.kernel.local_bytes);
                load_elements("local", memory, offset, bytes, values)?;
            }
            Place::Param(offset) => {
                let memory = &cluster.context.launch.params;
                load_elements("parameter", memory, offset, bytes, values)?;
            }
        }
        let warp = &mut cluster.ctas[at.cta].warps[at.warp];
        for (dst, value) in dsts.iter().zip(values) {
            warp.set(*dst, lane, sign_extend(*value, extend));
        }
    }
    if matches!(semantics, Semantics::Acquire) {
        fence(Ordering::Acquire);
    }
    Ok(())
}

/// Loads consecutive elements from a space that is a plain run of bytes.
fn load_elements(
    space: &'static str,
    memory: &[u8],
    offset: u64,
    bytes: u32,
    values: &mut [u64],
) -> Step<()> {
    let total = bytes * values.len() as u32;
    aligned(space, offset, total)?;
    let start = position(space, offset, total, memory.len() as u64)?;
    let elements = memory[start..].chunks_exact(bytes as usize);
    for (value, bytes) in values.iter_mut().zip(elements) {
        *value = element(bytes);
    }
    Ok(())
}

fn sign_extend(value: u64, widths: Option<(u32, u32)>) -> u64 {
    match widths {
        Some((from, to)) if from < to => {
            let shift = 64 - from;
            let extended = ((value << shift) as i64 >> shift) as u64;
            extended & low_bits(to)
        }
        _ => value,
    }
}

fn local(warp: &Warp, lane: usize, bytes: u32) -> &[u8] {
    &warp.local[lane * bytes as usize..][..bytes as usize]
}

pub fn store(cluster: &mut Cluster, at: At, op: &Op, active: u32) -> Step<()> {
    let Op::Store {
        space,
        ty,
        srcs,
        address,
        semantics,
        scope,
    } = op
    else {
        return Ok(());
    };
    let bytes = element_bytes(*ty)?;
    let total = bytes * srcs.len() as u32;
    let access = global_order::Access {
        space: *space,
        address,
        bytes: total,
        writes: true,
        is_atomic: false,
        swaps: false,
        semantics: *semantics,
        scope: *scope,
    };
    let _turn = global_order::check(cluster, at, active, access, |cluster, lane, address| {
        let warp = &cluster.ctas[at.cta].warps[at.warp];
        srcs.iter().enumerate().all(|(index, source)| {
            let address = address.wrapping_add(u64::from(bytes) * index as u64);
            let value = warp.value(*source, lane);
            cluster.global.holds(address, bytes.into(), value)
        })
    })?;
    let mut exchange = Exchange::of(cluster, access);
    if matches!(semantics, Semantics::Release) {
        fence(Ordering::Release);
    }
    for lane in lanes(active) {
        let warp = &cluster.ctas[at.cta].warps[at.warp];
        let to = place(cluster, at, *space, warp.address(address, lane))?;
        match to {
            Place::Global(address) => {
                aligned("global", address, total)?;
                for (index, source) in srcs.iter().enumerate() {
                    let address = address + u64::from(bytes) * index as u64;
                    exchange.release(cluster, at.issuer(lane), address, false);
                    let value = cluster.ctas[at.cta].warps[at.warp].value(*source, lane);
                    cluster.global.store(address, bytes.into(), value)?;
                }
            }
            Place::Shared(address) => {
                let by = at.issuer(lane);
                if cluster.order.is_some() {
                    let shared = cluster.ctas[address.cta as usize].shared.window();
                    let warp = &cluster.ctas[at.cta].warps[at.warp];
                    let repeats = repeats(shared, address.offset, bytes, |index| {
                        Some(warp.value(*srcs.get(index)?, lane))
                    });
                    if let Some(order) = &mut cluster.order {
                        order.next_repeats(repeats);
                    }
                }
                cluster.check_shared_access(by, address, total, total, true, *semantics)?;
                if *semantics != Semantics::Weak
                    && let Some(order) = &mut cluster.order
                {
                    order.word_release(by, address, *semantics);
                }
                for (index, source) in srcs.iter().enumerate() {
                    let value = cluster.ctas[at.cta].warps[at.warp].value(*source, lane);
                    let offset = address.offset + bytes * index as u32;
                    let shared = &mut cluster.ctas[address.cta as usize].shared;
                    shared.store(offset, bytes, value);
                }
            }
            Place::Local(offset) => {
                aligned("local", offset, total)?;
                let size = cluster.context.kernel.local_bytes;
                let start = position("local", offset, total, size.into())?;
                let warp = &mut cluster.ctas[at.cta].warps[at.warp];
                for (index, source) in srcs.iter().enumerate() {
                    let value = warp.value(*source, lane).to_le_bytes();
                    let start = lane * size as usize + start + bytes as usize * index;
                    warp.local[start..][..bytes as usize].copy_from_slice(&value[..bytes as usize]);
                }
            }
            Place::Param(_) => {
                return Err(FailureKind::IllegalOperand(
                    "a store to the kernel's parameters, which are read-only".to_owned(),
                ));
            }
        }
    }
    Ok(())
}

/// Whether shared memory holds the values already, each of `bytes` bytes.
fn repeats(shared: &[u8], offset: u32, bytes: u32, value: impl Fn(usize) -> Option<u64>) -> bool {
    let held = shared.get(offset as usize..).unwrap_or_default();
    let held = held.chunks_exact(bytes as usize).enumerate();
    held.map_while(|(index, held)| Some((held, value(index)?)))
        .all(|(held, value)| held == &value.to_le_bytes()[..bytes as usize])
}

pub fn atomic(cluster: &mut Cluster, at: At, op: &Op, active: u32) -> Step<()> {
    let Op::Atomic {
        space,
        op,
        ty,
        dst,
        address,
        a,
        b,
        alignment,
        semantics,
        scope,
    } = op
    else {
        return Ok(());
    };
    let bytes = element_bytes(*ty)?;
    let access = global_order::Access {
        space: *space,
        address,
        bytes,
        writes: true,
        is_atomic: true,
        swaps: *op == AtomicOp::CompareAndSwap,
        semantics: *semantics,
        scope: *scope,
    };
    let _turn = global_order::check(cluster, at, active, access, |_, _, _| false)?;
    let mut exchange = Exchange::of(cluster, access);
    for lane in lanes(active) {
        let warp = &cluster.ctas[at.cta].warps[at.warp];
        let operand = warp.value(*a, lane);
        let second = warp.value(b.unwrap_or(Src::Imm(0)), lane);
        let old = match place(cluster, at, *space, warp.address(address, lane))? {
            Place::Global(address) => {
                aligned("global", address, *alignment)?;
                let by = at.issuer(lane);
                exchange.release(cluster, by, address, true);
                let old = cluster.global.update(address, bytes.into(), |old| {
                    atomics::combine_flushed(*op, *ty, old, operand, second)
                })?;
                exchange.acquire(cluster, by, address);
                old
            }
            Place::Shared(address) => {
                let by = at.issuer(lane);
                // An atomic is strong whatever it orders.
                let strong = Semantics::Relaxed;
                cluster.check_shared_access(by, address, bytes, bytes, true, strong)?;
                if let Some(order) = &mut cluster.order {
                    order.word_acquire(by, address, *semantics);
                    order.word_release(by, address, *semantics);
                }
                let shared = &mut cluster.ctas[address.cta as usize].shared;
                let old = shared.load(address.offset, bytes);
                let new = atomics::combine(*op, *ty, old, operand, second);
                shared.store(address.offset, bytes, new);
                old
            }
            Place::Local(_) | Place::Param(_) => {
                return Err(FailureKind::IllegalOperand(
                    "an atomic operation on local or parameter memory".to_owned(),
                ));
            }
        };
        cluster.ctas[at.cta].warps[at.warp].set(*dst, lane, old);
    }
    Ok(())
}

/// `atom.exch.b128` and `atom.cas.b128`
pub fn wide_atomic(cluster: &mut Cluster, at: At, op: &Op, active: u32) -> Step<()> {
    let Op::WideAtomic {
        space,
        dsts,
        address,
        a,
        b,
        semantics,
        scope,
    } = op
    else {
        return Ok(());
    };
    const BYTES: u32 = 16;
    let access = global_order::Access {
        space: *space,
        address,
        bytes: BYTES,
        writes: true,
        is_atomic: true,
        swaps: b.is_some(),
        semantics: *semantics,
        scope: *scope,
    };
    let _turn = global_order::check(cluster, at, active, access, |_, _, _| false)?;
    let mut exchange = Exchange::of(cluster, access);
    for lane in lanes(active) {
        let warp = &cluster.ctas[at.cta].warps[at.warp];
        let a = a.map(|half| warp.value(half, lane));
        let b = b.map(|halves| halves.map(|half| warp.value(half, lane)));
        let update = |old| match b {
            None => a,
            Some(b) if old == a => b,
            Some(_) => old,
        };
        let old = match place(cluster, at, *space, warp.address(address, lane))? {
            Place::Global(address) => {
                let by = at.issuer(lane);
                exchange.release(cluster, by, address, true);
                let old = cluster.global.update_pair(address, update)?;
                exchange.acquire(cluster, by, address);
                old
            }
            Place::Shared(address) => {
                let by = at.issuer(lane);
                cluster.check_shared_access(by, address, BYTES, BYTES, true, Semantics::Relaxed)?;
                let shared = &mut cluster.ctas[address.cta as usize].shared;
                let halves = [address.offset, address.offset + 8];
                let old = halves.map(|offset| shared.load(offset, 8));
                for (offset, half) in halves.into_iter().zip(update(old)) {
                    shared.store(offset, 8, half);
                }
                old
            }
            Place::Local(_) | Place::Param(_) => {
                return Err(FailureKind::IllegalOperand(
                    "an atomic operation on local or parameter memory".to_owned(),
                ));
            }
        };
        let warp = &mut cluster.ctas[at.cta].warps[at.warp];
        for (dst, half) in dsts.iter().zip(old) {
            warp.set(*dst, lane, half);
        }
    }
    Ok(())
}

/// `prefetch` has no effect that a program can observe. A tensor map's address has to be one, though.
pub fn prefetch(
    cluster: &mut Cluster,
    at: At,
    address: &Address,
    tensormap: bool,
    active: u32,
) -> Step<()> {
    if tensormap {
        for lane in lanes(active) {
            let warp = &cluster.ctas[at.cta].warps[at.warp];
            tensor_map(cluster, warp.address(address, lane))?;
        }
    }
    Ok(())
}

/// The bytes of the tensor map at a generic address: global, constant or parameter memory (PTX ISA
/// §9.7.9.27).
pub fn tensor_map(cluster: &Cluster, address: u64) -> Step<[u8; TENSOR_MAP_BYTES]> {
    aligned("tensor map", address, TENSOR_MAP_ALIGNMENT as u32)?;
    let mut map = [0; TENSOR_MAP_BYTES];
    match generic_window(address) {
        None => cluster.global.read(address, &mut map)?,
        Some((Space::Param, offset)) => {
            let params = &cluster.context.launch.params;
            let bytes = TENSOR_MAP_BYTES as u32;
            let start = position("parameter", offset, bytes, params.len() as u64)?;
            map.copy_from_slice(&params[start..][..TENSOR_MAP_BYTES]);
        }
        Some(_) => {
            return Err(FailureKind::IllegalOperand(format!(
                "a tensor map at {address:#x}, in shared or local memory"
            )));
        }
    }
    Ok(map)
}

fn window_base(space: Space) -> u64 {
    match space {
        Space::SharedCta | Space::SharedCluster => windows::SHARED,
        Space::Local => windows::LOCAL,
        Space::Param => windows::PARAM,
        Space::Global | Space::Const | Space::Generic => 0,
    }
}

/// `cvta`: converts an address that has to lie in the space.
pub fn convert_address(cluster: &mut Cluster, at: At, op: &Op, active: u32) -> Step<()> {
    let Op::ConvertAddress {
        dst,
        src,
        space,
        to_generic,
        bits,
    } = op
    else {
        return Ok(());
    };
    let base = window_base(*space);
    let mask = low_bits(*bits);
    let warp = &mut cluster.ctas[at.cta].warps[at.warp];
    for lane in lanes(active) {
        let address = warp.value(*src, lane);
        let converted = match to_generic {
            true => address.wrapping_add(base),
            false => address.wrapping_sub(base),
        };
        warp.set(*dst, lane, converted & mask);
    }
    Ok(())
}

/// `isspacep` and `mapa`.
pub fn query_address(cluster: &mut Cluster, at: At, op: &Op, active: u32) -> Step<()> {
    for lane in lanes(active) {
        let warp = &cluster.ctas[at.cta].warps[at.warp];
        let (dst, value) = match op {
            Op::IsSpace { dst, src, space } => (
                *dst,
                is_in_space(cluster, at, *space, warp.value(*src, lane)).into(),
            ),
            Op::MapShared {
                dst,
                address,
                rank,
                generic,
            } => {
                let rank = warp.value(*rank, lane);
                let address = warp.value(*address, lane);
                (*dst, map_shared(address, rank, *generic))
            }
            _ => return Ok(()),
        };
        cluster.ctas[at.cta].warps[at.warp].set(dst, lane, value);
    }
    Ok(())
}

fn is_in_space(cluster: &Cluster, at: At, space: Space, address: u64) -> bool {
    match (space, generic_window(address)) {
        (Space::SharedCta, Some((Space::SharedCluster, _))) => cluster
            .shared_address(at, Space::Generic, address)
            .is_ok_and(|shared| shared.cta as usize == at.cta),
        (Space::Global, None) => cluster.global.check(address, 1).is_ok(),
        (space, Some((window, _))) => space == window,
        _ => false,
    }
}

/// The rank replaces the one in the address. Whether there is such a CTA shows at the access (found
/// on an H200).
fn map_shared(address: u64, rank: u64, generic: bool) -> u64 {
    let base = if generic { windows::SHARED } else { 0 };
    let offset = address & ((1 << windows::SHARED_OFFSET_BITS) - 1);
    base | (rank << windows::SHARED_OFFSET_BITS) & (windows::WINDOW_BYTES - 1) | offset
}
