//! A kernel written as PTX text, its buffers, and how it runs.

use std::sync::Arc;

use ptx_emulator::isa::{self, LoadEnvironment, LoadError, Module};
use ptx_emulator::machine::order::Warning;
use ptx_emulator::machine::report::AsyncRace;
use ptx_emulator::machine::{
    Asynchrony, Device, DeviceProperties, FailureKind, Launch, LaunchFailure, LaunchOptions, Mode,
    Schedule,
};
use ptx_emulator::tma::TensorMap;

/// When asynchronous operations take effect must not matter to a program that keeps the rules.
pub const POLICIES: [Asynchrony; 4] = [
    Asynchrony::Late,
    Asynchrony::Early,
    Asynchrony::Random { seed: 1 },
    Asynchrony::Random { seed: 2 },
];

/// Offset of `smem` in the CTA's shared window: what the driver reserves lies before it.
pub const SMEM: u32 = 1024;

/// Bytes of `smem`.
pub const SMEM_BYTES: u32 = 96 * 1024;

/// Words of the output buffer: all of tensor memory.
const OUT_WORDS: usize = 128 * 512;

/// What output and shared memory hold where nothing was written.
const UNTOUCHED: u8 = 0xEE;

/// A kernel and its buffers.
///
/// In the body, `%rd0` points to the output words, `%rd1` to the input bytes, and `%rd2` is the generic address of the
/// tensor map, a parameter. `%r0` is the thread, `%r1` the address of `smem` (aligned to 1024 bytes), `%r2` the lane.
/// `%p31` holds in thread 0 only. The body may use `%r3` to `%r199` (`%r` up to 399 where it says so itself), `%rd3` to
/// `%rd49`, `%p0` to `%p19` and `%rs`.
pub struct Program {
    text: String,
    device: Arc<Device>,
    launch: Launch,
    out: u64,
    input: u64,
    /// What the input buffer holds when the kernel starts.
    initial: Vec<u8>,
}

impl Program {
    pub fn new(body: &str) -> Program {
        Program::with_input(body, &[0; 16])
    }

    /// A program whose input buffer holds `input`, and nothing beyond it.
    pub fn with_input(body: &str, input: &[u8]) -> Program {
        Program::of_text(&kernel_text(body), DeviceProperties::b200(), input)
    }

    /// A program whose kernel has launch directives.
    pub fn with_directives(directives: &str, body: &str) -> Program {
        let text = kernel_text(body).replacen(")\n{", &format!(")\n{directives}\n{{"), 1);
        Program::of_text(&text, DeviceProperties::b200(), &[0; 16])
    }

    /// [`Program::with_input`] for a Hopper GPU.
    pub fn on_hopper(body: &str, input: &[u8]) -> Program {
        Program::of_text(&hopper_text(body), DeviceProperties::h100(), input)
    }

