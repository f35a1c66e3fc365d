//! The tensor memory accelerator: tensor maps, tiles, swizzles.
//!
//! A [`TensorMap`] is what `cuTensorMapEncodeTiled` builds and `cp.async.bulk.tensor` reads; [`tile::load_tile`] is the
//! functional effect of one load, [`read_tile`] and [`pieces`] are the two steps of a store, without their timing;
//! [`swizzle`] is the permutation of shared memory that all obey.

pub mod bulk;
mod store;
pub mod swizzle;
pub mod tensor_map;
pub mod tile;

pub use bulk::{BulkCopyError, check_bulk_copy};
pub use store::{check_store, pieces, read_tile};
pub use swizzle::Swizzle;
pub use tensor_map::{
    DataType, Field, Interleave, L2Promotion, OutOfBoundsFill, TensorMap, TensorMapError,
    TiledDescription, replace,
};
pub use tile::{GlobalRead, GlobalReadError, TmaFault, chunks, extent, load_tile};
