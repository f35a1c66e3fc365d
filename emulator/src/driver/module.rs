//! Modules: loading PTX, and finding functions and variables in it.

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_void};
use std::sync::Arc;

use super::abi::{Handle, Out, answer, elements, put, text};
use super::queue::finish_launches_of;
use super::report;
use super::state::{Driver, Function, Module, driver};
use super::status::Status;
use crate::isa::{self, LoadError};
use crate::machine::{Device, ModuleError};

pub(super) const FUNCTIONS: &[super::Function] = functions![
    cuModuleLoad,
    cuModuleLoadData,
    cuModuleLoadDataEx,
    cuModuleUnload,
    cuModuleGetFunction,
    cuModuleGetGlobal_v2,
];

/// `CUjit_option` ids that are used; the others tune code generation, of which there is none.
const INFO_LOG_BUFFER: u32 = 3;
const INFO_LOG_BUFFER_SIZE_BYTES: u32 = 4;
const ERROR_LOG_BUFFER: u32 = 5;
const ERROR_LOG_BUFFER_SIZE_BYTES: u32 = 6;

/// First bytes of images that hold machine code: ELF, and the fat binary (little-endian
/// 0xBA55ED50).
const MACHINE_CODE: [[u8; 4]; 2] = [*b"\x7fELF", [0x50, 0xED, 0x55, 0xBA]];

/// A caller's log buffer. The option's value holds the size on entry and the bytes written on
/// return.
struct Log {
    buffer: *mut c_char,
    size: *mut *mut c_void,
}

impl Log {
    /// Finds a buffer and its size among the options of a load.
    fn find(options: &[u32], values: *mut *mut c_void, buffer: u32, size: u32) -> Option<Self> {
        let value_of = |option| {
            let index = options.iter().position(|&o| o == option)?;
            // The values are an array as long as the options'; callers that leave one out (cust
            // does for CU_JIT_TARGET_FROM_CUCONTEXT) ask for no log.
            Some(values.wrapping_add(index))
        };
        let (buffer, size) = (value_of(buffer)?, value_of(size)?);
        // SAFETY: both are elements of the caller's array of values.
        let buffer = unsafe { buffer.read() };
        (!buffer.is_null()).then_some(Self {
            buffer: buffer.cast(),
            size,
        })
    }

    /// Writes as much of the text as fits, and a NUL.
    fn write(&self, text: &str) {
        // SAFETY: an element of the caller's array of values.
        let capacity = unsafe { self.size.read() }.addr();
        let Some(room) = capacity.checked_sub(1) else {
            return;
        };
        let mut length = text.len().min(room);
        while !text.is_char_boundary(length) {
            length -= 1;
        }
        // SAFETY: the caller's buffer has `capacity` bytes, more than `length`.
        unsafe {
            self.buffer
                .copy_from_nonoverlapping(text.as_ptr().cast(), length);
            self.buffer.add(length).write(0);
            self.size
                .write(std::ptr::without_provenance_mut(length + 1));
        }
    }
}

/// # Safety
/// `image` is null, or points to PTX text that ends in NUL, or to machine code of at least four
/// bytes.
unsafe fn ptx_of_image<'a>(image: *const c_void) -> Result<&'a str, (Status, String)> {
    if image.is_null() {
        return Err((Status::INVALID_VALUE, "the image is null".to_owned()));
    }
    // SAFETY: text ends in NUL, and neither kind of machine code has one among its first four
    // bytes; the comparison stops at the first byte that differs.
    let is =
        |magic: &[u8; 4]| (0..4).all(|i| unsafe { image.cast::<u8>().add(i).read() } == magic[i]);
    if MACHINE_CODE.iter().any(is) {
        let message = "the image holds machine code (a cubin or fat binary); the emulator runs PTX";
        return Err((Status::NO_BINARY_FOR_GPU, message.to_owned()));
    }
    // SAFETY: not machine code, so text that ends in NUL.
    let text = unsafe { CStr::from_ptr(image.cast()) };
    text.to_str().map_err(|error| {
        let message = format!("the PTX is not UTF-8 after byte {}", error.valid_up_to());
        (Status::INVALID_PTX, message)
    })
}

fn compile(device: &Device, ptx: &str) -> Result<isa::Module, (Status, String)> {
    device.load(ptx).map_err(|error| {
        let status = match error {
            ModuleError::Version { .. } => Status::UNSUPPORTED_PTX_VERSION,
            // What driver 580 answers on an H200 for sm_100, sm_100a, sm_100f and sm_120a.
            ModuleError::Target { .. } => Status::INVALID_PTX,
            ModuleError::Load(LoadError::Syntax(_) | LoadError::Unsupported(_)) => {
                Status::INVALID_PTX
            }
            ModuleError::Load(LoadError::Allocation { .. }) => Status::OUT_OF_MEMORY,
        };
        (status, error.to_string())
    })
}