    fn of_text(text: &str, properties: DeviceProperties, input: &[u8]) -> Program {
        let device = Arc::new(Device::new(properties));
        let module = load(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let out = device.memory.allocate(4 * OUT_WORDS as u64).unwrap();
        let at = device.memory.allocate(input.len() as u64).unwrap();
        let launch = Launch {
            kernel: Arc::clone(&module.kernels["kernel"]),
            grid: [1; 3],
            block: [32, 1, 1],
            cluster: [1; 3],
            dynamic_shared_bytes: SMEM_BYTES,
            cooperative: false,
            params: [out.to_le_bytes(), at.to_le_bytes()].concat(),
            options: LaunchOptions {
                schedule: Schedule::default(),
                threads: 1,
                step_limit: 1 << 20,
                ..LaunchOptions::default()
            },
        };
        let mut program = Program {
            text: text.to_owned(),
            device,
            launch,
            out,
            input: at,
            initial: input.to_vec(),
        };
        program.set_parameter(&[0; 128]);
        program
    }

    pub fn mode(mut self, mode: Mode) -> Program {
        self.launch.options.mode = mode;
        self
    }

    pub fn threads(mut self, threads: u32) -> Program {
        self.launch.block = [threads, 1, 1];
        self
    }

    /// One cluster of so many CTAs.
    pub fn grid(mut self, ctas: [u32; 3]) -> Program {
        self.launch.grid = ctas;
        self
    }

    pub fn cluster(mut self, ctas: u32) -> Program {
        self.launch.grid = [ctas, 1, 1];
        self.launch.cluster = [ctas, 1, 1];
        self
    }

    pub fn launch_mut(&mut self) -> &mut Launch {
        &mut self.launch
    }

    /// Passes the tensor map that `encode` makes for the input's address.
    pub fn map(mut self, encode: impl FnOnce(u64) -> TensorMap) -> Program {
        let map = encode(self.input).to_bytes();
        self.set_parameter(&map);
        self
    }

    /// Passes the 128 bytes of a map, as they are.
    pub fn map_bytes(mut self, bytes: &[u8; 128]) -> Program {
        self.set_parameter(bytes);
        self
    }

    /// The map is the third parameter, aligned to 64 bytes.
    fn set_parameter(&mut self, map: &[u8; 128]) {
        self.launch.params.truncate(16);
        self.launch.params.resize(64, 0);
        self.launch.params.extend(map);
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// The launch of another module in place of this one's, with the buffers as they are at the start.
    pub fn with_text(&self, text: &str) -> Result<(Arc<Device>, Launch), LoadError> {
        let module = load_on(&self.device, text)?;
        self.reset();
        let kernel = module.kernels.into_values().next();
        let launch = Launch {
            kernel: kernel.unwrap_or_else(|| Arc::clone(&self.launch.kernel)),
            ..self.launch.clone()
        };
        Ok((Arc::clone(&self.device), launch))
    }

    fn reset(&self) {
        let memory = &self.device.memory;
        let untouched = [UNTOUCHED; 4];
        memory.fill(self.out, &untouched, OUT_WORDS as u64).unwrap();
        memory.write(self.input, &self.initial).unwrap();
    }

    pub fn input_address(&self) -> u64 {
        self.input
    }

    pub fn launch(&self, asynchrony: Asynchrony) -> Result<Vec<u32>, LaunchFailure> {
        self.reset();
        let mut launch = self.launch.clone();
        launch.options.schedule.asynchrony = asynchrony;
        self.device.launch(&launch)?;
        let mut bytes = vec![0; 4 * OUT_WORDS];
        self.device.memory.read(self.out, &mut bytes).unwrap();
        Ok(bytes
            .as_chunks()
            .0
            .iter()
            .map(|word| u32::from_le_bytes(*word))
            .collect())
    }

    /// Runs under every policy, which must agree, and returns the output words.
    pub fn run(&self) -> Vec<u32> {
        let [first, rest @ ..] = POLICIES.map(|policy| {
            self.launch(policy)
                .unwrap_or_else(|failure| panic!("{policy:?}: {failure}"))
        });
        assert!(rest.iter().all(|out| *out == first), "the policies differ");
        first
    }

    /// [`Program::run`], as the bytes that [`dump_shared`] wrote.
    pub fn run_bytes(&self) -> Vec<u8> {
        self.run().into_iter().flat_map(u32::to_le_bytes).collect()
    }

    /// Runs under every policy, which must agree, and returns what the input buffer then holds.
    pub fn run_in_place(&self) -> Vec<u8> {
        let [first, rest @ ..] = POLICIES.map(|policy| {
            self.launch(policy)
                .unwrap_or_else(|failure| panic!("{policy:?}: {failure}"));
            let mut bytes = vec![0; self.initial.len()];
            self.device.memory.read(self.input, &mut bytes).unwrap();
            bytes
        });
        assert!(rest.iter().all(|out| *out == first), "the policies differ");
        first
    }

    /// The program breaks the rule of order with this id, at the line that contains `text`.
    pub fn breaks(&self, policy: Asynchrony, rule: &str, text: &str) {
        let failure = self.failure(policy);
        let site = failure.site.as_ref().map(|site| &site.source.text);
        match &failure.kind {
            FailureKind::Order(finding) if finding.rule.id() == rule => {}
            _ => panic!("not {rule}: {failure}"),
        }
        assert!(site.is_some_and(|site| site.contains(text)), "{failure}");
    }

    /// What strict mode would refuse of a program that runs, when asynchronous operations complete late.
    pub fn warnings(&self) -> Vec<Warning> {
        self.reset();
        let report = self.device.launch(&self.launch);
        report
            .unwrap_or_else(|failure| panic!("{failure}"))
            .warnings
    }

    pub fn warns(&self, rule: &str) -> bool {
        let warnings = self.warnings();
        warnings.iter().any(|w| w.finding.rule.id() == rule)
    }

    /// The failure of every policy, which must be of one kind; the first policy's.
    pub fn fail(&self) -> LaunchFailure {
        let [first, rest @ ..] = POLICIES.map(|policy| self.failure(policy));
        for other in rest {
            assert_eq!(
                std::mem::discriminant(&first.kind),
                std::mem::discriminant(&other.kind),
                "{first}\n{other}"
            );
        }
        first
    }

    /// The race of a program that fails when asynchronous operations complete as late as they can; elsewhere luck may
    /// save it.
    pub fn race_late(&self) -> AsyncRace {
        let failure = self.fail_late();
        match failure.kind {
            FailureKind::AsyncRace(race) => *race,
            _ => panic!("{failure}"),
        }
    }

    /// The failure of a program whose asynchronous operations complete as late as they can.
    pub fn fail_late(&self) -> LaunchFailure {
        self.failure(Asynchrony::Late)
    }

    fn failure(&self, policy: Asynchrony) -> LaunchFailure {
        match self.launch(policy) {
            Err(failure) => failure,
            Ok(_) => panic!("the program has to fail under {policy:?}"),
        }
    }

    /// [`Program::fail`] at the line that contains `text`.
    pub fn fail_at(&self, text: &str) -> FailureKind {
        let failure = self.fail();
        let site = failure
            .site
            .as_ref()
            .unwrap_or_else(|| panic!("no site in: {failure}"));
        assert!(site.source.text.contains(text), "{failure}");
        failure.kind
    }

    /// [`Program::fail_at`], as text that has to contain `message`.
    pub fn fail_with(&self, text: &str, message: &str) {
        let failure = self.fail_at(text).to_string();
        assert!(failure.contains(message), "{failure}\nlacks: {message}");
    }
}

fn load(text: &str) -> Result<Module, LoadError> {
    let environment = LoadEnvironment { shared_base: SMEM };
    isa::load(text, &environment, &mut |_| Err("no variables".to_owned()))
}

/// Loads a module with variables, whatever version and target it is for.
pub fn load_on(device: &Device, text: &str) -> Result<Module, LoadError> {
    let environment = LoadEnvironment { shared_base: SMEM };
    isa::load(text, &environment, &mut |variable| {
        let bytes = variable.bytes.len().max(1) as u64;
        let address = device.memory.allocate(bytes).map_err(|e| e.to_string())?;
        device
            .memory
            .write(address, &variable.bytes)
            .map_err(|e| e.to_string())?;
        Ok(address)
    })
}

/// [`kernel_text`] for a Hopper GPU.
fn hopper_text(body: &str) -> String {
    kernel_text(body).replace("sm_100a", "sm_90a")
}

/// [`load_error`] for a Hopper GPU.
pub fn load_error_on_hopper(body: &str) -> String {
    match load(&hopper_text(body)) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("the module has to be refused: {body}"),
    }
}

/// Why a kernel with this body is refused before it can run.
pub fn load_error(body: &str) -> String {
    match load(&kernel_text(body)) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("the module has to be refused: {body}"),
    }
}

