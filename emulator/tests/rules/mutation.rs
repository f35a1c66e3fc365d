//! Valid kernels with a few random changes: whatever they do, the emulator does not panic, and the step limit ends them.
//!
//! `PROPTEST_CASES` sets how many are tried.

use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use ptx_emulator::isa::{self, LoadEnvironment};
use ptx_emulator::machine::{
    Asynchrony, Device, DeviceProperties, FailureKind, Launch, LaunchOptions,
};
use ptx_emulator::tma::{
    DataType, Interleave, L2Promotion, OutOfBoundsFill, Swizzle, TensorMap, TiledDescription,
};

use super::mma::{COMMIT, Product, SWIZZLE_128B};
use super::program::*;
use super::tma;

const SHIPPED: &str = include_str!("../../../host-crate/ptx/nvfp4_dual_gemm.sm_100f.ptx");

const STEP_LIMIT: u64 = 1 << 15;

/// Instructions that every warp may execute between two looks at the limit.
const QUANTUM: u64 = 64;

/// A module with one kernel, and how it is launched.
struct Original {
    lines: Vec<String>,
    threads: u32,
    shared_bytes: u32,
    params: fn(&Device) -> Vec<u8>,
}

impl Original {
    fn small(body: &str) -> Original {
        Original {
            lines: kernel_text(body).lines().map(str::to_owned).collect(),
            threads: 128,
            shared_bytes: SMEM_BYTES,
            params: small_params,
        }
    }

    fn launch(
        &self,
        text: &str,
        asynchrony: Asynchrony,
    ) -> Option<Result<u64, (FailureKind, u64)>> {
        let device = Device::new(DeviceProperties::b200());
        let environment = LoadEnvironment { shared_base: SMEM };
        let mut place = |image: &isa::VariableImage| {
            let bytes = (image.bytes.len() as u64).max(1);
            device.memory.allocate(bytes).map_err(|e| e.to_string())
        };
        let module = isa::load(text, &environment, &mut place).ok()?;
        let kernel = module.kernels.into_values().next()?;
        let result = device.launch(&Launch {
            kernel,
            grid: [1; 3],
            block: [self.threads, 1, 1],
            cluster: [1; 3],
            dynamic_shared_bytes: self.shared_bytes,
            params: (self.params)(&device),
            options: LaunchOptions {
                schedule: asynchrony.into(),
                threads: 1,
                step_limit: STEP_LIMIT,
                ..LaunchOptions::default()
            },
        });
        Some(match result {
            Ok(report) => Ok(report.warp_instructions),
            Err(failure) => {
                // What a report prints must not panic either.
                assert!(!failure.to_string().is_empty());
                let steps = match &failure.kind {
                    FailureKind::Hang(report) | FailureKind::Deadlock(report) => report.steps,
                    _ => 0,
                };
                Err((failure.kind, steps))
            }
        })
    }
}

/// The parameters of [`kernel_text`]: output, input, and a map of the input.
fn small_params(device: &Device) -> Vec<u8> {
    let out = device.memory.allocate(4 * 128 * 512).unwrap();
    let input = device.memory.allocate(96 << 10).unwrap();
    device.memory.fill(input, &[0x22], 96 << 10).unwrap();
    let map = tiles().encode(input);
    let mut params = [out.to_le_bytes(), input.to_le_bytes()].concat();
    params.resize(64, 0);
    params.extend(map.to_bytes());
    params
}

fn tiles() -> tma::Tensor {
    tma::Tensor::new(DataType::Uint8, 8, &[256, 64], &[128, 8]).swizzle(Swizzle::B128)
}

const SHIPPED_M: u64 = 128;
const SHIPPED_K: u64 = 512;

