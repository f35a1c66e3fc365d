//! Descriptions of schedules: in which order warps run, when asynchronous work takes effect.
//!
//! A schedule is a value with a text form, so that whatever was found under one can be replayed. Everything random in
//! it comes from its seeds: the same program with the same input runs the same way again.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::random::SplitMix64;

/// How the work of a launch is ordered, within what the hardware may do.
///
/// Its text form is `TURNS[/async=ASYNC][/spurious=SEED][/starts=SEED]`:
///
/// | `TURNS` | |
/// |---|---|
/// | `round-robin[:quantum=N]` | [`Turns::RoundRobin`] |
/// | `random:seed=N` | [`Turns::Random`] |
/// | `pct:seed=N[,depth=N][,steps=N]` | [`Turns::Pct`] |
/// | `starve:warp=N`, `starve:cta=N` | [`Turns::Starve`] |
/// | `greedy` | [`Turns::Greedy`] |
///
/// `ASYNC` is `late`, `slow-memory:WARP`, `early`, `random:SEED` or `chunked:SEED` ([`Asynchrony`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    pub turns: Turns,
    pub asynchrony: Asynchrony,
    /// Seed of `mbarrier.try_wait`s that return `false` at once, now and then, instead of waiting for an incomplete
    /// phase: the time after which they do is up to the system (PTX ISA §9.7.13.15.16).
    pub spurious: Option<u64>,
    /// Seed of the order in which the clusters of a grid start; without one they start in ascending order.
    pub starts: Option<u64>,
}

/// Who runs next. Units are groups of converged lanes of a warp of a CTA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turns {
    /// Each warp that can run, for at most `quantum` instructions.
    RoundRobin { quantum: u32 },
    /// Any group that can run, for a random number of instructions.
    Random { seed: u64 },
    /// Probabilistic concurrency testing (Burckhardt et al., ASPLOS 2010): warps have random priorities, the highest
    /// that can run does, and at `depth - 1` random points of the first `steps` instructions of a cluster the running
    /// warp becomes the lowest. Finds a bug that takes `depth` ordered events in a program of n warps with a probability
    /// of 1 / (n · steps^(depth - 1)) at least.
    Pct { seed: u64, depth: u32, steps: u64 },
    /// Everybody but the victim, which runs only where nobody else can.
    Starve { victim: Victim },
    /// One group for as long as it can go on, then the next.
    Greedy,
}

/// Whom [`Turns::Starve`] holds up. Numbers wrap around, so that every number is someone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// A warp, by its index in each CTA.
    Warp(u32),
    /// A CTA, by its rank in the cluster.
    Cta(u32),
}

/// When asynchronous operations (TMA, tensor core) take effect; never at issue. They read their operands then, too, but
/// for the tensor core, whose operands may be read at issue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asynchrony {
    /// As late as anything can observe: only when every warp waits. Missing waits for results show up at once, and so do
    /// operands that are overwritten too early.
    #[default]
    Late,
    /// As late, but copies come after the tensor core's work, in the order of their issue, and those that this warp of a CTA
    /// issues last of all: memory is slow, and slowest for one role. Each of its copies that is not waited for shows, not
    /// the first alone.
    SlowMemory { warp: u32 },
    /// As soon as the issuing group's turn is over. The tensor core reads operands at issue: missing waits for them show
    /// up.
    Early,
    /// Random delays; operands of the tensor core are read early or late.
    Random { seed: u64 },
    /// Random delays, and the bytes of a copy land in shuffled chunks, each of which counts at the barrier by itself.
    Chunked { seed: u64 },
}

/// The environment variable that holds a schedule's text.
pub const SCHEDULE_VARIABLE: &str = "PTX_EMULATOR_SCHEDULE";

/// Instructions of a turn in the default schedule, and in others where nothing hangs on it.
pub(super) const QUANTUM: u32 = 64;

/// [`Turns::Pct`] where the text says nothing else.
const DEPTH: u32 = 3;
const STEPS: u64 = 4096;

impl Default for Turns {
    fn default() -> Self {
        Self::RoundRobin { quantum: QUANTUM }
    }
}

