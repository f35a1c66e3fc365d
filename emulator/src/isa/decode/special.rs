//! Special registers (PTX ISA §10).

use super::Decoder;
use crate::isa::ir::SpecialRegister;

/// `None` for a name that is not a special register, or not one the machine has.
pub(super) fn special_register(name: &str) -> Option<SpecialRegister> {
    use SpecialRegister as R;
    let name = name.strip_prefix('%')?;
    if let Some((base, component)) = name.split_once('.') {
        let axis = match component {
            "x" => 0,
            "y" => 1,
            "z" => 2,
            _ => return None,
        };
        return Some(match base {
            "tid" => R::Tid(axis),
            "ntid" => R::Ntid(axis),
            "ctaid" => R::Ctaid(axis),
            "nctaid" => R::Nctaid(axis),
            "clusterid" => R::ClusterId(axis),
            "nclusterid" => R::NclusterId(axis),
            "cluster_ctaid" => R::ClusterCtaid(axis),
            "cluster_nctaid" => R::ClusterNctaid(axis),
            _ => return None,
        });
    }
    Some(match name {
        "laneid" => R::LaneId,
        "warpid" => R::WarpId,
        "nwarpid" => R::NwarpId,
        "smid" => R::SmId,
        "nsmid" => R::NsmId,
        "gridid" => R::GridId,
        "cluster_ctarank" => R::ClusterCtarank,
        "cluster_nctarank" => R::ClusterNctarank,
        "is_explicit_cluster" => R::IsExplicitCluster,
        "lanemask_eq" => R::LanemaskEq,
        "lanemask_le" => R::LanemaskLe,
        "lanemask_lt" => R::LanemaskLt,
        "lanemask_ge" => R::LanemaskGe,
        "lanemask_gt" => R::LanemaskGt,
        "clock" => R::Clock,
        "clock_hi" => R::ClockHi,
        "clock64" => R::Clock64,
        "globaltimer" => R::GlobalTimer,
        "globaltimer_lo" => R::GlobalTimerLo,
        "globaltimer_hi" => R::GlobalTimerHi,
        "dynamic_smem_size" => R::DynamicSharedSize,
        "total_smem_size" => R::TotalSharedSize,
        "aggr_smem_size" => R::AggregateSharedSize,
        _ => return None,
    })
}

/// How much of the reserved shared memory the driver of an H100 says is in use.
const RESERVED_SHARED_END: u64 = 0x120;

impl Decoder<'_> {
    /// Special registers whose value is known at load: where the reserved shared memory lies (PTX ISA §10.29).
    pub fn special_constant(&self, name: &str) -> Option<u64> {
        match name {
            "%reserved_smem_offset_begin" => Some(0),
            "%reserved_smem_offset_end" => Some(RESERVED_SHARED_END),
            "%reserved_smem_offset_cap" => Some(u64::from(self.environment.shared_base)),
            _ => None,
        }
    }
}
