//! `RULES.md` names tests that exist, and every test of a rule is named there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const TABLE: &str = include_str!("../../RULES.md");

/// Modules without rules.
const OTHERS: [&str; 4] = ["main", "mutation", "program", "table"];

/// Names of the test functions of a file, as `RULES.md` writes them.
fn tests(prefix: &str, path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let module = path.file_stem().unwrap().to_str().unwrap();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines
        .windows(2)
        .filter(|pair| pair[0] == "#[test]")
        .filter_map(|pair| pair[1].strip_prefix("fn ")?.split_once('('))
        .map(|(name, _)| format!("{prefix}{module}::{name}"))
        .collect()
}

fn tests_of_folder(prefix: &str, folder: &str) -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .flat_map(|path| tests(prefix, &path))
        .collect()
}

fn modules(tests: &BTreeSet<String>) -> BTreeSet<&str> {
    let module = |test: &'_ String| test.find("::");
    tests
        .iter()
        .filter_map(|test| test.get(..module(test)?))
        .collect()
}

#[test]
fn the_table_and_the_tests_agree() {
    let own = tests_of_folder("", "tests/rules");
    let mut all = tests_of_folder("machine/", "src/machine/tests");
    all.extend(own.iter().cloned());
    let modules = modules(&all);
    let named: BTreeSet<&str> = TABLE
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| {
            name.split_once("::")
                .is_some_and(|(module, _)| modules.contains(module))
        })
        .collect();
    for name in &named {
        assert!(
            all.contains(*name),
            "RULES.md names {name}, which is no test"
        );
    }
    for test in own {
        let is_rule = !OTHERS.iter().any(|other| test.starts_with(other));
        assert!(
            !is_rule || named.contains(test.as_str()),
            "RULES.md does not name {test}"
        );
    }
}