impl Schedule {
    /// Schedule `index` of a varied portfolio: first the extremes that need no seed, then every policy with every
    /// asynchrony in turn, with seeds that derive from `seed`.
    pub fn nth(seed: u64, index: u64) -> Self {
        use Asynchrony::{Early, Late};
        let of = |turns, asynchrony| Self {
            turns,
            asynchrony,
            spurious: None,
            starts: None,
        };
        let extremes = [
            Self::default(),
            of(Turns::RoundRobin { quantum: 1 }, Early),
            of(Turns::Greedy, Late),
            of(Turns::Greedy, Early),
        ];
        if let Some(extreme) = usize::try_from(index).ok().and_then(|i| extremes.get(i)) {
            return *extreme;
        }
        let mut random = SplitMix64::new(seed, index);
        // Seeds are for people to copy: no longer than they need to be.
        let mut seed = || random.next() >> 40;
        let turns = match index % 6 {
            0 => Turns::Random { seed: seed() },
            1 | 2 => Turns::Pct {
                seed: seed(),
                depth: 2 + (seed() % 3) as u32,
                // How long the program runs is not known: from 2^8 to 2^17 instructions.
                steps: 1 << (8 + seed() % 10),
            },
            3 => Turns::Starve {
                victim: match seed() % 4 {
                    0 => Victim::Cta((seed() % 8) as u32),
                    _ => Victim::Warp((seed() % 16) as u32),
                },
            },
            4 => Turns::RoundRobin {
                quantum: 1 << (seed() % 7),
            },
            _ => Turns::Greedy,
        };
        let asynchrony = match seed() % 5 {
            0 | 1 => Late,
            2 => Early,
            3 => Asynchrony::Random { seed: seed() },
            _ => Asynchrony::Chunked { seed: seed() },
        };
        Self {
            turns,
            asynchrony,
            spurious: seed().is_multiple_of(2).then(&mut seed),
            starts: seed().is_multiple_of(2).then(&mut seed),
        }
    }

    /// What to set in the environment so that a program's launches run under this schedule.
    pub fn replay(&self) -> String {
        format!("{SCHEDULE_VARIABLE}={self}")
    }

    /// The schedules that hold up one warp each of a CTA with `warps` warps.
    pub fn starving_each_warp(warps: u32) -> impl Iterator<Item = Self> {
        (0..warps).map(|warp| Self {
            turns: Turns::Starve {
                victim: Victim::Warp(warp),
            },
            ..Self::default()
        })
    }
}

impl From<Asynchrony> for Schedule {
    fn from(asynchrony: Asynchrony) -> Self {
        Self {
            asynchrony,
            ..Self::default()
        }
    }
}

impl From<Turns> for Schedule {
    fn from(turns: Turns) -> Self {
        Self {
            turns,
            ..Self::default()
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/async={}", self.turns, self.asynchrony)?;
        for (part, seed) in [("spurious", self.spurious), ("starts", self.starts)] {
            if let Some(seed) = seed {
                write!(f, "/{part}={seed}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RoundRobin { quantum } => write!(f, "round-robin:quantum={quantum}"),
            Self::Random { seed } => write!(f, "random:seed={seed}"),
            Self::Pct { seed, depth, steps } => {
                write!(f, "pct:seed={seed},depth={depth},steps={steps}")
            }
            Self::Starve {
                victim: Victim::Warp(warp),
            } => write!(f, "starve:warp={warp}"),
            Self::Starve {
                victim: Victim::Cta(cta),
            } => write!(f, "starve:cta={cta}"),
            Self::Greedy => f.write_str("greedy"),
        }
    }
}

impl fmt::Display for Asynchrony {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late => f.write_str("late"),
            Self::SlowMemory { warp } => write!(f, "slow-memory:{warp}"),
            Self::Early => f.write_str("early"),
            Self::Random { seed } => write!(f, "random:{seed}"),
            Self::Chunked { seed } => write!(f, "chunked:{seed}"),
        }
    }
}

/// A text that describes no schedule.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("\"{text}\" is no schedule: \"{part}\" {problem}")]
pub struct ScheduleError {
    pub text: String,
    /// The part that was not understood.
    pub part: String,
    pub problem: &'static str,
}

/// The part and what is wrong with it.
type Wrong<'t> = (&'t str, &'static str);

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        parse(text).map_err(|(part, problem)| ScheduleError {
            text: text.to_owned(),
            part: part.to_owned(),
            problem,
        })
    }
}

impl FromStr for Asynchrony {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        asynchrony(text).map_err(|(part, problem)| ScheduleError {
            text: text.to_owned(),
            part: part.to_owned(),
            problem,
        })
    }
}

fn parse(text: &str) -> Result<Schedule, Wrong<'_>> {
    let mut parts = text.split('/');
    let mut schedule = Schedule::from(turns(parts.next().unwrap_or_default())?);
    for part in parts {
        match part.split_once('=') {
            Some(("async", value)) => schedule.asynchrony = asynchrony(value)?,
            Some(("spurious", value)) => schedule.spurious = Some(number(value)?),
            Some(("starts", value)) => schedule.starts = Some(number(value)?),
            _ => return Err((part, "is none of async=..., spurious=SEED and starts=SEED")),
        }
    }
    Ok(schedule)
}

