//! Loads of tiles: every swizzle × box × element size, bounds on each side of each dimension, strides.
//!
//! The output is 16 bytes, of which the first word says whether exactly the bytes of the whole box were
//! credited, and the area of shared memory, which held 0xA5 before.

use nvfp4_dual_gemm::driver::api::{
    MAX_RANK, TensorMapDataType as Type, TensorMapFill, TensorMapOptions,
    TensorMapSwizzle as Swizzle,
};

use super::case::{Case, Launch, Map, chunk, element_bytes, span, unwritten};
use super::noise;

/// The entry for each rank.
const ENTRIES: [&str; MAX_RANK] = [
    "tma_load_1d",
    "tma_load_2d",
    "tma_load_3d",
    "tma_load_4d",
    "tma_load_5d",
];

pub const SWIZZLES: [Swizzle; 4] = [Swizzle::None, Swizzle::B32, Swizzle::B64, Swizzle::B128];

pub const SIZES: [Type; 4] = [Type::Uint8, Type::Uint16, Type::Uint32, Type::Uint64];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    boxes(&mut cases);
    destinations(&mut cases);
    sides(&mut cases);
    corners(&mut cases);
    fills(&mut cases);
    strides(&mut cases);
    types(&mut cases);
    cases
}

/// Innermost coordinates that are no multiple of 16 bytes. They may end the context, each of them.
pub fn unaligned() -> Vec<Case> {
    let at = |name: &str, data_type, x| {
        let map = Map::dense(data_type, &[64, 16], &[32, 8]);
        load(format!("unaligned load {name}"), map, &[x, 1], 0)
    };
    vec![
        at("Uint8 at 3", Type::Uint8, 3),
        at("Uint32 at -1", Type::Uint32, -1),
        at("Uint64 at 1", Type::Uint64, 1),
    ]
}

/// How elements become TF32.
pub fn tf32() -> Vec<Case> {
    [Type::Tfloat32, Type::Tfloat32Ftz]
        .map(|data_type| {
            let map = Map::dense(data_type, &[16, 8], &[16, 8]);
            let name = format!("load {data_type:?} about ties and infinity");
            let mut case = load(name, map, &[0, 0], 0);
            case.input = noise::about_ties();
            case
        })
        .into()
}

/// Loads the box at `coordinates` to `offset` in the area.
fn load(name: String, map: Map, coordinates: &[i32], offset: u32) -> Case {
    let area_bytes = map.area_bytes(offset);
    let mut words = [0; 12];
    for (word, coordinate) in words.iter_mut().zip(coordinates) {
        *word = *coordinate as u32;
    }
    words[5] = offset;
    words[6] = map.box_bytes();
    words[7] = area_bytes;
    Case {
        launches: vec![Launch::new(ENTRIES[map.dims.len() - 1], words)],
        input: noise::bytes(&name, map.offset as usize + map.tensor_bytes()),
        output: unwritten(16 + area_bytes as usize),
        map: Some(map),
        name,
    }
}

/// Every width of a row that the swizzle allows, in every element size.
pub fn widths(swizzle: Swizzle, data_type: Type) -> Vec<u32> {
    let bytes: Vec<u32> = match swizzle {
        Swizzle::None => vec![16, 32, 48, 64, 80, 128, 256],
        _ => (1..=span(swizzle) / 16).map(|chunks| 16 * chunks).collect(),
    };
    let element = element_bytes(data_type) as u32;
    bytes.into_iter().map(|bytes| bytes / element).collect()
}

fn boxes(cases: &mut Vec<Case>) {
    for swizzle in SWIZZLES {
        for data_type in SIZES {
            for width in widths(swizzle, data_type) {
                if width > 256 {
                    continue;
                }
                for rows in [1, 8, 13, 32] {
                    let name = format!("load {data_type:?} {swizzle:?} box {width}x{rows}");
                    let x = chunk(data_type);
                    let dims = [u64::from(width + x as u32) + 5, 40];
                    let map = Map::dense(data_type, &dims, &[width, rows]).swizzled(swizzle);
                    cases.push(load(name, map, &[x, 2], 0));
                }
            }
        }
    }
}

