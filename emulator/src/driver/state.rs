//! The state behind the API: one device, and the objects that programs made on it.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use super::abi::Handle;
use super::queue::Queue;
use super::status::Status;
use crate::isa;
use crate::isa::ir::Kernel;
use crate::machine::{Device, DeviceProperties, LaunchOptions};

/// The whole driver of this process.
pub(super) struct Driver {
    pub device: Device,
    /// As the environment says.
    pub options: LaunchOptions,
    objects: Mutex<Objects>,
}

static DRIVER: OnceLock<Driver> = OnceLock::new();

/// The driver, once `cuInit` was called.
pub(super) fn driver() -> Result<&'static Driver, Status> {
    DRIVER.get().ok_or(Status::NOT_INITIALIZED)
}

pub(super) fn initialise(device: DeviceProperties, options: LaunchOptions) {
    DRIVER.get_or_init(|| Driver {
        device: Device::new(device),
        options,
        objects: Mutex::default(),
    });
}

impl Driver {
    /// Held for bookkeeping only, never while a kernel or a callback runs.
    pub(super) fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The driver and its objects, for a function that needs a current context; with that context.
    pub(super) fn with_context()
    -> Result<(&'static Self, MutexGuard<'static, Objects>, Handle), Status> {
        let driver = driver()?;
        let objects = driver.objects();
        let context = objects.current()?;
        Ok((driver, objects, context))
    }
}

/// Whether the calling thread has a current context in working order.
pub(super) fn check_context() -> Result<(), Status> {
    driver()?.objects().current().map(|_| ())
}

/// Everything that has a handle, and the allocations.
#[derive(Default)]
pub(super) struct Objects {
    handles: usize,
    pub primary: Primary,
    pub contexts: HashMap<Handle, Context>,
    pub modules: HashMap<Handle, Module>,
    pub functions: HashMap<Handle, Function>,
    pub streams: HashMap<Handle, Stream>,
    pub events: HashMap<Handle, Event>,
    /// By address.
    pub allocations: BTreeMap<u64, Allocation>,
}

/// The device's primary context. Its handle stays the same when it is released and retained again.
#[derive(Default)]
pub(super) struct Primary {
    pub context: Option<Handle>,
    pub retained: u32,
    pub flags: u32,
}

pub(super) struct Context {
    /// A destroyed context stays in the table, so that its handle is told from one that never was.
    pub alive: bool,
    pub flags: u32,
    pub cache_config: u32,
    pub shared_config: u32,
    pub limits: HashMap<u32, usize>,
    /// Status of the launch that broke the context.
    pub failure: Option<Status>,
    pub queue: Queue,
}

impl Context {
    pub(super) fn new(flags: u32) -> Self {
        Self {
            alive: true,
            flags,
            cache_config: 0,
            shared_config: 0,
            limits: HashMap::new(),
            failure: None,
            queue: Queue::default(),
        }
    }
}

pub(super) struct Module {
    pub context: Handle,
    pub image: Arc<isa::Module>,
    /// Handles given out so far, by name.
    pub functions: HashMap<String, Handle>,
}

#[derive(Clone)]
pub(super) struct Function {
    pub context: Handle,
    pub kernel: Arc<Kernel>,
    pub ptx_version: (u32, u32),
    pub max_dynamic_shared_bytes: u32,
    pub shared_carveout: i32,
    pub non_portable_cluster: bool,
    /// Extents that the launch's clusters must have; zero where nothing is required.
    pub required_cluster: [u32; 3],
}

pub(super) struct Stream {
    pub context: Handle,
    pub flags: u32,
    pub priority: i32,
}

pub(super) struct Event {
    pub context: Handle,
    pub flags: u32,
    pub recorded: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum AllocationKind {
    Device,
    Managed,
    /// Page-locked host memory, mapped into the device.
    Host,
}

pub(super) struct Allocation {
    pub context: Handle,
    pub kind: AllocationKind,
}

thread_local! {
    /// The calling thread's contexts; the last one is current.
    static CONTEXT_STACK: RefCell<Vec<Handle>> = const { RefCell::new(Vec::new()) };
}

/// Works on the calling thread's context stack.
pub(super) fn context_stack<T>(work: impl FnOnce(&mut Vec<Handle>) -> T) -> T {
    CONTEXT_STACK.with_borrow_mut(work)
}

impl Objects {
    /// A handle that was never used before.
    pub(super) fn new_handle(&mut self) -> Handle {
        // Small values are reserved: streams 1 and 2 have a meaning. Far from any heap address, so
        // a stray pointer is not taken for a handle.
        self.handles += 1;
        Handle::from_address(0xE000_0000_0000 + 16 * self.handles)
    }

    /// The calling thread's current context, in working order.
    pub(super) fn current(&self) -> Result<Handle, Status> {
        let handle = self.current_even_if_failed()?;
        match self.live_context(handle)?.failure {
            Some(failure) => Err(failure),
            None => Ok(handle),
        }
    }

    pub(super) fn current_even_if_failed(&self) -> Result<Handle, Status> {
        let current = context_stack(|stack| stack.last().copied());
        let handle = current.ok_or(Status::INVALID_CONTEXT)?;
        self.live_context(handle).map(|_| handle)
    }

    pub(super) fn live_context(&self, handle: Handle) -> Result<&Context, Status> {
        match self.contexts.get(&handle) {
            Some(context) if context.alive => Ok(context),
            Some(_) => Err(Status::CONTEXT_IS_DESTROYED),
            None => Err(Status::INVALID_CONTEXT),
        }
    }

    pub(super) fn current_mut(&mut self) -> Result<&mut Context, Status> {
        let handle = self.current()?;
        self.contexts
            .get_mut(&handle)
            .ok_or(Status::INVALID_CONTEXT)
    }

    /// Destroys a context with all that was made in it.
    pub(super) fn destroy_context(&mut self, device: &Device, handle: Handle) {
        if let Some(context) = self.contexts.get_mut(&handle) {
            context.alive = false;
            context.failure = None;
        }
        self.streams.retain(|_, stream| stream.context != handle);
        self.events.retain(|_, event| event.context != handle);
        self.functions
            .retain(|_, function| function.context != handle);
        let modules = self.modules.extract_if(|_, m| m.context == handle);
        modules.for_each(|(_, module)| device.unload(&module.image));
        self.allocations.retain(|&address, allocation| {
            let keep = allocation.context != handle;
            if !keep {
                // The table and the memory hold the same addresses.
                let _ = device.memory.free(address);
            }
            keep
        });
    }

    pub(super) fn function(&self, handle: Handle) -> Result<&Function, Status> {
        self.functions.get(&handle).ok_or(Status::INVALID_HANDLE)
    }

    pub(super) fn function_mut(&mut self, handle: Handle) -> Result<&mut Function, Status> {
        self.functions
            .get_mut(&handle)
            .ok_or(Status::INVALID_HANDLE)
    }

    pub(super) fn event_mut(&mut self, handle: Handle) -> Result<&mut Event, Status> {
        self.events.get_mut(&handle).ok_or(Status::INVALID_HANDLE)
    }

    /// Whether a stream can take work: one that was made, or a default stream.
    pub(super) fn check_stream(&self, handle: Handle) -> Result<(), Status> {
        // Null, CU_STREAM_LEGACY and CU_STREAM_PER_THREAD.
        if handle.address() <= 2 || self.streams.contains_key(&handle) {
            Ok(())
        } else {
            Err(Status::INVALID_HANDLE)
        }
    }
}
