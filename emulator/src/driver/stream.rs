//! Streams and events. Work runs when it is submitted, or at the latest here, so every stream is idle and every event
//! has happened.

use std::ffi::{c_int, c_void};
use std::time::Instant;

use super::abi::{Handle, Out, answer, put};
use super::queue::{finish_launches, finish_launches_of};
use super::state::{Driver, Event, Stream, driver};
use super::status::Status;

pub(super) const FUNCTIONS: &[super::Function] = functions![
    cuStreamCreate,
    cuStreamCreateWithPriority,
    cuStreamDestroy_v2,
    cuStreamGetCtx,
    cuStreamGetFlags,
    cuStreamGetPriority,
    cuStreamQuery,
    cuStreamSynchronize,
    cuStreamWaitEvent,
    cuStreamIsCapturing,
    cuStreamAddCallback,
    cuLaunchHostFunc,
    cuEventCreate,
    cuEventDestroy_v2,
    cuEventElapsedTime,
    cuEventQuery,
    cuEventRecord,
    cuEventRecordWithFlags,
    cuEventSynchronize,
];

/// Least and greatest priority, as a B200 reports them.
pub(super) const PRIORITIES: (c_int, c_int) = (0, -5);

/// `CU_STREAM_NON_BLOCKING`
const NON_BLOCKING: u32 = 1;
/// `CU_EVENT_DISABLE_TIMING`
const DISABLE_TIMING: u32 = 2;
/// All of `CUevent_flags`.
const EVENT_FLAGS: u32 = 7;

extern "C" fn cuStreamCreate(stream: Out<Handle>, flags: u32) -> Status {
    cuStreamCreateWithPriority(stream, flags, 0)
}

extern "C" fn cuStreamCreateWithPriority(
    stream: Out<Handle>,
    flags: u32,
    priority: c_int,
) -> Status {
    answer(|| {
        let (_, mut objects, context) = Driver::with_context()?;
        if flags & !NON_BLOCKING != 0 {
            return Err(Status::INVALID_VALUE);
        }
        let handle = objects.new_handle();
        put(stream, handle)?;
        let made = Stream {
            context,
            flags,
            priority: priority.clamp(PRIORITIES.1, PRIORITIES.0),
        };
        objects.streams.insert(handle, made);
        Ok(())
    })
}

/// Runs what waits in a stream's context; the default streams are the current context's.
fn finish_launches_before(stream: Handle) {
    let context = driver().ok().and_then(|driver| {
        let objects = driver.objects();
        objects.streams.get(&stream).map(|stream| stream.context)
    });
    match context {
        Some(_) => finish_launches_of(context),
        None => finish_launches(),
    }
}

extern "C" fn cuStreamDestroy_v2(stream: Handle) -> Status {
    answer(|| {
        finish_launches_before(stream);
        let removed = driver()?.objects().streams.remove(&stream);
        removed.map(|_| ()).ok_or(Status::INVALID_HANDLE)
    })
}

extern "C" fn cuStreamGetCtx(stream: Handle, context: Out<Handle>) -> Status {
    answer(|| {
        let (_, objects, current) = Driver::with_context()?;
        objects.check_stream(stream)?;
        let made_in = objects.streams.get(&stream).map(|stream| stream.context);
        put(context, made_in.unwrap_or(current))
    })
}

extern "C" fn cuStreamGetFlags(stream: Handle, flags: Out<u32>) -> Status {
    answer(|| {
        let (_, objects, _) = Driver::with_context()?;
        objects.check_stream(stream)?;
        let stream = objects.streams.get(&stream);
        put(flags, stream.map_or(0, |stream| stream.flags))
    })
}

extern "C" fn cuStreamGetPriority(stream: Handle, priority: Out<c_int>) -> Status {
    answer(|| {
        let (_, objects, _) = Driver::with_context()?;
        objects.check_stream(stream)?;
        let stream = objects.streams.get(&stream);
        put(priority, stream.map_or(0, |stream| stream.priority))
    })
}

extern "C" fn cuStreamQuery(stream: Handle) -> Status {
    cuStreamSynchronize(stream)
}

extern "C" fn cuStreamSynchronize(stream: Handle) -> Status {
    answer(|| {
        finish_launches_before(stream);
        Driver::with_context()?.1.check_stream(stream)
    })
}

