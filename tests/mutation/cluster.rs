//! What is changed of instructions that concern CTAs of a cluster, grids that follow each other, the registers of roles,
//! and addresses in shared memory.

use std::collections::HashSet;

use super::change::{Mutation, Operator};
use super::operators::{push, with_changed};
use super::text::Statement;

/// The changes to a statement if it is one of these; `zeros`: registers that hold nothing but 0.
pub fn changes(statement: &Statement, zeros: &HashSet<&str>, found: &mut Vec<Mutation>) {
    use Operator::*;
    let deleted = || [(statement, String::new())];
    if statement.is("mapa") {
        // To exchange ranks would change nothing where a lane addresses each CTA.
        let rank = match zeros.contains(statement.operands[2].as_str()) {
            true => "1",
            false => "0",
        };
        let text = statement.with_operand(2, rank);
        let detail = format!("always {rank}");
        push(found, RankChanged, &detail, &[(statement, text)]);
    } else if statement.is("griddepcontrol") {
        push(found, GridDependencyDeleted, "", &deleted());
    } else if statement.is("setmaxnreg") {
        push(found, RegistersChanged, "deleted", &deleted());
        for by in [8, -8] {
            let Some(count) = statement.operands[0].parse::<i32>().ok() else {
                continue;
            };
            let text = statement.with_operand(0, &(count + by).to_string());
            push(
                found,
                RegistersChanged,
                &format!("{by:+}"),
                &[(statement, text)],
            );
        }
    } else if let Some(weaker) = weaker(statement) {
        push(found, OrderWeakened, "", &[(statement, weaker)]);
    }
    let address = match statement.opcode.split('.').next() {
        Some("ld" | "ldmatrix") => 1,
        Some("st" | "stmatrix") => 0,
        _ => return,
    };
    if statement.opcode.contains(".shared") {
        let text = with_changed(statement, address, ("add.s32", "16"));
        push(found, AddressChanged, "+16", &[(statement, text)]);
    }
}

/// The statement without what it orders: accesses of other CTAs.
fn weaker(statement: &Statement) -> Option<String> {
    let synchronises = statement.is("mbarrier.arrive")
        || statement.is("mbarrier.try_wait")
        || statement.is("barrier.cluster.arrive");
    let (from, to) = [(".release", ".relaxed"), (".acquire", ".relaxed")]
        .into_iter()
        .find(|(from, _)| synchronises && statement.opcode.contains(from))?;
    let mut weaker = statement.clone();
    weaker.opcode = statement.opcode.replacen(from, to, 1);
    Some(weaker.text())
}
