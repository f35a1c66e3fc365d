//! Runs a case on the emulator.

use std::sync::Arc;

use ptx_emulator::isa::{self, LoadEnvironment};
use ptx_emulator::machine::{Device, DeviceProperties, Launch, LaunchOptions};

use crate::cases::Case;

/// The output words, or why there are none.
pub fn run(case: &Case) -> Result<Vec<u32>, String> {
    let properties = DeviceProperties::h200();
    let environment = LoadEnvironment {
        shared_base: properties.reserved_shared_bytes,
    };
    let device = Device::new(properties);
    let module = isa::load(&case.ptx, &environment, &mut |_| {
        Err("no variables".to_owned())
    })
    .map_err(|error| error.to_string())?;
    let bytes = 4 * case.output_words as u64;
    let memory = &device.memory;
    let out = memory.allocate(bytes).map_err(|e| e.to_string())?;
    let input = memory
        .allocate(case.input.len() as u64)
        .map_err(|e| e.to_string())?;
    memory
        .write(input, &case.input)
        .map_err(|e| e.to_string())?;
    let launch = Launch {
        kernel: Arc::clone(&module.kernels["kernel"]),
        grid: [case.ctas, 1, 1],
        block: [case.threads, 1, 1],
        cluster: [1; 3],
        dynamic_shared_bytes: 0,
        cooperative: false,
        params: [out.to_le_bytes(), input.to_le_bytes()].concat(),
        options: LaunchOptions::default(),
    };
    device.launch(&launch).map_err(|e| e.to_string())?;
    let mut bytes = vec![0; 4 * case.output_words];
    memory.read(out, &mut bytes).map_err(|e| e.to_string())?;
    Ok(bytes
        .as_chunks()
        .0
        .iter()
        .map(|word| u32::from_le_bytes(*word))
        .collect())
}
