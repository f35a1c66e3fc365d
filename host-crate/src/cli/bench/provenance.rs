//! What a measurement was made on, and when.

use std::time::{SystemTime, UNIX_EPOCH};

use nvfp4_dual_gemm::driver::{self, DriverKind};

/// Told with every table, file and picture.
#[derive(Clone, Debug)]
pub struct Provenance {
    /// The name of the card.
    pub device: String,
    /// The version of NVIDIA's driver where it can be told, and that of CUDA.
    pub driver: String,
    /// UTC, as YYYY-MM-DD.
    pub date: String,
}

impl Provenance {
    pub fn of(device: &str) -> anyhow::Result<Self> {
        let driver = driver::info()?;
        let (major, minor) = driver.version;
        let module = std::fs::read_to_string("/proc/driver/nvidia/version").ok();
        let version = match driver.kind {
            DriverKind::Cuda => module.as_deref().and_then(module_version),
            DriverKind::Emulator => None,
        };
        let driver = match version {
            Some(version) => format!("driver {version}, CUDA {major}.{minor}"),
            None => format!("{}, CUDA {major}.{minor}", driver.library),
        };
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH)?;
        Ok(Self {
            device: device.to_owned(),
            driver,
            date: utc_date(since_epoch.as_secs()),
        })
    }
}

/// The version in what the kernel module says of itself.
fn module_version(text: &str) -> Option<&str> {
    let line = text.lines().find(|line| line.starts_with("NVRM version"))?;
    let is_version =
        |word: &&str| word.contains('.') && word.chars().all(|c| c.is_ascii_digit() || c == '.');
    line.split_whitespace().find(is_version)
}

/// The day of a time in seconds since 1970, in the Gregorian calendar.
fn utc_date(seconds: u64) -> String {
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut day = seconds / 86_400;
    let mut year = 1970;
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for days in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < days {
            break;
        }
        day -= days;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", day + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_dates() {
        for (seconds, date) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_735_689_599, "2024-12-31"),
            (1_735_689_600, "2025-01-01"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(utc_date(seconds), date);
        }
    }

    #[test]
    fn both_kinds_of_module_tell_their_version() {
        for text in [
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  Tue Sep 23 10:11:16 UTC 2025\nGCC version:  12.3",
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (root@b)  Tue\n",
        ] {
            assert_eq!(module_version(text), Some("580.95.05"));
        }
        assert_eq!(module_version("GCC version: 12.3.0"), None);
    }
}
