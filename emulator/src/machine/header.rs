//! What of a module's head decides whether this device can run it: `.version` and `.target` (PTX
//! ISA §11.1).
//!
//! Read before the module is parsed, since a newer version may have a syntax that the parser does
//! not know.

use super::load::ModuleError;

/// The newest `.version` that is accepted.
pub(super) const NEWEST_PTX: (u32, u32) = (9, 3);

/// The two directives; `None` where the head is not understood, which is then left to the parser to
/// explain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header<'a> {
    version: (u32, u32),
    target: Option<&'a str>,
}

/// Refuses a module that no device of this compute capability can run.
pub(super) fn check(text: &str, capability: (u32, u32)) -> Result<(), ModuleError> {
    let Some(Header { version, target }) = parse(text) else {
        return Ok(());
    };
    if version > NEWEST_PTX {
        return Err(ModuleError::Version {
            found: version,
            newest: NEWEST_PTX,
        });
    }
    match target {
        Some(target) if !runs_on(target, capability) => Err(ModuleError::Target {
            found: target.to_owned(),
            capability,
        }),
        _ => Ok(()),
    }
}

/// PTX ISA §11.1.2: architecture-specific (`a`) targets run on that very device; family-specific
/// (`f`) ones on it and later members of its family, which share the major version; others on every
/// later device.
fn runs_on(target: &str, (major, minor): (u32, u32)) -> bool {
    let Some(architecture) = target.strip_prefix("sm_") else {
        // Texture modes and debug are no architectures; the parser refuses what is nothing.
        return true;
    };
    let digits = architecture.trim_end_matches(['a', 'f']);
    let Ok(number) = digits.parse::<u32>() else {
        return true;
    };
    let device = major * 10 + minor;
    match &architecture[digits.len()..] {
        "a" => number == device,
        "f" => number / 10 == major && number <= device,
        _ => number <= device,
    }
}

fn parse(text: &str) -> Option<Header<'_>> {
    let rest = skip_blank(text).strip_prefix(".version")?;
    let rest = skip_blank(rest);
    let (version, rest) = word(rest);
    let (major, minor) = version.split_once('.')?;
    let version = (major.parse().ok()?, minor.parse().ok()?);
    let target = skip_blank(rest)
        .strip_prefix(".target")
        .map(|rest| word(skip_blank(rest)).0);
    Some(Header { version, target })
}

/// The text after white space and comments.
fn skip_blank(mut text: &str) -> &str {
    loop {
        text = text.trim_start();
        text = if let Some(comment) = text.strip_prefix("//") {
            comment.find('\n').map_or("", |end| &comment[end..])
        } else if let Some(comment) = text.strip_prefix("/*") {
            comment.find("*/").map_or("", |end| &comment[end + 2..])
        } else {
            return text;
        };
    }
}

fn word(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.'));
    text.split_at(end.unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_is_found_behind_comments() {
        let header =
            parse("// a\n/* b .version 1.0 */\n.version 8.7 // c\n.target sm_100f, debug\n");
        assert_eq!(
            header,
            Some(Header {
                version: (8, 7),
                target: Some("sm_100f")
            })
        );
        assert_eq!(parse(".visible .entry"), None);
        assert_eq!(parse("/* open"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn targets_of_a_b200() {
        for target in [
            "sm_20", "sm_75", "sm_90", "sm_100", "sm_100a", "sm_100f", "debug",
        ] {
            assert!(runs_on(target, (10, 0)), "{target}");
        }
        for target in [
            "sm_90a", "sm_103", "sm_103a", "sm_103f", "sm_110f", "sm_120", "sm_120a",
        ] {
            assert!(!runs_on(target, (10, 0)), "{target}");
        }
        assert!(runs_on("sm_100f", (10, 3)));
    }

    #[test]
    fn targets_of_an_h200() {
        for target in ["sm_80", "sm_90", "sm_90a"] {
            assert!(runs_on(target, (9, 0)), "{target}");
        }
        for target in ["sm_100", "sm_100a", "sm_100f", "sm_120a", "sm_80a"] {
            assert!(!runs_on(target, (9, 0)), "{target}");
        }
    }

    #[test]
    fn too_new_and_not_for_this_device() {
        let refusal = |text| check(text, (10, 0)).unwrap_err();
        let newer = refusal(".version 9.4\n.target sm_100");
        assert_eq!(
            newer,
            ModuleError::Version {
                found: (9, 4),
                newest: NEWEST_PTX
            }
        );
        assert!(newer.to_string().contains("9.4") && newer.to_string().contains("9.3"));
        let other = refusal(".version 8.7 .target sm_120a");
        assert!(matches!(&other, ModuleError::Target { found, .. } if found == "sm_120a"));
        assert!(other.to_string().contains("sm_120a") && other.to_string().contains("10.0"));
        assert_eq!(check(".version 9.3 .target sm_100", (10, 0)), Ok(()));
    }
}
