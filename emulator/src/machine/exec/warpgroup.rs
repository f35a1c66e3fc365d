use super::Flow;
use crate::isa::matrix::MatrixOp;
use crate::machine::cluster::{At, Cluster};
use crate::machine::report::Step;

pub fn execute(_cluster: &mut Cluster, _at: At, _op: &MatrixOp) -> Step<Flow> {
    Err(super::unsupported("wgmma"))
}
