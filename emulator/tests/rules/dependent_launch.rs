//! `griddepcontrol` (PTX ISA §9.7.13.13) and grids that overlap.

use std::sync::Arc;

use ptx_emulator::isa::{self, LoadEnvironment, LoadError};
use ptx_emulator::machine::report::Site;
use ptx_emulator::machine::{
    DependentRace, Device, DeviceProperties, FailureKind, Launch, LaunchFailure, LaunchOptions,
    Mode,
};

/// Threads of a CTA, and CTAs of a grid.
const THREADS: u32 = 64;
const CTAS: u32 = 3;
const WORDS: usize = (THREADS * CTAS) as usize;

/// What the buffers hold before: `x` the index, the others this.
const OLD: u32 = 0xEEEE_EEEE;

/// Three buffers of a word per thread. In the kernels' bodies, `%rd0` to `%rd2` point to the thread's words of `x`, `y`
/// and `z`, and `%rd4` to `%rd6` to their first words; `%r0` is its index in the CTA and `%r1` in the grid.
struct Chain {
    device: Arc<Device>,
    buffers: [u64; 3],
    launches: Vec<Launch>,
}

impl Chain {
    /// The kernels are named `k0`, `k1`, and so on.
    fn new(bodies: &[&str]) -> Self {
        let text = text(bodies);
        Self::of_text(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    /// Launches of a text's kernels, by name.
    fn of_text(text: &str) -> Result<Self, LoadError> {
        let environment = LoadEnvironment { shared_base: 1024 };
        let module = isa::load(text, &environment, &mut |_| Err("no variables".to_owned()))?;
        let device = Arc::new(Device::new(DeviceProperties::b200()));
        let buffers = [(); 3].map(|()| device.memory.allocate(4 * WORDS as u64).unwrap());
        let mut kernels: Vec<_> = module.kernels.into_values().collect();
        kernels.sort_by(|a, b| a.name.cmp(&b.name));
        let launch = |kernel| Launch {
            kernel,
            grid: [CTAS, 1, 1],
            block: [THREADS, 1, 1],
            cluster: [1; 3],
            dynamic_shared_bytes: 0,
            cooperative: false,
            params: buffers.map(u64::to_le_bytes).concat(),
            options: LaunchOptions::default(),
        };
        Ok(Self {
            device,
            buffers,
            launches: kernels.into_iter().map(launch).collect(),
        })
    }

    fn mode(mut self, mode: Mode) -> Self {
        for launch in &mut self.launches {
            launch.options.mode = mode;
        }
        self
    }

    /// What `z` holds when all is done.
    fn launch(&self) -> Result<Vec<u32>, LaunchFailure> {
        let [x, y, z] = self.buffers;
        let memory = &self.device.memory;
        let indices: Vec<u8> = (0..WORDS as u32).flat_map(u32::to_le_bytes).collect();
        memory.write(x, &indices).unwrap();
        for buffer in [y, z] {
            let old = OLD.to_le_bytes();
            memory.fill(buffer, &old, WORDS as u64).unwrap();
        }
        self.device.launch_chain(&self.launches)?;
        let mut bytes = vec![0; 4 * WORDS];
        memory.read(z, &mut bytes).unwrap();
        let words = bytes.as_chunks().0.iter();
        Ok(words.map(|word| u32::from_le_bytes(*word)).collect())
    }

    fn run(&self) -> Vec<u32> {
        self.launch().unwrap_or_else(|failure| panic!("{failure}"))
    }

    fn race(&self) -> (DependentRace, Site) {
        let failure = self.launch().unwrap_err();
        match (failure.kind, failure.site) {
            (FailureKind::Dependent(race), Some(site)) => (*race, *site),
            (kind, _) => panic!("{kind}"),
        }
    }
}

fn text(bodies: &[&str]) -> String {
    let kernels: String = bodies.iter().enumerate().map(kernel).collect();
    format!(".version 8.8\n.target sm_100a\n.address_size 64\n{kernels}")
}

/// A grid, its dependent, and the dependent of that.
pub fn example() -> String {
    let (dependent, last) = (format!("{WAIT}\n{PRODUCER}"), format!("{WAIT}\n{COPY}"));
    text(&[PRODUCER, &dependent, &last])
}

/// A device, and the launches of a changed [`example`].
pub fn with_text(text: &str) -> Result<(Arc<Device>, Vec<Launch>), LoadError> {
    let chain = Chain::of_text(text)?;
    Ok((chain.device, chain.launches))
}

fn kernel((index, body): (usize, &&str)) -> String {
    format!(
        r"
.visible .entry k{index}(.param .u64 x, .param .u64 y, .param .u64 z)
{{
    .reg .pred %p<8>;
    .reg .b32 %r<16>;
    .reg .b64 %rd<16>;
    .shared .align 8 .b64 barrier;
    ld.param.u64 %rd4, [x];
    ld.param.u64 %rd5, [y];
    ld.param.u64 %rd6, [z];
    mov.u32 %r0, %tid.x;
    mov.u32 %r1, %ctaid.x;
    mov.u32 %r2, %ntid.x;
    mad.lo.u32 %r1, %r1, %r2, %r0;
    mul.wide.u32 %rd3, %r1, 4;
    add.u64 %rd0, %rd4, %rd3;
    add.u64 %rd1, %rd5, %rd3;
    add.u64 %rd2, %rd6, %rd3;
{body}
    ret;
}}
"
    )
}

/// y = x + 1, after the dependents were launched.
const PRODUCER: &str = "griddepcontrol.launch_dependents;
    ld.global.u32 %r3, [%rd0];
    add.u32 %r3, %r3, 1;
    st.global.u32 [%rd1], %r3;";

/// z = y
const COPY: &str = "ld.global.u32 %r4, [%rd1];
    st.global.u32 [%rd2], %r4;";

const WAIT: &str = "griddepcontrol.wait;";

fn successors() -> Vec<u32> {
    (1..=WORDS as u32).collect()
}

#[test]
fn a_dependent_that_waits_sees_what_was_written_after_it_was_launched() {
    for mode in [Mode::Fast, Mode::Check] {
        let consumer = format!("{WAIT}\n{COPY}");
        let chain = Chain::new(&[PRODUCER, &consumer]).mode(mode);
        assert_eq!(chain.run(), successors());
    }
}

#[test]
fn a_dependent_that_does_not_wait_is_early() {
    let chain = Chain::new(&[PRODUCER, COPY]);
    let (race, site) = chain.race();
    assert_eq!(race.kernel, "k0");
    assert_eq!((race.now, race.before), ("reads", "writes"));
    let y = chain.buffers[1];
    assert_eq!(race.overlap, y..y + 128);
    assert_eq!(race.source.text, "st.global.u32 [%rd1], %r3;");
    assert_eq!(site.source.text, "ld.global.u32 %r4, [%rd1];");
    assert_eq!((site.cta, site.warp, site.lanes), ([0; 3], 0, u32::MAX));
    assert_eq!((race.cta, race.warp), ([0; 3], 0));
    let text = chain.launch().unwrap_err().to_string();
    assert!(text.contains("E14") && text.contains("no griddepcontrol.wait before"));
    // Nobody looks in fast mode, but the dependent reads too early there as well.
    assert_eq!(chain.mode(Mode::Fast).run(), [OLD; WORDS]);
}

#[test]
fn what_was_written_before_the_launch_of_dependents_is_not_visible_either() {
    let producer = "st.global.u32 [%rd1], 1;\ngriddepcontrol.launch_dependents;";
    let (race, _) = Chain::new(&[producer, COPY]).race();
    assert_eq!(race.source.text, "st.global.u32 [%rd1], 1;");
}

#[test]
fn other_data_may_be_accessed_before_the_wait() {
    let consumer = "ld.global.u32 %r4, [%rd0];
    st.global.u32 [%rd2], %r4;
    griddepcontrol.wait;
    ld.global.u32 %r5, [%rd1];
    add.u32 %r4, %r4, %r5;
    st.global.u32 [%rd2], %r4;";
    let sums: Vec<u32> = (0..WORDS as u32).map(|x| 2 * x + 1).collect();
    assert_eq!(Chain::new(&[PRODUCER, consumer]).run(), sums);
}

#[test]
fn what_the_grid_before_reads_must_not_be_overwritten_early() {
    let consumer = "st.global.u32 [%rd0], 7;\ngriddepcontrol.wait;";
    let (race, site) = Chain::new(&[PRODUCER, consumer]).race();
    assert_eq!((race.now, race.before), ("writes", "reads"));
    assert_eq!(site.source.text, "st.global.u32 [%rd0], 7;");
}

/// One warp waits for the grid, and the others for that warp.
#[test]
fn a_wait_counts_for_threads_that_are_ordered_behind_it() {
    let consumer = format!(
        "setp.lt.u32 %p1, %r0, 32;
    @%p1 griddepcontrol.wait;
    bar.sync 0;
    {COPY}"
    );
    assert_eq!(Chain::new(&[PRODUCER, &consumer]).run(), successors());
    let alone = consumer.replace("bar.sync 0;", "");
    let (_, site) = Chain::new(&[PRODUCER, &alone]).race();
    assert_eq!(site.warp, 1);
}

/// They are in flight when the CTA waits.
#[test]
fn asynchronous_copies_before_the_wait_are_early() {
    let consumer = format!(
        "mov.u32 %r5, barrier;
    setp.eq.u32 %p1, %r0, 0;
    @%p1 cp.async.ca.shared.global [%r5], [%rd5], 8;
    {WAIT}
    cp.async.wait_all;
    {COPY}"
    );
    let (race, site) = Chain::new(&[PRODUCER, &consumer]).race();
    assert!(site.source.text.contains("cp.async"), "{site:?}");
    assert_eq!(race.overlap.end - race.overlap.start, 8);
}

/// All CTAs have to launch them; those that exit count as well, and those that wait for others do it late.
#[test]
fn dependents_start_when_every_cta_has_launched_them_or_exited() {
    // CTA 0 waits for a word of the last one, which that writes when it has launched dependents.
    let producer = "mov.u32 %r3, %ctaid.x;
    setp.eq.u32 %p1, %r3, 0;
    setp.eq.u32 %p2, %r3, 2;
    @!%p2 bra POLLING;
    griddepcontrol.launch_dependents;
    st.volatile.global.u32 [%rd1], 5;
    bra DONE;
POLLING:
    @!%p1 bra DONE;
    ld.volatile.global.u32 %r4, [%rd5+512];
    setp.ne.u32 %p3, %r4, 5;
    @%p3 bra POLLING;
    griddepcontrol.launch_dependents;
    st.global.u32 [%rd1], 6;
DONE:";
    let consumer = format!("{WAIT}\n{COPY}");
    let expected: Vec<u32> = [6, OLD, 5]
        .iter()
        .flat_map(|&value| [value; THREADS as usize])
        .collect();
    assert_eq!(Chain::new(&[producer, &consumer]).run(), expected);
}

/// The second grid is a dependent and has one.
#[test]
fn dependents_may_have_dependents() {
    let second = "griddepcontrol.launch_dependents;
    griddepcontrol.wait;
    ld.global.u32 %r4, [%rd1];
    add.u32 %r4, %r4, 10;
    st.global.u32 [%rd1], %r4;";
    let third = format!("{WAIT}\n{COPY}");
    let expected: Vec<u32> = (11..11 + WORDS as u32).collect();
    assert_eq!(Chain::new(&[PRODUCER, second, &third]).run(), expected);
    let (race, _) = Chain::new(&[PRODUCER, second, COPY]).race();
    assert_eq!(race.kernel, "k1");
}

/// More CTAs than are suspended at a time.
#[test]
fn large_grids_overlap_in_part() {
    let mut chain = Chain::new(&[PRODUCER, &format!("{WAIT}\n{COPY}")]);
    for launch in &mut chain.launches {
        launch.grid = [2500, 1, 1];
        launch.block = [1, 1, 1];
    }
    chain.buffers = [(); 3].map(|()| chain.device.memory.allocate(4 * 2500).unwrap());
    for launch in &mut chain.launches {
        launch.params = chain.buffers.map(u64::to_le_bytes).concat();
    }
    assert_eq!(chain.run(), successors());
    let mut early = Chain::new(&[PRODUCER, COPY]);
    early.device = chain.device;
    early.buffers = chain.buffers;
    for (launch, other) in early.launches.iter_mut().zip(&chain.launches) {
        launch.grid = other.grid;
        launch.block = other.block;
        launch.params.clone_from(&other.params);
    }
    early.race();
}

#[test]
fn a_dependent_that_cannot_go_on_is_told_from_one_that_waits() {
    let consumer = "griddepcontrol.wait;
    mov.u32 %r5, barrier;
    mbarrier.init.shared::cta.b64 [%r5], 1;
WAITING:
    mbarrier.try_wait.parity.shared::cta.b64 %p1, [%r5], 0;
    @!%p1 bra WAITING;";
    let mut chain = Chain::new(&[PRODUCER, consumer]);
    for launch in &mut chain.launches {
        launch.block = [1, 1, 1];
    }
    let failure = chain.launch().unwrap_err();
    assert!(
        matches!(failure.kind, FailureKind::Deadlock(_)),
        "{failure}"
    );
}
