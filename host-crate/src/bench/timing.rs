//! Timing work on a stream: each launch between two events, the host waiting for the second.

use cust::event::{Event, EventFlags};
use cust::stream::Stream;

use super::error::BenchError;
use super::statistics::Summary;
use crate::check::cuda_error;
use crate::driver::graph::Graph;

/// How work gets to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submission {
    /// Captured into a CUDA graph, so that the host's part of a launch is one call.
    Graph,
    /// Call by call: where the driver has no graphs. Includes the host's time.
    Direct,
}

/// Puts work on a stream.
type Enqueue<'a> = dyn Fn(&Stream) -> Result<(), BenchError> + 'a;

/// Work that can be enqueued again and again.
pub struct Sequence<'a> {
    enqueue: Box<Enqueue<'a>>,
    graph: Option<Graph>,
}

impl<'a> Sequence<'a> {
    /// Prepares what `enqueue` puts on a stream.
    ///
    /// # Errors
    /// Those of `enqueue`, and of capturing a graph.
    ///
    /// # Safety
    /// What `enqueue` launches stays sound to launch, on streams of the current context, as long as the
    /// sequence lives: its buffers stay allocated and nobody else uses them meanwhile.
    pub unsafe fn new(
        stream: &Stream,
        submission: Submission,
        enqueue: impl Fn(&Stream) -> Result<(), BenchError> + 'a,
    ) -> Result<Self, BenchError> {
        let graph = match submission {
            Submission::Graph => Some(Graph::capture(stream, || enqueue(stream))?),
            Submission::Direct => None,
        };
        Ok(Self {
            enqueue: Box::new(enqueue),
            graph,
        })
    }

    fn enqueue(&self, stream: &Stream) -> Result<(), BenchError> {
        match &self.graph {
            // SAFETY: the contract of `Sequence::new`.
            Some(graph) => unsafe { graph.launch(stream) }.map_err(BenchError::from),
            None => (self.enqueue)(stream),
        }
    }
}

/// Two events, to be used again and again.
pub struct Stopwatch<'a> {
    stream: &'a Stream,
    start: Event,
    end: Event,
}

impl<'a> Stopwatch<'a> {
    /// A stopwatch for one stream.
    ///
    /// # Errors
    /// [`BenchError::Check`] as the driver fails.
    pub fn new(stream: &'a Stream) -> Result<Self, BenchError> {
        let event = || Event::new(EventFlags::DEFAULT).map_err(cuda_error("creating an event"));
        Ok(Self {
            stream,
            start: event()?,
            end: event()?,
        })
    }

    /// Microseconds from the start of `sequence` to its end. The device is idle before and after.
    ///
    /// # Errors
    /// [`BenchError::Check`] as the driver or the work fails.
    pub fn time(&self, sequence: &Sequence<'_>) -> Result<f64, BenchError> {
        self.start
            .record(self.stream)
            .map_err(cuda_error("recording an event"))?;
        sequence.enqueue(self.stream)?;
        // A driver may report a kernel's failure with any call that follows.
        self.end
            .record(self.stream)
            .map_err(cuda_error("running a kernel"))?;
        self.stream
            .synchronize()
            .map_err(cuda_error("running a kernel"))?;
        let milliseconds = self
            .end
            .elapsed_time_f32(&self.start)
            .map_err(cuda_error("reading an event"))?;
        Ok(1000.0 * f64::from(milliseconds))
    }

    /// Runs the sequences in turn until they have taken `milliseconds` of the device's time, and all of
    /// them at least once: clocks settle, code and page tables are where they will be.
    ///
    /// # Errors
    /// As [`Stopwatch::time`].
    pub fn warm_up(&self, sequences: &[Sequence<'_>], milliseconds: f64) -> Result<(), BenchError> {
        let mut spent = 0.0;
        loop {
            for sequence in sequences {
                spent += self.time(sequence)?;
            }
            if spent >= 1000.0 * milliseconds || sequences.is_empty() {
                return Ok(());
            }
        }
    }

    /// Times `count` launches, the sequences in turn, each of which makes `calls` calls. Microseconds a
    /// call.
    ///
    /// # Errors
    /// As [`Stopwatch::time`].
    pub fn sample(
        &self,
        sequences: &[Sequence<'_>],
        count: usize,
        calls: usize,
    ) -> Result<Summary, BenchError> {
        let turns = sequences.iter().cycle().take(count);
        let samples = turns
            .map(|sequence| Ok(self.time(sequence)? / calls as f64))
            .collect::<Result<Vec<_>, BenchError>>()?;
        Summary::of(&samples).ok_or(BenchError::NoSamples)
    }
}
