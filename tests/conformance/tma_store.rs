//! Stores and reductions of tiles. The output is the tensor.

use nvfp4_dual_gemm::driver::api::{
    MAX_RANK, TensorMapDataType as Type, TensorMapSwizzle as Swizzle,
};

use super::case::{Case, Launch, Map, Over, chunk, element_bytes, span};
use super::noise;
use super::tma_load::{SIZES, SWIZZLES, widths};

const ENTRIES: [&str; MAX_RANK] = [
    "tma_store_1d",
    "tma_store_2d",
    "tma_store_3d",
    "tma_store_4d",
    "tma_store_5d",
];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    boxes(&mut cases);
    sources(&mut cases);
    sides(&mut cases);
    reductions(&mut cases);
    cases
}

fn store(name: String, entry: &'static str, map: Map, coordinates: &[i32], offset: u32) -> Case {
    let map = map.over(Over::Output);
    let area_bytes = map.area_bytes(offset);
    let mut words = [0; 12];
    for (word, coordinate) in words.iter_mut().zip(coordinates) {
        *word = *coordinate as u32;
    }
    words[5] = offset;
    words[7] = area_bytes;
    Case {
        launches: vec![Launch::new(entry, words)],
        input: noise::bytes(&name, area_bytes as usize),
        output: noise::bytes(&format!("{name}, before"), map.tensor_bytes()),
        map: Some(map),
        name,
    }
}

fn boxes(cases: &mut Vec<Case>) {
    for swizzle in SWIZZLES {
        for data_type in SIZES {
            for width in widths(swizzle, data_type) {
                for rows in [1, 13] {
                    let name = format!("store {data_type:?} {swizzle:?} box {width}x{rows}");
                    let x = chunk(data_type);
                    let dims = [u64::from(width + x as u32) + 5, 16];
                    let map = Map::dense(data_type, &dims, &[width, rows]).swizzled(swizzle);
                    cases.push(store(name, "tma_store_2d", map, &[x, 2], 0));
                }
            }
        }
    }
}

fn sources(cases: &mut Vec<Case>) {
    for swizzle in SWIZZLES {
        for offset in (128..1024).step_by(128) {
            let width = span(swizzle);
            let name = format!("store Uint8 {swizzle:?} box {width}x11 from {offset}");
            let map =
                Map::dense(Type::Uint8, &[u64::from(width), 16], &[width, 11]).swizzled(swizzle);
            cases.push(store(name, "tma_store_2d", map, &[0, 1], offset));
        }
    }
}

fn sides(cases: &mut Vec<Case>) {
    let (dims, box_dims) = ([40, 7, 6, 5, 4], [16, 4, 3, 2, 3]);
    let x = chunk(Type::Uint32);
    for rank in 1..=MAX_RANK {
        let map = || Map::dense(Type::Uint32, &dims[..rank], &box_dims[..rank]);
        for dimension in 0..rank {
            let (dim, extent) = (dims[dimension] as i32, box_dims[dimension] as i32);
            let unit = if dimension == 0 { x } else { 1 };
            for (side, coordinate) in [
                ("before", -unit),
                ("behind", dim - extent + unit),
                ("off", dim),
            ] {
                let name = format!("store {rank}d {side} dimension {dimension}");
                let mut coordinates = vec![1; rank];
                coordinates[0] = x;
                coordinates[dimension] = coordinate;
                cases.push(store(name, ENTRIES[rank - 1], map(), &coordinates, 0));
            }
        }
        let name = format!("store {rank}d before everything");
        let mut coordinates = vec![-1; rank];
        coordinates[0] = -x;
        cases.push(store(name, ENTRIES[rank - 1], map(), &coordinates, 0));
    }
}

