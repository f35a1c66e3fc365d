//! Adds two vectors: the smallest whole program.
//!
//! ```sh
//! cargo run --package ptx-emulator --example vector_add
//! ```

use std::error::Error;

use ptx_emulator::{Emulator, LaunchShape};

const PTX: &str = r"
.version 8.8
.target sm_100a
.address_size 64

.visible .entry vector_add(
    .param .u64 a, .param .u64 b, .param .u64 sum, .param .u32 count
)
{
    .reg .pred %outside;
    .reg .b32 %i, %count, %block, %size;
    .reg .f32 %x, %y;
    .reg .b64 %a, %b, %sum, %offset;

    mov.u32 %block, %ctaid.x;
    mov.u32 %size, %ntid.x;
    mov.u32 %i, %tid.x;
    mad.lo.u32 %i, %block, %size, %i;
    ld.param.u32 %count, [count];
    setp.ge.u32 %outside, %i, %count;
    @%outside ret;

    ld.param.u64 %a, [a];
    ld.param.u64 %b, [b];
    ld.param.u64 %sum, [sum];
    mul.wide.u32 %offset, %i, 4;
    add.u64 %a, %a, %offset;
    add.u64 %b, %b, %offset;
    add.u64 %sum, %sum, %offset;
    ld.global.f32 %x, [%a];
    ld.global.f32 %y, [%b];
    add.f32 %x, %x, %y;
    st.global.f32 [%sum], %x;
    ret;
}
";

const COUNT: u32 = 1000;
const BLOCK: u32 = 128;

fn main() -> Result<(), Box<dyn Error>> {
    let emulator = Emulator::default();
    let module = emulator.load(PTX)?;
    let kernel = module.kernel("vector_add")?;

    let a: Vec<f32> = (0..COUNT).map(|i| i as f32).collect();
    let b: Vec<f32> = (0..COUNT).map(|i| 0.5 * i as f32).collect();
    let (device_a, device_b) = (emulator.upload(&a)?, emulator.upload(&b)?);
    let sum = emulator.allocate::<f32>(COUNT as usize)?;

    let shape = LaunchShape::linear(COUNT.div_ceil(BLOCK), BLOCK);
    let report = emulator.launch(&kernel, shape, &[&device_a, &device_b, &sum, &COUNT])?;

    let expected: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
    assert_eq!(sum.read(), expected);
    println!(
        "{COUNT} sums right on {}: {} CTAs, {} warp instructions",
        emulator.properties().name,
        report.ctas,
        report.warp_instructions
    );
    Ok(())
}
