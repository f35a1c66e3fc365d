//! `setmaxnreg`: the second and third warpgroup take the registers that the first gives back.

use super::report;
use crate::contract::conformance::ConformanceParams;
use crate::ptx::{registers, warp};

macro_rules! pools {
    ($($entry:ident: $low:literal $high:literal;)*) => {
        $(
            // Each warp writes which way it went, once it has its registers.
            entry!($entry, ConformanceParams, |params: &ConformanceParams, _| {
                let thread = warp::thread_index();
                let direction = if warp::broadcast_first(thread) < 128 {
                    registers::decrease_to::<$low>();
                    $low
                } else {
                    registers::increase_to::<$high>();
                    $high
                };
                report(params.output, thread, direction);
            });
        )*
    };
}

pools! {
    registers_24_240: 24 240;
    registers_40_232: 40 232;
    registers_56_224: 56 224;
}