pub fn kernel_text(body: &str) -> String {
    format!(
        r"
.version 8.8
.target sm_100a
.address_size 64
.extern .shared .align 1024 .b8 smem[];
.visible .entry kernel(.param .u64 out, .param .u64 input, .param .align 64 .b8 map[128])
{{
    .reg .pred %p<32>;
    .reg .b16 %rs<8>;
    .reg .b32 %r<400>;
    .reg .b64 %rd<64>;
    ld.param.u64 %rd0, [out];
    ld.param.u64 %rd1, [input];
    mov.u64 %rd2, map;
    cvta.param.u64 %rd2, %rd2;
    mov.u32 %r0, %tid.x;
    mov.u32 %r1, smem;
    mov.u32 %r2, %laneid;
    setp.eq.u32 %p31, %r0, 0;
{body}
    ret;
}}
"
    )
}

/// Two mbarriers of count 1 at `smem` and `smem + 8`.
pub const BARRIERS: &str = r"
    @%p31 mbarrier.init.shared::cta.b64 [%r1], 1;
    @%p31 mbarrier.init.shared::cta.b64 [%r1+8], 1;
    fence.mbarrier_init.release.cluster;
    bar.sync 0;
";

/// All threads wait for phase `parity` of the barrier at `smem + offset`.
pub fn wait(offset: u32, parity: u32) -> String {
    format!(
        r"
WAIT_{offset}_{parity}:
    mbarrier.try_wait.parity.shared::cta.b64 %p20, [%r1+{offset}], {parity};
    @!%p20 bra WAIT_{offset}_{parity};
"
    )
}