fn turns(text: &str) -> Result<Turns, Wrong<'_>> {
    let (name, rest) = text.split_once(':').unwrap_or((text, ""));
    let known: &[&str] = match name {
        "round-robin" => &["quantum"],
        "random" => &["seed"],
        "pct" => &["seed", "depth", "steps"],
        "starve" => &["warp", "cta"],
        "greedy" => &[],
        _ => {
            return Err((
                name,
                "is none of round-robin, random, pct, starve and greedy",
            ));
        }
    };
    let values = values(rest, known)?;
    let value = |key| values.iter().find(|(name, _)| *name == key).map(|v| v.1);
    let needed = |key, problem| value(key).map_or(Err((text, problem)), number);
    Ok(match name {
        "round-robin" => match value("quantum").map_or(Ok(QUANTUM), number)? {
            0 => return Err((text, "has a quantum of 0")),
            quantum => Turns::RoundRobin { quantum },
        },
        "random" => Turns::Random {
            seed: needed("seed", "lacks seed=N")?,
        },
        "pct" => Turns::Pct {
            seed: needed("seed", "lacks seed=N")?,
            depth: value("depth").map_or(Ok(DEPTH), number)?,
            steps: value("steps").map_or(Ok(STEPS), number)?,
        },
        "starve" => Turns::Starve {
            victim: match (value("warp"), value("cta")) {
                (Some(warp), None) => Victim::Warp(number(warp)?),
                (None, Some(cta)) => Victim::Cta(number(cta)?),
                _ => return Err((text, "needs one of warp=N and cta=N")),
            },
        },
        _ => Turns::Greedy,
    })
}

/// `key=value` pairs, each key of `known` at most once.
fn values<'t>(text: &'t str, known: &[&str]) -> Result<Vec<(&'t str, &'t str)>, Wrong<'t>> {
    let mut found: Vec<(&str, &str)> = Vec::new();
    for pair in text.split(',').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or((pair, "is not NAME=VALUE"))?;
        if !known.contains(&key) {
            return Err((pair, "sets what these turns don't have"));
        }
        if found.iter().any(|(name, _)| *name == key) {
            return Err((pair, "is there twice"));
        }
        found.push((key, value));
    }
    Ok(found)
}

fn asynchrony(text: &str) -> Result<Asynchrony, Wrong<'_>> {
    match (text, text.split_once(':')) {
        ("late", _) => Ok(Asynchrony::Late),
        (_, Some(("slow-memory", warp))) => Ok(Asynchrony::SlowMemory {
            warp: number(warp)?,
        }),
        ("early", _) => Ok(Asynchrony::Early),
        (_, Some(("random", seed))) => Ok(Asynchrony::Random {
            seed: number(seed)?,
        }),
        (_, Some(("chunked", seed))) => Ok(Asynchrony::Chunked {
            seed: number(seed)?,
        }),
        _ => Err((
            text,
            "is none of late, slow-memory:WARP, early, random:SEED and chunked:SEED",
        )),
    }
}

fn number<N: FromStr>(text: &str) -> Result<N, Wrong<'_>> {
    // `parse` takes a sign, which no text of ours has.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let parsed = text.parse().ok().filter(|_| digits);
    parsed.ok_or((text, "is not a number in range"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_schedule_is_its_text() {
        for index in 0..500 {
            let schedule = Schedule::nth(7, index);
            assert_eq!(schedule.to_string().parse(), Ok(schedule), "{schedule}");
        }
    }

    #[test]
    fn parts_have_defaults() {
        let pct: Schedule = "pct:seed=17,depth=3/async=late/spurious=17/starts=5"
            .parse()
            .unwrap();
        let (seed, depth, steps) = (17, 3, STEPS);
        assert_eq!(pct.turns, Turns::Pct { seed, depth, steps });
        assert_eq!(pct.asynchrony, Asynchrony::Late);
        assert_eq!((pct.spurious, pct.starts), (Some(17), Some(5)));
        assert_eq!("round-robin".parse(), Ok(Schedule::default()));
    }

    #[test]
    fn wrong_parts_are_named() {
        for (text, part) in [
            ("", ""),
            ("fair", "fair"),
            ("random", "random"),
            ("random:seed=-1", "-1"),
            ("random:seed=+1", "+1"),
            ("random:seed=", ""),
            ("random:seed=1,seed=2", "seed=2"),
            ("greedy:seed=1", "seed=1"),
            ("pct:seed=1,depth", "depth"),
            ("round-robin:quantum=0", "round-robin:quantum=0"),
            ("starve", "starve"),
            ("starve:warp=1,cta=1", "starve:warp=1,cta=1"),
            ("greedy/late", "late"),
            ("greedy/async=Late", "Late"),
            ("greedy/async=random", "random"),
            ("greedy/async=chunked:", ""),
            ("greedy/spurious=1 ", "1 "),
            ("greedy/", ""),
        ] {
            let error = text.parse::<Schedule>().unwrap_err();
            assert_eq!(error.part, part, "{error}");
        }
    }

    #[test]
    fn a_portfolio_has_everything() {
        let portfolio: Vec<_> = (0..200).map(|index| Schedule::nth(0, index)).collect();
        let distinct: HashSet<_> = portfolio.iter().map(Schedule::to_string).collect();
        assert!(distinct.len() > 180, "{}", distinct.len());
        for name in [
            "round-robin",
            "random",
            "pct",
            "starve:warp",
            "starve:cta",
            "greedy",
        ] {
            for part in [
                "async=late",
                "async=early",
                "async=random",
                "async=chunked",
                "spurious",
                "starts",
            ] {
                let is_both = |text: &&String| text.starts_with(name) && text.contains(part);
                assert!(
                    distinct.iter().any(|text| is_both(&text)),
                    "{name} with {part}"
                );
            }
        }
    }
}
