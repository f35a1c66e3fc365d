//! Where asynchronous copies and commits of a cluster go: destinations and barriers in its CTAs.

use crate::machine::cluster::Cluster;
use crate::machine::cluster_fault::ClusterFault;
use crate::machine::footprint::SharedAddress;
use crate::machine::report::Step;

/// One CTA's share of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub destination: SharedAddress,
    pub barrier: SharedAddress,
}

/// The deliveries of a copy (PTX ISA §9.7.9.25.4.1, §9.7.9.27.1.2).
///
/// Without a mask there is one, whose barrier is in the CTA of the data; with `.cta_group::2` it may be in the other CTA
/// of that one's pair.
///
/// With a mask (`.multicast::cluster`) each CTA in it gets the data and the signal at the same offsets, whichever CTA
/// the addresses name (found on an H200). With `.cta_group::2`, the signal goes to that CTA of each destination's pair
/// which has the parity of the CTA that the barrier's address names.
pub fn deliveries(
    cluster: &Cluster,
    destination: SharedAddress,
    barrier: SharedAddress,
    mask: Option<u64>,
    cta_group: Option<u8>,
) -> Step<Vec<Delivery>> {
    let pair = cta_group == Some(2);
    let Some(mask) = mask else {
        let same = match pair {
            true => destination.cta | 1 == barrier.cta | 1,
            false => destination.cta == barrier.cta,
        };
        if !same {
            let (data, barrier) = (destination.cta, barrier.cta);
            return Err(ClusterFault::BarrierElsewhere {
                data,
                barrier,
                pair,
            }
            .into());
        }
        return Ok(vec![Delivery {
            destination,
            barrier,
        }]);
    };
    let deliver = |cta| Delivery {
        destination: SharedAddress { cta, ..destination },
        barrier: SharedAddress {
            cta: match pair {
                true => cta & !1 | barrier.cta & 1,
                false => cta,
            },
            ..barrier
        },
    };
    Ok(ctas_of(cluster, mask)?.into_iter().map(deliver).collect())
}

/// The CTAs of a mask, which have to be there.
pub fn ctas_of(cluster: &Cluster, mask: u64) -> Step<Vec<u32>> {
    let ctas = cluster.ctas.len() as u32;
    let mask = mask & 0xFFFF;
    if mask == 0 {
        return Err(ClusterFault::EmptyMask.into());
    }
    if mask >> ctas != 0 {
        return Err(ClusterFault::Mask { mask, ctas }.into());
    }
    let named: Vec<u32> = (0..ctas).filter(|cta| mask >> cta & 1 != 0).collect();
    for cta in &named {
        cluster.check_alive(*cta)?;
    }
    Ok(named)
}