/// Loads a module into the current context. The log of a failure goes to `log`, else to stderr.
fn load(
    module: Out<Handle>,
    ptx: Result<&str, (Status, String)>,
    log: Option<Log>,
) -> Result<(), Status> {
    // The lock is not held during compilation.
    let driver = Driver::with_context()?.0;
    let module = module.ok_or(Status::INVALID_VALUE)?;
    let image = ptx.and_then(|ptx| compile(&driver.device, ptx));
    let image = image.map_err(|(status, message)| {
        if let Some(log) = &log {
            log.write(&message);
        }
        report::file(message, log.is_some());
        status
    })?;
    if let Some(log) = &log {
        log.write("");
    }
    let (_, mut objects, context) = Driver::with_context()?;
    let handle = objects.new_handle();
    let made = Module {
        context,
        image: Arc::new(image),
        functions: HashMap::new(),
    };
    objects.modules.insert(handle, made);
    module.write(handle);
    Ok(())
}

/// # Safety
/// `path` is null or a C string.
unsafe extern "C" fn cuModuleLoad(module: Out<Handle>, path: *const c_char) -> Status {
    answer(|| {
        // SAFETY: the caller's promise.
        let path = unsafe { text(path)? };
        let image = std::fs::read(path).map_err(|error| {
            report::file(format!("{path}: {error}"), false);
            Status::FILE_NOT_FOUND
        })?;
        // Text ends at the first NUL, if it has one; machine code may have fewer bytes than a magic
        // number.
        let image = [image.as_slice(), &[0; 4]].concat();
        // SAFETY: NULs follow whatever the file holds.
        load(module, unsafe { ptx_of_image(image.as_ptr().cast()) }, None)
    })
}

/// # Safety
/// `image` is null or an image.
unsafe extern "C" fn cuModuleLoadData(module: Out<Handle>, image: *const c_void) -> Status {
    // SAFETY: the caller's promise.
    answer(|| load(module, unsafe { ptx_of_image(image) }, None))
}

/// # Safety
/// `image` is null or an image; `options` and `values` are arrays of `count` elements, and the log
/// buffers among the values have the sizes given there.
unsafe extern "C" fn cuModuleLoadDataEx(
    module: Out<Handle>,
    image: *const c_void,
    count: u32,
    options: *const u32,
    values: *mut *mut c_void,
) -> Status {
    answer(|| {
        // SAFETY: the caller's promise.
        let options = unsafe { elements(options, count as usize)? };
        if !options.is_empty() && values.is_null() {
            return Err(Status::INVALID_VALUE);
        }
        let find = |buffer, size| Log::find(options, values, buffer, size);
        if let Some(information) = find(INFO_LOG_BUFFER, INFO_LOG_BUFFER_SIZE_BYTES) {
            information.write("");
        }
        let errors = find(ERROR_LOG_BUFFER, ERROR_LOG_BUFFER_SIZE_BYTES);
        // SAFETY: the caller's promise.
        let ptx = unsafe { ptx_of_image(image) };
        load(module, ptx, errors)
    })
}

extern "C" fn cuModuleUnload(module: Handle) -> Status {
    answer(|| {
        let driver = driver()?;
        let context = driver
            .objects()
            .modules
            .get(&module)
            .map(|module| module.context);
        finish_launches_of(context);
        let mut objects = driver.objects();
        let module = objects.modules.remove(&module);
        let module = module.ok_or(Status::INVALID_HANDLE)?;
        for function in module.functions.values() {
            objects.functions.remove(function);
        }
        driver.device.unload(&module.image);
        Ok(())
    })
}

/// # Safety
/// `name` is null or a C string.
unsafe extern "C" fn cuModuleGetFunction(
    function: Out<Handle>,
    module: Handle,
    name: *const c_char,
) -> Status {
    answer(|| {
        // SAFETY: the caller's promise.
        let name = unsafe { text(name)? };
        let (_, mut objects, context) = Driver::with_context()?;
        let loaded = objects.modules.get(&module);
        let loaded = loaded.ok_or(Status::INVALID_HANDLE)?;
        if let Some(&known) = loaded.functions.get(name) {
            return put(function, known);
        }
        let kernel = loaded.image.kernels.get(name).ok_or(Status::NOT_FOUND)?;
        let made = Function {
            context,
            kernel: kernel.clone(),
            required_cluster: kernel.directives.reqnctapercluster.unwrap_or_default(),
            ptx_version: loaded.image.version,
            max_dynamic_shared_bytes: 0,
            shared_carveout: -1,
            non_portable_cluster: false,
        };
        let handle = objects.new_handle();
        put(function, handle)?;
        objects.functions.insert(handle, made);
        if let Some(loaded) = objects.modules.get_mut(&module) {
            loaded.functions.insert(name.to_owned(), handle);
        }
        Ok(())
    })
}

/// # Safety
/// `name` is null or a C string.
unsafe extern "C" fn cuModuleGetGlobal_v2(
    address: Out<u64>,
    bytes: Out<usize>,
    module: Handle,
    name: *const c_char,
) -> Status {
    answer(|| {
        // SAFETY: the caller's promise.
        let name = unsafe { text(name)? };
        let (_, objects, _) = Driver::with_context()?;
        let module = objects.modules.get(&module);
        let globals = &module.ok_or(Status::INVALID_HANDLE)?.image.globals;
        let &(start, size) = globals.get(name).ok_or(Status::NOT_FOUND)?;
        if address.is_some() {
            put(address, start)?;
        }
        if bytes.is_some() {
            put(bytes, size as usize)?;
        }
        Ok(())
    })
}
