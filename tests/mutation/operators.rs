//! What is changed in a kernel, one place at a time.

use super::change::{Mutation, Operator};
use super::text::{Statement, control_registers, zero_registers};
use super::{cluster, tcgen05, wgmma};

/// Every mutation of an entry, in the order of its text.
pub fn mutations(statements: &[Statement]) -> Vec<Mutation> {
    let control = control_registers(statements, is_control);
    let zeros = zero_registers(statements);
    let mut found = Vec::new();
    for (index, statement) in statements.iter().enumerate() {
        synchronisation(statement, &statements[index + 1..], &mut found);
        copies(statement, &mut found);
        tcgen05::changes(statement, &mut found);
        wgmma::changes(statement, &mut found);
        cluster::changes(statement, &zeros, &mut found);
        let Some(destination) = statement.destination() else {
            continue;
        };
        let computes_control = super::text::registers(destination)
            .any(|register| control.contains(register) && !statement.is("ld"));
        if computes_control && !statement.is("createpolicy") {
            constants(statement, &mut found);
        }
    }
    found
}

/// Whether an operand decides where, when or how much: everything of synchronising, copying and tensor
/// instructions but the registers that these only move.
fn is_control(statement: &Statement, operand: usize) -> bool {
    let is_address = statement.operands[operand].starts_with('[');
    match statement.opcode.split('.').next() {
        Some("mbarrier" | "barrier" | "bar" | "cp" | "elect") => true,
        // The M side of a multiplication may be data in registers.
        Some("wgmma") => operand > 0 && !statement.operands[operand].starts_with('{'),
        Some("mapa" | "setmaxnreg") => true,
        Some("tcgen05") => !statement.is("tcgen05.ld") && !statement.is("tcgen05.st") || is_address,
        Some("ld" | "st" | "atom" | "red" | "ldmatrix" | "stmatrix") => is_address,
        _ => false,
    }
}

pub(super) fn push(
    found: &mut Vec<Mutation>,
    operator: Operator,
    detail: &str,
    edits: &[(&Statement, String)],
) {
    found.push(Mutation::new(operator, detail, edits));
}

/// The statement with the register or number of an operand changed by an instruction before it: `change` is
/// `add.s32`, `xor.b64`, … and its second operand.
pub(super) fn with_changed(statement: &Statement, operand: usize, change: (&str, &str)) -> String {
    let (opcode, by) = change;
    let text = &statement.operands[operand];
    let value = text.trim_matches(['[', ']']);
    let (base, displacement) = value.split_once('+').unwrap_or((value, "0"));
    let bits = opcode
        .rsplit(|c: char| !c.is_ascii_digit())
        .next()
        .unwrap_or("32");
    let replaced = match text.starts_with('[') {
        true => format!("[altered+{displacement}]"),
        false => "altered".to_owned(),
    };
    let inner = statement.with_operand(operand, &replaced);
    format!("{{.reg .b{bits} altered; {opcode} altered, {base}, {by}; {inner}}}")
}

