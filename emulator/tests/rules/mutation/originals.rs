//! The kernels that are changed, and how each is launched.

use std::sync::Arc;

use ptx_emulator::isa::LoadError;
use ptx_emulator::isa::ir::Kernel;
use ptx_emulator::machine::{Device, DeviceProperties, Launch, LaunchOptions};
use ptx_emulator::tma::{
    DataType, Interleave, L2Promotion, OutOfBoundsFill, Swizzle, TensorMap, TiledDescription,
};

use super::super::mma::{Product, SWIZZLE_128B};
use super::super::program::*;
use super::super::{
    atomics, cluster, cp_async, dependent_launch, launch_control, matrix_load, mbarrier, mma,
    mma_kinds, mma_sync, pair, tensormap, tma, tma_store, wgmma,
};

const SHIPPED: &str = include_str!("../../../../host-crate/ptx/nvfp4_dual_gemm.sm_100f.ptx");

/// Kernels that other compilers made: the families of the small programs, and what only compilers
/// use.
const COMPILED: [&str; 9] = [
    include_str!("../../fixtures/cuda/bf16_gemm_tma_store.ptx"),
    include_str!("../../fixtures/cuda/cluster_reduction.ptx"),
    include_str!("../../fixtures/cuda/device_functions.ptx"),
    include_str!("../../fixtures/cuda/intrinsics.ptx"),
    include_str!("../../fixtures/cuda/pdl_pair.ptx"),
    include_str!("../../fixtures/cuda/tensormap_replace.ptx"),
    include_str!("../../fixtures/triton/bf16_small_tile_sm90.ptx"),
    include_str!("../../fixtures/triton/f16_clc_sm100.ptx"),
    include_str!("../../fixtures/triton/softmax_sm100.ptx"),
];

type Prepare = Box<dyn Fn(&str) -> Result<(Arc<Device>, Vec<Launch>), LoadError> + Send + Sync>;

