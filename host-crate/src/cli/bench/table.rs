//! `--csv`: a line for each implementation and shape.

use std::fs::File;
use std::path::Path;

use anyhow::Context as _;
use nvfp4_dual_gemm::bench::Summary;
use nvfp4_dual_gemm::bench::ceilings::Work;
use serde::Serialize;

use super::Setting;
use super::report::{OURS, Row, tile};

/// A file that gets its lines as they are measured.
pub struct Table(csv::Writer<File>);

/// A line. Empty where something does not apply.
#[derive(Default, Serialize)]
struct Record<'a> {
    device: &'a str,
    driver: &'a str,
    date: &'a str,
    implementation: &'a str,
    m: usize,
    n: usize,
    k: usize,
    l: usize,
    tile: String,
    sets: usize,
    replay_us: Option<f64>,
    replay_p10_us: Option<f64>,
    replay_p90_us: Option<f64>,
    in_row_us: Option<f64>,
    in_row_p10_us: Option<f64>,
    in_row_p90_us: Option<f64>,
    /// Those of the NVFP4 function, as are the floor and the shares.
    bytes: Option<u64>,
    flop: Option<u64>,
    floor_us: Option<f64>,
    memory_share: Option<f64>,
    arithmetic_share: Option<f64>,
    outputs: Option<u64>,
    correctly_rounded: Option<u64>,
    passed: Option<bool>,
    /// Why a peer has no times.
    error: &'a str,
}

impl Record<'_> {
    fn with_times(self, replay: &Summary, in_row: &Summary) -> Self {
        Self {
            replay_us: Some(replay.median),
            replay_p10_us: Some(replay.p10),
            replay_p90_us: Some(replay.p90),
            in_row_us: Some(in_row.median),
            in_row_p10_us: Some(in_row.p10),
            in_row_p90_us: Some(in_row.p90),
            ..self
        }
    }
}

impl Table {
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("--csv {}", path.display()))?;
        Ok(Self(csv::Writer::from_writer(file)))
    }

    pub fn write(&mut self, setting: &Setting<'_>, row: &Row) -> anyhow::Result<()> {
        let measured = &row.measured;
        let shape = &measured.case.shape;
        let common = || Record {
            device: &setting.provenance.device,
            driver: &setting.provenance.driver,
            date: &setting.provenance.date,
            m: shape.m(),
            n: shape.n(),
            k: shape.k(),
            l: shape.batch(),
            sets: measured.sets,
            ..Record::default()
        };
        let work = Work::of(shape);
        let (ceilings, in_row) = (&setting.ceilings, measured.back_to_back.median);
        let check = measured.check.as_ref();
        let ours = Record {
            implementation: OURS,
            tile: tile(measured),
            bytes: Some(work.bytes),
            flop: Some(work.flop),
            floor_us: Some(ceilings.floor_us(&work)),
            memory_share: Some(ceilings.memory_share(&work, in_row)),
            arithmetic_share: ceilings.arithmetic_share(&work, in_row),
            outputs: check.map(|check| check.exactness.total),
            correctly_rounded: check.map(|check| check.exactness.correctly_rounded),
            passed: check.map(|check| check.passed()),
            ..common()
        };
        self.0
            .serialize(ours.with_times(&measured.replay, &measured.back_to_back))?;
        for peer in &row.peers {
            let record = Record {
                implementation: &peer.name,
                ..common()
            };
            self.0.serialize(match &peer.times {
                Ok(times) => Record {
                    tile: times.tuned.clone().unwrap_or_default(),
                    ..record.with_times(&times.replay, &times.back_to_back)
                },
                Err(error) => Record { error, ..record },
            })?;
        }
        Ok(self.0.flush()?)
    }
}
