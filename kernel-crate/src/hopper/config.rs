//! The tile shapes as types: what an entry is generic over.

use super::ring::RingOf;
use crate::contract::hopper::{RingPlan, SharedPlan, TileShape, arrivals};
use crate::ptx::registers;
use crate::ptx::wgmma::Accumulator;

/// A tile shape.
pub trait Config: Copy {
    const SHAPE: TileShape;
    const PLAN: SharedPlan = SharedPlan::new(Self::SHAPE);
    const TOKENS: u32 = Self::SHAPE.tokens;
    /// A warpgroup's sums: 64 rows of weights × the tokens.
    type Sums: Accumulator;

    /// Takes the registers of a warpgroup that multiplies. All its warps, converged.
    fn take_consumer_registers();

    /// Keeps the registers of a warp that dequantises activations. All warps of its warpgroup, converged.
    fn take_dequantize_registers();

    /// Keeps the registers of a warp that copies. All warps of its warpgroup, converged.
    fn take_copy_registers();
}

/// The ring of weights.
#[derive(Clone, Copy)]
pub struct Stages<C: Config>(core::marker::PhantomData<C>);

/// The ring of activations as they are in memory.
#[derive(Clone, Copy)]
pub struct Packed<C: Config>(core::marker::PhantomData<C>);

/// The ring of dequantised activations.
#[derive(Clone, Copy)]
pub struct Slots<C: Config>(core::marker::PhantomData<C>);

impl<C: Config> RingOf for Stages<C> {
    const PLAN: RingPlan = C::PLAN.stages;
    const FULL_ARRIVALS: u32 = arrivals::STAGE_FULL;
    const EMPTY_ARRIVALS: u32 = arrivals::STAGE_EMPTY;
}

impl<C: Config> RingOf for Packed<C> {
    const PLAN: RingPlan = C::PLAN.packed;
    const FULL_ARRIVALS: u32 = arrivals::PACKED_FULL;
    const EMPTY_ARRIVALS: u32 = arrivals::packed_empty(C::SHAPE);
}

impl<C: Config> RingOf for Slots<C> {
    const PLAN: RingPlan = C::PLAN.slots;
    const FULL_ARRIVALS: u32 = arrivals::slot_full(C::SHAPE);
    const EMPTY_ARRIVALS: u32 = arrivals::slot_empty(C::SHAPE);
}

macro_rules! config {
    ($name:ident, $design:ident, $tokens:literal) => {
        #[derive(Clone, Copy)]
        pub struct $name;

        impl Config for $name {
            const SHAPE: TileShape = TileShape::$design($tokens);
            type Sums = [f32; $tokens / 2];

            #[inline(always)]
            fn take_consumer_registers() {
                registers::increase_to::<{ Self::SHAPE.consumer_registers() }>();
            }

            #[inline(always)]
            fn take_dequantize_registers() {
                registers::decrease_to::<{ Self::SHAPE.dequantize_registers() }>();
            }

            #[inline(always)]
            fn take_copy_registers() {
                registers::decrease_to::<{ Self::SHAPE.copy_registers() }>();
            }
        }
    };
}

config!(DecodeM8, decode, 8);
config!(DecodeM16, decode, 16);
config!(DecodeM32, decode, 32);
config!(DecodeM64, decode, 64);
config!(DecodeM128, decode, 128);
config!(PrefillM128, prefill, 128);
config!(PrefillM256, prefill, 256);
