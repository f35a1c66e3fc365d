//! Records on a real Hopper GPU what the programs of `tests/golden` compute, and compares the emulator with a record.
//!
//! ```text
//! witness gpu DIR        runs every case on the first GPU; writes DIR/golden.txt and DIR/words.bin
//! witness emulate DIR    runs them on the emulator and says where it differs from DIR/words.bin
//! witness ptx DIR        writes each case's PTX to a file of its own, for ptxas
//! ```
//!
//! Lines of `golden.txt`, which belongs into `tests/golden/h100.txt`, are `exact`, the case and the hash of its words;
//! `approximate`, the case and the words of its first CTA; or `failed`, the case and why. Cases run in a child process,
//! since nothing runs in a process whose kernel failed: the next child goes on behind it.

#[path = "../tests/golden/cases/mod.rs"]
mod cases;
#[path = "../tests/golden/emulate.rs"]
mod emulate;

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::ptr::{null, null_mut};

use cases::{Case, approximations, exact, hash, lanes};

type Failure = Box<dyn std::error::Error>;

/// The verb by which [`record`] starts its children.
const CHILD: &str = "gpu-child";

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1..) {
        Some([verb, folder]) => {
            let folder = Path::new(folder);
            match verb.as_str() {
                "gpu" => record(folder),
                CHILD => record_in_child(folder),
                "emulate" => compare(folder),
                "ptx" => write_ptx(folder),
                _ => Err("the first argument is gpu, emulate or ptx".into()),
            }
        }
        _ => Err("needs two arguments: gpu, emulate or ptx, and a folder".into()),
    }
}

/// CTAs of an approximation's case.
const CTAS: usize = 256;

/// The cases whose names contain the variable `ONLY`, with the word that `golden.txt` has for them.
fn all() -> Vec<(&'static str, Case)> {
    let only = std::env::var("ONLY").unwrap_or_default();
    let approximations = approximations::cases(CTAS).into_iter().map(|one| one.case);
    let exact = exact().into_iter().map(|case| ("exact", case));
    exact
        .chain(approximations.map(|case| ("approximate", case)))
        .filter(|(_, case)| case.name.contains(&only))
        .collect()
}

fn write_ptx(folder: &Path) -> Result<(), Failure> {
    for (index, (_, case)) in all().iter().enumerate() {
        let text = format!("// {}\n{}", case.name, case.ptx);
        fs::write(folder.join(format!("{index:04}.ptx")), text)?;
    }
    Ok(())
}

fn to_bytes(words: &[u32]) -> impl Iterator<Item = u8> {
    words.iter().flat_map(|word| word.to_le_bytes())
}

fn compare(folder: &Path) -> Result<(), Failure> {
    let bytes = fs::read(folder.join("words.bin"))?;
    let mut words = bytes
        .as_chunks()
        .0
        .iter()
        .map(|word| u32::from_le_bytes(*word));
    let golden = fs::read_to_string(folder.join("golden.txt"))?;
    let cases = all();
    let mut different = 0;
    for line in golden.lines().filter(|line| !line.starts_with('#')) {
        let [kind, name, _] = line.split('\t').collect::<Vec<_>>()[..] else {
            return Err(format!("not understood: {line}").into());
        };
        let case = cases
            .iter()
            .map(|(_, case)| case)
            .find(|case| case.name == name);
        let case = case.ok_or_else(|| format!("no such case: {name}"))?;
        let expected: Vec<u32> = words.by_ref().take(case.output_words).collect();
        match emulate::run(case) {
            Err(_) if kind == "failed" => {}
            Ok(found) if kind != "failed" && found == expected => {}
            Err(error) => {
                different += 1;
                println!("{name}: {error}");
            }
            Ok(_) if kind == "failed" => {
                different += 1;
                println!("{name}: the GPU failed");
            }
            Ok(found) => {
                different += 1;
                let places: Vec<usize> = (0..found.len())
                    .filter(|i| found[*i] != expected[*i])
                    .collect();
                println!("{name}: {} of {} differ", places.len(), found.len());
                for i in places.into_iter().take(4) {
                    println!(
                        "    word {i}: GPU {:08x}, emulator {:08x}",
                        expected[i], found[i]
                    );
                }
            }
        }
    }
    println!("{different} cases differ");
    Ok(())
}

type Handle = *mut c_void;

unsafe extern "C" {
    fn dlopen(name: *const c_char, flags: c_int) -> Handle;
    fn dlsym(library: Handle, name: *const c_char) -> Handle;
}

/// The functions of the CUDA driver API that are used.
struct Driver {
    library: Handle,
}