/// The changes to a statement that synchronises; `rest` are those behind it.
fn synchronisation(statement: &Statement, rest: &[Statement], found: &mut Vec<Mutation>) {
    use Operator::*;
    let deleted = || [(statement, String::new())];
    let other_mbarrier = |found: &mut Vec<Mutation>, operand: usize| {
        for by in ["8", "-8"] {
            let text = with_changed(statement, operand, ("add.s32", by));
            push(found, OtherMbarrier, by, &[(statement, text)]);
        }
    };
    if statement.is("fence") || statement.opcode.starts_with("tcgen05.fence") {
        push(found, FenceDeleted, "", &deleted());
    } else if statement.is("mbarrier.try_wait") {
        let next = rest.first();
        if let Some(branch) = next.filter(|next| next.is("bra") && next.guard.starts_with("@!")) {
            let both = [(statement, String::new()), (branch, String::new())];
            push(found, WaitDeleted, "", &both);
            push(found, WaitNotRepeated, "", &[(branch, String::new())]);
        }
        let flipped = with_changed(statement, 2, ("xor.b32", "1"));
        push(found, ParityFlipped, "", &[(statement, flipped)]);
        other_mbarrier(found, 1);
    } else if statement.is("mbarrier.arrive.expect_tx") {
        push(found, ArriveAndExpectDeleted, "", &deleted());
        let [state, barrier, bytes] = &statement.operands[..] else {
            return;
        };
        let arrive = format!("mbarrier.arrive.shared::cta.b64 {state}, {barrier};");
        push(found, ExpectDeleted, "", &[(statement, arrive)]);
        let expect = format!("mbarrier.expect_tx.relaxed.cta.shared::cta.b64 {barrier}, {bytes};");
        push(found, ArriveDeleted, "", &[(statement, expect)]);
        bytes_changed(statement, 2, found);
        other_mbarrier(found, 1);
    } else if statement.is("mbarrier.arrive") {
        push(found, ArriveDeleted, "", &deleted());
        other_mbarrier(found, 1);
    } else if statement.is("tcgen05.commit") {
        push(found, CommitDeleted, "", &deleted());
        other_mbarrier(found, 0);
    } else if statement.is("mbarrier.init") {
        push(found, InitDeleted, "", &deleted());
        for by in ["1", "-1"] {
            let text = with_changed(statement, 1, ("add.s32", by));
            push(found, CountChanged, by, &[(statement, text)]);
        }
    } else if statement.is("barrier") || statement.is("bar") {
        // What a warp meets for tells one of its barriers from another.
        let what = match rest.iter().find(|next| synchronises(next)) {
            Some(next) if statement.is("bar.warp") => format!("before {}", next.opcode),
            _ => String::new(),
        };
        push(found, BarrierDeleted, &what, &deleted());
        for (operand, by) in [(0, 1), (1, 32), (1, -32)] {
            if let Some(number) = statement
                .operands
                .get(operand)
                .and_then(|text| integer(text))
            {
                let text = statement.with_operand(operand, &(number + by).to_string());
                push(
                    found,
                    BarrierChanged,
                    &format!("operand {operand} {by:+}"),
                    &[(statement, text)],
                );
            }
        }
    } else if ["alloc", "dealloc", "relinquish_alloc_permit", "wait"]
        .iter()
        .any(|name| statement.opcode.starts_with(&format!("tcgen05.{name}")))
    {
        push(found, TensorMemoryDeleted, "", &deleted());
    }
}

/// Whether a statement is one that other threads can tell.
fn synchronises(statement: &Statement) -> bool {
    let names = ["mbarrier", "barrier", "bar", "wgmma", "tcgen05", "cp"];
    names.iter().any(|name| statement.is(name))
}

fn bytes_changed(statement: &Statement, operand: usize, found: &mut Vec<Mutation>) {
    for by in ["16", "-16"] {
        let text = with_changed(statement, operand, ("add.s32", by));
        push(found, Operator::BytesChanged, by, &[(statement, text)]);
    }
}

fn copies(statement: &Statement, found: &mut Vec<Mutation>) {
    use Operator::*;
    let deleted = || [(statement, String::new())];
    if statement.is("cp.async.bulk.tensor") {
        push(found, CopyDeleted, "", &deleted());
        let Some((map, coordinates)) = statement.operands[1]
            .trim_matches(['[', ']'])
            .split_once(',')
        else {
            return;
        };
        let names: Vec<_> = super::text::registers(coordinates).collect();
        for (dimension, name) in names.iter().enumerate() {
            let mut changed = names.clone();
            changed[dimension] = "altered";
            let source = format!("[{map}, {{{}}}]", changed.join(", "));
            let inner = statement.with_operand(1, &source);
            let text = format!("{{.reg .b32 altered; add.s32 altered, {name}, 1; {inner}}}");
            push(
                found,
                CoordinateChanged,
                &format!("dimension {dimension}"),
                &[(statement, text)],
            );
        }
        address_changed(statement, 0, "128", found);
        other_copy_barrier(statement, 2, found);
        if statement.opcode.contains(".multicast::cluster") {
            for bit in ["1", "2"] {
                let text = with_changed(statement, 3, ("xor.b16", bit));
                push(found, MulticastChanged, bit, &[(statement, text)]);
            }
        }
    } else if statement.is("cp.async.bulk") && statement.operands.len() >= 4 {
        push(found, CopyDeleted, "", &deleted());
        bytes_changed(statement, 2, found);
        address_changed(statement, 0, "512", found);
        other_copy_barrier(statement, 3, found);
        let text = with_changed(statement, 1, ("add.s64", "512"));
        push(found, ConstantChanged, "source +512", &[(statement, text)]);
    }
}

