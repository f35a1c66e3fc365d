// A `cust` program that knows nothing of the emulator: `NVFP4_DEVICE=emulator cargo run --example vector_add`.

use cust::prelude::*;
use nvfp4_dual_gemm as _; // defines the driver functions that `cust` links to

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let _context = cust::quick_init()?;
    let module = Module::from_ptx(include_str!("vector_add.ptx"), &[])?;
    let vector_add = module.get_function("vector_add")?;
    let stream = Stream::new(StreamFlags::DEFAULT, None)?;

    let a: Vec<f32> = (0..1000).map(|i| i as f32).collect();
    let b: Vec<f32> = a.iter().map(|x| 0.5 * x).collect();
    let (device_a, device_b) = (a.as_slice().as_dbuf()?, b.as_slice().as_dbuf()?);
    let device_c = DeviceBuffer::<f32>::zeroed(a.len())?;
    // SAFETY: the kernel's parameters, in order; each buffer holds 1000 elements and outlives the launch.
    unsafe {
        launch!(vector_add<<<8, 128, 0, stream>>>(
            device_a.as_device_ptr(),
            device_b.as_device_ptr(),
            device_c.as_device_ptr(),
            a.len() as u32
        ))?;
    }
    stream.synchronize()?;

    let c = device_c.as_host_vec()?;
    assert!((0..1000).all(|i| c[i] == a[i] + b[i]));
    println!(
        "{}: {} sums are right",
        Device::get_device(0)?.name()?,
        c.len()
    );
    Ok(())
}