/// The shipped kernels' parameter block for M = 128, N of one tile, K = 512: three maps, four addresses and another one,
/// M, N, K, two alphas.
fn shipped_params<const TILE_N: u32>(device: &Device) -> Vec<u8> {
    let buffer = |bytes: u64| {
        let at = device.memory.allocate(bytes).unwrap();
        device.memory.fill(at, &[0x22], bytes).unwrap();
        at
    };
    let map = |rows: u64| {
        let box_rows = rows as u32;
        let pitch = SHIPPED_K / 2;
        let map = TensorMap::encode_tiled(&TiledDescription {
            data_type: DataType::U4x16Align8,
            global_address: buffer(rows * pitch),
            global_dims: &[SHIPPED_K, rows, 1],
            global_strides: &[pitch, rows * pitch],
            box_dims: &[256, box_rows, 1],
            element_strides: &[1, 1, 1],
            interleave: Interleave::None,
            swizzle: Swizzle::B128,
            l2_promotion: L2Promotion::None,
            out_of_bounds: OutOfBoundsFill::Zero,
        });
        map.unwrap().to_bytes()
    };
    let n = u64::from(TILE_N);
    let mut params = [map(SHIPPED_M), map(n), map(n)].concat();
    for bytes in [
        8 * SHIPPED_K,
        8 * SHIPPED_K,
        8 * SHIPPED_K,
        4 * SHIPPED_M * n,
        4 * SHIPPED_M * n,
    ] {
        params.extend(buffer(bytes).to_le_bytes());
    }
    let (one, unused) = (1f32.to_bits(), 0);
    for word in [SHIPPED_M as u32, TILE_N, SHIPPED_K as u32, one, one, unused] {
        params.extend(word.to_le_bytes());
    }
    params
}

static ORIGINALS: LazyLock<Vec<Original>> = LazyLock::new(|| {
    let product = Product::new(64, 4, SWIZZLE_128B, SWIZZLE_128B);
    let mma = super::mma::kernel(&(product.copy_scales() + &product.mmas()))
        // A short dump: the rest is loops.
        .replace(
            "setp.lt.u32 %p20, %r302, 272;",
            "setp.lt.u32 %p20, %r302, 4;",
        );
    let load = format!(
        "{BARRIERS}add.u32 %r10, %r1, 1024;\n\
         @%p31 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r1], 1024;\n@%p31 {}\n{}{}",
        tma::instruction(&[0, 8], "%r10", "%r1"),
        wait(0, 0),
        dump_shared(1024, 1024)
    );
    let store = format!(
        "{BARRIERS}{}@%p31 cp.async.bulk.global.shared::cta.bulk_group [%rd0+64], [%r1+2048], 224;\n\
         @%p31 cp.async.bulk.commit_group;\n@%p31 cp.async.bulk.wait_group 0;\n",
        load_input(2048, 256)
    );
    let ring = r"
    @%p31 mbarrier.init.shared::cta.b64 [%r1], 32;
    @%p31 mbarrier.init.shared::cta.b64 [%r1+8], 32;
    bar.sync 0;
    setp.ge.u32 %p1, %r0, 64;
    @%p1 bra DONE;
    mov.u32 %r10, 0;
    setp.ge.u32 %p1, %r0, 32;
    @%p1 bra CONSUMER;
PRODUCER:
    not.b32 %r13, %r10;
    and.b32 %r13, %r13, 1;
WAIT_EMPTY:
    mbarrier.try_wait.parity.shared::cta.b64 %p2, [%r1+8], %r13;
    @!%p2 bra WAIT_EMPTY;
    st.shared.u32 [%r1+64], %r10;
    mbarrier.arrive.shared::cta.b64 _, [%r1];
    add.u32 %r10, %r10, 1;
    setp.lt.u32 %p3, %r10, 5;
    @%p3 bra PRODUCER;
    bra DONE;
CONSUMER:
    and.b32 %r13, %r10, 1;
WAIT_FULL:
    mbarrier.try_wait.parity.shared::cta.b64 %p2, [%r1], %r13;
    @!%p2 bra WAIT_FULL;
    ld.shared.u32 %r14, [%r1+64];
    shfl.sync.bfly.b32 %r15, %r14, 16, 31, -1;
    mbarrier.arrive.shared::cta.b64 _, [%r1+8];
    add.u32 %r10, %r10, 1;
    setp.lt.u32 %p3, %r10, 5;
    @%p3 bra CONSUMER;
    elect.sync _|%p4, -1;
    @%p4 st.global.u32 [%rd0], %r15;
DONE:
";
    let fragments = format!(
        "{ALLOCATE}\ntcgen05.st.sync.aligned.16x64b.x2.b32 [%r4], {{%r0, %r2}};\ntcgen05.wait::st.sync.aligned;\n\
         tcgen05.ld.sync.aligned.16x256b.x1.b32 {{%r10, %r11, %r12, %r13}}, [%r4];\n\
         tcgen05.ld.sync.aligned.16x32bx2.x1.pack::16b.b32 {{%r14}}, [%r4], 8;\n\
         tcgen05.wait::ld.sync.aligned;\nst.global.v4.u32 [%rd0], {{%r10, %r11, %r12, %r14}};\n{FREE}"
    );
    let mut originals: Vec<Original> = [&mma, &load, &store, ring, &fragments]
        .map(Original::small)
        .into();
    assert!(mma.contains(COMMIT));

    let entries: Vec<usize> = SHIPPED
        .match_indices(".visible .entry")
        .map(|(at, _)| at)
        .collect();
    let head = &SHIPPED[..entries[0]];
    for (i, at) in entries.iter().enumerate() {
        let end = entries.get(i + 1).copied().unwrap_or(SHIPPED.len());
        let entry = &SHIPPED[*at..end];
        let is_wide = entry.contains("_n128_");
        originals.push(Original {
            lines: head
                .lines()
                .chain(entry.lines())
                .map(str::to_owned)
                .collect(),
            threads: 192,
            shared_bytes: 227 << 10,
            params: if is_wide {
                shipped_params::<128>
            } else {
                shipped_params::<64>
            },
        });
    }
    originals
});

