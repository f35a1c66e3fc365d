//! The problems that a changed entry runs on.

use nvfp4_dual_gemm::kernels::{Architecture, KernelEntry, Output};
use nvfp4_dual_gemm::plan::{DualGemm, Gpu, Shape, Tile};
use nvfp4_dual_gemm_kernel::contract::{SharedPlan, hopper};

/// Plans that run the entry called `name`, the ones first that are fast and find nearly all.
pub fn of(architecture: &'static Architecture, name: &str) -> Vec<DualGemm> {
    let plans_of = |entry: &KernelEntry| match architecture.has(Gpu::H200.compute_capability) {
        true => hopper_shapes(entry, ring_k(entry)),
        false => blackwell(entry),
    };
    let entries = architecture.entries;
    match entries.iter().find(|entry| entry.launch.name == name) {
        Some(entry) => plans_of(entry),
        // A grid before the one that multiplies, which knows nothing of the ring: the smallest tile's that has one.
        None => {
            let gated = entries.iter().filter(|entry| entry.output == Output::F16);
            let mut plans = gated.map(|entry| hopper_shapes(entry, 0));
            let found = plans.find(|plans| plans.iter().all(|plan| plan.workspace_bytes() > 0));
            found.unwrap_or_default()
        }
    }
}

fn plan(
    entry: &KernelEntry,
    gpu: Gpu,
    tile: Tile,
    [m, n, k, batch]: [usize; 4],
) -> Option<DualGemm> {
    let shape = Shape::new(m, n, k, batch).ok()?;
    let plan = DualGemm::plan_as(shape, entry.output, gpu, tile).ok()?;
    (plan.kernel().launch.name == entry.launch.name).then_some(plan)
}

/// The least that runs each synchronising instruction of an entry for Hopper, in its last role too: two CTAs share K, or
/// one cluster has two pairs of tiles; each barrier of a ring has two phases that are waited for. Then as many CTAs as
/// can share K, which have a reduction of their own.
pub fn least_on_hopper(entry: &KernelEntry) -> Vec<DualGemm> {
    let gpu = Gpu {
        multiprocessors: hopper::PREFILL_CLUSTER,
        ..Gpu::H200
    };
    let (tokens, columns) = (entry.tile_m as usize, entry.tile_n as usize);
    let shape = shape_of(entry);
    let stage = hopper::STAGE_K as usize;
    let (split_k, problem) = match shape.design {
        hopper::Design::Decode => (
            2,
            [tokens, columns, 2 * (2 * ring_k(entry) + stage) + 64, 1],
        ),
        hopper::Design::Prefill => (1, [tokens, 4 * columns, ring_k(entry) + stage, 1]),
    };
    let most = shape.max_split_k();
    let reduction = (most > 2).then_some((most, [tokens, columns, most as usize * stage, 1]));
    [(split_k, problem)]
        .into_iter()
        .chain(reduction)
        .map(|(split_k, problem)| {
            plan(entry, gpu, tile_of(shape, split_k), problem).expect("a plan of this entry")
        })
        .collect()
}

fn shape_of(entry: &KernelEntry) -> hopper::TileShape {
    entry.hopper_shape().expect("an entry for Hopper")
}

fn tile_of(hopper::TileShape { design, tokens }: hopper::TileShape, split_k: u32) -> Tile {
    match design {
        hopper::Design::Decode => Tile::Decode { tokens, split_k },
        hopper::Design::Prefill => Tile::Prefill { tokens },
    }
}

fn blackwell(entry: &KernelEntry) -> Vec<DualGemm> {
    let stages = SharedPlan::new(entry.tile_n).stages as usize;
    let tile_n = entry.tile_n as usize;
    let shapes = [
        // One CTA. It wraps the ring of stages twice, and ends in three of the four K steps of a tile.
        [128, tile_n, 256 * (2 * stages + 1) + 192, 1],
        // Nothing but a partial K tile; an odd M, so that the row pitches of a batch are odd; half a tile of the scale
        // factors of N.
        [129, 64, 192, 2],
        // No partial K tile, and more than one tile of scale factors of M and N in a batch.
        [320, 3 * tile_n.max(88) + 8, 512, 2],
        // The other lengths of a partial K tile; scale factors of two tiles of N.
        [128, 2 * tile_n, 256 + 64, 1],
        [128, 2 * tile_n, 256 + 128, 1],
    ];
    let tile = Tile::Columns(entry.tile_n);
    let plans = shapes.map(|shape| plan(entry, Gpu::B200, tile, shape));
    plans.into_iter().flatten().collect()
}

/// K that fills the ring of stages of an entry for Hopper.
fn ring_k(entry: &KernelEntry) -> usize {
    let stages = hopper::SharedPlan::new(shape_of(entry)).stages.count;
    (stages * hopper::STAGE_K) as usize
}

/// Every sharing of K that the entry allows; `ring` elements of K fill its ring of stages.
fn hopper_shapes(entry: &KernelEntry, ring: usize) -> Vec<DualGemm> {
    // So few that a grid of a CTA for each of them has more tiles than CTAs.
    let gpu = Gpu {
        multiprocessors: 4,
        ..Gpu::H200
    };
    let (tokens, columns) = (entry.tile_m as usize, entry.tile_n as usize);
    let stage = hopper::STAGE_K as usize;
    let problems = [
        // One CTA. It wraps the ring twice, and of the last stage there is a part alone.
        (1, [tokens, columns, 2 * ring + stage + 64, 1]),
        // Clusters that share K, and wrap no ring.
        (2, [tokens, columns, 3 * stage + 64, 1]),
        (4, [tokens, columns, 7 * stage + 64, 1]),
        // As little K as there can be, and twice that; two tiles of scale factors of A in a batch, of which the second has
        // as few rows as it can, and half of them; half a tile of those of N.
        (1, [tokens.max(128) + 1, 8, 64, 2]),
        (1, [tokens.max(128) + 64, columns, 128, 2]),
        // Few tokens; more than one tile of scale factors of N; whole stages.
        (1, [tokens.div_ceil(2), 3 * columns + 8, 2 * stage, 2]),
        // More tiles than multiprocessors, of M and of N; and all of the last stage but a part.
        (1, [2 * tokens + 3, 3 * columns + 8, 2 * stage - 64, 1]),
    ];
    let tile = shape_of(entry);
    problems
        .into_iter()
        .filter(|&(split_k, _)| split_k <= tile.max_split_k())
        .filter_map(|(split_k, problem)| plan(entry, gpu, tile_of(tile, split_k), problem))
        .collect()
}
