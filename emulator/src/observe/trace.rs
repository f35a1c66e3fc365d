//! Events of a launch, and their form that Perfetto and Chrome read.

use std::fmt::Write as _;
use std::io::{self, Write};

use crate::json::quoted;

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
    pub kernel: std::sync::Arc<str>,
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
    named: std::collections::BTreeMap<(u64, [u32; 3], Track), (usize, u32)>,
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
            named: Default::default(),
            processes: Vec::new(),
            first: true,
        })
    }

    /// # Errors
    /// Those of the writer.
    pub fn write(&mut self, trace: &Trace) -> io::Result<()> {
        for event in &trace.events {
            let (process, thread) = self.identify(event)?;
            let mut text = format!(
                r#"{{"ph":"X","pid":{process},"tid":{thread},"ts":{},"dur":{},"cat":"{}","name":{}"#,
                event.start,
                event.end - event.start,
                event.category,
                quoted(&event.name),
            );
            let mut arguments = Vec::new();
            if event.line != 0 {
                arguments.push(format!(r#""PTX line":{}"#, event.line));
            }
            if event.bytes != 0 {
                arguments.push(format!(r#""bytes":{}"#, event.bytes));
            }
            if let Some(shared) = event.shared {
                arguments.push(format!(r#""shared":"{shared:#x}""#));
            }
            // Perfetto draws what has one name in one colour.
            let _ = write!(text, r#","args":{{{}}}}}"#, arguments.join(","));
            self.put(&text)?;
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

    fn put(&mut self, object: &str) -> io::Result<()> {
        let separator = if std::mem::take(&mut self.first) {
            "\n"
        } else {
            ",\n"
        };
        write!(self.out, "{separator}{object}")
    }

    /// Process and thread of an event; names them where they are new.
    fn identify(&mut self, event: &Event) -> io::Result<(usize, u32)> {
        let key = (event.launch, event.cta, event.track);
        if let Some(found) = self.named.get(&key) {
            return Ok(*found);
        }
        let [x, y, z] = event.cta;
        let process_key = (event.launch, event.cta);
        let process = match self
            .processes
            .iter()
            .position(|other| *other == process_key)
        {
            Some(process) => process,
            None => {
                self.processes.push(process_key);
                let process = self.processes.len() - 1;
                let name = quoted(&format!(
                    "launch {}: {} CTA ({x}, {y}, {z}); time in emulated steps",
                    event.launch, event.kernel
                ));
                self.put(&format!(
                    r#"{{"ph":"M","pid":{process},"name":"process_name","args":{{"name":{name}}}}}"#
                ))?;
                process
            }
        };
        let (thread, name) = match event.track {
            Track::Warp(warp) => (warp, format!("warp {warp}")),
            Track::Copies(track) => (1000 + track, format!("copies {track}")),
            Track::TensorPipe => (2000, "tensor pipe".to_owned()),
        };
        self.put(&format!(
            r#"{{"ph":"M","pid":{process},"tid":{thread},"name":"thread_name","args":{{"name":"{name}"}}}}"#
        ))?;
        self.put(&format!(
            r#"{{"ph":"M","pid":{process},"tid":{thread},"name":"thread_sort_index","args":{{"sort_index":{thread}}}}}"#
        ))?;
        self.named.insert(key, (process, thread));
        Ok((process, thread))
    }
}
