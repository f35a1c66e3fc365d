//! The tensor memory accelerator: tensor maps, tiles, swizzles.
//!
//! A [`TensorMap`] is what `cuTensorMapEncodeTiled` builds and `cp.async.bulk.tensor` reads; [`tile::load_tile`] is the
//! functional effect of one load, without its timing; [`swizzle`] is the permutation of shared memory both obey.

pub mod bulk;
pub mod swizzle;
pub mod tensor_map;
pub mod tile;

pub use bulk::{BulkCopyError, check_bulk_copy};
pub use swizzle::Swizzle;
pub use tensor_map::{
    DataType, Interleave, L2Promotion, OutOfBoundsFill, TensorMap, TensorMapError, TiledDescription,
};
pub use tile::{GlobalRead, GlobalReadError, TmaFault, footprint, load_tile};
