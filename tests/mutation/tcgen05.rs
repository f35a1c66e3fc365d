//! What is changed of Blackwell's tensor-core instructions.

use super::change::{Mutation, Operator};
use super::operators::{accumulation, fields, push, with_changed};
use super::text::Statement;

/// Fields of a shared-memory matrix descriptor (PTX ISA §9.7.16.4.1) and what is XORed into them.
const DESCRIPTOR_FIELDS: [(&str, u64); 8] = [
    ("start address", 1),
    ("leading offset", 1 << 16),
    ("stride offset", 1 << 32),
    ("version", 1 << 46),
    ("base offset", 1 << 49),
    ("leading offset mode", 1 << 52),
    ("swizzle", 2 << 61),
    ("swizzle", 4 << 61),
];

/// Fields of an instruction descriptor of `.kind::mxf4nvf4` (PTX ISA §9.7.16.4.2), likewise.
const INSTRUCTION_FIELDS: [(&str, u64); 14] = [
    ("sparsity", 1 << 2),
    ("scale factor id of B", 2 << 4),
    ("type of A", 2 << 7),
    ("type of B", 2 << 10),
    ("negate A", 1 << 13),
    ("negate B", 1 << 14),
    ("transpose A", 1 << 15),
    ("transpose B", 1 << 16),
    ("N", 1 << 17),
    ("N", 1 << 20),
    ("scale type", 1 << 23),
    ("M", 3 << 27),
    ("scale factor id of A", 2 << 29),
    ("K", 1 << 31),
];

/// The changes to a statement if it is a `tcgen05` instruction that copies, multiplies or loads.
pub fn changes(statement: &Statement, found: &mut Vec<Mutation>) {
    use Operator::*;
    let deleted = || [(statement, String::new())];
    if statement.is("tcgen05.cp") {
        push(found, CopyDeleted, "", &deleted());
        fields(
            statement,
            1,
            "xor.b64",
            &DESCRIPTOR_FIELDS,
            DescriptorField,
            found,
        );
        tensor_addresses(statement, &[0], found);
    } else if statement.is("tcgen05.mma") {
        push(found, MmaDeleted, "", &deleted());
        for operand in [1, 2] {
            fields(
                statement,
                operand,
                "xor.b64",
                &DESCRIPTOR_FIELDS,
                DescriptorField,
                found,
            );
        }
        fields(
            statement,
            3,
            "xor.b32",
            &INSTRUCTION_FIELDS,
            InstructionField,
            found,
        );
        tensor_addresses(statement, &[0, 4, 5], found);
        accumulation(statement, statement.operands.len() - 1, found);
    } else if statement.is("tcgen05.ld") {
        tensor_addresses(statement, &[1], found);
    }
}

fn tensor_addresses(statement: &Statement, operands: &[usize], found: &mut Vec<Mutation>) {
    const CHANGES: [(&str, &str); 3] = [
        ("+1 column", "1"),
        ("+4 columns", "4"),
        ("+16 lanes", "1048576"),
    ];
    for operand in operands {
        for (what, by) in CHANGES {
            let text = with_changed(statement, *operand, ("add.s32", by));
            let detail = format!("operand {operand} {what}");
            push(
                found,
                Operator::TensorAddress,
                &detail,
                &[(statement, text)],
            );
        }
    }
}
