//! Special registers (PTX ISA §10).

use crate::isa::ir::{Dst, LANES, SpecialRegister};
use crate::machine::cluster::{At, Cluster};
use crate::machine::warp::lanes;

/// Clocks advance by one with each warp instruction of the cluster, so that runs are reproducible.
pub fn read(cluster: &mut Cluster, at: At, dst: Dst, register: SpecialRegister, active: u32) {
    use SpecialRegister::*;
    let launch = cluster.context.launch;
    let [block, grid, clusters] = [launch.block, launch.grid, launch.cluster];
    let cta = &cluster.ctas[at.cta];
    let index = |d: u8| usize::from(d.min(2));
    let in_cluster = |d: u8| cta.id[index(d)] % clusters[index(d)];
    let cta_index = || {
        let [x, y, z] = cta.id.map(u64::from);
        (z * u64::from(grid[1]) + y) * u64::from(grid[0]) + x
    };
    let multiprocessors = cluster.context.properties.multiprocessors.max(1);
    let steps = cluster.steps;
    let threads: u32 = block.iter().product();
    let reserved = cluster.context.properties.reserved_shared_bytes;
    let value = |lane: u32| -> u64 {
        let thread = (at.warp * LANES) as u32 + lane;
        match register {
            Tid(0) => (thread % block[0]).into(),
            Tid(1) => (thread / block[0] % block[1]).into(),
            Tid(_) => (thread / block[0] / block[1]).into(),
            Ntid(d) => block[index(d)].into(),
            Ctaid(d) => cta.id[index(d)].into(),
            Nctaid(d) => grid[index(d)].into(),
            LaneId => lane.into(),
            WarpId => at.warp as u64,
            NwarpId => threads.div_ceil(LANES as u32).into(),
            SmId => cta_index() % u64::from(multiprocessors),
            NsmId => multiprocessors.into(),
            GridId => 1,
            ClusterId(d) => (cta.id[index(d)] / clusters[index(d)]).into(),
            NclusterId(d) => (grid[index(d)] / clusters[index(d)]).into(),
            ClusterCtaid(d) => in_cluster(d).into(),
            ClusterNctaid(d) => clusters[index(d)].into(),
            ClusterCtarank => at.cta as u64,
            ClusterNctarank => clusters.iter().product::<u32>().into(),
            IsExplicitCluster => clusters.iter().any(|extent| *extent > 1).into(),
            LanemaskEq => 1 << lane,
            LanemaskLe => (2u64 << lane) - 1,
            LanemaskLt => (1 << lane) - 1,
            LanemaskGe => (u64::from(u32::MAX) << lane) & u64::from(u32::MAX),
            LanemaskGt => (u64::from(u32::MAX) << (lane + 1)) & u64::from(u32::MAX),
            Clock => steps & u64::from(u32::MAX),
            ClockHi => steps >> 32,
            Clock64 | GlobalTimer => steps,
            GlobalTimerLo => steps & u64::from(u32::MAX),
            GlobalTimerHi => steps >> 32,
            DynamicSharedSize => launch.dynamic_shared_bytes.into(),
            TotalSharedSize => (cluster.context.shared_bytes - reserved).into(),
            AggregateSharedSize => cluster.context.shared_bytes.into(),
        }
    };
    let Some(slot) = dst else { return };
    let mut values = [0; LANES];
    for (lane, entry) in values.iter_mut().enumerate() {
        *entry = value(lane as u32);
    }
    let slot = &mut cluster.ctas[at.cta].warps[at.warp].registers[slot as usize];
    for lane in lanes(active) {
        slot[lane] = values[lane];
    }
}
