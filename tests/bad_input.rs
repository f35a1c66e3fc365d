//! What cannot be run is refused with a typed error that names the value and the rule, before any
//! launch, and with the caller's memory untouched.
//!
//! No driver at all and an unknown `NVFP4_DEVICE` need processes of their own:
//! host-crate/tests/driver.rs and cli.rs.

use nvfp4_dual_gemm::check::{self, CheckError, Problem};
use nvfp4_dual_gemm::driver::DriverError;
use nvfp4_dual_gemm::kernels::{BLACKWELL, Output};
use nvfp4_dual_gemm::launch::{
    Arguments, DeviceMatrix, DeviceSpan, Kernels, LaunchError, LoadError,
};
use nvfp4_dual_gemm::matrix::MatrixShape;
use nvfp4_dual_gemm::plan::{DualGemm, Gpu, PlanError, Shape};
use nvfp4_dual_gemm::{InputKind, Inputs};
use nvfp4_dual_gemm_tests::{Buffers, TestDevice, compute, ptx};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use ptx_emulator::driver::set_launch_options;
use ptx_emulator::machine::LaunchOptions;

const M: usize = 40;
const N: usize = 72;
const K: usize = 192;
const L: usize = 2;

#[test]
fn dimensions_of_zero() {
    for (dimension, [m, n, k, l]) in [
        ("M", [0, N, K, L]),
        ("N", [M, 0, K, L]),
        ("K", [M, N, 0, L]),
        ("L", [M, N, K, 0]),
    ] {
        let error = Shape::new(m, n, k, l).unwrap_err();
        assert_eq!(error, PlanError::Zero { dimension });
        assert_eq!(
            error.to_string(),
            format!("{dimension} is 0; M, N, K and L must each be at least 1")
        );
    }
}

#[test]
fn dimensions_that_are_no_multiple() {
    for k in [1, 16, 63, 65, 96, 7168 + 32] {
        let text = Shape::new(M, N, k, L).unwrap_err().to_string();
        let wanted = format!("K is {k}; it must be a multiple of 64");
        assert!(text.starts_with(&wanted), "{text}");
    }
    for n in [1, 4, 7, 9, 4100] {
        let text = Shape::new(M, n, K, L).unwrap_err().to_string();
        let wanted = format!("N is {n}; it must be a multiple of 8");
        assert!(text.starts_with(&wanted), "{text}");
    }
    // M and L may be anything.
    for (m, l) in [(1, 1), (127, 3), (129, 7)] {
        Shape::new(m, N, K, l).unwrap();
    }
}

#[test]
fn sizes_that_overflow() {
    let max = usize::MAX;
    for (value, dimensions) in [
        (max, [max, N, K, L]),
        (max - 7, [M, max - 7, K, L]),
        (max - 63, [M, N, max - 63, L]),
        (max, [M, N, K, max]),
        // Each dimension is possible, but not their product.
        (1 << 29, [1 << 30, N, 1 << 29, 65_535]),
        (1 << 21, [1 << 30, 1 << 21, 64, 65_535]),
    ] {
        let [m, n, k, l] = dimensions;
        let error = Shape::new(m, n, k, l).unwrap_err();
        let is_right = match error {
            PlanError::DimensionTooLarge { .. } => value > 1 << 31,
            PlanError::MatrixTooLarge { .. } => value < 1 << 31,
            _ => false,
        };
        assert!(is_right, "{dimensions:?}: {error:?}");
        assert!(error.to_string().contains(&value.to_string()), "{error}");
    }
}

#[test]
fn gpus_without_a_kernel() {
    let shape = Shape::new(M, N, K, L).unwrap();
    for found in [(8, 0), (8, 9), (10, 1), (11, 0), (12, 0)] {
        let gpu = Gpu {
            compute_capability: found,
            multiprocessors: 132,
        };
        let planned = [
            DualGemm::plan(shape, Output::F16, gpu),
            DualGemm::plan_with_tile(shape, Output::Accumulators, gpu, 64),
        ];
        for plan in planned {
            let error = plan.unwrap_err();
            assert!(
                matches!(&error, PlanError::UnsupportedDevice { found: gpu, .. } if *gpu == found),
                "{error:?}"
            );
            let text = error.to_string();
            let (major, minor) = found;
            assert!(text.contains(&format!("{major}.{minor}")), "{text}");
            assert!(text.contains("10.0 or 10.3"), "{text}");
        }
    }
    let unknown = DualGemm::plan_with_tile(shape, Output::F16, Gpu::B200, 96).unwrap_err();
    assert_eq!(unknown, PlanError::UnknownTile { found: 96 });
}

