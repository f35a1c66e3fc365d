//! Contexts: the primary one, and those of `cuCtxCreate`.

use std::ffi::{c_int, c_void};

use super::abi::{Handle, Out, answer, put};
use super::device::check_device;
use super::queue::{finish_launches, finish_launches_of};
use super::state::{Context, check_context, context_stack, driver};
use super::status::Status;

pub(super) const FUNCTIONS: &[super::Function] = functions![
    cuDevicePrimaryCtxRetain,
    cuDevicePrimaryCtxRelease_v2,
    cuDevicePrimaryCtxReset_v2,
    cuDevicePrimaryCtxSetFlags_v2,
    cuDevicePrimaryCtxGetState,
    cuCtxCreate_v2,
    cuCtxCreate_v3,
    cuCtxCreate_v4,
    cuCtxDestroy_v2,
    cuCtxPushCurrent_v2,
    cuCtxPopCurrent_v2,
    cuCtxSetCurrent,
    cuCtxGetCurrent,
    cuCtxGetDevice,
    cuCtxGetFlags,
    cuCtxSetFlags,
    cuCtxGetApiVersion,
    cuCtxSynchronize,
    cuCtxGetStreamPriorityRange,
    cuCtxGetCacheConfig,
    cuCtxSetCacheConfig,
    cuCtxGetSharedMemConfig,
    cuCtxSetSharedMemConfig,
    cuCtxGetLimit,
    cuCtxSetLimit,
];

extern "C" fn cuDevicePrimaryCtxRetain(context: Out<Handle>, device: c_int) -> Status {
    answer(|| {
        check_device(device)?;
        let mut objects = driver()?.objects();
        let fresh = objects.new_handle();
        let handle = *objects.primary.context.get_or_insert(fresh);
        if objects.primary.retained == 0 {
            let flags = objects.primary.flags;
            objects.contexts.insert(handle, Context::new(flags));
        }
        put(context, handle)?;
        objects.primary.retained += 1;
        Ok(())
    })
}

extern "C" fn cuDevicePrimaryCtxRelease_v2(device: c_int) -> Status {
    answer(|| {
        check_device(device)?;
        let driver = driver()?;
        let context = driver.objects().primary.context;
        finish_launches_of(context);
        let mut objects = driver.objects();
        match (objects.primary.retained, objects.primary.context) {
            (1.., Some(context)) => {
                objects.primary.retained -= 1;
                if objects.primary.retained == 0 {
                    objects.destroy_context(&driver.device, context);
                }
                Ok(())
            }
            _ => Err(Status::INVALID_CONTEXT),
        }
    })
}

extern "C" fn cuDevicePrimaryCtxReset_v2(device: c_int) -> Status {
    answer(|| {
        check_device(device)?;
        let driver = driver()?;
        let context = driver.objects().primary.context;
        finish_launches_of(context);
        let mut objects = driver.objects();
        if let Some(context) = objects.primary.context {
            objects.destroy_context(&driver.device, context);
            if objects.primary.retained > 0 {
                let flags = objects.primary.flags;
                objects.contexts.insert(context, Context::new(flags));
            }
        }
        Ok(())
    })
}

extern "C" fn cuDevicePrimaryCtxSetFlags_v2(device: c_int, flags: u32) -> Status {
    answer(|| {
        check_device(device)?;
        driver()?.objects().primary.flags = flags;
        Ok(())
    })
}

extern "C" fn cuDevicePrimaryCtxGetState(
    device: c_int,
    flags: Out<u32>,
    active: Out<c_int>,
) -> Status {
    answer(|| {
        check_device(device)?;
        let objects = driver()?.objects();
        put(flags, objects.primary.flags)?;
        put(active, (objects.primary.retained > 0).into())
    })
}

extern "C" fn cuCtxCreate_v2(context: Out<Handle>, flags: u32, device: c_int) -> Status {
    answer(|| {
        check_device(device)?;
        let mut objects = driver()?.objects();
        let handle = objects.new_handle();
        put(context, handle)?;
        objects.contexts.insert(handle, Context::new(flags));
        context_stack(|stack| stack.push(handle));
        Ok(())
    })
}

/// Execution affinity, which divides a device's multiprocessors, is not there to be had.
extern "C" fn cuCtxCreate_v3(
    context: Out<Handle>,
    _affinities: *const c_void,
    affinity_count: c_int,
    flags: u32,
    device: c_int,
) -> Status {
    match affinity_count {
        0 => cuCtxCreate_v2(context, flags, device),
        _ => Status::NOT_SUPPORTED,
    }
}

/// `CUctxCreateParams`
#[repr(C)]
struct CreateParams {
    affinities: *const c_void,
    affinity_count: c_int,
    graphics: *const c_void,
}

/// # Safety
/// `params` is null or points to a `CUctxCreateParams`.
unsafe extern "C" fn cuCtxCreate_v4(
    context: Out<Handle>,
    params: *const CreateParams,
    flags: u32,
    device: c_int,
) -> Status {
    // SAFETY: the caller's promise.
    match unsafe { params.as_ref() } {
        Some(params) if !params.graphics.is_null() => Status::NOT_SUPPORTED,
        Some(params) => cuCtxCreate_v3(
            context,
            params.affinities,
            params.affinity_count,
            flags,
            device,
        ),
        None => cuCtxCreate_v2(context, flags, device),
    }
}