/// Thread 0 loads the first `bytes` input bytes to `smem + offset`, and all threads wait for them. Uses phase 0 of the
/// first of [`BARRIERS`].
pub fn load_input(offset: u32, bytes: usize) -> String {
    format!(
        r"
    add.u32 %r300, %r1, {offset};
    @%p31 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r1], {bytes};
    @%p31 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r300], [%rd1], {bytes}, [%r1];
    {}
",
        wait(0, 0)
    )
}

/// The CTA does `body` for each 4-byte word of `smem + offset` on: its index in bytes is `%r301`, its address
/// `%r302 + offset`.
fn each_word(label: &str, bytes: u32, body: &str) -> String {
    format!(
        r"
    shl.b32 %r301, %r0, 2;
    mov.u32 %r303, %ntid.x;
    shl.b32 %r303, %r303, 2;
{label}:
    setp.ge.u32 %p20, %r301, {bytes};
    @%p20 bra {label}_END;
    add.u32 %r302, %r301, %r1;
    {body}
    add.u32 %r301, %r301, %r303;
    bra {label};
{label}_END:
"
    )
}

/// Overwrites `bytes` bytes from `smem + offset` on with 0xEE.
pub fn clear_shared(offset: u32, bytes: u32) -> String {
    let store = format!("st.shared.u32 [%r302+{offset}], 0xEEEEEEEE;");
    each_word("CLEAR", bytes, &store)
        + r"
    fence.proxy.async.shared::cta;
    bar.sync 0;
"
}

/// Copies `bytes` bytes from `smem + offset` on to the output.
pub fn dump_shared(offset: u32, bytes: u32) -> String {
    let copy = format!(
        r"ld.shared.u32 %r304, [%r302+{offset}];
    cvt.u64.u32 %rd50, %r301;
    add.u64 %rd50, %rd50, %rd0;
    st.global.u32 [%rd50], %r304;"
    );
    each_word("DUMP", bytes, &copy)
}

/// Warp 0 allocates all 512 columns, at `%r4` in every thread.
pub const ALLOCATE: &str = r"
    setp.ge.u32 %p20, %r0, 32;
    @%p20 bra ALLOCATED;
    add.u32 %r300, %r1, 16;
    tcgen05.alloc.cta_group::1.sync.aligned.shared::cta.b32 [%r300], 512;
ALLOCATED:
    tcgen05.fence::before_thread_sync;
    bar.sync 0;
    tcgen05.fence::after_thread_sync;
    ld.shared.u32 %r4, [%r1+16];
";

/// What the CTA's threads have stored to tensor memory is known to all of them.
pub const STORED: &str = r"
    tcgen05.wait::st.sync.aligned;
    tcgen05.fence::before_thread_sync;
    bar.sync 0;
    tcgen05.fence::after_thread_sync;
";

/// Warp 0 frees what [`ALLOCATE`] got, once all threads are here.
pub const FREE: &str = r"
    tcgen05.fence::before_thread_sync;
    bar.sync 0;
    tcgen05.fence::after_thread_sync;
    setp.ge.u32 %p20, %r0, 32;
    @%p20 bra FREED;
    tcgen05.relinquish_alloc_permit.cta_group::1.sync.aligned;
    tcgen05.dealloc.cta_group::1.sync.aligned.b32 %r4, 512;
FREED:
";

/// Copies tensor memory, lane after lane, to the output: 128 threads, thread = lane.
pub fn dump_tensor(columns: u32) -> String {
    format!(
        r"
    mul.lo.u32 %r301, %r0, {columns};
    mul.wide.u32 %rd50, %r301, 4;
    add.u64 %rd50, %rd50, %rd0;
    mov.u32 %r302, 0;
DUMP:
    add.u32 %r303, %r4, %r302;
    tcgen05.ld.sync.aligned.32x32b.x1.b32 {{%r304}}, [%r303];
    tcgen05.wait::ld.sync.aligned;
    st.global.u32 [%rd50], %r304;
    add.u64 %rd50, %rd50, 4;
    add.u32 %r302, %r302, 1;
    setp.lt.u32 %p20, %r302, {columns};
    @%p20 bra DUMP;
"
    )
}

/// What freshly allocated tensor memory holds.
pub const FRESH: u32 = u32::MAX;

/// Bytes without a pattern that a layout error would keep.
pub fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x2545_F491u32;
    (0..bytes)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (state >> 11) as u8
        })
        .collect()
}