fn address_changed(statement: &Statement, operand: usize, by: &str, found: &mut Vec<Mutation>) {
    let text = with_changed(statement, operand, ("add.s32", by));
    push(
        found,
        Operator::ConstantChanged,
        &format!("destination +{by}"),
        &[(statement, text)],
    );
}

fn other_copy_barrier(statement: &Statement, operand: usize, found: &mut Vec<Mutation>) {
    let text = with_changed(statement, operand, ("add.s32", "8"));
    push(found, Operator::OtherMbarrier, "8", &[(statement, text)]);
}

/// The statement with each of the fields of an operand changed by XOR.
pub(super) fn fields(
    statement: &Statement,
    operand: usize,
    opcode: &str,
    fields: &[(&str, u64)],
    operator: Operator,
    found: &mut Vec<Mutation>,
) {
    for (name, bits) in fields {
        let text = with_changed(statement, operand, (opcode, &bits.to_string()));
        push(
            found,
            operator,
            &format!("operand {operand}: {name}"),
            &[(statement, text)],
        );
    }
}

/// A multiplication that never or always adds to what there is; the operand is the predicate that says whether.
pub(super) fn accumulation(statement: &Statement, operand: usize, found: &mut Vec<Mutation>) {
    for value in [0, 1] {
        let inner = statement.with_operand(operand, "altered");
        let text = format!("{{.reg .pred altered; setp.eq.u32 altered, {value}, 1; {inner}}}");
        push(
            found,
            Operator::AccumulateChanged,
            &format!("always {}", value == 1),
            &[(statement, text)],
        );
    }
}

/// Instructions whose constants are changed: those that compute, not those that move values between lanes.
const ARITHMETIC: [&str; 14] = [
    "add", "sub", "mul", "mad", "shl", "shr", "and", "or", "xor", "min", "max", "mov", "bfe",
    "setp",
];

/// Integer constants among the sources, and what decides between two values.
fn constants(statement: &Statement, found: &mut Vec<Mutation>) {
    if statement.is("selp") {
        let mut swapped = statement.clone();
        swapped.operands.swap(1, 2);
        push(
            found,
            Operator::ConditionNegated,
            "",
            &[(statement, swapped.text())],
        );
    }
    if !ARITHMETIC.iter().any(|opcode| statement.is(opcode)) {
        return;
    }
    for operand in 1..statement.operands.len() {
        let Some(number) = integer(&statement.operands[operand]) else {
            continue;
        };
        for changed in changed_constants(statement, number) {
            let text = statement.with_operand(operand, &changed.to_string());
            let detail = format!("{number} to {changed}");
            push(
                found,
                Operator::ConstantChanged,
                &detail,
                &[(statement, text)],
            );
        }
    }
    const OPPOSITES: [(&str, &str); 6] = [
        ("setp.eq", "setp.ne"),
        ("setp.ne", "setp.eq"),
        ("setp.lt", "setp.ge"),
        ("setp.ge", "setp.lt"),
        ("setp.le", "setp.gt"),
        ("setp.gt", "setp.le"),
    ];
    if let Some((from, to)) = OPPOSITES.iter().find(|(from, _)| statement.is(from)) {
        let mut negated = statement.clone();
        negated.opcode = statement.opcode.replacen(from, to, 1);
        push(
            found,
            Operator::ConditionNegated,
            "",
            &[(statement, negated.text())],
        );
    }
}

/// Other values for a constant: a mask loses its lowest or its highest bit; a flag is inverted; everything else moves by
/// its own unit, the largest power of two that divides it, since addresses and offsets come in units.
fn changed_constants(statement: &Statement, number: i64) -> Vec<i64> {
    let lowest = number & number.wrapping_neg();
    if statement.is("and") && number > 0 {
        let highest = 1 << (63 - number.leading_zeros());
        return match lowest == highest {
            true => vec![0],
            false => vec![number ^ lowest, number ^ highest],
        };
    }
    match number {
        0 => vec![1],
        1 if statement.is("mov") || statement.is("xor") => vec![0],
        i64::MIN => Vec::new(),
        _ => vec![number.saturating_add(lowest), number - lowest],
    }
}

fn integer(operand: &str) -> Option<i64> {
    operand.parse().ok()
}
