//! The table of instruction families in `RULES.md` against the decoder and the tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use ptx_emulator::Emulator;

const RULES: &str = include_str!("../RULES.md");
/// One form a line: what the decoder is tested to accept.
const SUPPORTED: &str = include_str!("../src/isa/decode/supported.ptx");

/// The opcodes of PTX ISA 9.1, chapter 9.7.
const OPCODES: &str = "
    abs activemask add addc alloca and applypriority atom bar barrier bfe bfi bfind bmsk bra brev brkpt brx call clz
    clusterlaunchcontrol cnot copysign cos cp createpolicy cvt cvta discard div dp2a dp4a elect ex2 exit fence fma fns
    getctarank griddepcontrol isspacep istypep ld ldmatrix ldu lg2 lop3 mad mad24 madc mapa match max mbarrier membar
    min mma mov movmatrix mul mul24 multimem nanosleep neg not or pmevent popc prefetch prefetchu prmt rcp red redux rem
    ret rsqrt sad selp set setmaxnreg setp shf shfl shl shr sin slct sqrt st stackrestore stacksave stmatrix sub subc
    suld suq sured sust szext tanh tcgen05 tensormap testp tex tld4 trap txq vabsdiff vabsdiff2 vabsdiff4 vadd vadd2
    vadd4 vavrg2 vavrg4 vmad vmax vmax2 vmax4 vmin vmin2 vmin4 vote vset vset2 vset4 vshl vshr vsub vsub2 vsub4 wgmma
    wmma xor";

struct Family {
    opcodes: Vec<&'static str>,
    modelled: &'static str,
    tests: Vec<&'static str>,
    refused: &'static str,
}

fn quoted(cell: &'static str) -> Vec<&'static str> {
    cell.split('`').skip(1).step_by(2).collect()
}

fn families() -> Vec<Family> {
    let (_, section) = RULES.split_once("## Instruction families").unwrap();
    let (table, _) = section.split_once("\n## ").unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [opcodes, modelled, _, tests, refused] = cells[..] else {
            panic!("five columns: {row}");
        };
        Family {
            opcodes: quoted(opcodes),
            modelled,
            tests: quoted(tests),
            refused,
        }
    })
    .collect()
}

/// Whether the decoder knows an opcode: whatever it says of it without modifiers and operands.
fn is_known(opcode: &str) -> bool {
    let text =
        format!(".version 8.8\n.target sm_100a\n.visible .entry k()\n{{\n{opcode};\nret;\n}}\n");
    match Emulator::default().load(&text) {
        Ok(_) => true,
        Err(error) => !error
            .to_string()
            .contains(&format!("instruction `{opcode}` is not supported")),
    }
}

#[test]
fn every_opcode_of_the_isa_has_a_row() {
    let families = families();
    let named: BTreeSet<&str> = families.iter().flat_map(|f| f.opcodes.clone()).collect();
    let opcodes: BTreeSet<&str> = OPCODES.split_whitespace().collect();
    assert_eq!(named, opcodes);
}

#[test]
fn rows_say_whether_the_decoder_knows_their_opcodes() {
    for family in families() {
        for opcode in &family.opcodes {
            let is_modelled = !family.modelled.is_empty();
            // An empty row's reason is in its last column.
            assert!(is_modelled || !family.refused.is_empty(), "{opcode}");
            if family.refused == "*all*" {
                assert!(!is_known(opcode), "{opcode} is decoded: give it a row");
            }
            if is_modelled {
                assert!(is_known(opcode), "{opcode} is not decoded");
                assert!(!family.tests.is_empty(), "{opcode} has no test");
            }
        }
    }
}

#[test]
fn every_form_that_is_accepted_is_of_a_family() {
    let families = families();
    let forms = SUPPORTED.lines().map(str::trim);
    let forms = forms.filter(|form| form.ends_with(';') && !form.starts_with("//"));
    for form in forms {
        // `@p opcode…`, or `{ … opcode …; }` for a block.
        let start = form.trim_start_matches(['{', ' ']);
        let words: Vec<&str> = start.split_whitespace().collect();
        let word = words
            .iter()
            .find(|word| !word.starts_with('@') && !word.ends_with(':'));
        let word = word.unwrap_or_else(|| panic!("no instruction: {form}"));
        let opcode = word.split(['.', ';']).next().unwrap();
        if opcode.is_empty() {
            continue; // A directive.
        }
        let has_row = families
            .iter()
            .any(|family| family.opcodes.contains(&opcode) && !family.modelled.is_empty());
        assert!(has_row, "{form}");
    }
}

/// Test functions of the files below `folder`, as `folder/file::function` without what `strip` is.
fn tests_below(folder: &Path, prefix: &str, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let module = match name {
            "mod" => prefix.trim_end_matches('/').to_owned(),
            name => format!("{prefix}{name}"),
        };
        if path.is_dir() {
            tests_below(&path, &format!("{module}/"), found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let mut lines = text.lines().map(str::trim);
            while let Some(line) = lines.next() {
                let function = match line {
                    "#[test]" => lines.next().and_then(|line| line.strip_prefix("fn ")),
                    _ => None,
                };
                if let Some((function, _)) = function.and_then(|line| line.split_once('(')) {
                    found.insert(format!("{module}::{function}"));
                }
            }
        }
    }
}

#[test]
fn every_test_that_is_named_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeSet::new();
    tests_below(&root.join("tests/rules"), "", &mut found);
    tests_below(&root.join("src"), "", &mut found);
    tests_below(&root.join("src/machine/tests"), "machine/", &mut found);
    for family in families() {
        for test in family.tests {
            assert!(found.contains(test), "{test} is no test");
        }
    }
}
