//! Addresses in clusters, and distributed shared memory.

use super::case::{Case, Launch, unwritten};
use super::noise;

/// In CTAs; more than 8 need consent, which the runner gives.
const SHAPES: [[u32; 3]; 9] = [
    [1, 1, 1],
    [2, 1, 1],
    [1, 2, 1],
    [1, 1, 2],
    [2, 2, 1],
    [3, 1, 1],
    [1, 5, 1],
    [2, 2, 2],
    [8, 1, 1],
];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for shape in SHAPES.into_iter().chain([[16, 1, 1], [4, 2, 2]]) {
        for clusters in [[1, 1, 1], [2, 1, 2]] {
            cases.push(addresses(shape, clusters));
        }
    }
    for size in [1, 2, 3, 4, 7, 8, 16] {
        cases.push(exchange(size));
        cases.push(store_async(size));
    }
    for entry in ASYNCHRONOUS {
        for size in [1, 2, 5] {
            cases.push(reduce_async(entry, size));
        }
    }
    for (entry, bytes) in BULK
        .into_iter()
        .flat_map(|entry| [(entry, 16), (entry, 1024 - 48)])
    {
        for size in [2, 4] {
            cases.push(bulk(entry, bytes, size));
        }
    }
    cases
}

fn addresses(shape: [u32; 3], clusters: [u32; 3]) -> Case {
    let [x, y, z] = shape;
    let grid = [x * clusters[0], y * clusters[1], z * clusters[2]];
    let ranks = 16;
    let mut words = [0; 12];
    words[0] = ranks;
    words[8] = grid[0];
    words[9] = grid[1];
    let ctas: u32 = grid.iter().product();
    Case {
        name: format!("shared addresses in clusters of {x}x{y}x{z}, grid {grid:?}"),
        launches: vec![Launch::clusters("shared_addresses", grid, shape, words)],
        map: None,
        input: Vec::new(),
        output: unwritten(4 * 128 * ctas as usize),
    }
}

fn along_x(entry: &'static str, size: u32, words: [u32; 12]) -> Vec<Launch> {
    vec![Launch::clusters(entry, [size, 1, 1], [size, 1, 1], words)]
}

fn exchange(size: u32) -> Case {
    Case {
        name: format!("loads, stores and atomics in clusters of {size}"),
        launches: along_x("cluster_exchange", size, [0; 12]),
        map: None,
        input: Vec::new(),
        output: unwritten(4 * 32 * 16 * 3 * size as usize),
    }
}

fn store_async(size: u32) -> Case {
    Case {
        name: format!("st.async in clusters of {size}"),
        launches: along_x("cluster_store_async", size, [0; 12]),
        map: None,
        input: Vec::new(),
        output: unwritten((4 * 160 * 16 + 4) * size as usize),
    }
}

const ASYNCHRONOUS: [&str; 10] = [
    "cluster_reduce_async_add",
    "cluster_reduce_async_min_u32",
    "cluster_reduce_async_min_s32",
    "cluster_reduce_async_max_u32",
    "cluster_reduce_async_max_s32",
    "cluster_reduce_async_inc",
    "cluster_reduce_async_dec",
    "cluster_reduce_async_and",
    "cluster_reduce_async_or",
    "cluster_reduce_async_xor",
];

fn reduce_async(entry: &'static str, size: u32) -> Case {
    let name = format!("{entry} in clusters of {size}");
    Case {
        launches: along_x(entry, size, [0; 12]),
        map: None,
        input: noise::bytes(&name, 4 * 32 * 32),
        output: unwritten(4 * 33 * size as usize),
        name,
    }
}

const BULK: [&str; 13] = [
    "cluster_bulk_copy",
    "cluster_bulk_reduce_add_u32",
    "cluster_bulk_reduce_add_s32",
    "cluster_bulk_reduce_add_u64",
    "cluster_bulk_reduce_min_u32",
    "cluster_bulk_reduce_min_s32",
    "cluster_bulk_reduce_max_u32",
    "cluster_bulk_reduce_max_s32",
    "cluster_bulk_reduce_inc_u32",
    "cluster_bulk_reduce_dec_u32",
    "cluster_bulk_reduce_and_b32",
    "cluster_bulk_reduce_or_b32",
    "cluster_bulk_reduce_xor_b32",
];

fn bulk(entry: &'static str, bytes: u32, size: u32) -> Case {
    let name = format!("{entry} of {bytes} bytes in clusters of {size}");
    let half = 1024;
    let mut words = [0; 12];
    words[5] = 32;
    words[6] = bytes;
    words[7] = half;
    Case {
        launches: along_x(entry, size, words),
        map: None,
        input: noise::bytes(&name, (2 * half * size) as usize),
        output: unwritten(((16 + 2 * half) * size) as usize),
        name,
    }
}