/// Every operation on every type that it takes (PTX ISA §9.7.9.27.1.3), on any bits, inside and on an edge.
fn reductions(cases: &mut Vec<Case>) {
    let ordered: &[Type] = &[
        Type::Uint32,
        Type::Int32,
        Type::Uint64,
        Type::Int64,
        Type::Float16,
        Type::Bfloat16,
    ];
    let summed: &[Type] = &[
        Type::Uint32,
        Type::Int32,
        Type::Uint64,
        Type::Float16,
        Type::Bfloat16,
        Type::Float32,
        Type::Float32Ftz,
        Type::Float64,
    ];
    let bits: &[Type] = &[Type::Uint32, Type::Int32, Type::Uint64, Type::Int64];
    for (entry, types) in [
        ("tma_reduce_add", summed),
        ("tma_reduce_min", ordered),
        ("tma_reduce_max", ordered),
        ("tma_reduce_inc", &[Type::Uint32][..]),
        ("tma_reduce_dec", &[Type::Uint32][..]),
        ("tma_reduce_and", bits),
        ("tma_reduce_or", bits),
        ("tma_reduce_xor", bits),
    ] {
        for &data_type in types {
            for (place, coordinates) in
                [("inside", [0, 0]), ("on the edge", [-chunk(data_type), 10])]
            {
                for swizzle in [Swizzle::None, Swizzle::B128] {
                    let width = 128 / element_bytes(data_type) as u32;
                    let name = format!("{entry} {data_type:?} {swizzle:?} {place}");
                    let dims = [u64::from(width), 16];
                    let map = Map::dense(data_type, &dims, &[width, 16]).swizzled(swizzle);
                    cases.push(store(name, entry, map, &coordinates, 0));
                }
            }
        }
    }
}

/// Kinds of operations on every type, those first that are sure to run.
pub fn combinations() -> Vec<Case> {
    const ALL: [Type; 13] = [
        Type::Uint32,
        Type::Int32,
        Type::Uint64,
        Type::Int64,
        Type::Uint8,
        Type::Uint16,
        Type::Float16,
        Type::Bfloat16,
        Type::Float32,
        Type::Float32Ftz,
        Type::Float64,
        Type::Tfloat32,
        Type::Tfloat32Ftz,
    ];
    let mut cases = Vec::new();
    for entry in [
        "tma_reduce_add",
        "tma_reduce_min",
        "tma_reduce_inc",
        "tma_reduce_and",
    ] {
        for data_type in ALL {
            let width = 128 / element_bytes(data_type) as u32;
            let name = format!("combination {entry} {data_type:?}");
            let map = Map::dense(data_type, &[u64::from(width), 4], &[width, 4]);
            cases.push(store(name, entry, map, &[0, 0], 0));
        }
    }
    cases
}

/// Subnormal addends and sums.
pub fn subnormals() -> Vec<Case> {
    [Type::Float32, Type::Float32Ftz]
        .map(|data_type| {
            let name = format!("tma_reduce_add {data_type:?} of subnormals");
            let map = Map::dense(data_type, &[32, 16], &[32, 16]);
            let mut case = store(name, "tma_reduce_add", map, &[0, 0], 0);
            noise::make_small(&mut case.input);
            noise::make_small(&mut case.output);
            case
        })
        .into()
}

/// Innermost coordinates that are no multiple of 16 bytes, within the tensor.
pub fn unaligned() -> Vec<Case> {
    let at = |entry, data_type, x| {
        let map = Map::dense(data_type, &[64, 16], &[32, 8]);
        let name = format!("unaligned {entry} {data_type:?} at {x}");
        store(name, entry, map, &[x, 1], 0)
    };
    vec![
        at("tma_store_2d", Type::Uint8, 3),
        at("tma_store_2d", Type::Uint32, 1),
        at("tma_store_2d", Type::Uint32, 2),
        at("tma_store_2d", Type::Uint64, 1),
        at("tma_reduce_add", Type::Uint32, 1),
    ]
}

/// Elements that a load of their type rounds.
pub fn tf32() -> Vec<Case> {
    [Type::Tfloat32, Type::Tfloat32Ftz, Type::Float32Ftz]
        .map(|data_type| {
            let name = format!("store {data_type:?} about ties and infinity");
            let map = Map::dense(data_type, &[16, 8], &[16, 8]);
            let mut case = store(name, "tma_store_2d", map, &[0, 0], 0);
            let elements = noise::about_ties();
            case.input[..elements.len()].copy_from_slice(&elements);
            case
        })
        .into()
}
