//! The machine's rules, each shown by a small PTX program that fails when the rule is broken.

mod asynchronous;
mod collectives;
mod divergence;
mod launches;
mod mbarriers;
mod memory;
mod named_barriers;
mod observing;
mod residency;
mod schedules;
mod tensor;

use std::sync::Arc;

use super::*;
use crate::isa::{self, LoadEnvironment};

/// Words of the output buffer.
const WORDS: usize = 2048;

/// Static shared memory that programs may use.
const SHARED_BYTES: u32 = 32 * 1024;

const POLICIES: [Asynchrony; 6] = [
    Asynchrony::Late,
    Asynchrony::SlowMemory { warp: 0 },
    Asynchrony::Early,
    Asynchrony::Random { seed: 1 },
    Asynchrony::Random { seed: 2 },
    Asynchrony::Random { seed: 3 },
];

/// A program and how it is launched. Its kernel has a pointer to [`WORDS`] zeroed words in `%rd0`, `%tid.x` in `%r0`,
/// `%laneid` in `%r1`, the address of shared memory in `%r2`, and the address of its own word `out[%tid.x]` in `%rd1`.
struct Program {
    device: Device,
    launch: Launch,
    out: u64,
}

fn program(body: &str) -> Program {
    program_with("", body)
}

/// `directives` stand between the entry's parameters and its body.
fn program_with(directives: &str, body: &str) -> Program {
    let text = format!(
        r"
.version 8.8
.target sm_100a
.address_size 64
.visible .entry kernel(.param .u64 out) {directives}
{{
    .reg .pred %p<32>;
    .reg .b16 %rs<32>;
    .reg .b32 %r<256>;
    .reg .f32 %f<32>;
    .reg .b64 %rd<64>;
    .shared .align 1024 .b8 smem[{SHARED_BYTES}];
    .local .align 16 .b8 stack[64];
    ld.param.u64 %rd0, [out];
    mov.u32 %r0, %tid.x;
    mov.u32 %r1, %laneid;
    mov.u32 %r2, smem;
    mad.wide.u32 %rd1, %r0, 4, %rd0;
{body}
    ret;
}}
"
    );
    let device = Device::new(DeviceProperties::b200());
    let environment = LoadEnvironment {
        shared_base: device.properties.reserved_shared_bytes,
    };
    let module = isa::load(&text, &environment, &mut |_| Err("no variables".to_owned()))
        .unwrap_or_else(|error| panic!("{error}\n{text}"));
    let kernel = Arc::clone(&module.kernels["kernel"]);
    let out = device.memory.allocate(4 * WORDS as u64).unwrap();
    device.memory.fill(out, &[0; 4], WORDS as u64).unwrap();
    Program {
        launch: Launch {
            kernel,
            grid: [1; 3],
            block: [32, 1, 1],
            cluster: [1; 3],
            dynamic_shared_bytes: 0,
            cooperative: false,
            params: out.to_le_bytes().to_vec(),
            options: LaunchOptions {
                schedule: Schedule::default(),
                threads: 1,
                step_limit: 1 << 20,
                ..LaunchOptions::default()
            },
        },
        device,
        out,
    }
}

impl Program {
    fn block(mut self, threads: u32) -> Self {
        self.launch.block = [threads, 1, 1];
        self
    }

    fn policy(mut self, asynchrony: Asynchrony) -> Self {
        self.launch.options.schedule.asynchrony = asynchrony;
        self
    }

    fn try_run(&self) -> Result<LaunchReport, LaunchFailure> {
        self.device.launch(&self.launch)
    }

    /// Runs and returns the output words.
    fn run(&self) -> Vec<u32> {
        if let Err(failure) = self.try_run() {
            panic!("{failure}");
        }
        self.output()
    }

    fn output(&self) -> Vec<u32> {
        let mut bytes = vec![0; 4 * WORDS];
        self.device.memory.read(self.out, &mut bytes).unwrap();
        let (words, _) = bytes.as_chunks::<4>();
        words.iter().map(|word| u32::from_le_bytes(*word)).collect()
    }

    /// Runs and returns the failure, whose site has to be the line that contains `text`.
    fn fail_at(&self, text: &str) -> FailureKind {
        let failure = self.try_run().expect_err("the program has to fail");
        let site = failure
            .site
            .as_ref()
            .unwrap_or_else(|| panic!("no site in: {failure}"));
        assert!(site.source.text.contains(text), "{failure}");
        failure.kind
    }

    fn fail(&self) -> FailureKind {
        self.try_run().expect_err("the program has to fail").kind
    }
}
