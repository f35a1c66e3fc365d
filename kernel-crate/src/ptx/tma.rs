//! Tensor copies. PTX ISA §9.7.9.27.

use core::arch::asm;

use super::mbarrier::Mbarrier;

/// How L2 should keep the lines of a copy. PTX ISA §9.7.9.18 `createpolicy`.
#[derive(Clone, Copy)]
pub struct CachePolicy(u64);

impl CachePolicy {
    /// Lines that nobody reads again: first to go.
    #[inline(always)]
    pub fn evict_first() -> Self {
        let policy: u64;
        // SAFETY: only computes a value.
        unsafe {
            asm!(
                "createpolicy.fractional.L2::evict_first.b64 {0};",
                out(reg64) policy,
                options(nomem, nostack),
            );
        }
        Self(policy)
    }

    /// No preference.
    #[inline(always)]
    pub fn evict_normal() -> Self {
        let policy: u64;
        // SAFETY: only computes a value.
        unsafe {
            asm!(
                "createpolicy.fractional.L2::evict_normal.b64 {0};",
                out(reg64) policy,
                options(nomem, nostack),
            );
        }
        Self(policy)
    }

    pub(super) fn bits(self) -> u64 {
        self.0
    }
}

/// Fetches a tensor map, by its generic address, into the descriptor cache. One thread.
#[inline(always)]
pub fn prefetch_map(map: u64) {
    // SAFETY: a hint on the address of a tensor map.
    unsafe { asm!("prefetch.tensormap [{0}];", in(reg64) map, options(nostack)) }
}

/// Copies one box of a 3-D tensor to shared memory. One thread; returns before the copy is done.
///
/// `map` is a generic address, `coordinates` are innermost first and in elements, `destination` is
/// 128-byte aligned. The bytes of the whole box, out-of-bounds elements (which arrive as zeros)
/// included, are credited to `barrier`.
#[inline(always)]
pub fn load_3d(
    destination: u32,
    map: u64,
    coordinates: [u32; 3],
    barrier: Mbarrier,
    policy: CachePolicy,
) {
    let [x, y, z] = coordinates;
    // SAFETY: `destination` holds the box and is not read until `barrier` completes, as the
    // pipeline guarantees.
    unsafe {
        asm!(
            concat!(
                "cp.async.bulk.tensor.3d.shared::cta.global.tile.mbarrier::complete_tx::bytes.L2::cache_hint ",
                "[{0}], [{1}, {{{2}, {3}, {4}}}], [{5}], {6};",
            ),
            in(reg32) destination,
            in(reg64) map,
            in(reg32) x,
            in(reg32) y,
            in(reg32) z,
            in(reg32) barrier.0,
            in(reg64) policy.bits(),
            options(nostack),
        );
    }
}

/// As [`load_3d`], but the box arrives in every CTA of the cluster whose bit of `ranks` is set: at the
/// same place as `destination` is here, its bytes credited to the barrier at the same place.
#[inline(always)]
pub fn load_3d_multicast(
    destination: u32,
    map: u64,
    coordinates: [u32; 3],
    barrier: Mbarrier,
    ranks: u16,
    policy: CachePolicy,
) {
    let [x, y, z] = coordinates;
    // SAFETY: as for `load_3d`, in each of the CTAs.
    unsafe {
        asm!(
            concat!(
                "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes",
                ".multicast::cluster.L2::cache_hint [{0}], [{1}, {{{2}, {3}, {4}}}], [{5}], {6}, {7};",
            ),
            in(reg32) destination,
            in(reg64) map,
            in(reg32) x,
            in(reg32) y,
            in(reg32) z,
            in(reg32) barrier.0,
            in(reg16) ranks,
            in(reg64) policy.bits(),
            options(nostack),
        );
    }
}
