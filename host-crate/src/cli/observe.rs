//! `run --trace`, `--profile` and `--pipeline-svg`: what the emulator saw of a run.

use std::path::PathBuf;

use clap::Args;

use nvfp4_dual_gemm::kernels::KernelEntry;
#[cfg(feature = "emulator")]
use nvfp4_dual_gemm::kernels::TILE_M;

use super::device::Opened;

#[derive(Args)]
pub struct ObserveArgs {
    /// Write a trace of the first CTAs that Perfetto and Chrome read (emulator only)
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// CTAs to trace
    #[arg(long, value_name = "COUNT", default_value_t = 4, requires = "trace")]
    trace_ctas: u64,
    /// Print what each line of PTX and each warp did (emulator only)
    #[arg(long)]
    profile: bool,
    /// Draw the pipeline of the first CTA (emulator only)
    #[arg(long, value_name = "FILE")]
    pipeline_svg: Option<PathBuf>,
}

impl ObserveArgs {
    fn is_empty(&self) -> bool {
        self.trace.is_none() && !self.profile && self.pipeline_svg.is_none()
    }

    #[cfg(not(feature = "emulator"))]
    pub fn start(&self, _: &Opened) -> anyhow::Result<Observing> {
        anyhow::ensure!(
            self.is_empty(),
            "traces and profiles are the emulator's, and this program was built without it"
        );
        Ok(Observing)
    }

    /// Begins to take notes of this thread's launches, if any were asked for.
    #[cfg(feature = "emulator")]
    pub fn start(&self, device: &Opened) -> anyhow::Result<Observing<'_>> {
        use nvfp4_dual_gemm::driver::observe_emulation;
        use ptx_emulator::observe::Observe;
        if self.is_empty() {
            return Ok(Observing {
                args: self,
                observer: None,
            });
        }
        anyhow::ensure!(
            device.is_emulated(),
            "a GPU can't be traced by this tool; set NVFP4_DEVICE=emulator"
        );
        let ctas = if self.trace.is_some() {
            self.trace_ctas
        } else {
            0
        };
        let observer = observe_emulation(Observe {
            traced_ctas: ctas.max(u64::from(self.pipeline_svg.is_some())),
            profile: self.profile,
        })?;
        Ok(Observing {
            args: self,
            observer: Some(observer),
        })
    }
}

#[cfg(not(feature = "emulator"))]
pub struct Observing;

#[cfg(not(feature = "emulator"))]
impl Observing {
    pub fn finish(
        self,
        _: Option<u32>,
        _: &str,
        _: bool,
        _: &mut impl std::io::Write,
    ) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Notes being taken.
#[cfg(feature = "emulator")]
pub struct Observing<'a> {
    args: &'a ObserveArgs,
    observer: Option<std::sync::Arc<ptx_emulator::observe::Observer>>,
}

#[cfg(feature = "emulator")]
impl Observing<'_> {
    /// Writes what was asked for. The picture needs the kernel, and that it ran to its end.
    pub fn finish(
        self,
        kernel: Option<&KernelEntry>,
        what: &str,
        json: bool,
        out: &mut impl std::io::Write,
    ) -> anyhow::Result<()> {
        use std::fs::{self, File};
        use std::io::BufWriter;

        use anyhow::Context as _;
        use ptx_emulator::observe::TraceWriter;

        let Some(observer) = self.observer else {
            return Ok(());
        };
        let trace = observer.take_trace();
        if let Some(path) = &self.args.trace {
            let write = || -> std::io::Result<()> {
                let mut writer = TraceWriter::new(BufWriter::new(File::create(path)?))?;
                writer.write(&trace)?;
                writer.finish().map(drop)
            };
            write().with_context(|| format!("writing {}", path.display()))?;
        }
        if let (Some(path), Some(kernel)) = (&self.args.pipeline_svg, kernel) {
            anyhow::ensure!(
                kernel.tile_m == TILE_M,
                "{} has other roles than --pipeline-svg draws: it is for the kernels for Blackwell; --trace is for all",
                kernel.launch.name,
            );
            fs::write(path, pipeline(&trace, kernel.tile_n, what))
                .with_context(|| format!("writing {}", path.display()))?;
        }
        if self.args.profile {
            let profile = observer.take_profile();
            match json {
                true => writeln!(out, "{}", profile.to_json())?,
                false => write!(out, "{profile}")?,
            }
        }
        Ok(())
    }
}

/// The roles of the kernel's warps and its engines, each stage in its colour.
#[cfg(feature = "emulator")]
fn pipeline(trace: &ptx_emulator::observe::Trace, tile_n: u32, what: &str) -> String {
    use nvfp4_dual_gemm_kernel::contract::SharedPlan;
    use ptx_emulator::observe::Track;
    use ptx_emulator::observe::picture::{Lane, Style, What, draw};

    /// Where dynamic shared memory begins: the driver reserves what comes before.
    const BASE: u32 = 1024;
    let plan = SharedPlan::new(tile_n);
    let stage = |address: u32| {
        let offset = address.checked_sub(BASE)?;
        let barrier = |first: u32| {
            let index = offset.checked_sub(first)? / 8;
            (index < plan.stages).then_some(index)
        };
        match offset / plan.stage_bytes {
            stage if stage < plan.stages => Some(stage),
            _ => barrier(plan.full).or_else(|| barrier(plan.empty)),
        }
    };
    let lane = |label: &str, what| Lane {
        label: label.to_owned(),
        what,
    };
    let pipe_end = trace.events.iter().filter(|event| event.launch == 0);
    let pipe_end = pipe_end.filter(|event| event.track == Track::TensorPipe);
    let pipe_end = pipe_end.map(|event| event.end).max().unwrap_or(0);
    draw(
        trace,
        &Style {
            title: format!("{what}: one CTA from its start to the beginning of its epilogue"),
            lanes: vec![
                lane("warp 4: load", What::Warp(4)),
                lane("copies in flight", What::Copies),
                lane("warp 5: MMA", What::Warp(5)),
                lane("tensor pipe", What::TensorPipe),
                lane("warp 0: epilogue", What::Warp(0)),
            ],
            stage: &stage,
            until: pipe_end + pipe_end / 8,
        },
    )
}
