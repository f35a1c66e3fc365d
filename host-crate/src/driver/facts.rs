//! What a refused PTX is, and what it was to run on.

use std::fmt;

use super::status;

/// Versions and architectures that decide whether a driver can load a PTX. `None` is what could not be found out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadFacts {
    /// The PTX's `.version`.
    pub ptx_version: Option<String>,
    /// The PTX's `.target`.
    pub target: Option<String>,
    /// The device's compute capability, as (major, minor).
    pub compute_capability: Option<(u32, u32)>,
    /// The CUDA version that the driver supports, as (major, minor).
    pub cuda_version: Option<(u32, u32)>,
}

impl LoadFacts {
    /// Those that the text tells.
    pub(super) fn of_ptx(ptx: &str) -> Self {
        let directive = |name: &str| {
            let mut lines = ptx.lines().map(str::trim_start);
            let rest = lines.find_map(|line| line.strip_prefix(name))?;
            let mut words = rest.split([' ', '\t', ',', '/']);
            words.find(|word| !word.is_empty()).map(str::to_owned)
        };
        Self {
            ptx_version: directive(".version"),
            target: directive(".target"),
            ..Self::default()
        }
    }

    /// Whether the target's code runs on the device; `true` where that is not known.
    fn fits(&self) -> bool {
        let (Some(target), Some((major, minor))) = (&self.target, self.compute_capability) else {
            return true;
        };
        let number = target.trim_start_matches("sm_");
        let digits = number.trim_end_matches(|c: char| c.is_ascii_lowercase());
        let Ok(needed) = digits.parse::<u32>() else {
            return true;
        };
        let found = 10 * major + minor;
        // PTX ISA, `.target`: with suffix `a` for one architecture only, with `f` for its family.
        match &number[digits.len()..] {
            "a" => found == needed,
            "f" => found >= needed && found / 10 == needed / 10,
            _ => found >= needed,
        }
    }

    /// What to do about a refusal, to follow its description.
    pub(super) fn advice(&self, code: u32) -> String {
        match code {
            status::UNSUPPORTED_PTX_VERSION => {
                "; the driver is too old for it: update the driver".to_owned()
            }
            status::NO_BINARY_FOR_GPU | status::INVALID_PTX if !self.fits() => {
                "; it is for another GPU: load the PTX that was built for this one".to_owned()
            }
            other => status::advice(other).to_owned(),
        }
    }
}

/// `PTX 8.8 for sm_100f on compute capability 9.0, CUDA 13.0`
impl fmt::Display for LoadFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PTX")?;
        if let Some(version) = &self.ptx_version {
            write!(f, " {version}")?;
        }
        if let Some(target) = &self.target {
            write!(f, " for {target}")?;
        }
        if let Some((major, minor)) = self.compute_capability {
            write!(f, " on compute capability {major}.{minor}")?;
        }
        if let Some((major, minor)) = self.cuda_version {
            write!(f, ", CUDA {major}.{minor}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(target: &str, compute_capability: (u32, u32)) -> LoadFacts {
        LoadFacts {
            compute_capability: Some(compute_capability),
            ..LoadFacts::of_ptx(&format!("// by hand\n.version 8.8\n.target {target}\n"))
        }
    }

    #[test]
    fn a_header_is_read() {
        let facts = LoadFacts::of_ptx("//\n\t.version\t8.8 // x\n");
        assert_eq!(facts.ptx_version.as_deref(), Some("8.8"));
        assert_eq!(facts.target, None);
        let facts = LoadFacts::of_ptx(".version 7.0\n.target sm_90, debug");
        assert_eq!(facts.target.as_deref(), Some("sm_90"));
        assert_eq!(LoadFacts::of_ptx(".target").target, None);
        assert_eq!(facts.to_string(), "PTX 7.0 for sm_90");
    }

    #[test]
    fn a_target_fits_its_own_devices() {
        for (target, device, fits) in [
            ("sm_90a", (9, 0), true),
            ("sm_90a", (10, 0), false),
            ("sm_90", (10, 3), true),
            ("sm_100f", (10, 3), true),
            ("sm_100f", (9, 0), false),
            ("sm_100f", (12, 0), false),
            ("sm_120", (10, 0), false),
            ("compute", (10, 0), true),
        ] {
            assert_eq!(facts(target, device).fits(), fits, "{target} on {device:?}");
        }
        let advice = facts("sm_90a", (10, 0)).advice(status::INVALID_PTX);
        assert!(advice.contains("another GPU"), "{advice}");
        assert_eq!(facts("sm_90a", (9, 0)).advice(status::INVALID_PTX), "");
    }
}
