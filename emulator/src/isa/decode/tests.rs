use super::*;
use crate::isa::alu::{BitsOp, CarryOp, Function as Alu, IntType, IntegerOp};
use crate::isa::ir::{
    Address, BarrierKind, MbarrierOp, MbarrierPhase, MmaKind, MmaOperandA, Space, SpecialRegister,
    Src, Tcgen05Op, Type,
};
use proptest::prelude::*;

const ENVIRONMENT: LoadEnvironment = LoadEnvironment { shared_base: 1024 };

const HEADER: &str = ".version 8.8\n.target sm_100a\n.address_size 64\n";

fn load_text(text: &str) -> Result<Module, LoadError> {
    let mut next = 0x1000_0000u64;
    load(&format!("{HEADER}{text}"), &ENVIRONMENT, &mut |image| {
        let address = next.next_multiple_of(image.align.max(1));
        next = address + image.bytes.len() as u64;
        Ok(address)
    })
}

/// Registers of every width, and names for the operands of the tables below.
const DECLARATIONS: &str = "
    .reg .pred p, q, r;
    .reg .b16 h<8>;
    .reg .b32 a, b, c, d, %r<200>;
    .reg .b64 x, y, z, w, map, desc;
    .reg .f32 f, g, i, j;
    .reg .f64 e, k;
    .shared .align 8 .b64 bar;
    .shared .align 16 .b8 tile[256];
    .local .b32 stack[4];
";

fn kernel_of(body: &str) -> Result<Arc<Kernel>, LoadError> {
    let text = format!(
        ".visible .entry k(.param .u64 out, .param .u32 n, .param .align 64 .b8 m[128])\n{{{DECLARATIONS}\n{body}\n}}"
    );
    load_text(&text).map(|module| Arc::clone(&module.kernels["k"]))
}

/// The instructions of `body` alone.
#[track_caller]
fn decode(body: &str) -> Vec<Op> {
    let kernel = kernel_of(body).unwrap_or_else(|error| panic!("{error}"));
    // Two instructions of prologue, one `exit` at the end.
    let own = 2..kernel.code.len() - 1;
    kernel.code[own]
        .iter()
        .map(|inst| inst.op.clone())
        .collect()
}

#[track_caller]
fn messages(body: &str) -> Vec<String> {
    match kernel_of(body) {
        Err(LoadError::Unsupported(errors)) => {
            errors.into_iter().map(|error| error.message).collect()
        }
        other => panic!("{body}: {other:?}"),
    }
}

/// Forms that production kernels use; each assembles with ptxas for sm_100a.
const SUPPORTED: &str = include_str!("supported.ptx");

/// Legal PTX without a form in `ir`, refused by name.
const REFUSED: &[(&str, &str)] = &[
    (
        "wgmma.fence.sync.aligned;",
        "`wgmma` needs `.target sm_90a`",
    ),
    (
        "vadd.s32.s32.s32 a, b, c;",
        "instruction `vadd` is not supported",
    ),
    (
        "tcgen05.shift.cta_group::1.down [a];",
        "`tcgen05.shift` is not supported",
    ),
    ("add.frob.u32 a, b, c;", "`.frob` is not supported here"),
    ("add.sat.u32 a, b, c;", "`.sat` is not supported here"),
    ("add.u32 a, b;", "found 2 operands, needs 3"),
    (
        "add.u32 a, b, missing;",
        "`missing` is not defined in this module",
    ),
    ("add.u32 a, b, %r200;", "register `%r200` is not declared"),
    (
        "add.u32 a, b, 0f3F800000;",
        "found the constant 0f3F800000, which does not fit the instruction's type",
    ),
    (
        "add.f32 f, g, 1;",
        "found the integer 1, which does not fit the instruction's type",
    ),
    ("bra NOWHERE;", "label `NOWHERE` is not in scope"),
    ("mul.u32 a, b, c;", "needs one of `.lo`, `.hi`, `.wide`"),
    (
        "cvt.f16.f32 h0, f;",
        "a narrowing conversion needs a rounding modifier",
    ),
    (
        "cvt.u32.f32 a, f;",
        "needs `.rni`, `.rzi`, `.rmi` or `.rpi`",
    ),
    (
        "ld.global.v4.b32 {a, b}, [x];",
        "found a vector of 2 elements, needs 4",
    ),
    (
        "ld.global.b64 a, [x];",
        "found a 32-bit register, needs 64 bits",
    ),
    (
        "ld.shared.b32 a, [stack];",
        "the variable is in Local memory, the instruction in SharedCta",
    ),
    (
        "tcgen05.ld.sync.aligned.32x32b.x4.b32 {a, b}, [c];",
        "found 2 registers, needs 4",
    ),
    (
        "setmaxnreg.inc.sync.aligned.u32 30;",
        "found 30 registers, needs 24 to 256 in steps of 8",
    ),
    (
        "mbarrier.try_wait.parity.shared::cluster.b64 p, [a], 0;",
        "waiting is only possible at a barrier of the CTA's own",
    ),
    (
        "call printf, (a);",
        "call of `printf` at line 16 is not supported: the function has no body in this module",
    ),
    (
        "tcgen05.mma.cta_group::1.kind::mxf4nvf4.block_scale [a], x, y, b, [c], [d], p;",
        "needs `.scale_vec` or `.block`",
    ),
];

