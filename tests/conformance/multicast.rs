//! Copies to several CTAs. Each CTA writes whether it got its bytes, and its area.

use nvfp4_dual_gemm::driver::api::{TensorMapDataType as Type, TensorMapSwizzle as Swizzle};

use super::case::{Case, Launch, Map, unwritten};
use super::noise;

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for size in [1, 2, 4, 8, 16] {
        for mask in masks(size) {
            for issuer in [0, size - 1] {
                for (kind, map) in kinds() {
                    let case = multicast(kind, map, size, mask, issuer);
                    if cases.iter().all(|other: &Case| other.name != case.name) {
                        cases.push(case);
                    }
                }
            }
        }
    }
    cases
}

/// All, each half, every other one, the last one.
fn masks(size: u32) -> Vec<u32> {
    let all = (1 << size) - 1;
    let mut masks = vec![
        all,
        all >> (size / 2),
        all & 0x5555,
        all & 0xAAAA,
        1 << (size - 1),
    ];
    masks.retain(|mask| *mask != 0);
    masks.dedup();
    masks
}

fn kinds() -> [(&'static str, Option<Map>); 3] {
    let map = || Map::dense(Type::Uint16, &[70, 9], &[64, 8]);
    [
        ("bytes", None),
        ("a tile", Some(map())),
        ("a swizzled tile", Some(map().swizzled(Swizzle::B128))),
    ]
}

fn multicast(kind: &str, map: Option<Map>, size: u32, mask: u32, issuer: u32) -> Case {
    let name = format!("multicast of {kind} from {issuer} to {mask:#x} of {size}");
    let (entry, bytes) = match &map {
        None => ("multicast_bulk", 1024 - 16),
        Some(map) => ("multicast_tile", map.box_bytes()),
    };
    let area_bytes = 1536;
    // Partly out of bounds.
    let (x, y) = (16, 3);
    let words = [x, y, mask, issuer, 0, 128, bytes, area_bytes, 0, 0, 0, 0];
    let cluster = [size, 1, 1];
    Case {
        launches: vec![Launch::clusters(entry, cluster, cluster, words)],
        input: noise::bytes(&name, 2048),
        output: unwritten(((16 + area_bytes) * size) as usize),
        map,
        name,
    }
}