/// Tiles that start anywhere a tile can: the swizzle is the address's, not the tile's.
fn destinations(cases: &mut Vec<Case>) {
    for swizzle in SWIZZLES {
        for offset in (0..1024).step_by(128) {
            for width in [span(swizzle), 16] {
                let name = format!("load Uint8 {swizzle:?} box {width}x11 to {offset}");
                let map = Map::dense(Type::Uint8, &[u64::from(width), 16], &[width, 11])
                    .swizzled(swizzle);
                if cases.iter().all(|case: &Case| case.name != name) {
                    cases.push(load(name, map, &[0, 1], offset));
                }
            }
        }
    }
}

/// The extent of a tensor of rank `rank` and of a box of it.
fn tensor(rank: usize) -> (Vec<u64>, Vec<u32>) {
    let dims = [40, 7, 6, 5, 4];
    let box_dims = [16, 4, 3, 2, 3];
    (dims[..rank].to_vec(), box_dims[..rank].to_vec())
}

/// One dimension at a time, by one element, by half the box, all but one, and all of it; the innermost one by as many
/// chunks of 16 bytes.
fn sides(cases: &mut Vec<Case>) {
    for rank in 1..=MAX_RANK {
        let (dims, box_dims) = tensor(rank);
        for dimension in 0..rank {
            for (data_type, swizzle) in
                [(Type::Uint32, Swizzle::None), (Type::Uint64, Swizzle::B128)]
            {
                let unit = if dimension == 0 { chunk(data_type) } else { 1 };
                let (dim, extent) = (
                    dims[dimension] as i32 / unit,
                    box_dims[dimension] as i32 / unit,
                );
                let mut places = Vec::new();
                for outside in [1, extent / 2, extent - 1, extent] {
                    places.push(("before", outside, unit * -outside));
                    places.push(("behind", outside, unit * (dim - extent + outside)));
                }
                for &(side, outside, coordinate) in &places {
                    let name = format!(
                        "load {rank}d {data_type:?} {swizzle:?} {outside} {side} dimension {dimension}"
                    );
                    if cases.iter().any(|case| case.name == name) {
                        continue;
                    }
                    let mut coordinates = vec![1; rank];
                    coordinates[0] = chunk(data_type);
                    coordinates[dimension] = coordinate;
                    let map = Map::dense(data_type, &dims, &box_dims).swizzled(swizzle);
                    cases.push(load(name, map, &coordinates, 0));
                }
            }
        }
    }
}

/// Several dimensions at once, boxes larger than the tensor, and coordinates far away.
fn corners(cases: &mut Vec<Case>) {
    let far = [i32::MIN, -1 << 20, 1 << 20, i32::MAX - 303];
    let x = chunk(Type::Uint16);
    for rank in 1..=MAX_RANK {
        let (dims, box_dims) = tensor(rank);
        let map = || Map::dense(Type::Uint16, &dims, &box_dims);
        let all = |first: i32, others: i32| {
            let mut coordinates = vec![others; rank];
            coordinates[0] = first;
            coordinates
        };
        cases.push(load(
            format!("load {rank}d before everything"),
            map(),
            &all(-x, -1),
            0,
        ));
        let mut behind: Vec<i32> = dims.iter().map(|dim| *dim as i32 - 1).collect();
        behind[0] = dims[0] as i32 - x;
        cases.push(load(
            format!("load {rank}d behind everything"),
            map(),
            &behind,
            0,
        ));
        for coordinate in far {
            let name = format!("load {rank}d at {coordinate}");
            cases.push(load(name, map(), &all(coordinate, coordinate), 0));
        }
        let small: Vec<u64> = box_dims
            .iter()
            .map(|extent| u64::from(extent / 2))
            .collect();
        let map = Map::dense(Type::Uint16, &small, &box_dims);
        cases.push(load(
            format!("load {rank}d larger than the tensor"),
            map,
            &all(0, -1),
            0,
        ));
    }
}