impl Driver {
    fn open() -> Result<Driver, Failure> {
        const RTLD_NOW: c_int = 2;
        // SAFETY: the name ends in NUL.
        let library = unsafe { dlopen(c"libcuda.so.1".as_ptr(), RTLD_NOW) };
        match library.is_null() {
            true => Err("libcuda.so.1 cannot be loaded".into()),
            false => Ok(Driver { library }),
        }
    }

    /// A function of the driver.
    ///
    /// # Safety
    /// `F` is the type of a pointer to the function of that name.
    unsafe fn function<F: Copy>(&self, name: &CStr) -> Result<F, Failure> {
        // SAFETY: the name ends in NUL, and the library stays loaded.
        let address = unsafe { dlsym(self.library, name.as_ptr()) };
        if address.is_null() {
            return Err(format!("libcuda.so.1 has no {name:?}").into());
        }
        // SAFETY: function pointers have the size of an address; the type is the caller's promise.
        Ok(unsafe { std::mem::transmute_copy::<Handle, F>(&address) })
    }
}

fn check(what: &str, status: c_int) -> Result<(), Failure> {
    match status {
        0 => Ok(()),
        error => Err(format!("{what}: CUDA error {error}").into()),
    }
}

/// The GPU with a current context.
struct Gpu {
    driver: Driver,
    name: String,
    version: c_int,
}

impl Gpu {
    fn open() -> Result<Gpu, Failure> {
        let driver = Driver::open()?;
        let (mut device, mut context, mut version) = (0, null_mut(), 0);
        let mut name = [0u8; 128];
        // SAFETY: the functions' C signatures; all pointers are to local variables of the right types and sizes.
        unsafe {
            type Init = unsafe extern "C" fn(c_uint) -> c_int;
            type DeviceGet = unsafe extern "C" fn(*mut c_int, c_int) -> c_int;
            type Name = unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int;
            type Retain = unsafe extern "C" fn(*mut Handle, c_int) -> c_int;
            type SetCurrent = unsafe extern "C" fn(Handle) -> c_int;
            type Version = unsafe extern "C" fn(*mut c_int) -> c_int;
            check("cuInit", driver.function::<Init>(c"cuInit")?(0))?;
            check(
                "cuDeviceGet",
                driver.function::<DeviceGet>(c"cuDeviceGet")?(&mut device, 0),
            )?;
            let get_name = driver.function::<Name>(c"cuDeviceGetName")?;
            check(
                "cuDeviceGetName",
                get_name(name.as_mut_ptr().cast(), 127, device),
            )?;
            let retain = driver.function::<Retain>(c"cuDevicePrimaryCtxRetain")?;
            check("cuDevicePrimaryCtxRetain", retain(&mut context, device))?;
            let set = driver.function::<SetCurrent>(c"cuCtxSetCurrent")?;
            check("cuCtxSetCurrent", set(context))?;
            let get_version = driver.function::<Version>(c"cuDriverGetVersion")?;
            check("cuDriverGetVersion", get_version(&mut version))?;
        }
        let name = CStr::from_bytes_until_nul(&name)?.to_str()?.to_owned();
        Ok(Gpu {
            driver,
            name,
            version,
        })
    }

    fn load(&self, ptx: &str) -> Result<Result<Handle, c_int>, Failure> {
        type Load = unsafe extern "C" fn(*mut Handle, *const c_void) -> c_int;
        let text = CString::new(ptx)?;
        let mut module = null_mut();
        // SAFETY: the C signature; the text ends in NUL.
        let status = unsafe {
            self.driver.function::<Load>(c"cuModuleLoadData")?(&mut module, text.as_ptr().cast())
        };
        Ok(if status == 0 { Ok(module) } else { Err(status) })
    }

