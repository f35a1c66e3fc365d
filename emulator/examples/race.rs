//! A kernel that forgets to wait for its copy, and the report of it.
//!
//! On a device it would be right most of the time: the copy is often done before it is read.
//!
//! ```sh
//! cargo run --package ptx-emulator --example race
//! ```

use std::error::Error;

use ptx_emulator::{Emulator, LaunchError, LaunchShape};

/// Copies 128 bytes to shared memory, and each lane returns its word of them.
fn kernel(wait: &str) -> String {
    format!(
        r"
.version 8.8
.target sm_100a
.address_size 64

.visible .entry copy(.param .u64 input, .param .u64 output)
{{
    .reg .pred %first, %done;
    .reg .b32 %lane, %tile, %full, %word, %value;
    .reg .b64 %input, %output, %offset;
    .shared .align 128 .b8 tile[128];
    .shared .align 8 .b64 full;

    ld.param.u64 %input, [input];
    ld.param.u64 %output, [output];
    mov.u32 %lane, %laneid;
    mov.u32 %tile, tile;
    mov.u32 %full, full;
    setp.eq.u32 %first, %lane, 0;

    @%first mbarrier.init.shared::cta.b64 [%full], 1;
    fence.mbarrier_init.release.cluster;
    bar.sync 0;
    @%first mbarrier.arrive.expect_tx.shared::cta.b64 _, [%full], 128;
    @%first cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%tile], [%input], 128, [%full];
    {wait}
    shl.b32 %word, %lane, 2;
    add.u32 %word, %word, %tile;
    ld.shared.u32 %value, [%word];
    mul.wide.u32 %offset, %lane, 4;
    add.u64 %output, %output, %offset;
    st.global.u32 [%output], %value;
    ret;
}}
"
    )
}

const WAIT: &str = r"
WAIT:
    mbarrier.try_wait.parity.shared::cta.b64 %done, [%full], 0;
    @!%done bra WAIT;";

fn run(ptx: &str) -> Result<Result<Vec<u32>, LaunchError>, Box<dyn Error>> {
    let emulator = Emulator::default();
    let module = emulator.load(ptx)?;
    let kernel = module.kernel("copy")?;
    let input: Vec<u32> = (0..32).map(|i| i * i).collect();
    let (input, output) = (emulator.upload(&input)?, emulator.allocate::<u32>(32)?);
    let launched = emulator.launch(&kernel, LaunchShape::linear(1, 32), &[&input, &output]);
    Ok(launched.map(|_| output.read()))
}

fn main() -> Result<(), Box<dyn Error>> {
    match run(&kernel(""))? {
        Ok(_) => return Err("the missing wait was not noticed".into()),
        Err(report) => println!("without the wait:\n{report}\n"),
    }
    println!("with it: {:?}", run(&kernel(WAIT))??);
    Ok(())
}
