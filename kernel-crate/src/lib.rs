//! The NVFP4 gated dual GEMM for NVIDIA Blackwell: kernels, and the contract between device and host.

#![no_std]

pub mod contract;
