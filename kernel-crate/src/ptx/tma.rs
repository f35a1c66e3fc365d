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

macro_rules! tiles {
    ($($rank:literal $load:ident $store:ident $dimension:literal [$($x:literal)*] $first:literal $second:literal $third:literal;)*) => {
        $(
            /// Copies one box of a tensor of this rank to shared memory. One thread; returns before
            /// the copy is done. Operands as for [`load_3d`].
            #[inline(always)]
            pub fn $load(destination: u32, map: u64, coordinates: [u32; $rank], barrier: Mbarrier) {
                // SAFETY: as for `load_3d`.
                unsafe {
                    asm!(
                        concat!(
                            "cp.async.bulk.tensor.", $dimension,
                            ".shared::cta.global.tile.mbarrier::complete_tx::bytes [{", $first, "}], [{", $second,
                            "}, {{", tiles!(@list $($x)*), "}}], [{", $third, "}];"
                        ),
                        $(in(reg32) coordinates[$x],)*
                        in(reg32) destination,
                        in(reg64) map,
                        in(reg32) barrier.0,
                        options(nostack),
                    );
                }
            }

            /// Copies one box of a tensor of this rank from shared memory, as part of the thread's
            /// current bulk group. PTX ISA §9.7.9.27.1.2. One thread; `source` is 128-byte aligned and
            /// not written until the group has been waited for. Elements out of bounds are not
            /// written.
            #[inline(always)]
            pub fn $store(source: u32, map: u64, coordinates: [u32; $rank]) {
                // SAFETY: as documented.
                unsafe {
                    asm!(
                        concat!(
                            "cp.async.bulk.tensor.", $dimension, ".global.shared::cta.tile.bulk_group [{", $second,
                            "}, {{", tiles!(@list $($x)*), "}}], [{", $first, "}];"
                        ),
                        $(in(reg32) coordinates[$x],)*
                        in(reg32) source,
                        in(reg64) map,
                        options(nostack),
                    );
                }
            }
        )*
    };
    (@list $first:literal $($rest:literal)*) => {
        concat!("{", $first, "}", $(", {", $rest, "}"),*)
    };
}

tiles! {
    1 load_tile_1d store_tile_1d "1d" [0] 1 2 3;
    2 load_tile_2d store_tile_2d "2d" [0 1] 2 3 4;
    3 load_tile_3d store_tile_3d "3d" [0 1 2] 3 4 5;
    4 load_tile_4d store_tile_4d "4d" [0 1 2 3] 4 5 6;
    5 load_tile_5d store_tile_5d "5d" [0 1 2 3 4] 5 6 7;
}

/// As [`load_tile_2d`], into each CTA of the cluster whose bit of `ctas` is set, at the same offset,
/// crediting the barrier at the same offset there.
#[inline(always)]
pub fn load_tile_2d_multicast(
    destination: u32,
    map: u64,
    [x, y]: [u32; 2],
    barrier: Mbarrier,
    ctas: u16,
) {
    // SAFETY: as for `load_3d`, in every CTA of the mask.
    unsafe {
        asm!(
            concat!(
                "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster ",
                "[{0}], [{1}, {{{2}, {3}}}], [{4}], {5};",
            ),
            in(reg32) destination,
            in(reg64) map,
            in(reg32) x,
            in(reg32) y,
            in(reg32) barrier.0,
            in(reg16) ctas,
            options(nostack),
        );
    }
}

macro_rules! tile_reductions {
    ($($function:ident: $operation:literal;)*) => {
        $(
            /// Reduces one box from shared memory into a 2-D tensor, element by element by the tensor's
            /// type, as part of the thread's current bulk group. PTX ISA §9.7.9.27.1.3
            /// `cp.reduce.async.bulk.tensor`. Otherwise as [`store_tile_2d`].
            #[inline(always)]
            pub fn $function(source: u32, map: u64, [x, y]: [u32; 2]) {
                // SAFETY: as for `store_tile_2d`.
                unsafe {
                    asm!(
                        concat!(
                            "cp.reduce.async.bulk.tensor.2d.global.shared::cta.", $operation,
                            ".tile.bulk_group [{0}, {{{1}, {2}}}], [{3}];"
                        ),
                        in(reg64) map,
                        in(reg32) x,
                        in(reg32) y,
                        in(reg32) source,
                        options(nostack),
                    );
                }
            }
        )*
    };
}

tile_reductions! {
    reduce_tile_add: "add";
    reduce_tile_min: "min";
    reduce_tile_max: "max";
    reduce_tile_inc: "inc";
    reduce_tile_dec: "dec";
    reduce_tile_and: "and";
    reduce_tile_or: "or";
    reduce_tile_xor: "xor";
}
