//! Programmatic dependent launch: what the first grid wrote, the second sees after its wait.

use crate::contract::conformance::{ConformanceParams, THREADS};
use crate::ptx::{global, grid, warp};

/// The word of each thread of the grid.
#[inline(always)]
fn index() -> u32 {
    THREADS * warp::cta_index_x() + warp::thread_index()
}

// Lets the second grid start (word 0: 1 before, 2 after its stores, 0 never), sleeps for word 1
// nanoseconds, and stores a word per thread to the first half of the output.
entry!(
    dependent_primary,
    ConformanceParams,
    |params: &ConformanceParams, _| {
        if params.words[0] == 1 {
            grid::launch_dependents();
        }
        let mut left = params.words[1];
        while left > 0 {
            let now = left.min(1_000_000);
            warp::sleep(now);
            left -= now;
        }
        let at = params.output + 4 * index() as u64;
        // SAFETY: the runner's output has a word for each thread of both grids.
        unsafe { global::store_u32(at, 0x5000_0000 + index()) };
        if params.words[0] == 2 {
            grid::launch_dependents();
        }
    }
);

// Waits for the first grid, and copies its words, each of another CTA's, to the second half.
entry!(
    dependent_secondary,
    ConformanceParams,
    |params: &ConformanceParams, _| {
        let words = THREADS * warp::grid_size_x();
        grid::wait_for_prerequisites();
        let from = words - 1 - index();
        // SAFETY: as for the first grid.
        unsafe {
            let word = global::load_u32(params.output + 4 * from as u64);
            global::store_u32(params.output + 4 * (words + index()) as u64, word);
        }
    }
);