/// A dual GEMM on the device that could be launched.
struct Ready {
    kernels: Kernels,
    plan: DualGemm,
    inputs: Inputs,
    buffers: Buffers,
    _device: TestDevice,
}

impl Ready {
    fn new(output: Output) -> Self {
        let device = TestDevice::open();
        let kernels = device.kernels();
        let shape = Shape::new(M, N, K, L).unwrap();
        let plan = DualGemm::plan(shape, output, kernels.gpu()).unwrap();
        let inputs = Inputs::new(InputKind::Normal, M, N, K, L, 3).unwrap();
        let buffers = Buffers::new(&plan, &inputs).unwrap();
        Self {
            kernels,
            plan,
            inputs,
            buffers,
            _device: device,
        }
    }

    fn arguments(&self) -> Arguments {
        self.buffers.arguments(&self.inputs)
    }

    /// Why the changed arguments are refused. They must be, and no buffer may change.
    fn refusal(&self, change: impl FnOnce(&mut Arguments)) -> LaunchError {
        let before = self.buffers.download().unwrap();
        let mut arguments = self.arguments();
        assert!(self.plan.bind(&self.kernels, &arguments).is_ok());
        change(&mut arguments);
        let refusal = self.plan.bind(&self.kernels, &arguments).err();
        let after = self.buffers.download().unwrap();
        assert!(before == after, "a buffer was written");
        refusal.expect("the arguments are refused")
    }
}

type Change<T> = fn(&mut Arguments) -> &mut T;

const MATRICES: [(&str, Change<DeviceMatrix>); 3] = [
    ("A", |arguments| &mut arguments.a),
    ("B1", |arguments| &mut arguments.b1),
    ("B2", |arguments| &mut arguments.b2),
];

const SPANS: [(&str, Change<DeviceSpan>); 8] = [
    ("the elements of A", |arguments| &mut arguments.a.elements),
    ("the scale factors of A", |arguments| {
        &mut arguments.a.scales
    }),
    ("the elements of B1", |arguments| &mut arguments.b1.elements),
    ("the scale factors of B1", |arguments| {
        &mut arguments.b1.scales
    }),
    ("the elements of B2", |arguments| &mut arguments.b2.elements),
    ("the scale factors of B2", |arguments| {
        &mut arguments.b2.scales
    }),
    ("the output", |arguments| &mut arguments.output),
    ("the second output", |arguments| {
        arguments.output2.as_mut().expect("two outputs")
    }),
];

/// The buffers that a kernel takes.
fn spans(output: Output) -> impl Iterator<Item = (&'static str, Change<DeviceSpan>)> {
    let count = match output {
        Output::F16 => 7,
        Output::Accumulators => 8,
    };
    SPANS.into_iter().take(count)
}

const OUTPUTS: [Output; 2] = [Output::F16, Output::Accumulators];

#[test]
fn short_buffers() {
    for output in OUTPUTS {
        let ready = Ready::new(output);
        for (name, span) in spans(output) {
            let needed = span(&mut ready.arguments()).bytes;
            for found in [needed - 1, needed / 2, 0] {
                let error = ready.refusal(|arguments| span(arguments).bytes = found);
                let wanted = LaunchError::BufferTooShort {
                    buffer: name,
                    found,
                    needed,
                };
                assert_eq!(error, wanted);
                assert_eq!(
                    error.to_string(),
                    format!("{name} has {found} bytes; needed are {needed}")
                );
            }
        }
    }
}

#[test]
fn misaligned_pointers() {
    for output in OUTPUTS {
        let ready = Ready::new(output);
        for (name, span) in spans(output) {
            for offset in [1, 2, 4, 8, 15] {
                let address = span(&mut ready.arguments()).address + offset;
                let error = ready.refusal(|arguments| span(arguments).address = address);
                let wanted = LaunchError::Misaligned {
                    buffer: name,
                    address,
                };
                assert_eq!(error, wanted);
                let text = error.to_string();
                assert!(
                    text.starts_with(&format!("{name} is at {address:#x};")),
                    "{text}"
                );
                assert!(text.contains("multiple of 16"), "{text}");
            }
        }
    }
}

