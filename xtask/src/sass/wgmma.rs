//! What must hold of a K loop that multiplies with `wgmma`, in SASS `HGMMA`.
//!
//! A warpgroup issues them in groups, and prepares the operands of the next group while one runs:
//!
//! ```text
//! WARPGROUP.ARRIVE                                            wgmma.fence
//! HGMMA.64x256x16.F32 R24, R160, gdesc[UR4], R24
//! HGMMA.64x256x16.F32 R24, R164, gdesc[UR4], R24, gsb0        the last one: wgmma.commit_group
//! WARPGROUP.DEPBAR.LE gsb0, 0x1                               wgmma.wait_group 1
//! ```
//!
//! Where ptxas cannot tell who else uses the sums of a `wgmma` in flight, it waits for each one alone, or moves the sums
//! about. Its warning of that is an error to `build-ptx`; here is looked at what it made.

use std::collections::BTreeSet;
use std::ops::Range;

use super::listing::{Class, Instruction};

/// The instruction by which such a loop is known.
pub const OPCODE: &str = "HGMMA";

/// One `HGMMA` of a loop.
struct Multiplication {
    /// `64x256x16`
    shape: String,
    /// The registers of the sums that it writes.
    sums: Range<u32>,
    /// The first register of those that it adds to; `None` for zeros.
    addends: Option<u32>,
    ends_its_group: bool,
}

impl Multiplication {
    fn parse(instruction: &Instruction) -> Option<Self> {
        if instruction.mnemonic() != OPCODE {
            return None;
        }
        let shape = instruction.opcode.split('.').nth(1)?.to_owned();
        let n: u32 = shape.split('x').nth(1)?.parse().ok()?;
        // Sums, the M side from registers or shared memory, the N side from shared memory, what is added to.
        let (before, after) = instruction.operands.rsplit_once("gdesc[")?;
        let first = registers(before).next()?;
        Some(Self {
            // 64 × N sums of f32 in 128 threads.
            sums: first..first + n / 2,
            shape,
            addends: registers(after).next(),
            ends_its_group: after.contains("gsb"),
        })
    }
}

/// The numbers of the registers in a text: 24 of `R24.reuse`; not those of uniform registers.
fn registers(text: &str) -> impl Iterator<Item = u32> {
    text.match_indices('R').filter_map(|(at, _)| {
        let is_part_of_a_name = text[..at].ends_with(|c: char| c.is_ascii_alphanumeric());
        let digits = text[at + 1..].split(|c: char| !c.is_ascii_digit()).next()?;
        (!is_part_of_a_name).then(|| digits.parse().ok()).flatten()
    })
}

/// The registers that an instruction names, those behind a wide one included.
fn touched(instruction: &Instruction) -> impl Iterator<Item = u32> {
    let width = match instruction.opcode.as_str() {
        opcode if opcode.contains(".128") => 4,
        opcode if opcode.contains(".64") || opcode.contains("WIDE") => 2,
        _ => 1,
    };
    let operands = instruction.operands.split(',');
    operands.flat_map(move |operand| {
        let width = if operand.contains('[') { 1 } else { width };
        registers(operand).flat_map(move |first| first..first + width)
    })
}

/// What a loop's `wgmma`s are, and what is wrong with them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Findings {
    pub summary: String,
    pub complaints: Vec<String>,
}