extern "C" fn cuCtxDestroy_v2(context: Handle) -> Status {
    answer(|| {
        finish_launches_of(Some(context));
        let driver = driver()?;
        let mut objects = driver.objects();
        objects.live_context(context)?;
        if objects.primary.context == Some(context) {
            return Err(Status::INVALID_CONTEXT);
        }
        objects.destroy_context(&driver.device, context);
        context_stack(|stack| {
            if stack.last() == Some(&context) {
                stack.pop();
            }
        });
        Ok(())
    })
}

extern "C" fn cuCtxPushCurrent_v2(context: Handle) -> Status {
    answer(|| {
        driver()?.objects().live_context(context)?;
        context_stack(|stack| stack.push(context));
        Ok(())
    })
}

extern "C" fn cuCtxPopCurrent_v2(context: Out<Handle>) -> Status {
    answer(|| {
        driver()?;
        let popped = context_stack(Vec::pop).ok_or(Status::INVALID_CONTEXT)?;
        match context {
            Some(_) => put(context, popped),
            None => Ok(()),
        }
    })
}

extern "C" fn cuCtxSetCurrent(context: Handle) -> Status {
    answer(|| {
        let objects = driver()?.objects();
        if !context.is_null() {
            objects.live_context(context)?;
        }
        context_stack(|stack| {
            stack.pop();
            if !context.is_null() {
                stack.push(context);
            }
        });
        Ok(())
    })
}

extern "C" fn cuCtxGetCurrent(context: Out<Handle>) -> Status {
    answer(|| {
        driver()?;
        let current = context_stack(|stack| stack.last().copied());
        put(context, current.unwrap_or(Handle::NULL))
    })
}

extern "C" fn cuCtxGetDevice(device: Out<c_int>) -> Status {
    answer(|| {
        driver()?.objects().current_even_if_failed()?;
        put(device, 0)
    })
}

extern "C" fn cuCtxGetFlags(flags: Out<u32>) -> Status {
    answer(|| put(flags, driver()?.objects().current_mut()?.flags))
}

extern "C" fn cuCtxSetFlags(flags: u32) -> Status {
    answer(|| {
        driver()?.objects().current_mut()?.flags = flags;
        Ok(())
    })
}

extern "C" fn cuCtxGetApiVersion(context: Handle, version: Out<u32>) -> Status {
    answer(|| {
        let objects = driver()?.objects();
        if context.is_null() {
            objects.current()?;
        } else {
            objects.live_context(context)?;
        }
        // What the driver has answered since CUDA 3.2: the generation of the context API.
        put(version, 3020)
    })
}

extern "C" fn cuCtxSynchronize() -> Status {
    answer(|| {
        finish_launches();
        // What is left of launches is their failure.
        check_context()
    })
}

extern "C" fn cuCtxGetStreamPriorityRange(least: Out<c_int>, greatest: Out<c_int>) -> Status {
    answer(|| {
        check_context()?;
        if least.is_some() {
            put(least, super::stream::PRIORITIES.0)?;
        }
        if greatest.is_some() {
            put(greatest, super::stream::PRIORITIES.1)?;
        }
        Ok(())
    })
}

extern "C" fn cuCtxGetCacheConfig(config: Out<u32>) -> Status {
    answer(|| put(config, driver()?.objects().current_mut()?.cache_config))
}

extern "C" fn cuCtxSetCacheConfig(config: u32) -> Status {
    answer(|| {
        if config > 3 {
            return Err(Status::INVALID_VALUE);
        }
        driver()?.objects().current_mut()?.cache_config = config;
        Ok(())
    })
}

extern "C" fn cuCtxGetSharedMemConfig(config: Out<u32>) -> Status {
    answer(|| put(config, driver()?.objects().current_mut()?.shared_config))
}

extern "C" fn cuCtxSetSharedMemConfig(config: u32) -> Status {
    answer(|| {
        if config > 2 {
            return Err(Status::INVALID_VALUE);
        }
        driver()?.objects().current_mut()?.shared_config = config;
        Ok(())
    })
}

/// `CUlimit` ids run from 0 (stack size) to 6 (persisting L2 size).
const LIMITS: u32 = 7;

extern "C" fn cuCtxGetLimit(value: Out<usize>, limit: u32) -> Status {
    answer(|| {
        let mut objects = driver()?.objects();
        let context = objects.current_mut()?;
        if limit >= LIMITS {
            return Err(Status::UNSUPPORTED_LIMIT);
        }
        put(value, context.limits.get(&limit).copied().unwrap_or(0))
    })
}

extern "C" fn cuCtxSetLimit(limit: u32, value: usize) -> Status {
    answer(|| {
        let mut objects = driver()?.objects();
        let context = objects.current_mut()?;
        if limit >= LIMITS {
            return Err(Status::UNSUPPORTED_LIMIT);
        }
        context.limits.insert(limit, value);
        Ok(())
    })
}