#[test]
fn supported_forms_decode() {
    let mut failures = Vec::new();
    for line in SUPPORTED
        .lines()
        .filter(|line| !line.starts_with("//") && !line.is_empty())
    {
        if let Err(error) = kernel_of(line) {
            failures.push(format!("{line}\n    {error}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn unsupported_forms_are_refused_by_name() {
    for (text, message) in REFUSED {
        assert_eq!(messages(text), [*message], "{text}");
    }
}

#[test]
fn every_error_of_a_module_is_reported_with_its_line() {
    let text = ".visible .entry k()\n{\n.reg .b32 a;\nfrob.b32 a;\nmov.b32 a, 1;\nadd.u32 a, a, zz;\n}\n\
                .visible .entry l()\n{\nwgmma.fence;\n}";
    let Err(LoadError::Unsupported(errors)) = load_text(text) else {
        panic!()
    };
    let found: Vec<(u32, &str)> = errors.iter().map(|e| (e.line, e.text.as_str())).collect();
    assert_eq!(
        found,
        [
            (7, "frob.b32 a;"),
            (9, "add.u32 a, a, zz;"),
            (13, "wgmma.fence;")
        ]
    );
}

#[test]
fn syntax_errors_are_load_errors() {
    assert!(matches!(
        load_text(".visible .entry k( {"),
        Err(LoadError::Syntax(_))
    ));
}

#[test]
fn parameters_lie_at_their_own_alignment() {
    let kernel = kernel_of("ld.param.u32 a, [n]; mov.b64 x, m; cvta.param.u64 y, x;").unwrap();
    let offsets: Vec<(u32, u32)> = kernel.params.iter().map(|p| (p.offset, p.size)).collect();
    assert_eq!(offsets, [(0, 8), (8, 4), (64, 128)]);
    assert_eq!(kernel.param_bytes, 192);
    let Op::Load {
        space: Space::Param,
        address,
        ty: Type::U32,
        ..
    } = &kernel.code[2].op
    else {
        panic!("{:?}", kernel.code[2]);
    };
    assert_eq!(
        *address,
        Address {
            base: Src::Imm(8),
            offset: 0
        }
    );
    let Op::Alu(mov) = &kernel.code[3].op else {
        panic!()
    };
    assert_eq!((mov.function, mov.srcs[0]), (Alu::Mov, Src::Imm(64)));
    assert!(matches!(
        kernel.code[4].op,
        Op::ConvertAddress {
            space: Space::Param,
            to_generic: true,
            ..
        }
    ));
}

#[test]
fn shared_memory_is_laid_out_behind_the_reserved_bytes() {
    let text = "
.shared .align 4 .b8 unused[4096];
.shared .align 4 .b8 first[6];
.extern .shared .align 1024 .b8 dynamic[];
.visible .entry k()
{
    .reg .b32 a, b;
    .reg .b64 x;
    .shared .align 8 .b64 second[2];
    st.shared.b32 [first], a;
    st.shared.b64 [second+8], x;
    mov.u32 a, dynamic;
    ld.shared.b32 b, [dynamic+4];
}";
    let module = load_text(text).unwrap();
    let kernel = &module.kernels["k"];
    // Added to the rank of the CTA.
    let bases: Vec<u64> = kernel
        .code
        .iter()
        .filter_map(|inst| match &inst.op {
            Op::Alu(add) => match add.srcs[1] {
                Src::Imm(base) if base >= 1024 => Some(base),
                _ => None,
            },
            _ => None,
        })
        .collect();
    assert_eq!(bases, [1024, 1032, 2048, 2048]);
    assert_eq!(kernel.static_shared_bytes, 24);
    assert_eq!(kernel.dynamic_shared_offset, 1024);
}

#[test]
fn shared_addresses_carry_the_rank() {
    let kernel = kernel_of("mov.u32 a, bar;").unwrap();
    let Op::Special {
        dst: Some(rank),
        register: SpecialRegister::ClusterCtarank,
    } = kernel.code[0].op
    else {
        panic!()
    };
    let Op::Alu(shift) = &kernel.code[1].op else {
        panic!()
    };
    assert_eq!(shift.function, Alu::Bits(BitsOp::ShiftLeft { bits: 32 }));
    assert_eq!(shift.srcs[1], Src::Imm(24));
    let Op::Alu(add) = &kernel.code[2].op else {
        panic!()
    };
    assert_eq!(&add.srcs[..2], &[Src::Reg(rank), Src::Imm(1024)]);
}

#[test]
fn module_variables_are_placed_and_initialised() {
    let text = "
.global .align 16 .b8 bytes[4] = {1, 2, 255, 4};
.const .f32 table[2][2] = {{1.0, 0f40000000}, {3.0}};
.global .u64 pointer = bytes+2;
.visible .entry k()
{
    .reg .b64 x; .reg .b32 a;
    mov.u64 x, bytes;
    ld.const.b32 a, [table+4];
    ld.global.b64 x, [pointer];
}";
    let mut images = Vec::new();
    let text = format!("{HEADER}{text}");
    let module = load(&text, &ENVIRONMENT, &mut |image: &VariableImage| {
        images.push(image.clone());
        Ok(0x1000 * images.len() as u64)
    })
    .unwrap();
    assert_eq!(images[0].bytes, [1, 2, 255, 4]);
    assert_eq!(images[0].align, 16);
    let table: Vec<f32> = images[1]
        .bytes
        .chunks(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect();
    assert_eq!(table, [1.0, 2.0, 3.0, 0.0]);
    assert_eq!(images[2].bytes, 0x1002u64.to_le_bytes());
    assert_eq!(module.globals["table"], (0x2000, 16));
    let kernel = &module.kernels["k"];
    assert!(matches!(&kernel.code[0].op, Op::Alu(op) if op.srcs[0] == Src::Imm(0x1000)));
    assert!(matches!(
        &kernel.code[1].op,
        Op::Load {
            space: Space::Const,
            address: Address {
                base: Src::Imm(0x2000),
                offset: 4
            },
            ..
        }
    ));
}

#[test]
fn too_many_initial_values_are_an_error() {
    for text in [
        ".global .b8 v[2] = {1, 2, 3};",
        ".global .b8 v = {1};",
        ".global .f32 v = 1;",
    ] {
        assert!(
            matches!(load_text(text), Err(LoadError::Unsupported(_))),
            "{text}"
        );
    }
}

#[test]
fn refused_allocations_name_the_variable() {
    let text = format!("{HEADER}.global .b8 big[64];");
    let error = load(&text, &ENVIRONMENT, &mut |_| Err("no room".into())).unwrap_err();
    assert_eq!(
        error,
        LoadError::Allocation {
            name: "big".into(),
            bytes: 64,
            reason: "no room".into()
        }
    );
}

#[test]
fn inner_blocks_have_names_of_their_own() {
    let body = "
    { .reg .pred p; LOOP: setp.eq.u32 p, a, b; @p bra LOOP; }
    { .reg .pred p; LOOP: setp.eq.u32 p, a, b; @p bra LOOP; }
    @p bra OUT;
    OUT:";
    let kernel = kernel_of(body).unwrap();
    let branches: Vec<(u32, u32)> = kernel
        .code
        .iter()
        .filter_map(|inst| match inst.op {
            Op::Branch { target, .. } => Some((target, inst.guard.unwrap().predicate)),
            _ => None,
        })
        .collect();
    assert_eq!(
        branches
            .iter()
            .map(|(target, _)| *target)
            .collect::<Vec<_>>(),
        [2, 4, 7]
    );
    assert!(branches[0].1 != branches[1].1 && branches[1].1 != branches[2].1);
    assert_eq!(kernel.reconvergence[3], Some(4));
}

#[test]
fn labels_are_found_once_per_block() {
    assert_eq!(
        messages("L: mov.u32 a, b; L: bra L;"),
        ["label `L` is defined twice"]
    );
}

#[test]
fn calls_are_inlined() {
    let text = "
.func (.param .b32 result) twice(.param .b32 value)
{
    .reg .b32 %r<3>;
    .reg .pred %p;
    ld.param.b32 %r1, [value];
    setp.eq.u32 %p, %r1, 0;
    @%p ret;
    add.u32 %r2, %r1, %r1;
    st.param.b32 [result], %r2;
    ret;
}
.visible .entry k()
{
    .reg .b32 %r<3>;
    {
        .param .b32 param0;
        st.param.b32 [param0], %r1;
        .param .b32 retval0;
        call.uni (retval0), twice, (param0);
        ld.param.b32 %r2, [retval0];
    }
}";
    let module = load_text(text).unwrap();
    let kernel = &module.kernels["k"];
    let accesses: Vec<(Space, Src)> = kernel
        .code
        .iter()
        .filter_map(|inst| match &inst.op {
            Op::Load { space, address, .. } | Op::Store { space, address, .. } => {
                Some((*space, address.base))
            }
            _ => None,
        })
        .collect();
    let (argument, result) = ((Space::Local, Src::Imm(0)), (Space::Local, Src::Imm(4)));
    assert_eq!(accesses, [argument, argument, result, result]);
    assert_eq!(kernel.local_bytes, 8);
    // `@%p ret` skips to the load of the result.
    let Op::Branch { target, .. } = kernel.code[3].op else {
        panic!("{:?}", kernel.code[3])
    };
    assert!(matches!(kernel.code[target as usize].op, Op::Load { .. }));
}

#[test]
fn guarded_calls_and_register_arguments() {
    let text = "
.func (.reg .b32 r) inc(.reg .b32 v) { add.u32 r, v, 1; ret; }
.visible .entry k() { .reg .b32 a, b; .reg .pred p; @!p call (a), inc, (b); }";
    let module = load_text(text).unwrap();
    let kernel = &module.kernels["k"];
    let guard = kernel.code[0].guard.unwrap();
    assert!(
        !guard.negated,
        "the branch around the call is taken where the call is not"
    );
    let Op::Branch { target, .. } = kernel.code[0].op else {
        panic!()
    };
    assert!(kernel.code[1..].iter().all(|inst| inst.guard.is_none()));
    // Lanes that skip the call must keep their result register.
    assert!(
        matches!(kernel.code[target as usize].op, Op::Exit),
        "{:?}",
        kernel.code
    );
}

#[test]
fn recursion_is_refused() {
    let text = "
.func f() { call g; ret; }
.func g() { call f; ret; }
.visible .entry k() { call f; }";
    let Err(LoadError::Unsupported(errors)) = load_text(text) else {
        panic!()
    };
    assert!(
        errors[0].message.contains("the function is recursive"),
        "{errors:?}"
    );
}

#[test]
fn exponential_inlining_is_stopped() {
    let mut text = String::from(".func f0() { .reg .b32 a; add.u32 a, a, 1; ret; }\n");
    for i in 1..40 {
        text += &format!(".func f{i}() {{ call f{0}; call f{0}; ret; }}\n", i - 1);
    }
    text += ".visible .entry k() { call f39; }";
    assert!(matches!(load_text(&text), Err(LoadError::Unsupported(_))));
}

#[test]
fn carry_chains_share_one_register() {
    let ops = decode("add.cc.u32 a, b, c; addc.cc.u32 a, b, c; addc.u32 a, b, c;");
    let alus: Vec<_> = ops
        .iter()
        .map(|op| match op {
            Op::Alu(op) => *op,
            _ => panic!(),
        })
        .collect();
    assert!(alus.iter().all(|op| op.function
        == Alu::Carry {
            op: CarryOp::Add,
            ty: IntType::U32
        }));
    let carry = alus[0].dst2.unwrap();
    assert_eq!(alus[0].srcs[2], Src::Imm(0));
    assert_eq!(
        (alus[1].srcs[2], alus[1].dst2),
        (Src::Reg(carry), Some(carry))
    );
    assert_eq!((alus[2].srcs[2], alus[2].dst2), (Src::Reg(carry), None));
}

#[test]
fn immediates_take_the_instructions_type() {
    let first = |body: &str| match decode(body)[0] {
        Op::Alu(op) => op.srcs,
        ref other => panic!("{other:?}"),
    };
    assert_eq!(first("add.u32 a, b, -1;")[1], Src::Imm(0xffff_ffff));
    assert_eq!(first("add.s64 x, y, -1;")[1], Src::Imm(u64::MAX));
    assert_eq!(first("add.f32 f, g, 1.5;")[1], Src::Imm(0x3fc0_0000));
    assert_eq!(first("mov.b32 a, 0f3F800000;")[0], Src::Imm(0x3f80_0000));
    assert_eq!(first("mov.pred p, -1;")[0], Src::Imm(1));
    assert_eq!(first("shl.b64 x, y, 3;")[1], Src::Imm(3));
    assert_eq!(
        first("mad.wide.s32 x, a, b, -8;")[2],
        Src::Imm(-8i64 as u64)
    );
    assert!(matches!(decode("mul.wide.u32 x, a, 4;")[0],
        Op::Alu(op) if op.function == Alu::Integer { op: IntegerOp::MulWide, ty: IntType::U32 }));
}

#[test]
fn special_registers_work_in_any_source() {
    let ops = decode("mad.lo.u32 a, %ctaid.x, %ntid.x, %tid.x;");
    assert!(matches!(
        ops[0],
        Op::Special {
            register: SpecialRegister::Ctaid(0),
            ..
        }
    ));
    assert!(matches!(ops[3], Op::Alu(_)));
    assert_eq!(ops.len(), 4);
}

#[test]
fn barriers_and_votes() {
    assert!(matches!(
        decode("bar.sync 1, 128;")[0],
        Op::Barrier {
            kind: BarrierKind::Sync,
            id: Src::Imm(1),
            threads: Some(Src::Imm(128)),
            aligned: true,
            ..
        }
    ));
    assert!(matches!(
        decode("barrier.sync 0;")[0],
        Op::Barrier {
            aligned: false,
            threads: None,
            ..
        }
    ));
    assert!(matches!(
        decode("bar.red.and.pred p, 0, !q;")[0],
        Op::Barrier { kind: BarrierKind::Reduce, threads: None, reduction: Some(reduction), .. } if reduction.negated
    ));
}

#[test]
fn mbarriers() {
    let op = |body: &str| match decode(body).pop() {
        Some(Op::Mbarrier(op)) => op,
        other => panic!("{other:?}"),
    };
    assert!(matches!(
        op("mbarrier.arrive.expect_tx.shared::cta.b64 _, [bar], 4096;"),
        MbarrierOp::Arrive {
            state: None,
            count: None,
            expect_tx: Some(Src::Imm(4096)),
            space: Space::SharedCta,
            drop: false,
            ..
        }
    ));
    assert!(matches!(
        op("mbarrier.arrive.release.cluster.shared::cluster.b64 _, [a], 2;"),
        MbarrierOp::Arrive {
            count: Some(Src::Imm(2)),
            expect_tx: None,
            space: Space::SharedCluster,
            ..
        }
    ));
    assert!(matches!(
        op("mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 p, [bar], 1, 100;"),
        MbarrierOp::Wait {
            phase: MbarrierPhase::Parity(Src::Imm(1)),
            potentially_blocking: true,
            ..
        }
    ));
}

#[test]
fn tensor_copies_take_their_modifiers_in_any_order() {
    for text in [
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster.cta_group::2.L2::cache_hint [a], [map, {b, c}], [d], h1, x;",
        "cp.async.bulk.tensor.2d.cta_group::2.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster.L2::cache_hint [a], [map, {b, c}], [d], h1, x;",
    ] {
        let Op::TmaLoad(load) = &decode(text)[0] else {
            panic!()
        };
        assert_eq!((load.coordinates.len(), load.cta_group), (2, Some(2)));
        assert!(load.multicast.is_some());
    }
}

#[test]
fn block_scaled_mma() {
    let text = "tcgen05.mma.cta_group::1.kind::mxf4nvf4.block_scale.scale_vec::4X [a], x, y, b, [c], [d+4], p;";
    let ops = decode(text);
    let Some(Op::Tcgen05(Tcgen05Op::Mma(mma))) = ops.last() else {
        panic!()
    };
    assert_eq!((mma.kind, mma.scale_block), (MmaKind::Mxf4nvf4, Some(16)));
    assert!(matches!(mma.a, MmaOperandA::Descriptor(_)));
    let text = "tcgen05.mma.cta_group::2.kind::f16.collector::a::use [a], [b], y, c, !p;";
    let ops = decode(text);
    let Some(Op::Tcgen05(Tcgen05Op::Mma(mma))) = ops.last() else {
        panic!()
    };
    assert!(mma.accumulate_negated && mma.scale_block.is_none());
    assert!(matches!(mma.a, MmaOperandA::TensorMemory(_)));
}

proptest! {
    /// Text with bytes dropped, doubled or swapped is refused or accepted, but never panics.
    #[test]
    fn damaged_text_does_not_panic(edits in proptest::collection::vec((0usize..4000, 0u8..4, 0usize..4000), 1..8)) {
        let mut text = format!("{HEADER}.visible .entry k(.param .u64 out, .param .u32 n, .param .align 64 .b8 m[128])\n{{{DECLARATIONS}{SUPPORTED}}}").into_bytes();
        for (at, edit, from) in edits {
            let (at, from) = (at % text.len(), from % text.len());
            match edit {
                0 => { text.remove(at); }
                1 => text.insert(at, text[from]),
                2 => text.swap(at, from),
                _ => { let end = (at + 20).min(text.len()); text.drain(at..end); }
            }
        }
        let text = String::from_utf8_lossy(&text);
        let _ = load(&text, &ENVIRONMENT, &mut |_| Ok(0x1000));
    }
}

#[test]
fn local_memory_is_that_of_a_device() {
    assert!(kernel_of(".local .b8 most[524272];").is_ok());
    let messages = messages(".local .b8 more[524273];");
    assert!(messages[0].contains("a thread has 524288"), "{messages:?}");
    // An argument that is no `.param` variable gets a place of its own.
    let function = ".func f(.param .align 1048576 .b32 v) { ret; }";
    let text = format!("{function} .visible .entry k() {{ call f, (1); call f, (1); }}");
    let Err(LoadError::Unsupported(errors)) = load_text(&text) else {
        panic!("a thread of more than a megabyte")
    };
    assert!(errors[0].message.contains("a thread has 524288"));
}

#[test]
fn parameters_end() {
    let kernel = |bytes| {
        load_text(&format!(
            ".visible .entry k(.param .b8 m[{bytes}]) {{ ret; }}"
        ))
    };
    assert!(kernel(32764).is_ok());
    let Err(LoadError::Unsupported(errors)) = kernel(32765) else {
        panic!("more parameters than a kernel has")
    };
    assert!(errors[0].message.contains("at most 32764"));
}

#[test]
fn one_register_takes_no_vector() {
    let messages = messages("movmatrix.sync.aligned.m8n8.trans.b16 {a, b}, c;");
    assert!(messages[0].contains("needs a destination register"));
}

/// Each function calls the next one twice: 2^40 calls, none of which needs an instruction.
#[test]
fn calls_that_multiply_end() {
    let mut text = ".func f40() { ret; }\n".to_owned();
    for level in (0..40).rev() {
        let next = level + 1;
        text += &format!(".func f{level}() {{ call f{next}; call f{next}; }}\n");
    }
    text += ".visible .entry k() { call f0; ret; }";
    let Err(LoadError::Unsupported(errors)) = load_text(&text) else {
        panic!("2^40 calls were inlined")
    };
    assert!(errors[0].message.contains("after inlining"), "{errors:?}");
}

#[test]
fn registers_are_as_wide_as_the_type() {
    for (text, found) in [
        (
            "add.u32 a, x, b;",
            "`x` is a register of 64 bits, needs a register of 32 bits",
        ),
        ("add.u64 a, x, y;", "`a` is a register of 32 bits"),
        ("mul.wide.u32 a, b, c;", "`a` is a register of 32 bits"),
        ("mov.b64 a, x;", "`a` is"),
        ("mov.b32 a, x;", "`x` is"),
        ("mov.u32 x, %tid.x;", "`x` is"),
        (
            "@a mov.b32 a, b;",
            "`a` is a register of 32 bits, needs a predicate",
        ),
        ("setp.eq.u32 a, b, c;", "`a` is"),
        ("setp.eq.u32 p|a, b, c;", "`a` is"),
        ("setp.eq.u32 p, b, x;", "`x` is"),
        ("selp.b32 a, b, c, d;", "`d` is"),
        (
            "add.u32 a, b, p;",
            "`p` is a predicate, needs a register of 32 bits",
        ),
        ("add.f32 f, g, e;", "`e` is"),
        ("add.rn.f16 h0, h1, a;", "`a` is"),
        ("shl.b64 x, y, z;", "`z` is"),
    ] {
        let messages = messages(text);
        assert!(messages[0].contains(found), "{text}: {messages:?}");
    }
    for text in [
        "popc.b64 a, x;",
        "mul.wide.u32 x, a, b;",
        "shl.b64 x, y, a;",
    ] {
        assert!(kernel_of(text).is_ok(), "{text}");
    }
}
