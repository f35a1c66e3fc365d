//! The `Emulator` API: what it refuses, what it frees, and that nothing is shared.

use ptx_emulator::{
    ByValue, DeviceProperties, Emulator, LaunchError, LaunchShape, Mode, ModuleError, VariableError,
};

const PTX: &str = r"
.version 8.8
.target sm_100a
.address_size 64
.global .align 4 .u32 counter = 7;
.visible .entry add(.param .u64 data, .param .u8 small, .param .align 8 .b8 pair[8])
{
    .reg .b32 %x, %y;
    .reg .b16 %small;
    .reg .b64 %data;
    ld.param.u64 %data, [data];
    ld.param.u8 %small, [small];
    cvt.u32.u16 %x, %small;
    ld.param.u32 %y, [pair+4];
    add.u32 %x, %x, %y;
    ld.global.u32 %y, [counter];
    add.u32 %x, %x, %y;
    st.global.u32 [%data], %x;
    ret;
}
.visible .entry nothing() { ret; }
";

fn one_thread() -> LaunchShape {
    LaunchShape::linear(1, 1)
}

#[test]
fn arguments_reach_the_kernel_in_their_places() {
    let emulator = Emulator::default();
    let module = emulator.load(PTX).unwrap();
    let kernel = module.kernel("add").unwrap();
    let data = emulator.allocate::<u32>(1).unwrap();
    let pair = [100u32.to_le_bytes(), 1000u32.to_le_bytes()].concat();
    let arguments: [&dyn ptx_emulator::Parameter; 3] = [&data, &20u8, &ByValue(&pair)];
    emulator.launch(&kernel, one_thread(), &arguments).unwrap();
    assert_eq!(data.read(), [1027]);

    module
        .write_variable("counter", &9u32.to_le_bytes())
        .unwrap();
    assert_eq!(module.read_variable("counter").unwrap(), [9, 0, 0, 0]);
    emulator.launch(&kernel, one_thread(), &arguments).unwrap();
    assert_eq!(data.read(), [1029]);
}

#[test]
fn arguments_are_held_against_the_parameter_list() {
    let emulator = Emulator::default();
    let module = emulator.load(PTX).unwrap();
    let kernel = module.kernel("add").unwrap();
    let data = emulator.allocate::<u32>(1).unwrap();
    let error = emulator
        .launch(&kernel, one_thread(), &[&data])
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "kernel `add` takes 3 parameters (data, small, pair); 1 were given"
    );
    let error = emulator
        .launch(&kernel, one_thread(), &[&data, &1.5f32, &0u64])
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "parameter 1 of kernel `add`, `small`, has 1 bytes; f32 of 4 bytes was given"
    );
}

#[test]
fn modules_are_refused_with_everything_that_is_wrong() {
    let emulator = Emulator::default();
    let text = ".version 8.8\n.target sm_100a\n.visible .entry k()\n{\n  warble.u32 %r1;\n  wobble;\n  ret;\n}\n";
    let error = emulator.load(text).unwrap_err().to_string();
    assert!(
        error.contains("line 5") && error.contains("line 6"),
        "{error}"
    );
    let other = text.replace("sm_100a", "sm_120a");
    assert!(matches!(
        emulator.load(&other).unwrap_err(),
        ModuleError::Target { .. }
    ));
}

#[test]
fn unknown_names_come_with_those_that_exist() {
    let emulator = Emulator::default();
    let module = emulator.load(PTX).unwrap();
    assert_eq!(module.kernel_names(), ["add", "nothing"]);
    assert_eq!(
        module.kernel("sub").unwrap_err().to_string(),
        "the module has no kernel `sub`; it has: add, nothing"
    );
    assert!(matches!(
        module.write_variable("counter", &[0; 5]).unwrap_err(),
        VariableError::Length {
            found: 5,
            bytes: 4,
            ..
        }
    ));
}

#[test]
fn what_is_dropped_is_freed() {
    let emulator = Emulator::default();
    let used = || emulator.device().memory.used_bytes();
    {
        let module = emulator.load(PTX).unwrap();
        let data = emulator.upload(&[1u16; 100]).unwrap();
        assert_eq!(used(), 4 + 200);
        assert_eq!(data.read(), [1; 100]);
        drop(module);
        assert_eq!(used(), 200);
    }
    assert_eq!(used(), 0);
}

#[test]
fn buffers_keep_their_bounds() {
    let emulator = Emulator::default();
    let data = emulator.upload(&[1i64, -2, 3]).unwrap();
    data.write(1, &[5, 6]).unwrap();
    assert_eq!(data.read(), [1, 5, 6]);
    assert!(data.write(2, &[0, 0]).is_err());
    assert!(data.write(usize::MAX, &[0]).is_err());
    assert_eq!(data.read(), [1, 5, 6]);
    assert!(emulator.upload::<f32>(&[]).is_err());
    assert!(emulator.allocate::<u64>(usize::MAX).is_err());
}

#[test]
fn emulators_share_nothing() {
    let (one, other) = (Emulator::default(), Emulator::new(DeviceProperties::b200()));
    let module = one.load(PTX).unwrap();
    let kernel = module.kernel("add").unwrap();
    let foreign = other.allocate::<u32>(1).unwrap();
    let error = one
        .launch(&kernel, one_thread(), &[&foreign, &0u8, &0u64])
        .unwrap_err();
    let LaunchError::Failed(failure) = error else {
        panic!("{error}");
    };
    assert!(!failure.is_refusal(), "{failure}");
}

/// Without the barrier, thread 0 reads what the second warp may not have written yet.
const UNORDERED: &str = r"
.version 8.8
.target sm_100a
.address_size 64
.visible .entry order(.param .u64 data)
{
    .reg .pred %p, %q;
    .reg .b32 %t, %x;
    .reg .b64 %data;
    .shared .align 4 .u32 word;
    ld.param.u64 %data, [data];
    mov.u32 %t, %tid.x;
    setp.ne.u32 %p, %t, 32;
    setp.ne.u32 %q, %t, 0;
    @!%q st.shared.u32 [word], 1;
    bar.sync 0;
    @!%p st.shared.u32 [word], 2;
    @!%q ld.shared.u32 %x, [word];
    @!%q st.global.u32 [%data], %x;
    ret;
}
";

#[test]
fn exploring_finds_a_schedule_that_fails() {
    let mut emulator = Emulator::default();
    emulator.options.mode = Mode::Fast;
    let module = emulator.load(UNORDERED).unwrap();
    let kernel = module.kernel("order").unwrap();
    let exploration = emulator.explore(200, 1, |options| {
        let data = emulator.upload(&[0u32]).unwrap();
        emulator
            .launch_with(&kernel, LaunchShape::linear(1, 64), &[&data], options)
            .map_err(|error| error.to_string())?;
        match data.read()[..] {
            [1] => Ok(()),
            _ => Err("the second warp was first".to_owned()),
        }
    });
    let failure = exploration.into_result().unwrap_err();
    assert!(failure.to_string().contains("replay with"), "{failure}");
}