/// Looks at a loop that multiplies a stage of K with `per_stage` instructions, or a multiple of it where the loop was
/// unrolled.
pub fn examine(instructions: &[&Instruction], per_stage: u32) -> Findings {
    let mut complaints = Vec::new();
    let parsed: Vec<_> = instructions
        .iter()
        .map(|i| Multiplication::parse(i))
        .collect();
    let all: Vec<_> = parsed.iter().flatten().collect();
    let count = all.len();
    if count == 0 || !count.is_multiple_of(per_stage as usize) {
        complaints.push(format!(
            "{count} HGMMA; a stage takes {per_stage}, so that some were left out or moved out of the loop"
        ));
    }
    let moved = all
        .iter()
        .find(|one| one.addends.is_some_and(|addends| addends != one.sums.start));
    if let Some(moved) = moved {
        complaints.push(format!(
            "sums move from R{} to R{}",
            moved.addends.unwrap_or_default(),
            moved.sums.start
        ));
    }
    let sums: BTreeSet<u32> = all.iter().flat_map(|one| one.sums.clone()).collect();
    let (mut groups, mut is_in_group, mut between, mut most_between) = (0, false, 0, 0);
    for (instruction, multiplication) in instructions.iter().zip(&parsed) {
        let text = instruction.text.as_str();
        if let Some(multiplication) = multiplication {
            if is_in_group {
                most_between = most_between.max(between);
            }
            is_in_group = !multiplication.ends_its_group;
            groups += u32::from(multiplication.ends_its_group);
            between = 0;
            continue;
        }
        between += 1;
        let waits = matches!(instruction.class(), Class::Barrier | Class::Branch);
        if is_in_group && waits && instruction.mnemonic() != "NOP" {
            complaints.push(format!("within a group of HGMMA: {text}"));
        }
        if instruction.opcode.starts_with("WARPGROUP.DEPBAR")
            && instruction.operands.ends_with(" 0x0")
        {
            complaints.push(format!("waits for every HGMMA: {text}"));
        }
        if matches!(instruction.mnemonic(), "LDL" | "STL") {
            complaints.push(format!("local memory: {text}"));
        }
        if touched(instruction).any(|register| sums.contains(&register)) {
            complaints.push(format!("touches the sums: {text}"));
        }
    }
    let shapes: BTreeSet<_> = all.iter().map(|one| one.shape.as_str()).collect();
    let shapes: Vec<_> = shapes.into_iter().collect();
    Findings {
        summary: format!(
            "{count} HGMMA of {} in {groups} groups, at most {most_between} instructions between two of a group; \
             {} registers of sums, touched by nothing else",
            shapes.join(" and "),
            sums.len()
        ),
        complaints,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A loop of two groups of two, as ptxas writes it.
    const GOOD: [&str; 10] = [
        "HMUL2 R160, R160, R183.reuse",
        "WARPGROUP.ARRIVE",
        "HGMMA.64x8x16.F32 R24, R160, gdesc[UR4], R24, UP0",
        "SHF.L.U32 R8, R9, 0x4, RZ",
        "HGMMA.64x8x16.F32 R24, R164, gdesc[UR4], R24, gsb0",
        "WARPGROUP.DEPBAR.LE gsb0, 0x1",
        "HGMMA.64x8x16.F32 R24, gdesc[UR8], gdesc[UR4], R24",
        "NOP",
        "HGMMA.64x8x16.F32 R24, R152, gdesc[UR4], R24, gsb0",
        "@P3 BRA `(.L_x_356)",
    ];

    fn examined(lines: &[&str], per_stage: u32) -> Findings {
        let parse = |text: &&str| Instruction::parse(&format!("/*0010*/ {text} ;")).unwrap();
        let instructions: Vec<_> = lines.iter().map(parse).collect();
        examine(&instructions.iter().collect::<Vec<_>>(), per_stage)
    }

    /// The complaints about the good loop with one line changed.
    fn complaints(line: usize, text: &str) -> Vec<String> {
        let mut lines = GOOD;
        lines[line] = text;
        examined(&lines, 4).complaints
    }

    #[test]
    fn a_good_loop_is_described() {
        let Findings {
            summary,
            complaints,
        } = examined(&GOOD, 2);
        assert!(complaints.is_empty(), "{complaints:?}");
        assert_eq!(
            summary,
            "4 HGMMA of 64x8x16 in 2 groups, at most 1 instructions between two of a group; \
             4 registers of sums, touched by nothing else"
        );
    }

    #[test]
    fn each_fault_is_named() {
        for (line, text, complaint) in [
            (
                4,
                "HGMMA.64x8x16.F32 R24, R164, gdesc[UR4], R24",
                "within a group of HGMMA: WARPGROUP",
            ),
            (3, "WARPSYNC.ALL", "within a group of HGMMA: WARPSYNC.ALL"),
            (
                3,
                "SYNCS.PHASECHK.TRANS64.TRYWAIT P1, [R3+URZ], R12",
                "within a group",
            ),
            (5, "WARPGROUP.DEPBAR.LE gsb0, 0x0", "waits for every HGMMA"),
            (
                6,
                "HGMMA.64x8x16.F32 R24, R4, gdesc[UR4], R48",
                "sums move from R48 to R24",
            ),
            (0, "MOV R48, R27", "touches the sums: MOV R48, R27"),
            (0, "LDS.128 R21, [R3]", "touches the sums"),
            (0, "STL [R1], R4", "local memory"),
        ] {
            let found = complaints(line, text);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(found[0].contains(complaint), "{text}: {found:?}");
        }
        let lines = &GOOD[..6];
        assert_eq!(
            examined(lines, 4).complaints,
            ["2 HGMMA; a stage takes 4, so that some were left out or moved out of the loop"]
        );
        // An address is one register, and others have names like theirs.
        for text in ["LDS.128 R28, [R23]", "MOV R4, UR24", "MOV R28, SR_CTAID.X"] {
            assert!(complaints(0, text).is_empty(), "{text}");
        }
    }
}
