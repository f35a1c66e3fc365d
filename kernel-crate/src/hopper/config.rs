//! The tile shapes as types: what an entry is generic over.

use crate::contract::hopper::{SharedPlan, TileShape, tile_shape};
use crate::ptx::wgmma::Accumulator;

/// A tile shape.
pub trait Config: Copy {
    const SHAPE: TileShape;
    const PLAN: SharedPlan = SharedPlan::new(Self::SHAPE);
    const TOKENS: u32 = Self::SHAPE.tokens;
    /// A warpgroup's sums: 64 rows × the tokens.
    type Sums: Accumulator;
}

macro_rules! config {
    ($name:ident, $tokens:literal) => {
        #[derive(Clone, Copy)]
        pub struct $name;

        impl Config for $name {
            const SHAPE: TileShape = tile_shape($tokens);
            type Sums = [f32; $tokens / 2];
        }
    };
}

config!(M8, 8);
config!(M16, 16);
config!(M32, 32);
config!(M64, 64);
config!(M128, 128);
config!(M256, 256);
