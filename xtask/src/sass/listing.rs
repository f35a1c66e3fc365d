//! nvdisasm's output: instructions, what they are for, and the loops they form.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use crate::graph::{Graph, NaturalLoop};

/// What an instruction of a K loop is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Tensor core and copies to tensor memory
    Tensor,
    /// Asynchronous copies from global to shared memory
    Copy,
    /// mbarriers, commits, fences, the election of a thread
    Barrier,
    /// Integer arithmetic, moves, constants: addresses, descriptors, phases and counters
    Address,
    Branch,
    /// Loads from and stores to shared memory
    Shared,
    /// Arithmetic on pairs of f16, and conversions to them
    Half,
    Other,
}

impl Class {
    pub fn name(self) -> &'static str {
        match self {
            Self::Tensor => "tensor",
            Self::Copy => "copy",
            Self::Barrier => "barrier",
            Self::Address => "address",
            Self::Branch => "branch",
            Self::Shared => "shared",
            Self::Half => "half",
            Self::Other => "other",
        }
    }

    fn of(mnemonic: &str, operands: &str) -> Self {
        match mnemonic {
            "UTCOMMA" | "UTCQMMA" | "UTCHMMA" | "UTCIMMA" | "UTCCP" | "HGMMA" => Self::Tensor,
            "UTMALDG" | "UTMAPF" | "UTMACCTL" | "UBLKCP" | "UBLKPF" => Self::Copy,
            "UTCBAR" | "SYNCS" | "BAR" | "FENCE" | "ELECT" | "MEMBAR" | "DEPBAR" | "WARPGROUP"
            | "ERRBAR" | "CGAERRBAR" => Self::Barrier,
            "BRA" | "BSSY" | "BSYNC" | "BREAK" | "EXIT" | "WARPSYNC" | "YIELD" | "NOP" => {
                Self::Branch
            }
            // The uniform datapath has only integer and predicate arithmetic here.
            "UIADD3" | "UIMAD" | "UISETP" | "ULEA" | "ULOP3" | "UMOV" | "UPLOP3" | "UPRMT"
            | "USEL" | "USHF" | "USGXT" | "UIADD" | "UVIADD" | "UP2UR" | "UR2UP" | "R2UR"
            | "S2UR" | "LDCU" | "ULDC" | "VOTEU" => Self::Address,
            "IADD3" | "VIADD" | "SGXT" | "IMAD" | "ISETP" | "LEA" | "LOP3" | "MOV" | "PLOP3"
            | "PRMT" | "SEL" | "SHF" | "S2R" | "CS2R" | "LDC" | "P2R" | "R2P" => Self::Address,
            // ptxas moves a constant this way to balance its pipes: 0 · 0 + immediate.
            "HFMA2" if operands.contains("-RZ, RZ,") => Self::Address,
            "LDS" | "LDSM" | "STS" | "STSM" => Self::Shared,
            "HMUL2" | "HADD2" | "HFMA2" | "F2FP" => Self::Half,
            _ => Self::Other,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    pub address: u32,
    /// With guard, without the closing semicolon.
    pub text: String,
    guarded: bool,
    /// With its modifiers: `HGMMA.64x8x16.F32`.
    pub opcode: String,
    pub operands: String,
}

impl Instruction {
    /// `/*0010*/  @!P0 BRA `(.L_x_1) ;`
    pub fn parse(line: &str) -> Option<Self> {
        let (address, rest) = line.trim().strip_prefix("/*")?.split_once("*/")?;
        let text = rest.trim().strip_suffix(';')?.trim().to_owned();
        let mut words = text.splitn(2, char::is_whitespace);
        let first = words.next()?;
        let guarded = first.starts_with('@');
        let unguarded = if guarded {
            words.next()?.trim_start()
        } else {
            text.as_str()
        };
        let (opcode, operands) = unguarded
            .split_once(char::is_whitespace)
            .unwrap_or((unguarded, ""));
        Some(Self {
            address: u32::from_str_radix(address, 16).ok()?,
            guarded,
            opcode: opcode.to_owned(),
            operands: operands.trim().to_owned(),
            text,
        })
    }

    pub fn mnemonic(&self) -> &str {
        self.opcode.split('.').next().unwrap_or_default()
    }

    pub fn class(&self) -> Class {
        Class::of(self.mnemonic(), &self.operands)
    }

    /// The label in `` `(LABEL) ``.
    fn target(&self) -> Option<&str> {
        let (_, rest) = self.operands.split_once("`(")?;
        rest.split_once(')').map(|(label, _)| label)
    }

    fn falls_through(&self) -> bool {
        // A branch may also depend on an operand: `BRA.U UP0, TARGET`.
        let conditional = self.guarded || self.operands.contains(',');
        conditional || !matches!(self.mnemonic(), "BRA" | "EXIT" | "RET")
    }
}

/// The code of one entry.
#[derive(Debug, Default)]
pub struct Listing {
    instructions: Vec<Instruction>,
    /// The index of the instruction after each label.
    labels: BTreeMap<String, usize>,
}

/// The listings in `nvdisasm --print-code`, by entry.
pub fn parse(text: &str) -> Result<BTreeMap<String, Listing>> {
    let mut listings: BTreeMap<String, Listing> = BTreeMap::new();
    let mut current: Option<&mut Listing> = None;
    for line in text.lines() {
        if let Some(label) = line.trim().strip_suffix(':') {
            if let Some(entry) = label.strip_prefix(".text.") {
                current = Some(listings.entry(entry.to_owned()).or_default());
            } else if let Some(listing) = &mut current {
                let next = listing.instructions.len();
                listing.labels.insert(label.to_owned(), next);
            }
        } else if line.trim_start().starts_with(".section") {
            current = None;
        } else if let Some(listing) = &mut current {
            listing.instructions.extend(Instruction::parse(line));
        }
    }
    ensure!(
        !listings.is_empty(),
        "nvdisasm's output holds no code section"
    );
    Ok(listings)
}

impl Listing {
    pub fn instructions(&self) -> impl Iterator<Item = &Instruction> {
        self.instructions.iter()
    }

    /// The innermost loops that execute `mnemonic`, each in address order. Parts that ptxas moved
    /// out of line, as it does with the repetition of a wait, belong to it. Loops over the threads of
    /// a warp do not count.
    pub fn innermost_loops_with(&self, mnemonic: &str) -> Result<Vec<Vec<&Instruction>>> {
        let mut loops = self.control_flow()?.natural_loops();
        loops.retain(|found| {
            let mut body = found.body.iter().map(|&index| &self.instructions[index]);
            body.any(|instruction| instruction.mnemonic() == mnemonic)
                && !self.is_over_threads(found)
        });
        let innermost = loops.iter().filter(|outer| {
            !loops
                .iter()
                .any(|inner| inner.header != outer.header && inner.body.is_subset(&outer.body))
        });
        Ok(innermost
            .map(|found| {
                found
                    .body
                    .iter()
                    .map(|&index| &self.instructions[index])
                    .collect()
            })
            .collect())
    }

    /// Whether ptxas made this loop for an instruction with uniform operands that it has not seen to be
    /// executed by one thread alone: a round for each.
    fn is_over_threads(&self, found: &NaturalLoop) -> bool {
        found.body.iter().any(|&index| {
            let instruction = &self.instructions[index];
            let target = instruction
                .target()
                .and_then(|label| self.labels.get(label));
            instruction.opcode == "BRA.U.ANY" && target == Some(&found.header)
        })
    }

    /// How many loops over the threads of a warp `mnemonic` is in.
    pub fn loops_over_threads_with(&self, mnemonic: &str) -> Result<usize> {
        let mut loops = self.control_flow()?.natural_loops();
        loops.retain(|found| {
            let mut body = found.body.iter().map(|&index| &self.instructions[index]);
            self.is_over_threads(found)
                && body.any(|instruction| instruction.mnemonic() == mnemonic)
        });
        Ok(loops.len())
    }

    fn control_flow(&self) -> Result<Graph> {
        let mut successors = Vec::with_capacity(self.instructions.len());
        for (index, instruction) in self.instructions.iter().enumerate() {
            let mut next = Vec::new();
            if instruction.mnemonic() == "BRA" {
                let label = instruction
                    .target()
                    .with_context(|| format!("cannot tell where `{}` goes", instruction.text))?;
                let target = self
                    .labels
                    .get(label)
                    .with_context(|| format!("`{}` goes to an unknown label", instruction.text))?;
                next.push(*target);
            }
            if instruction.falls_through() && index + 1 < self.instructions.len() {
                next.push(index + 1);
            }
            next.retain(|&target| target < self.instructions.len());
            successors.push(next);
        }
        Ok(Graph::new(successors))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SASS: &str = "\
	.section	.text.k,\"ax\",@progbits
        .size           k,(.L_x_9 - k)
k:
.text.k:
        /*0000*/                   LDC R1, c[0x0][0x37c] ;
.L_x_1:
        /*0010*/                   SYNCS.PHASECHK.TRANS64.TRYWAIT P0, [UR26], R0 ;
        /*0020*/              @!P0 BRA `(.L_x_3) ;
.L_x_2:
        /*0030*/                   UTCOMMA.4X gdesc[UR36].A_KEEP, gdesc[UR46], tmem[UR8], !UPT ;
        /*0040*/                   HFMA2 R36, -RZ, RZ, 0, 0 ;
        /*0050*/                   FMUL R2, R3, R4 ;
        /*0060*/                   BRA.U UP0, `(.L_x_1) ;
        /*0070*/                   EXIT ;
.L_x_3:
        /*0080*/                   SYNCS.PHASECHK.TRANS64.TRYWAIT P0, [UR26], R0 ;
        /*0090*/              @!P0 BRA `(.L_x_3) ;
        /*00a0*/                   BRA `(.L_x_2) ;
.L_x_4:
        /*00b0*/                   BRA `(.L_x_4) ;
.L_x_9:
";

    fn listing() -> Result<Listing> {
        parse(SASS)?.remove("k").context("no entry k")
    }

    #[test]
    fn the_loop_takes_in_its_out_of_line_wait() -> Result<()> {
        let listing = listing()?;
        let loops = listing.innermost_loops_with("UTCOMMA")?;
        assert_eq!(loops.len(), 1);
        let addresses: Vec<_> = loops[0].iter().map(|i| i.address).collect();
        assert_eq!(
            addresses,
            [0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x80, 0x90, 0xa0]
        );
        Ok(())
    }

    #[test]
    fn instructions_are_classified() -> Result<()> {
        let listing = listing()?;
        let classes: Vec<_> = listing.instructions().map(Instruction::class).collect();
        assert_eq!(
            classes[..7],
            [
                Class::Address,
                Class::Barrier,
                Class::Branch,
                Class::Tensor,
                Class::Address,
                Class::Other,
                Class::Branch
            ]
        );
        Ok(())
    }

    #[test]
    fn a_program_without_the_instruction_has_no_such_loop() -> Result<()> {
        assert!(listing()?.innermost_loops_with("UTMALDG")?.is_empty());
        Ok(())
    }

    #[test]
    fn a_loop_over_threads_is_told_from_one_over_k() -> Result<()> {
        const SASS: &str = "\
.text.k:
.L_x_1:
        /*0000*/                   UIADD3 UR4, UR4, 0x1, URZ ;
.L_x_2:
        /*0010*/               @P0 ELECT P2, URZ, PT ;
        /*0020*/                   UTMALDG.3D [UR8], [UR16], desc[UR22] ;
        /*0030*/               @P0 BRA.U.ANY `(.L_x_2) ;
        /*0040*/               @P1 BRA `(.L_x_1) ;
        /*0050*/                   EXIT ;
";
        let listing = parse(SASS)?.remove("k").context("no entry k")?;
        let loops = listing.innermost_loops_with("UTMALDG")?;
        assert_eq!(loops.iter().map(Vec::len).collect::<Vec<_>>(), [5]);
        assert_eq!(listing.loops_over_threads_with("UTMALDG")?, 1);
        assert_eq!(listing.loops_over_threads_with("SYNCS")?, 0);
        Ok(())
    }

    #[test]
    fn output_without_code_is_an_error() {
        assert!(parse("\t.target\tsm_100\n").is_err());
    }
}