    fn run(&self, case: &Case) -> Result<Vec<u32>, Failure> {
        type GetFunction = unsafe extern "C" fn(*mut Handle, Handle, *const c_char) -> c_int;
        type Alloc = unsafe extern "C" fn(*mut u64, usize) -> c_int;
        type Free = unsafe extern "C" fn(u64) -> c_int;
        type ToDevice = unsafe extern "C" fn(u64, *const c_void, usize) -> c_int;
        type ToHost = unsafe extern "C" fn(*mut c_void, u64, usize) -> c_int;
        type Unload = unsafe extern "C" fn(Handle) -> c_int;
        type Launch = unsafe extern "C" fn(
            Handle,
            c_uint,
            c_uint,
            c_uint,
            c_uint,
            c_uint,
            c_uint,
            c_uint,
            Handle,
            *mut *mut c_void,
            *const c_void,
        ) -> c_int;
        let module = self
            .load(&case.ptx)?
            .map_err(|status| format!("{}: cuModuleLoadData: {status}", case.name))?;
        let driver = &self.driver;
        let mut words = vec![0u32; case.output_words];
        let (mut function, mut out, mut input) = (null_mut(), 0u64, 0u64);
        // SAFETY: the functions' C signatures; buffers have the sizes that are passed, and the kernel has two pointers
        // as parameters.
        unsafe {
            let get = driver.function::<GetFunction>(c"cuModuleGetFunction")?;
            check(
                "cuModuleGetFunction",
                get(&mut function, module, c"kernel".as_ptr()),
            )?;
            let alloc = driver.function::<Alloc>(c"cuMemAlloc_v2")?;
            check("cuMemAlloc", alloc(&mut out, 4 * words.len()))?;
            check("cuMemAlloc", alloc(&mut input, case.input.len()))?;
            let copy = driver.function::<ToDevice>(c"cuMemcpyHtoD_v2")?;
            check(
                "cuMemcpyHtoD",
                copy(input, case.input.as_ptr().cast(), case.input.len()),
            )?;
            let mut parameters: [*mut c_void; 2] = [(&raw mut out).cast(), (&raw mut input).cast()];
            let launch = driver.function::<Launch>(c"cuLaunchKernel")?;
            let status = launch(
                function,
                case.ctas,
                1,
                1,
                case.threads,
                1,
                1,
                0,
                null_mut(),
                parameters.as_mut_ptr(),
                null(),
            );
            check("cuLaunchKernel", status)?;
            let copy = driver.function::<ToHost>(c"cuMemcpyDtoH_v2")?;
            let status = copy(words.as_mut_ptr().cast(), out, 4 * words.len());
            check(&format!("{}: cuMemcpyDtoH", case.name), status)?;
            let free = driver.function::<Free>(c"cuMemFree_v2")?;
            check("cuMemFree", free(out))?;
            check("cuMemFree", free(input))?;
            check(
                "cuModuleUnload",
                driver.function::<Unload>(c"cuModuleUnload")?(module),
            )?;
        }
        Ok(words)
    }
}

/// How many cases a record has lines for.
fn recorded(folder: &Path) -> Result<usize, Failure> {
    let text = fs::read_to_string(folder.join("golden.txt"))?;
    Ok(text.lines().filter(|line| !line.starts_with('#')).count())
}

fn record(folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder)?;
    let gpu = Gpu::open()?;
    let header = format!("# {}, driver API {}\n", gpu.name, gpu.version);
    fs::write(folder.join("golden.txt"), header)?;
    File::create(folder.join("words.bin"))?;
    let count = all().len();
    loop {
        let before = recorded(folder)?;
        if before == count {
            break;
        }
        let program = std::env::current_exe()?;
        let status = Command::new(program).arg(CHILD).arg(folder).status()?;
        if recorded(folder)? == before {
            return Err(format!("case {before}: the child ended with {status}").into());
        }
    }
    report_targets(&gpu)
}

/// Records from the first case on that has no line, up to one that fails.
fn record_in_child(folder: &Path) -> Result<(), Failure> {
    let gpu = Gpu::open()?;
    let append = |name| OpenOptions::new().append(true).open(folder.join(name));
    let (mut golden, mut raw) = (append("golden.txt")?, append("words.bin")?);
    for (kind, case) in all().iter().skip(recorded(folder)?) {
        match gpu.run(case) {
            Ok(words) => {
                let bytes: Vec<u8> = to_bytes(&words).collect();
                raw.write_all(&bytes)?;
                let result = match *kind {
                    "approximate" => lanes::in_hexadecimal(&words[..lanes::THREADS]),
                    _ => format!("{:016x}", hash(bytes)),
                };
                writeln!(golden, "{kind}\t{}\t{result}", case.name)?;
            }
            Err(error) => {
                raw.write_all(&vec![0xA5; 4 * case.output_words])?;
                writeln!(golden, "failed\t{}\t{error}", case.name)?;
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Which targets' PTX the driver takes.
fn report_targets(gpu: &Gpu) -> Result<(), Failure> {
    for target in [
        "sm_80", "sm_90", "sm_90a", "sm_100", "sm_100a", "sm_100f", "sm_120a",
    ] {
        let ptx = format!(
            ".version 8.8\n.target {target}\n.address_size 64\n.visible .entry kernel() {{ ret; }}\n"
        );
        match gpu.load(&ptx)? {
            Ok(_) => println!("{target}: loads"),
            Err(status) => println!("{target}: CUDA error {status}"),
        }
    }
    Ok(())
}