/// A valid module and what it takes to launch its first kernel, or all as each other's dependents.
pub struct Original {
    pub lines: Vec<String>,
    /// Whether its arguments are right, so that it has to run unchanged.
    pub runs: bool,
    /// A device and the launches of a text in this one's place.
    pub prepare: Prepare,
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

impl From<Program> for Original {
    fn from(program: Program) -> Original {
        Original {
            lines: lines(program.text()),
            runs: true,
            prepare: Box::new(move |text| {
                let (device, launch) = program.with_text(text)?;
                Ok((device, vec![launch]))
            }),
        }
    }
}

pub fn all() -> Vec<Original> {
    let mut originals: Vec<Original> = small_programs().into_iter().map(Original::from).collect();
    originals.push(Original {
        lines: lines(&dependent_launch::example()),
        runs: true,
        prepare: Box::new(dependent_launch::with_text),
    });
    originals.extend(shipped());
    originals.extend(COMPILED.into_iter().map(compiled));
    originals
}

fn small_programs() -> Vec<Program> {
    let with_map = |body: &str| {
        Program::with_input(body, &[0x22; 96 << 10])
            .threads(128)
            .map(|address| tiles().encode(address))
    };
    let product = Product::new(64, 4, SWIZZLE_128B, SWIZZLE_128B);
    let scaled = mma::kernel(&(product.copy_scales() + &product.mmas()));
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
    let fragments = format!(
        "{ALLOCATE}\ntcgen05.st.sync.aligned.16x64b.x2.b32 [%r4], {{%r0, %r2}};\ntcgen05.wait::st.sync.aligned;\n\
         tcgen05.ld.sync.aligned.16x256b.x1.b32 {{%r10, %r11, %r12, %r13}}, [%r4];\n\
         tcgen05.ld.sync.aligned.16x32bx2.x1.pack::16b.b32 {{%r14}}, [%r4], 8;\n\
         tcgen05.wait::ld.sync.aligned;\n@%p31 st.global.v4.u32 [%rd0], {{%r10, %r11, %r12, %r14}};\n{FREE}"
    );
    let mut programs: Vec<Program> = [&shortened(&scaled), &load, &store, RING, &fragments]
        .map(with_map)
        .into();
    programs.extend([
        atomics::example(),
        mbarrier::example(),
        cp_async::example(),
        launch_control::example(),
        matrix_load::example(),
        mma_sync::example(),
        pair::example(),
        tensormap::example(),
        tma_store::example(),
        wgmma::example(),
    ]);
    programs.extend(cluster::examples());
    programs.extend(mma_kinds::examples());
    programs
}

/// With a short dump of tensor memory: the rest is loops.
fn shortened(body: &str) -> String {
    body.replace(
        "setp.lt.u32 %p20, %r302, 272;",
        "setp.lt.u32 %p20, %r302, 4;",
    )
}

fn tiles() -> tma::Tensor {
    tma::Tensor::new(DataType::Uint8, 8, &[256, 64], &[128, 8]).swizzle(Swizzle::B128)
}

/// A producer and a consumer warp, with a stage between them.
const RING: &str = r"
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

/// A text and launches of its first kernel, with so much dynamic shared memory and these parameters on a device.
fn module(
    text: &str,
    properties: DeviceProperties,
    runs: bool,
    dynamic_shared_bytes: u32,
    params: impl Fn(&Device, &Kernel) -> Vec<u8> + Send + Sync + 'static,
) -> Original {
    // In place of a kernel that is gone.
    let first = |device: &Device, text: &str| {
        let module = load_on(device, text)?;
        Ok(module
            .kernels
            .into_values()
            .min_by(|a, b| a.name.cmp(&b.name)))
    };
    let unchanged = Device::new(properties.clone());
    let unchanged = first(&unchanged, text).unwrap_or_else(|e: LoadError| panic!("{e}"));
    let unchanged = unchanged.expect("a kernel");
    let prepare = move |text: &str| {
        let device = Arc::new(Device::new(properties.clone()));
        let params = params(&device, &unchanged);
        let kernel = first(&device, text)?.unwrap_or_else(|| Arc::clone(&unchanged));
        let directives = &unchanged.directives;
        let cluster = directives.reqnctapercluster.unwrap_or([1; 3]);
        let launch = Launch {
            grid: cluster,
            block: directives
                .reqntid
                .or(directives.maxntid)
                .unwrap_or([128, 1, 1]),
            cluster,
            dynamic_shared_bytes,
            cooperative: false,
            params,
            kernel,
            options: LaunchOptions::default(),
        };
        Ok((device, vec![launch]))
    };
    Original {
        lines: lines(text),
        runs,
        prepare: Box::new(prepare),
    }
}

/// A kernel made by a compiler, whose arguments are guessed: buffers for addresses, small numbers.
fn compiled(text: &str) -> Original {
    let properties = match text.contains(".target sm_90") {
        true => DeviceProperties::h100(),
        false => DeviceProperties::b200(),
    };
    let params = |device: &Device, kernel: &Kernel| {
        let buffer = || filled(device, 1 << 18);
        let mut params = vec![0; kernel.param_bytes as usize];
        for param in &kernel.params {
            let argument = match param.size {
                4 => 64u32.to_le_bytes().to_vec(),
                8 => buffer().to_le_bytes().to_vec(),
                128 => tiles().encode(buffer()).to_bytes().to_vec(),
                _ => continue,
            };
            params[param.offset as usize..][..argument.len()].copy_from_slice(&argument);
        }
        params
    };
    module(text, properties, false, 96 << 10, params)
}

fn filled(device: &Device, bytes: u64) -> u64 {
    let at = device.memory.allocate(bytes).unwrap();
    device.memory.fill(at, &[0x22], bytes).unwrap();
    at
}

const SHIPPED_M: u64 = 128;
const SHIPPED_K: u64 = 512;

/// The shipped kernels' parameter block for M = 128, N of one tile, K = 512: three maps, four addresses and another one,
/// M, N, K, two alphas.
fn shipped_params(device: &Device, tile_n: u32) -> Vec<u8> {
    let buffer = |bytes| filled(device, bytes);
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
    let n = u64::from(tile_n);
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
    for word in [SHIPPED_M as u32, tile_n, SHIPPED_K as u32, one, one, unused] {
        params.extend(word.to_le_bytes());
    }
    params
}

/// Each of the shipped kernels in a module of its own.
fn shipped() -> impl Iterator<Item = Original> {
    let (head, entries) = SHIPPED.split_once(ENTRY).expect("a kernel");
    entries.split(ENTRY).map(move |entry| {
        let tile_n = if entry.contains("_n128_") { 128 } else { 64 };
        let text = [head, ENTRY, entry].concat();
        module(
            &text,
            DeviceProperties::b200(),
            true,
            227 << 10,
            move |device, _| shipped_params(device, tile_n),
        )
    })
}

const ENTRY: &str = ".visible .entry";
