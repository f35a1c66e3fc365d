//! Counts by PTX line and by warp.

use std::collections::BTreeMap;
use std::fmt;

use super::access::Passes;
use crate::json::{Object, array};

/// What one line of PTX did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineProfile {
    /// Times that a group of lanes executed it.
    pub executed: u64,
    /// Lanes that did, of 32 each time.
    pub lanes: u64,
    /// Passes through shared memory, and how many would have done without bank conflicts.
    pub shared_passes: u64,
    pub least_shared_passes: u64,
    /// Sectors of global memory, and how many the bytes would have filled.
    pub sectors: u64,
    pub least_sectors: u64,
}

/// What warps with one index did, in all CTAs, in emulated steps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WarpProfile {
    /// Instructions executed.
    pub executed: u64,
    /// Steps in which it could run, whether or not it was its turn.
    pub ready: u64,
    /// Steps that it waited, by what for.
    pub waited: BTreeMap<String, u64>,
}

/// The counts of all launches observed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// By kernel and line.
    pub lines: BTreeMap<(String, u32), (String, LineProfile)>,
    /// By kernel and index in the CTA.
    pub warps: BTreeMap<(String, u32), WarpProfile>,
    pub copied_bytes: u64,
    pub mmas: u64,
}

impl LineProfile {
    pub(super) fn shared(&mut self, passes: Passes) {
        self.shared_passes += passes.taken;
        self.least_shared_passes += passes.least;
    }

    pub(super) fn global(&mut self, passes: Passes) {
        self.sectors += passes.taken;
        self.least_sectors += passes.least;
    }

    fn add(&mut self, other: &Self) {
        self.executed += other.executed;
        self.lanes += other.lanes;
        self.shared_passes += other.shared_passes;
        self.least_shared_passes += other.least_shared_passes;
        self.sectors += other.sectors;
        self.least_sectors += other.least_sectors;
    }

    /// Passes that bank conflicts cost.
    pub fn bank_conflicts(&self) -> u64 {
        self.shared_passes - self.least_shared_passes
    }

    /// Sectors that a better pattern would not have touched.
    pub fn excess_sectors(&self) -> u64 {
        self.sectors - self.least_sectors
    }
}

impl Profile {
    /// Adds other counts to these.
    pub fn add(&mut self, other: &Self) {
        for (key, (text, line)) in &other.lines {
            self.add_line(key.clone(), text, line);
        }
        for (key, warp) in &other.warps {
            let mine = self.warps.entry(key.clone()).or_default();
            mine.executed += warp.executed;
            mine.ready += warp.ready;
            for (what, steps) in &warp.waited {
                *mine.waited.entry(what.clone()).or_default() += steps;
            }
        }
        self.copied_bytes += other.copied_bytes;
        self.mmas += other.mmas;
    }

    /// Adds the counts of a line, by kernel and number, with this text.
    pub(super) fn add_line(&mut self, key: (String, u32), text: &str, counts: &LineProfile) {
        let line = self.lines.entry(key);
        line.or_insert_with(|| (text.to_owned(), LineProfile::default()))
            .1
            .add(counts);
    }

    /// One JSON object.
    pub fn to_json(&self) -> String {
        let lines = self.lines.iter().map(|((kernel, line), (text, counts))| {
            Object::default()
                .text("kernel", &**kernel)
                .number("line", *line)
                .text("text", &**text)
                .number("executed", counts.executed)
                .number("lanes", counts.lanes)
                .number("shared_passes", counts.shared_passes)
                .number("bank_conflicts", counts.bank_conflicts())
                .number("sectors", counts.sectors)
                .number("excess_sectors", counts.excess_sectors())
                .finish()
        });
        let warps = self.warps.iter().map(|((kernel, warp), counts)| {
            let waited = counts
                .waited
                .iter()
                .fold(Object::default(), |object, (what, steps)| {
                    object.number(what, *steps)
                });
            Object::default()
                .text("kernel", &**kernel)
                .number("warp", *warp)
                .number("executed", counts.executed)
                .number("ready", counts.ready)
                .field("waited", waited.finish())
                .finish()
        });
        Object::default()
            .number("copied_bytes", self.copied_bytes)
            .number("mmas", self.mmas)
            .field("lines", array(lines))
            .field("warps", array(warps))
            .finish()
    }
}

/// Lines shown of each kind.
const SHOWN: usize = 12;

/// Tables for people: the lines executed most, those with conflicts, and what warps waited for.
impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            copied_bytes, mmas, ..
        } = self;
        writeln!(
            f,
            "{copied_bytes} bytes by TMA and bulk copies, {mmas} MMAs; time in emulated steps"
        )?;
        self.table(
            f,
            "executed  lanes",
            |line| line.executed,
            |line| {
                format!(
                    "{:>8}  {:>5.1}",
                    line.executed,
                    line.lanes as f64 / line.executed.max(1) as f64
                )
            },
        )?;
        self.table(
            f,
            "bank conflicts  of passes",
            LineProfile::bank_conflicts,
            |line| format!("{:>14}  {:>9}", line.bank_conflicts(), line.shared_passes),
        )?;
        self.table(
            f,
            "excess sectors  of sectors",
            LineProfile::excess_sectors,
            |line| format!("{:>14}  {:>10}", line.excess_sectors(), line.sectors),
        )?;
        writeln!(f, "warp  executed  ready %  waited %")?;
        for ((kernel, warp), counts) in &self.warps {
            let waited: u64 = counts.waited.values().sum();
            let percent = |steps: u64| 100.0 * steps as f64 / (counts.ready + waited).max(1) as f64;
            let mut reasons: Vec<_> = counts.waited.iter().collect();
            reasons.sort_by_key(|(_, steps)| std::cmp::Reverse(**steps));
            let reasons = reasons.into_iter().take(3);
            let reasons = reasons.map(|(what, steps)| format!("{what} {:.0} %", percent(*steps)));
            writeln!(
                f,
                "{warp:>4}  {:>8}  {:>7.1}  {:>8.1}  {}  {kernel}",
                counts.executed,
                percent(counts.ready),
                percent(waited),
                reasons.collect::<Vec<_>>().join(", "),
            )?;
        }
        Ok(())
    }
}

impl Profile {
    fn table(
        &self,
        f: &mut fmt::Formatter<'_>,
        head: &str,
        key: impl Fn(&LineProfile) -> u64,
        columns: impl Fn(&LineProfile) -> String,
    ) -> fmt::Result {
        let mut lines: Vec<_> = self
            .lines
            .iter()
            .filter(|(_, line)| key(&line.1) != 0)
            .collect();
        lines.sort_by_key(|(_, line)| std::cmp::Reverse(key(&line.1)));
        if lines.is_empty() {
            return Ok(());
        }
        writeln!(f, "{head}  line")?;
        for ((_, line), (text, counts)) in lines.into_iter().take(SHOWN) {
            let text: String = text.chars().take(90).collect();
            writeln!(f, "{}  {line}: {text}", columns(counts))?;
        }
        Ok(())
    }
}