/// What fills out of bounds, for every type that can choose, and at a width that no row is filled with.
fn fills(cases: &mut Vec<Case>) {
    for fill in [TensorMapFill::Zero, TensorMapFill::Nan] {
        for data_type in [
            Type::Float16,
            Type::Bfloat16,
            Type::Float32,
            Type::Float32Ftz,
            Type::Tfloat32,
            Type::Tfloat32Ftz,
            Type::Float64,
        ] {
            for swizzle in [Swizzle::None, Swizzle::B128] {
                let width = 128 / element_bytes(data_type) as u32;
                let name = format!("load {data_type:?} {swizzle:?} filled with {fill:?}");
                let mut map = Map::dense(data_type, &[u64::from(width) - 3, 6], &[width, 8])
                    .swizzled(swizzle);
                map.options.fill = fill;
                cases.push(load(name, map, &[-chunk(data_type), -1], 0));
            }
        }
    }
}

fn strides(cases: &mut Vec<Case>) {
    for (index, strides) in [
        [1, 2, 1],
        [1, 3, 2],
        [1, 1, 3],
        [1, 8, 1],
        [2, 1, 1],
        [3, 2, 2],
    ]
    .into_iter()
    .enumerate()
    {
        for (place, coordinates) in [
            ("inside", [4, 1, 1]),
            ("before", [-4, -2, -1]),
            ("behind", [32, 14, 7]),
        ] {
            for swizzle in [Swizzle::None, Swizzle::B64] {
                let name = format!("load {swizzle:?} element strides {strides:?} {place} {index}");
                let map = Map::dense(Type::Uint32, &[40, 17, 9], &[16, 9, 5]).swizzled(swizzle);
                let [x, y, z] = strides;
                let options = TensorMapOptions {
                    element_strides: Some([x, y, z, 1, 1]),
                    ..TensorMapOptions::default()
                };
                let map = Map { options, ..map };
                cases.push(load(name, map, &coordinates, 0));
            }
        }
    }
    for stride in [16, 48, 64, 4096] {
        // Rows may overlap.
        let name = format!("load rows {stride} bytes apart");
        let mut map = Map::dense(Type::Uint8, &[64, 9], &[64, 8]);
        map.strides = vec![stride];
        let bytes = 64 + 9 * stride as usize;
        let mut case = load(name, map, &[0, 0], 0);
        case.input = noise::bytes(&case.name, bytes);
        cases.push(case);
    }
    for offset in [16, 32, 48, 112] {
        let name = format!("load from {offset} bytes into the buffer");
        let mut map = Map::dense(Type::Uint16, &[40, 9], &[32, 8]);
        map.offset = offset;
        cases.push(load(name, map, &[8, 0], 128));
    }
}

/// Bits are copied, whatever the type: but those with `ftz` or of tf32 might not be.
fn types(cases: &mut Vec<Case>) {
    for data_type in [
        Type::Int32,
        Type::Int64,
        Type::Float16,
        Type::Bfloat16,
        Type::Float32,
        Type::Float32Ftz,
        Type::Tfloat32,
        Type::Tfloat32Ftz,
        Type::Float64,
    ] {
        let name = format!("load {data_type:?} of all magnitudes");
        let map = Map::dense(data_type, &[64, 32], &[16, 32]);
        let mut case = load(name, map, &[0, 0], 0);
        // Subnormals and NaN among them.
        for (index, element) in case
            .input
            .chunks_exact_mut(element_bytes(data_type) as usize)
            .enumerate()
        {
            if let [.., low, high] = element {
                match index % 3 {
                    0 => (*low, *high) = (*low & 0x0F, 0x80),
                    1 => (*low, *high) = (*low | 0xF0, 0x7F),
                    _ => {}
                }
            }
        }
        cases.push(case);
    }
}
