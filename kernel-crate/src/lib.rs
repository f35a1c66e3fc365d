#![no_std]
//! The kernels and the contract that device and host share.
