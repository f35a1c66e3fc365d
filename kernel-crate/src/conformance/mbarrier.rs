//! Memory barriers: scripts of steps by one thread, phases that many threads complete, and barriers of
//! other CTAs.

use super::{TRIES, first_barrier, report, sync};
use crate::contract::conformance::{ConformanceParams, THREADS, step};
use crate::ptx::mbarrier::{Mbarrier, RemoteMbarrier, Token, fence_init};
use crate::ptx::{cluster, global, warp};

// Runs the steps of the input, as many as word 0 says; see [`step`].
entry!(
    mbarrier_script,
    ConformanceParams,
    |params: &ConformanceParams, _| {
        if warp::thread_index() == 0 {
            let mut tokens = Tokens([Token(0); 4]);
            for index in 0..params.words[0] {
                let at = params.input + 8 * index as u64;
                // SAFETY: the runner's input has two words for each step.
                let (operation, operand) =
                    unsafe { (global::load_u32(at), global::load_u32(at + 4)) };
                report(params.output, index, take(operation, operand, &mut tokens));
            }
        }
    }
);

/// Four registers, chosen by comparison: an array with a variable index would be in local memory.
struct Tokens([Token; 4]);

impl Tokens {
    #[inline(always)]
    fn set(&mut self, slot: u32, token: Token) {
        let [a, b, c, d] = &mut self.0;
        match slot {
            0 => *a = token,
            1 => *b = token,
            2 => *c = token,
            _ => *d = token,
        }
    }

    #[inline(always)]
    fn get(&self, slot: u32) -> u64 {
        let [a, b, c, d] = self.0;
        match slot {
            0 => a.0,
            1 => b.0,
            2 => c.0,
            _ => d.0,
        }
    }
}

#[inline(always)]
fn take(operation: u32, operand: u32, tokens: &mut Tokens) -> u32 {
    let barrier = first_barrier();
    let (slot, count) = (operand >> 16, operand & 0xFFFF);
    let mut keep = |token: Token| {
        tokens.set(slot, token);
        token.pending_count()
    };
    match operation {
        step::INIT => barrier.init(operand),
        step::INVALIDATE => barrier.invalidate(),
        step::ARRIVE => return keep(barrier.arrive_count(count)),
        step::ARRIVE_DROP => return keep(barrier.arrive_drop(count)),
        step::ARRIVE_NO_COMPLETE => return keep(barrier.arrive_no_complete(count)),
        step::ARRIVE_EXPECT_TX => return keep(barrier.arrive_expect_tx_token(count)),
        step::ARRIVE_DROP_EXPECT_TX => return keep(barrier.arrive_drop_expect_tx(count)),
        step::EXPECT_TX => barrier.expect_tx(operand),
        step::COMPLETE_TX => barrier.complete_tx(operand),
        step::TEST_WAIT_PARITY => return barrier.test_wait_parity(operand) as u32,
        step::TRY_WAIT_PARITY => return barrier.try_wait_parity(operand) as u32,
        step::TEST_WAIT_TOKEN => return barrier.test_wait_token(tokens.get(slot)) as u32,
        step::TRY_WAIT_TOKEN => return barrier.try_wait_token(tokens.get(slot)) as u32,
        _ => {}
    }
    0
}

// Every thread arrives once in each of as many phases as word 0 says, and waits for it; thread 0 adds
// the bytes of word 1 to each and thread 1 credits them, early where word 2 is 1. Each thread writes
// how many phases it saw complete, and whether the parity of the last phase tests as it should.
entry!(
    mbarrier_of_many,
    ConformanceParams,
    |params: &ConformanceParams, _| {
        let [phases, bytes, early, ..] = params.words;
        let (thread, barrier) = (warp::thread_index(), first_barrier());
        if thread == 0 {
            barrier.init(THREADS);
            fence_init();
        }
        sync();
        let mut complete = 0;
        for phase in 0..phases {
            if thread == 1 && early == 1 {
                barrier.complete_tx(bytes);
            }
            match thread {
                0 => barrier.arrive_expect_tx(bytes),
                _ => barrier.arrive(),
            }
            if thread == 1 && early != 1 {
                barrier.complete_tx(bytes);
            }
            complete += barrier.wait_bounded(phase & 1, TRIES) as u32;
        }
        sync();
        let last = barrier.test_wait_parity(phases.wrapping_sub(1) & 1) as u32;
        let next = barrier.test_wait_parity(phases & 1) as u32;
        report(params.output, thread, complete << 8 | last << 4 | next);
    }
);

// Every CTA of the cluster arrives at the barrier of the CTA of rank word 0, as word 1 says: 0 once, 1
// as often as its rank plus 1, 2 expecting 16 bytes per rank plus 1 and then crediting them, 3 in the
// other order. The owner writes whether its barrier's first phase completed, and which parities it is
// in.
entry!(
    mbarrier_remote,
    ConformanceParams,
    |params: &ConformanceParams, _| {
        let [owner, kind, ..] = params.words;
        let (rank, size) = (warp::cluster_rank(), warp::cluster_size());
        let barrier = first_barrier();
        if warp::thread_index() == 0 {
            let arrivals = match kind {
                1 => size * (size + 1) / 2,
                _ => size,
            };
            barrier.init(arrivals);
            fence_init();
        }
        cluster::sync();
        if warp::thread_index() == 0 {
            let remote = RemoteMbarrier(cluster::map_shared(barrier.0, owner));
            let bytes = 16 * (rank + 1);
            match kind {
                0 => remote.arrive_count(1),
                1 => remote.arrive_count(rank + 1),
                2 => {
                    remote.arrive_expect_tx(bytes);
                    remote.complete_tx(bytes);
                }
                _ => {
                    remote.complete_tx(bytes);
                    remote.arrive_expect_tx(bytes);
                }
            }
            if rank == owner {
                let complete = Mbarrier(barrier.0).wait_bounded(0, TRIES) as u32;
                let parities =
                    barrier.test_wait_parity(0) as u32 | (barrier.test_wait_parity(1) as u32) << 1;
                report(params.output, 0, complete);
                report(params.output, 1, parities);
            }
        }
        cluster::sync();
    }
);
