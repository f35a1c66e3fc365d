//! Traces and profiles say what a program did.

use super::*;
use crate::observe::{Event, Observe, Observer, TraceWriter, Track};

/// Thread 0 loads 256 bytes and all wait for them; each then stores a word to its own row of 128 bytes.
const BODY: &str = r"
    setp.eq.u32 %p31, %r0, 0;
    @%p31 mbarrier.init.shared::cta.b64 [%r2], 1;
    fence.mbarrier_init.release.cluster;
    bar.sync 0;
    add.u32 %r3, %r2, 1024;
    @%p31 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r2], 256;
    @%p31 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r3], [%rd0+1024], 256, [%r2];
WAIT:
    mbarrier.try_wait.parity.shared::cta.b64 %p2, [%r2], 0;
    @!%p2 bra WAIT;
    shl.b32 %r4, %r0, 7;
    add.u32 %r4, %r4, %r2;
    st.shared.u32 [%r4+2048], %r0;
    mul.wide.u32 %rd10, %r0, 32;
    add.u64 %rd10, %rd0, %rd10;
    st.global.u32 [%rd10], %r0;
";

fn observe(grid: u32, observe: Observe) -> Observer {
    let mut program = program(BODY).block(64);
    program.launch.grid = [grid, 1, 1];
    // Of CTAs that store to the same words.
    program.launch.options.mode = Mode::Fast;
    let observer = Arc::new(Observer::new(observe));
    program.launch.options.observer = Some(Arc::clone(&observer));
    program.run();
    drop(program);
    Arc::into_inner(observer).unwrap()
}

fn traced(ctas: u64, grid: u32) -> Vec<Event> {
    let observe = observe(
        grid,
        Observe {
            traced_ctas: ctas,
            profile: false,
        },
    );
    observe.take_trace().events
}

#[test]
fn a_wait_ends_with_the_copy_that_it_is_for() {
    let events = traced(1, 1);
    let copy = events.iter().find(|event| event.bytes != 0).unwrap();
    assert_eq!(
        (copy.track, copy.name.as_str()),
        (Track::Copies(0), "bulk load")
    );
    assert_eq!((copy.bytes, copy.shared), (256, Some(2048)));
    for warp in 0..2 {
        let wait = |event: &&Event| {
            event.track == Track::Warp(warp) && event.name == "mbarrier 0x400 phase 0"
        };
        let wait = events.iter().find(wait).unwrap();
        assert_eq!(wait.end, copy.end, "warp {warp}");
        assert!(wait.start < wait.end);
    }
}

#[test]
fn a_warp_runs_or_waits() {
    let mut events = traced(1, 1);
    events.retain(|event| event.track == Track::Warp(1));
    events.sort_by_key(|event| event.start);
    assert!(events.len() >= 4, "{events:?}");
    assert!(events.windows(2).all(|pair| pair[0].end <= pair[1].start));
}

#[test]
fn only_the_first_ctas_are_traced() {
    let ctas = |events: Vec<Event>| {
        let mut ctas: Vec<_> = events.iter().map(|event| event.cta[0]).collect();
        ctas.sort_unstable();
        ctas.dedup();
        ctas
    };
    assert_eq!(ctas(traced(2, 5)), [0, 1]);
    assert!(traced(0, 5).is_empty());
}

#[test]
fn a_trace_is_json_that_names_its_tracks() {
    let observer = observe(
        1,
        Observe {
            traced_ctas: 1,
            profile: true,
        },
    );
    let mut writer = TraceWriter::new(Vec::new()).unwrap();
    writer.write(&observer.take_trace()).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&writer.finish().unwrap()).unwrap();
    let events = json.as_array().unwrap();
    for (field, value) in [("name", "mbarrier 0x400 phase 0"), ("name", "bulk load")] {
        assert!(events.iter().any(|event| event[field] == value), "{value}");
    }
    let threads = events.iter().filter(|event| event["name"] == "thread_name");
    let threads: Vec<_> = threads.map(|event| &event["args"]["name"]).collect();
    assert_eq!(threads.len(), 3, "{threads:?}");
    let profile = observer.take_profile();
    let json: serde_json::Value = serde_json::from_str(&profile.to_json()).unwrap();
    assert_eq!(json["copied_bytes"], 256);
}

#[test]
fn lines_are_counted() {
    let observer = observe(
        3,
        Observe {
            traced_ctas: 0,
            profile: true,
        },
    );
    let profile = observer.take_profile();
    let line = |text: &str| {
        let mut lines = profile.lines.values();
        lines.find(|(line, _)| line.contains(text)).unwrap().1
    };
    let init = line("mbarrier.init");
    assert_eq!((init.executed, init.lanes), (3, 3));
    // Two warps of three CTAs. 32 rows of 128 bytes are one bank, and 32 sectors of 32 bytes hold 4 each.
    let shared = line("st.shared");
    assert_eq!((shared.executed, shared.lanes), (6, 6 * 32));
    assert_eq!(shared.bank_conflicts(), 6 * 31);
    let global = line("st.global");
    assert_eq!((global.sectors, global.excess_sectors()), (6 * 32, 6 * 28));
    assert_eq!((profile.copied_bytes, profile.mmas), (3 * 256, 0));
    let warp = &profile.warps[&("kernel".to_owned(), 1)];
    assert!(warp.waited["mbarrier 0x400"] > 0, "{warp:?}");
    assert!(warp.executed > 0 && warp.ready >= warp.executed);
}
