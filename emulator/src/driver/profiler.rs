//! Switching a profiler on and off: none listens.

use super::abi::answer;
use super::state::check_context;
use super::status::Status;

pub(super) const FUNCTIONS: &[super::Function] = functions![cuProfilerStart, cuProfilerStop];

extern "C" fn cuProfilerStart() -> Status {
    answer(check_context)
}

extern "C" fn cuProfilerStop() -> Status {
    answer(check_context)
}
