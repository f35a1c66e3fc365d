//! Reports as JSON, in a process of its own whose environment asks for them.

use std::ffi::{CString, c_char, c_void};
use std::process::Command;
use std::{env, ptr};

use ptx_emulator::driver::{Status, lookup};
use serde_json::{Value, json};

/// Warp 1 stores what warp 0 loads, and nothing orders the two; both store the same before.
const RACE: &str = r#".version 8.7
.target sm_100a
.address_size 64
.visible .entry race()
{
    .reg .b32 %r<4>;
    .reg .pred %p;
    .shared .align 8 .b8 data[8];
    mov.u32 %r0, %tid.x;
    setp.ge.u32 %p, %r0, 32;
    st.shared.u32 [data], 7;
    bar.sync 0;
    @%p st.shared.u32 [data], %r0;
    @!%p ld.shared.u32 %r1, [data];
    ret;
}
.visible .entry repeats()
{
    .shared .align 8 .b8 data[8];
    st.shared.u32 [data], 7;
    ret;
}
"#;

/// A driver function, as `make` types its address.
fn call<A>(name: &str, make: impl FnOnce(*const c_void) -> A) -> A {
    make(lookup(name).unwrap_or_else(|| panic!("{name}")))
}

/// Launches both kernels; runs in the child process.
fn launch() {
    let null = ptr::null_mut::<c_void>();
    type P = *mut c_void;
    // SAFETY: the signatures of the driver API; all pointers are valid or may be null.
    unsafe {
        let init: unsafe extern "C" fn(u32) -> Status = call("cuInit", |f| std::mem::transmute(f));
        assert_eq!(init(0), Status::SUCCESS);
        let create: unsafe extern "C" fn(*mut P, u32, i32) -> Status =
            call("cuCtxCreate_v2", |f| std::mem::transmute(f));
        let mut context = null;
        assert_eq!(create(&mut context, 0, 0), Status::SUCCESS);
        let load: unsafe extern "C" fn(*mut P, *const c_char) -> Status =
            call("cuModuleLoadData", |f| std::mem::transmute(f));
        let text = CString::new(RACE).unwrap();
        let mut module = null;
        assert_eq!(load(&mut module, text.as_ptr()), Status::SUCCESS);
        let get: unsafe extern "C" fn(*mut P, P, *const c_char) -> Status =
            call("cuModuleGetFunction", |f| std::mem::transmute(f));
        type Launch =
            unsafe extern "C" fn(P, u32, u32, u32, u32, u32, u32, u32, P, *mut P, *mut P) -> Status;
        let launch: Launch = call("cuLaunchKernel", |f| std::mem::transmute(f));
        for name in [c"repeats", c"repeats", c"race"] {
            let mut function = null;
            assert_eq!(get(&mut function, module, name.as_ptr()), Status::SUCCESS);
            let (none, no) = (null, ptr::null_mut());
            let status = launch(function, 1, 1, 1, 64, 1, 1, 0, none, no, no);
            assert_eq!(status, Status::SUCCESS);
        }
    }
}

#[test]
fn reports_are_objects_a_line() {
    const CHILD: &str = "PTX_EMULATOR_TEST_CHILD";
    if env::var_os(CHILD).is_some() {
        return launch();
    }
    let child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "reports_are_objects_a_line"])
        .env(CHILD, "1")
        .env("PTX_EMULATOR_REPORT", "json")
        .env("PTX_EMULATOR_SCHEDULE", "greedy/async=early")
        .output()
        .unwrap();
    let stderr = String::from_utf8(child.stderr).unwrap();
    assert!(child.status.success(), "{stderr}");
    let reports: Vec<Value> = stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect();
    let line = |of: &str| RACE.lines().position(|l| l.contains(of)).unwrap() + 1;
    // The second launch says nothing new.
    let [warning, error] = &reports[..] else {
        panic!("{reports:#?}");
    };
    assert_eq!(warning["severity"], "warning");
    assert_eq!(warning["kernel"], "repeats");
    assert_eq!(warning["rule"], "E3");
    assert_eq!(warning["text"], "st.shared.u32 [data], 7;");

    assert_eq!(error["severity"], "error");
    assert_eq!(error["kernel"], "race");
    assert_eq!(error["rule"], "E3");
    assert_eq!(error["class"], "LaunchFailed");
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with("E3: this instruction "), "{message}");
    let (site, other) = (&error["text"], &error["other"]);
    let [load, store] = ["@!%p ld.shared", "@%p st.shared"].map(line);
    let pair = (error["line"].as_u64(), other["line"].as_u64());
    let [load, store] = [load, store].map(|line| Some(line as u64));
    assert!([(load, store), (store, load)].contains(&pair), "{error:#}");
    assert!(site.as_str().unwrap().contains("shared.u32"));
    assert_eq!(error["cta"], json!([0, 0, 0]));
    assert_eq!(other["cta"], json!([0, 0, 0]));
    assert_eq!(
        error["warp"].as_u64().unwrap() + other["warp"].as_u64().unwrap(),
        1
    );
    assert_eq!(error["lanes"], json!((0..32).collect::<Vec<_>>()));
    let memory = &error["memory"];
    assert_eq!(memory["space"], "bytes of shared memory");
    assert_eq!(
        memory["end"].as_u64().unwrap() - memory["start"].as_u64().unwrap(),
        4
    );
    assert!(error["missing"].as_str().unwrap().contains("no barrier"));
    let replay = "PTX_EMULATOR_SCHEDULE=greedy/async=early";
    assert_eq!(error["replay"], replay);
}
