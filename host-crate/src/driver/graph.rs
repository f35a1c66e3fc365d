//! CUDA graphs: work captured from a stream once, launched with one driver call each time.

use std::ffi::c_void;
use std::ptr;

use cust::stream::Stream;
use cust::sys::CUstream;

use super::DriverError;
use super::forward::Slot;
use super::library::check;

/// `CU_STREAM_CAPTURE_MODE_THREAD_LOCAL`: calls of other threads do not invalidate the capture.
const CAPTURE_MODE_THREAD_LOCAL: u32 = 1;

/// `CUgraph` and `CUgraphExec`
type RawGraph = *mut c_void;

/// A graph that can be launched. Programmatic dependent launches stay such (drivers for CUDA 12.3 and later).
#[derive(Debug)]
pub struct Graph {
    executable: RawGraph,
}

impl Graph {
    /// Captures what `enqueue` puts on `stream`, instead of running it.
    ///
    /// # Errors
    /// Those of `enqueue`; [`DriverError::Call`] where the driver refuses, as the emulator does: it has no graphs.
    pub fn capture<E: From<DriverError>>(
        stream: &Stream,
        enqueue: impl FnOnce() -> Result<(), E>,
    ) -> Result<Self, E> {
        let stream = stream.as_inner();
        begin_capture(stream)?;
        let enqueued = enqueue();
        // Whether or not that worked: the stream must leave the capture.
        let captured = end_capture(stream);
        enqueued?;
        Ok(captured?.instantiate()?)
    }

    /// Enqueues the captured work on `stream`.
    ///
    /// # Errors
    /// [`DriverError::Call`] where the launch is refused.
    ///
    /// # Safety
    /// As for every launch captured; `stream` belongs to the context that they were captured in.
    pub unsafe fn launch(&self, stream: &Stream) -> Result<(), DriverError> {
        static SLOT: Slot = Slot::new("cuGraphLaunch");
        type Launch = unsafe extern "C" fn(RawGraph, CUstream) -> u32;
        // SAFETY: the driver API's signature.
        let launch: Launch = unsafe { std::mem::transmute(SLOT.find()?) };
        // SAFETY: the executable graph is alive as long as `self`; the rest is the caller's contract.
        check(SLOT.name(), unsafe {
            launch(self.executable, stream.as_inner())
        })
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        static SLOT: Slot = Slot::new("cuGraphExecDestroy");
        destroy(&SLOT, self.executable);
    }
}

fn begin_capture(stream: CUstream) -> Result<(), DriverError> {
    static SLOT: Slot = Slot::new("cuStreamBeginCapture_v2");
    type Begin = unsafe extern "C" fn(CUstream, u32) -> u32;
    // SAFETY: the driver API's signature.
    let begin: Begin = unsafe { std::mem::transmute(SLOT.find()?) };
    // SAFETY: the stream is alive during the call.
    check(SLOT.name(), unsafe {
        begin(stream, CAPTURE_MODE_THREAD_LOCAL)
    })
}

fn end_capture(stream: CUstream) -> Result<Captured, DriverError> {
    static SLOT: Slot = Slot::new("cuStreamEndCapture");
    type End = unsafe extern "C" fn(CUstream, *mut RawGraph) -> u32;
    // SAFETY: the driver API's signature.
    let end: End = unsafe { std::mem::transmute(SLOT.find()?) };
    let mut graph = ptr::null_mut();
    // SAFETY: the stream is alive during the call, the pointer valid for a write.
    check(SLOT.name(), unsafe { end(stream, &raw mut graph) })?;
    Ok(Captured { graph })
}

/// A graph that was captured and not yet made executable.
struct Captured {
    graph: RawGraph,
}

impl Captured {
    fn instantiate(&self) -> Result<Graph, DriverError> {
        static SLOT: Slot = Slot::new("cuGraphInstantiateWithFlags");
        type Instantiate = unsafe extern "C" fn(*mut RawGraph, RawGraph, u64) -> u32;
        // SAFETY: the driver API's signature.
        let instantiate: Instantiate = unsafe { std::mem::transmute(SLOT.find()?) };
        let mut executable = ptr::null_mut();
        // SAFETY: the graph is alive, the pointer valid for a write.
        check(SLOT.name(), unsafe {
            instantiate(&raw mut executable, self.graph, 0)
        })?;
        Ok(Graph { executable })
    }
}

impl Drop for Captured {
    fn drop(&mut self) {
        static SLOT: Slot = Slot::new("cuGraphDestroy");
        destroy(&SLOT, self.graph);
    }
}

fn destroy(slot: &Slot, graph: RawGraph) {
    type Destroy = unsafe extern "C" fn(RawGraph) -> u32;
    if let Ok(address) = slot.find() {
        // SAFETY: the driver API's signature of both functions that destroy graphs.
        let destroy: Destroy = unsafe { std::mem::transmute(address) };
        // SAFETY: nothing refers to the graph any more; a launch under way keeps what it needs (driver API,
        // cuGraphExecDestroy).
        let _ = unsafe { destroy(graph) };
    }
}
