//! What is changed of Hopper's tensor-core instructions.

use super::change::{Mutation, Operator};
use super::operators::{accumulation, fields, push};
use super::text::Statement;

/// Fields of a shared-memory matrix descriptor (PTX ISA §9.7.15.5.1.2) and what is XORed into them.
const DESCRIPTOR_FIELDS: [(&str, u64); 6] = [
    ("start address", 1),
    ("leading offset", 1 << 16),
    ("stride offset", 1 << 32),
    ("base offset", 1 << 49),
    ("swizzle", 1 << 62),
    ("swizzle", 2 << 62),
];

/// The changes to a statement if it is a `wgmma` instruction.
pub fn changes(statement: &Statement, found: &mut Vec<Mutation>) {
    use Operator::*;
    let deleted = || [(statement, String::new())];
    if statement.is("wgmma.fence") {
        push(found, FenceDeleted, "", &deleted());
    } else if statement.is("wgmma.commit_group") {
        push(found, CommitDeleted, "", &deleted());
    } else if statement.is("wgmma.wait_group") {
        push(found, WaitDeleted, "", &deleted());
        if let Some(pending) = statement
            .operands
            .first()
            .and_then(|n| n.parse::<u32>().ok())
        {
            let text = statement.with_operand(0, &(pending + 1).to_string());
            push(found, WaitChanged, "+1", &[(statement, text)]);
        }
    } else if statement.is("wgmma.mma_async") {
        push(found, MmaDeleted, "", &deleted());
        // Sums, A from registers or memory, B from memory, whether to add, then what to negate and transpose.
        let [_, a, _, _, immediates @ ..] = &statement.operands[..] else {
            return;
        };
        let first = if a.starts_with('{') { 2 } else { 1 };
        for operand in first..=2 {
            fields(
                statement,
                operand,
                "xor.b64",
                &DESCRIPTOR_FIELDS,
                DescriptorField,
                found,
            );
        }
        accumulation(statement, 3, found);
        for (index, immediate) in immediates.iter().enumerate() {
            let (what, changed) = match (index, immediate.as_str()) {
                (0, "1") => ("negate A", "-1"),
                (1, "1") => ("negate B", "-1"),
                (_, "0") => ("transpose", "1"),
                _ => continue,
            };
            let text = statement.with_operand(4 + index, changed);
            push(found, InstructionField, what, &[(statement, text)]);
        }
    }
}
