//! The first difference between two texts, for people.

use std::fmt::Write;

const CONTEXT_LINES: usize = 3;
const SHOWN_LINES: usize = 5;

/// The first place where `old` and `new` differ, in the manner of a unified diff; `None` if they
/// are equal.
pub fn first(old: &str, new: &str) -> Option<String> {
    if old == new {
        return None;
    }
    let old_lines: Vec<&str> = old.split('\n').collect();
    let new_lines: Vec<&str> = new.split('\n').collect();
    let at = old_lines
        .iter()
        .zip(&new_lines)
        .take_while(|(a, b)| a == b)
        .count();
    let start = at.saturating_sub(CONTEXT_LINES);
    let mut text = format!("@@ line {} @@\n", at + 1);
    for line in &old_lines[start..at] {
        let _ = writeln!(text, "  {line}");
    }
    for (sign, lines) in [('-', &old_lines), ('+', &new_lines)] {
        for line in lines.iter().skip(at).take(SHOWN_LINES) {
            let _ = writeln!(text, "{sign} {line}");
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_have_none() {
        assert_eq!(first("a\nb\n", "a\nb\n"), None);
    }

    #[test]
    fn the_first_differing_line_is_shown_with_context() {
        let shown = first("1\n2\n3\n4\n5\n", "1\n2\n3\n4\nx\n").unwrap_or_default();
        assert_eq!(shown, "@@ line 5 @@\n  2\n  3\n  4\n- 5\n- \n+ x\n+ \n");
    }

    #[test]
    fn a_missing_end_is_a_difference() {
        let shown = first("1\n", "1").unwrap_or_default();
        assert!(shown.starts_with("@@ line 2 @@\n  1\n- \n"), "{shown}");
    }
}
