//! Events of a launch, and their form that Perfetto and Chrome read.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use crate::json::Object;

/// Where an event belongs, within its CTA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Track {
    Warp(u32),
    /// Copies in flight at the same time lie on tracks of their own, from 0 on.
    Copies(u32),
    TensorPipe,
}

/// Something that took time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Number of the launch that the CTA belongs to.
    pub launch: u64,
    pub kernel: Arc<str>,
    pub cta: [u32; 3],
    pub track: Track,
    /// "run", "wait", or the operation's name.
    pub category: &'static str,
    /// For a wait, what for.
    pub name: String,
    pub start: u64,
    pub end: u64,
    /// Of PTX; 0 where there is none.
    pub line: u32,
    /// Bytes that a copy moves; 0 elsewhere.
    pub bytes: u64,
    /// Offset in shared memory of the barrier that is waited for, or of the first byte that an operation reads or
    /// writes there; a commit's is its barrier's.
    pub shared: Option<u32>,
}

/// Events in no order.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    pub events: Vec<Event>,
}

/// Writes traces in Chrome's JSON array format, one launch after the other.
#[derive(Debug)]
pub struct TraceWriter<W: Write> {
    out: W,
    named: BTreeMap<(u64, [u32; 3], Track), (u32, u32)>,
    processes: Vec<(u64, [u32; 3])>,
    first: bool,
}

impl<W: Write> TraceWriter<W> {
    /// # Errors
    /// Those of `out`.
    pub fn new(mut out: W) -> io::Result<Self> {
        out.write_all(b"[")?;
        Ok(Self {
            out,
            named: BTreeMap::new(),
            processes: Vec::new(),
            first: true,
        })
    }

    /// # Errors
    /// Those of the writer.
    pub fn write(&mut self, trace: &Trace) -> io::Result<()> {
        for event in &trace.events {
            let (process, thread) = self.identify(event)?;
            let unless_0 = |number: u64| (number != 0).then(|| number.to_string());
            let shared = event.shared.map(|shared| format!("{shared:#x}"));
            let arguments = Object::default()
                .field("PTX line", unless_0(event.line.into()))
                .field("bytes", unless_0(event.bytes))
                .text("shared", shared.as_deref());
            // Perfetto draws what has one name in one colour.
            let object = Object::default()
                .text("ph", "X")
                .number("pid", process)
                .number("tid", thread)
                .number("ts", event.start)
                .number("dur", event.end - event.start)
                .text("cat", event.category)
                .text("name", &*event.name)
                .field("args", arguments.finish());
            self.put(object)?;
        }
        self.out.flush()
    }

    /// Ends the array. Readers do without, so that a trace that was cut off is not lost.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(b"\n]\n")?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn put(&mut self, object: Object) -> io::Result<()> {
        let separator = if std::mem::take(&mut self.first) {
            "\n"
        } else {
            ",\n"
        };
        write!(self.out, "{separator}{}", object.finish())
    }

    /// Process and thread of an event; names them where they are new.
    fn identify(&mut self, event: &Event) -> io::Result<(u32, u32)> {
        let key = (event.launch, event.cta, event.track);
        if let Some(found) = self.named.get(&key) {
            return Ok(*found);
        }
        let cta = (event.launch, event.cta);
        let process = match self.processes.iter().position(|other| *other == cta) {
            Some(process) => process as u32,
            None => {
                self.processes.push(cta);
                let process = self.processes.len() as u32 - 1;
                let [x, y, z] = event.cta;
                let name = format!(
                    "launch {}: {} CTA ({x}, {y}, {z}); time in emulated steps",
                    event.launch, event.kernel
                );
                let argument = Object::default().text("name", &*name);
                self.put(metadata("process_name", process, None, argument))?;
                process
            }
        };
        let (thread, name) = match event.track {
            Track::Warp(warp) => (warp, format!("warp {warp}")),
            Track::Copies(track) => (1000 + track, format!("copies {track}")),
            Track::TensorPipe => (2000, "tensor pipe".to_owned()),
        };
        for (what, argument) in [
            ("thread_name", Object::default().text("name", &*name)),
            (
                "thread_sort_index",
                Object::default().number("sort_index", thread),
            ),
        ] {
            self.put(metadata(what, process, Some(thread), argument))?;
        }
        self.named.insert(key, (process, thread));
        Ok((process, thread))
    }
}

fn metadata(what: &str, process: u32, thread: Option<u32>, argument: Object) -> Object {
    Object::default()
        .text("ph", "M")
        .number("pid", process)
        .field("tid", thread.map(|thread| thread.to_string()))
        .text("name", what)
        .field("args", argument.finish())
}