#[test]
fn operands_that_disagree() {
    let ready = Ready::new(Output::F16);
    for (name, matrix) in MATRICES {
        let needed = matrix(&mut ready.arguments()).shape;
        let (rows, columns, batch) = (needed.rows(), needed.columns(), needed.batch());
        for [rows, columns, batch] in [
            [rows + 8, columns, batch],
            [rows - 8, columns, batch],
            [rows, columns + 64, batch],
            [rows, columns - 64, batch],
            [rows, columns, batch + 1],
            [rows, columns, batch - 1],
        ] {
            let found = MatrixShape::new(rows, columns, batch).unwrap();
            let error = ready.refusal(|arguments| matrix(arguments).shape = found);
            let wanted = LaunchError::Shape {
                matrix: name,
                found,
                needed,
            };
            assert_eq!(error, wanted);
            let text = error.to_string();
            for shape in [
                format!("[{batch}, {rows}, {columns}]"),
                format!(
                    "[{}, {}, {}]",
                    needed.batch(),
                    needed.rows(),
                    needed.columns()
                ),
            ] {
                assert!(text.contains(&shape), "{text}");
            }
        }
    }
}

#[test]
fn alphas_that_are_not_finite() {
    let ready = Ready::new(Output::F16);
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let changes: [(&str, Change<f32>); 2] = [
            ("alpha1", |arguments| &mut arguments.alpha1),
            ("alpha2", |arguments| &mut arguments.alpha2),
        ];
        for (name, alpha) in changes {
            let error = ready.refusal(|arguments| *alpha(arguments) = value);
            // NaN is not equal to itself.
            assert!(
                matches!(error, LaunchError::AlphaNotFinite { name: found, .. } if found == name),
                "{error:?}"
            );
            assert_eq!(
                error.to_string(),
                format!("{name} is {value}; it must be finite")
            );
        }
        let problem = Problem {
            shape: ready.plan.shape(),
            inputs: InputKind::Contest,
            seed: 0,
            alpha1: None,
            alpha2: Some(value),
            tile: None,
            launches: 1,
        };
        let refused = check::run(&ready.kernels, &problem, &());
        assert!(
            matches!(
                refused,
                Err(CheckError::Launch(LaunchError::AlphaNotFinite { .. }))
            ),
            "{refused:?}"
        );
    }
}

#[test]
fn one_output_too_many_or_too_few() {
    for (output, needed, found) in [(Output::F16, 1, 2), (Output::Accumulators, 2, 1)] {
        let ready = Ready::new(output);
        let error = ready.refusal(|arguments| {
            arguments.output2 = (found == 2).then_some(arguments.output);
        });
        let wanted = LaunchError::OutputCount {
            output,
            needed,
            found,
        };
        assert_eq!(error, wanted);
        assert_eq!(
            error.to_string(),
            format!("{output:?} needs {needed} output buffer(s), {found} given")
        );
    }
}

/// The driver's answer to a PTX that it must refuse.
fn load_refusal(device: &TestDevice, ptx: &str) -> (u32, String) {
    match device.load(ptx).err() {
        Some(LoadError::Driver(DriverError::Load { code, log, .. })) => (code, log),
        other => panic!("expected a refusal, found {other:?}"),
    }
}

#[test]
fn ptx_newer_than_the_driver() {
    const UNSUPPORTED_PTX_VERSION: u32 = 222;
    let device = TestDevice::open();
    let (major, minor) = BLACKWELL.ptx_version;
    let ptx = ptx();
    let newer = ptx.replacen(&format!(".version {major}.{minor}"), ".version 99.0", 1);
    assert_ne!(ptx, newer);
    let (code, log) = load_refusal(&device, &newer);
    assert_eq!(code, UNSUPPORTED_PTX_VERSION, "{log}");
    assert!(log.contains("99.0"), "{log}");
    let text = device.load(&newer).err().unwrap().to_string();
    assert!(text.contains(log.trim()), "{text}");
    // The context is as good as before.
    device.kernels();
}

/// What the emulator answers if it panicked.
const UNKNOWN: u32 = 999;

