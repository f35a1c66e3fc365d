//! The rules of mbarriers, TMA, bulk copies, tensor memory and the tensor core, each shown by a small PTX program that
//! fails when the rule is broken. `emulator/RULES.md` lists them with their sources.
//!
//! Every program runs under several asynchrony policies, which must not change what it computes. Expected values come
//! from formulas written here, never from the emulator's own functions.

mod atomics;
mod bulk;
mod cluster;
mod collectives;
mod conversions;
mod cp_async;
mod dependent_launch;
mod fragments;
mod global_order;
mod launch_control;
mod matrix_load;
mod mbarrier;
mod mma;
mod mma_kinds;
mod mma_layouts;
mod mma_operands;
mod mma_product;
mod mma_sync;
mod mutation;
mod order;
mod pair;
mod places;
mod program;
mod races;
mod registers;
mod table;
mod tensor_copy;
mod tensor_memory;
mod tensormap;
mod tma;
mod tma_bounds;
mod tma_store;
mod undefined;
mod wgmma;
