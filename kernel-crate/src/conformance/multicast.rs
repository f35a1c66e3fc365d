//! Copies to several CTAs of a cluster.
//!
//! Words 0 and 1 are the coordinates, 2 the mask, 3 the rank that issues; 5 is the offset in the area, 6
//! the bytes, 7 how many bytes of the area take part.

use super::{TRIES, download, elect_one, first_barrier, prepare, report};
use crate::contract::conformance::{AREA, ConformanceParams};
use crate::ptx::{bulk, cluster, shared, tma, warp};

/// CTAs in the mask expect the bytes; each CTA writes whether they came, and its area.
#[inline(always)]
fn multicast(params: &ConformanceParams, copy: impl Fn(u32, u16)) {
    let (mask, issuer) = (params.words[2], params.words[3]);
    let (bytes, area_bytes) = (params.words[6], params.words[7]);
    let rank = warp::cluster_rank();
    let barrier = first_barrier();
    prepare(area_bytes);
    let receives = mask >> rank & 1 == 1;
    let leader = elect_one();
    if receives && leader {
        barrier.arrive_expect_tx(bytes);
    }
    warp::sync();
    cluster::sync();
    if rank == issuer && leader {
        copy(shared::base() + AREA + params.words[5], mask as u16);
    }
    warp::sync();
    let complete = if receives {
        barrier.wait_bounded(0, TRIES) as u32
    } else {
        2
    };
    // Nobody looks before everything that was expected is there.
    cluster::sync();
    let output = params.output + ((16 + area_bytes) * rank) as u64;
    if warp::thread_index() == 0 {
        report(output, 0, complete);
    }
    download(output + 16, area_bytes);
    cluster::sync();
}

entry!(
    multicast_bulk,
    ConformanceParams,
    |params: &ConformanceParams, _| {
        multicast(params, |destination, mask| {
            bulk::load_multicast(
                destination,
                params.input,
                params.words[6],
                first_barrier(),
                mask,
            )
        })
    }
);

entry!(
    multicast_tile,
    ConformanceParams,
    |params: &ConformanceParams, block| {
        multicast(params, |destination, mask| {
            let coordinates = [params.words[0], params.words[1]];
            tma::load_tile_2d_multicast(destination, block, coordinates, first_barrier(), mask)
        })
    }
);