#[derive(Clone, Debug)]
enum Change {
    Delete(Index),
    Duplicate(Index, Index),
    Swap(Index, Index),
    /// Replaces a run of digits, wherever it stands: sizes, offsets, register and label numbers, modifiers.
    Number(Index, Index, u64),
    Increment(Index, Index, i64),
}

fn changes() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    let boundaries = [0, 4, 5, 7, 8, 16, 20, 24, 31, 32, 40, 63];
    let number = (select(boundaries.to_vec()), -1i64..=1)
        .prop_map(|(bit, delta): (u32, i64)| (1u64 << bit).wrapping_add_signed(delta));
    prop_oneof![
        at().prop_map(Change::Delete),
        (at(), at()).prop_map(|(a, b)| Change::Duplicate(a, b)),
        (at(), at()).prop_map(|(a, b)| Change::Swap(a, b)),
        (at(), at(), prop_oneof![number, Just(u64::MAX), 0u64..600])
            .prop_map(|(a, b, n)| Change::Number(a, b, n)),
        (at(), at(), select(vec![-1, 1])).prop_map(|(a, b, n)| Change::Increment(a, b, n)),
    ]
}

impl Change {
    fn apply(&self, lines: &mut Vec<String>) {
        let count = lines.len();
        match self {
            Change::Delete(at) => {
                lines.remove(at.index(count));
            }
            Change::Duplicate(from, to) => {
                let line = lines[from.index(count)].clone();
                lines.insert(to.index(count), line);
            }
            Change::Swap(a, b) => lines.swap(a.index(count), b.index(count)),
            Change::Number(at, which, number) => {
                replace_number(&mut lines[at.index(count)], which, |_| number.to_string());
            }
            Change::Increment(at, which, delta) => {
                replace_number(&mut lines[at.index(count)], which, |digits| {
                    digits.parse().map_or(digits.to_owned(), |number: u64| {
                        number.wrapping_add_signed(*delta).to_string()
                    })
                });
            }
        }
    }
}

fn replace_number(line: &mut String, which: &Index, replacement: impl Fn(&str) -> String) {
    let bytes = line.as_bytes();
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let starts: Vec<usize> = (0..bytes.len())
        .filter(|&at| is_digit(at) && (at == 0 || !is_digit(at - 1)))
        .collect();
    if starts.is_empty() {
        return;
    }
    let start = starts[which.index(starts.len())];
    let end = (start..).find(|at| !is_digit(*at)).unwrap_or(start);
    let digits = replacement(&line[start..end]);
    line.replace_range(start..end, &digits);
}

#[test]
fn the_originals_run() {
    for original in ORIGINALS.iter() {
        for policy in POLICIES {
            let text = original.lines.join("\n");
            let outcome = original.launch(&text, policy);
            assert!(matches!(outcome, Some(Ok(_))), "{policy:?}: {outcome:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_kernels_end(
        which in any::<Index>(),
        changes in prop::collection::vec(changes(), 1..4),
        policy in prop_oneof![
            Just(Asynchrony::Late),
            Just(Asynchrony::Early),
            any::<u64>().prop_map(|seed| Asynchrony::Random { seed }),
        ],
    ) {
        let original = which.get(&ORIGINALS);
        let mut lines = original.lines.clone();
        for change in &changes {
            change.apply(&mut lines);
        }
        let most = STEP_LIMIT + QUANTUM * u64::from(original.threads.div_ceil(32));
        match original.launch(&lines.join("\n"), policy) {
            None | Some(Err((_, 0))) => {}
            Some(Ok(steps) | Err((_, steps))) => prop_assert!(steps <= most, "{steps} steps"),
        }
    }
}