#[test]
fn truncated_ptx() {
    let device = TestDevice::open();
    let ptx = ptx();
    let end = ptx.rfind('}').unwrap();
    for part in 0..40 {
        let length = (0..=end * part / 40).rfind(|&at| ptx.is_char_boundary(at));
        let (code, log) = load_refusal(&device, &ptx[..length.unwrap()]);
        assert_ne!(code, UNKNOWN, "{log}");
    }
    device.kernels();
}

/// Damage to a text.
#[derive(Clone, Debug)]
enum Edit {
    Byte(usize, u8),
    DeleteLine(usize),
    SwapLines(usize, usize),
    /// Another number in place of the first in the line.
    Number(usize, u64),
}

impl Edit {
    fn any(lines: usize) -> impl Strategy<Value = Self> {
        let line = 0..lines;
        let number = prop_oneof![0..64_u64, any::<u32>().prop_map_into(), any::<u64>()];
        prop_oneof![
            (any::<usize>(), b' '..b'\x7F').prop_map(|(at, byte)| Self::Byte(at, byte)),
            line.clone().prop_map(Self::DeleteLine),
            (line.clone(), line.clone()).prop_map(|(a, b)| Self::SwapLines(a, b)),
            (line, number).prop_map(|(line, number)| Self::Number(line, number)),
        ]
    }

    fn apply(&self, lines: &mut [String]) {
        match *self {
            Self::Byte(at, byte) => {
                let at = at % lines.iter().map(String::len).sum::<usize>();
                let mut start = 0;
                for line in lines {
                    if let Some(offset) = at.checked_sub(start).filter(|&at| at < line.len()) {
                        let mut bytes = line.clone().into_bytes();
                        bytes[offset] = byte;
                        *line = String::from_utf8_lossy(&bytes).into_owned();
                        return;
                    }
                    start += line.len();
                }
            }
            Self::DeleteLine(line) => lines[line].clear(),
            Self::SwapLines(a, b) => lines.swap(a, b),
            Self::Number(line, number) => {
                let text = &lines[line];
                let is_digit = |c: char| c.is_ascii_digit();
                let Some(start) = text.find(is_digit) else {
                    return;
                };
                let rest = text[start..].trim_start_matches(is_digit);
                lines[line] = format!("{}{number}{rest}", &text[..start]);
            }
        }
    }
}

fn is_panic(error: &CheckError) -> bool {
    match error {
        CheckError::Cuda { error, .. } => *error as u32 == UNKNOWN,
        CheckError::Launch(LaunchError::Driver(error)) => error.code() == Some(UNKNOWN),
        _ => false,
    }
}

/// A few lines of the PTX are damaged: it is refused or runs, right, wrong or into a failure, but
/// nothing panics.
#[test]
fn garbled_ptx() {
    let text = ptx();
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let shape = Shape::new(16, 64, 320, 1).unwrap();
    let inputs = Inputs::new(InputKind::Normal, 16, 64, 320, 1, 3).unwrap();
    if !TestDevice::open().is_emulated() {
        eprintln!("not tested: a GPU does not survive wild stores");
        return;
    }
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        ..Config::default()
    });
    let edits = prop::collection::vec(Edit::any(lines.len()), 1..4);
    let outcome = runner.run(&edits, |edits| {
        let mut garbled = lines.clone();
        for edit in edits {
            edit.apply(&mut garbled);
        }
        let device = TestDevice::emulator();
        let kernels = match device.load(&garbled.join("\n")) {
            Ok(kernels) => kernels,
            Err(LoadError::Driver(error)) if error.code().is_some() => {
                prop_assert_ne!(error.code(), Some(UNKNOWN));
                return Ok(());
            }
            Err(LoadError::MissingEntry { .. }) => return Ok(()),
            Err(other) => return Err(TestCaseError::fail(other.to_string())),
        };
        set_launch_options(Some(LaunchOptions {
            step_limit: 1 << 18,
            ..LaunchOptions::default()
        }));
        for tile_n in [64, 128] {
            let plan = DualGemm::plan_with_tile(shape, Output::F16, Gpu::B200, tile_n).unwrap();
            if let Err(failure) = compute(&kernels, &plan, &inputs) {
                prop_assert!(!is_panic(&failure), "{}", failure);
                break;
            }
        }
        Ok(())
    });
    outcome.unwrap();
}