extern "C" fn cuStreamWaitEvent(stream: Handle, event: Handle, _flags: u32) -> Status {
    answer(|| {
        finish_launches_before(stream);
        let (_, mut objects, _) = Driver::with_context()?;
        objects.check_stream(stream)?;
        objects.event_mut(event).map(|_| ())
    })
}

/// `CU_STREAM_CAPTURE_STATUS_NONE`: there is no capture.
extern "C" fn cuStreamIsCapturing(stream: Handle, status: Out<c_int>) -> Status {
    answer(|| {
        Driver::with_context()?.1.check_stream(stream)?;
        put(status, 0)
    })
}

type Callback = unsafe extern "C" fn(Handle, Status, *mut c_void);

extern "C" fn cuStreamAddCallback(
    stream: Handle,
    callback: Option<Callback>,
    data: *mut c_void,
    _flags: u32,
) -> Status {
    answer(|| {
        finish_launches_before(stream);
        Driver::with_context()?.1.check_stream(stream)?;
        let callback = callback.ok_or(Status::INVALID_VALUE)?;
        // SAFETY: the caller hands over both to be called once; no lock is held.
        unsafe { callback(stream, Status::SUCCESS, data) };
        Ok(())
    })
}

type HostFunction = unsafe extern "C" fn(*mut c_void);

extern "C" fn cuLaunchHostFunc(
    stream: Handle,
    function: Option<HostFunction>,
    data: *mut c_void,
) -> Status {
    answer(|| {
        finish_launches_before(stream);
        Driver::with_context()?.1.check_stream(stream)?;
        let function = function.ok_or(Status::INVALID_VALUE)?;
        // SAFETY: the caller hands over both to be called once; no lock is held, so that it may
        // call the driver.
        unsafe { function(data) };
        Ok(())
    })
}

extern "C" fn cuEventCreate(event: Out<Handle>, flags: u32) -> Status {
    answer(|| {
        let (_, mut objects, context) = Driver::with_context()?;
        if flags & !EVENT_FLAGS != 0 {
            return Err(Status::INVALID_VALUE);
        }
        let handle = objects.new_handle();
        put(event, handle)?;
        let made = Event {
            context,
            flags,
            recorded: None,
        };
        objects.events.insert(handle, made);
        Ok(())
    })
}

extern "C" fn cuEventDestroy_v2(event: Handle) -> Status {
    answer(|| {
        let removed = driver()?.objects().events.remove(&event);
        removed.map(|_| ()).ok_or(Status::INVALID_HANDLE)
    })
}

extern "C" fn cuEventRecord(event: Handle, stream: Handle) -> Status {
    answer(|| {
        finish_launches_before(stream);
        let (_, mut objects, _) = Driver::with_context()?;
        objects.check_stream(stream)?;
        objects.event_mut(event)?.recorded = Some(Instant::now());
        Ok(())
    })
}

extern "C" fn cuEventRecordWithFlags(event: Handle, stream: Handle, _flags: u32) -> Status {
    cuEventRecord(event, stream)
}

extern "C" fn cuEventQuery(event: Handle) -> Status {
    cuEventSynchronize(event)
}

extern "C" fn cuEventSynchronize(event: Handle) -> Status {
    answer(|| {
        finish_launches();
        Driver::with_context()?.1.event_mut(event).map(|_| ())
    })
}

/// The emulation's own time between two records, in milliseconds.
extern "C" fn cuEventElapsedTime(milliseconds: Out<f32>, start: Handle, end: Handle) -> Status {
    answer(|| {
        let (_, mut objects, _) = Driver::with_context()?;
        let mut time_of = |event| {
            let event = objects.event_mut(event)?;
            match event.recorded {
                Some(time) if event.flags & DISABLE_TIMING == 0 => Ok(time),
                _ => Err(Status::INVALID_HANDLE),
            }
        };
        let (start, end) = (time_of(start)?, time_of(end)?);
        // The result is signed: the events may have been recorded in the other order.
        let elapsed = match end.checked_duration_since(start) {
            Some(forward) => forward.as_secs_f64(),
            None => -start.duration_since(end).as_secs_f64(),
        };
        put(milliseconds, (elapsed * 1e3) as f32)
    })
}
