//! `--plot`: time against M, ours and peers, above what the device's ceilings leave possible.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use nvfp4_dual_gemm::bench::Summary;
use nvfp4_dual_gemm::bench::ceilings::{Ceilings, Work};
use nvfp4_dual_gemm::plan::Shape;
use plotters::coord::Shift;
use plotters::coord::combinators::{BindKeyPoints, IntoLogRange};
use plotters::element::DashedPathElement;
use plotters::prelude::*;

use super::Setting;
use super::report::{OURS, Row};

/// Why there is nothing to draw.
#[derive(Debug, thiserror::Error)]
#[error(
    "--plot draws time against M: it needs shapes with one N and K and at least two M, as --shapes decode has"
)]
pub struct NothingToPlot;

/// Shapes that differ in M alone, in one panel for each mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Family {
    n: usize,
    k: usize,
    batch: usize,
}

impl Family {
    fn of(shape: &Shape) -> Self {
        Self {
            n: shape.n(),
            k: shape.k(),
            batch: shape.batch(),
        }
    }

    /// Those of `shapes` with at least two M, in their order.
    fn all(shapes: &[Shape]) -> Vec<Self> {
        let mut families = Vec::new();
        for shape in shapes {
            let family = Self::of(shape);
            let differs = |other: &Shape| Self::of(other) == family && other.m() != shape.m();
            if !families.contains(&family) && shapes.iter().any(differs) {
                families.push(family);
            }
        }
        families
    }
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { n, k, batch } = self;
        write!(f, "N {n}, K {k}")?;
        if *batch != 1 {
            write!(f, ", L {batch}")?;
        }
        Ok(())
    }
}

/// A file to draw into, once everything is measured.
pub struct Plot {
    path: PathBuf,
    file: File,
}

/// One curve: a name, a colour, and the times by M, ascending.
struct Curve {
    name: String,
    color: RGBColor,
    points: Vec<(f64, Summary)>,
}

#[derive(Clone, Copy)]
enum Mode {
    Replay,
    InRow,
}

const PANEL: (u32, u32) = (560, 440);
const LEGEND_WIDTH: u32 = 300;
const HEADING: u32 = 64;
const FONT: &str = "sans-serif";
const INK: RGBColor = RGBColor(40, 40, 40);
const GRID: RGBColor = RGBColor(225, 225, 225);
const FLOOR: RGBColor = RGBColor(120, 120, 120);
/// Okabe and Ito's colours, which people with any colour vision tell apart.
const COLORS: [RGBColor; 6] = [
    RGBColor(213, 94, 0),
    RGBColor(0, 114, 178),
    RGBColor(86, 180, 233),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

impl Plot {
    /// # Errors
    /// [`NothingToPlot`], or why the file can't be written.
    pub fn create(path: &Path, shapes: &[Shape]) -> anyhow::Result<Self> {
        if Family::all(shapes).is_empty() {
            return Err(NothingToPlot.into());
        }
        let file = File::create(path).with_context(|| format!("--plot {}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    pub fn draw(mut self, setting: &Setting<'_>, rows: &[Row]) -> anyhow::Result<()> {
        let provenance = &setting.provenance;
        let dry_run = if setting.dry_run {
            "dry run: these times mean nothing; "
        } else {
            ""
        };
        let subtitle = format!(
            "{dry_run}{}, {}, {}",
            provenance.device, provenance.driver, provenance.date
        );
        let svg = svg(&setting.ceilings, &subtitle, rows)?;
        self.file
            .write_all(svg.as_bytes())
            .with_context(|| format!("--plot {}", self.path.display()))
    }
}

/// The whole picture: a row of two panels for each family.
fn svg(ceilings: &Ceilings, subtitle: &str, rows: &[Row]) -> anyhow::Result<String> {
    let shapes: Vec<Shape> = rows.iter().map(|row| row.measured.case.shape).collect();
    let families = Family::all(&shapes);
    let size = (
        2 * PANEL.0 + LEGEND_WIDTH,
        HEADING + PANEL.1 * families.len() as u32,
    );
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        root.fill(&WHITE)?;
        let (heading, panels) = root.split_vertically(HEADING);
        let title = "NVFP4 gated dual GEMM, C = silu(A·B1ᵀ) ⊙ (A·B2ᵀ): time of a call";
        heading.draw(&Text::new(
            title,
            (20, 14),
            (FONT, 21).into_font().color(&INK),
        ))?;
        heading.draw(&Text::new(
            subtitle.to_owned(),
            (20, 42),
            (FONT, 14).into_font().color(&FLOOR),
        ))?;
        for (family, band) in families
            .iter()
            .zip(panels.split_evenly((families.len(), 1)))
        {
            let (panels, legend) = band.split_horizontally(2 * PANEL.0);
            let panels = panels.split_evenly((1, 2));
            let replay = Drawing::new(ceilings, rows, *family, Mode::Replay);
            replay.draw(&panels[0])?;
            Drawing::new(ceilings, rows, *family, Mode::InRow).draw(&panels[1])?;
            replay.draw_legend(&legend)?;
        }
        root.present()?;
    }
    Ok(svg)
}

/// Ours, a curve for each tile asked for, and one for each peer.
fn curves(rows: &[Row], family: Family, mode: Mode) -> Vec<Curve> {
    let mut curves: Vec<Curve> = Vec::new();
    let mut add = |name: String, m: usize, summary: Summary| {
        let index = curves.iter().position(|curve| curve.name == name);
        let index = index.unwrap_or_else(|| {
            curves.push(Curve {
                name,
                color: COLORS[curves.len() % COLORS.len()],
                points: Vec::new(),
            });
            curves.len() - 1
        });
        curves[index].points.push((m as f64, summary));
    };
    let of_family = |row: &&Row| Family::of(&row.measured.case.shape) == family;
    for row in rows.iter().filter(of_family) {
        let measured = &row.measured;
        let m = measured.case.shape.m();
        let name = match measured.case.tile {
            None => OURS.to_owned(),
            Some(tile) => format!("{OURS}, {tile}"),
        };
        let ours = match mode {
            Mode::Replay => measured.replay,
            Mode::InRow => measured.back_to_back,
        };
        add(name, m, ours);
        for peer in &row.peers {
            let Ok(times) = &peer.times else { continue };
            let theirs = match mode {
                Mode::Replay => times.replay,
                Mode::InRow => times.back_to_back,
            };
            add(peer.name.clone(), m, theirs);
        }
    }
    for curve in &mut curves {
        curve
            .points
            .sort_by(|(one, _), (other, _)| one.total_cmp(other));
    }
    curves
}

/// Those between, both ends included.
fn round_numbers(least: f64, most: f64) -> Vec<f64> {
    let first = least.log10().floor() as i32;
    let last = most.log10().ceil() as i32;
    let all =
        (first..=last).flat_map(|decade| [1.0, 2.0, 5.0].map(|step| step * 10f64.powi(decade)));
    all.filter(|&value| value >= least * 0.999_999 && value <= most * 1.000_001)
        .collect()
}

/// The next lower or higher of 1, 2 and 5 times a power of ten.
fn round_number(value: f64, up: bool) -> f64 {
    let decade = 10f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * decade);
    if up {
        steps
            .into_iter()
            .find(|&step| step >= value * 0.999_999)
            .unwrap_or(steps[3])
    } else {
        steps
            .into_iter()
            .rfind(|&step| step <= value * 1.000_001)
            .unwrap_or(steps[0])
    }
}

/// A lower bound by M.
struct Floor {
    name: String,
    dash: (u32, u32),
    points: Vec<(f64, f64)>,
}

/// What bytes and operations alone would take, from the least to the most M.
fn floors(ceilings: &Ceilings, family: Family, [least, most]: [f64; 2]) -> Vec<Floor> {
    const POINTS: u32 = 64;
    let Family { n, k, batch } = family;
    let m_at =
        |index| (least * (most / least).powf(f64::from(index) / f64::from(POINTS - 1))).round();
    let mut work: Vec<(f64, Work)> = (0..POINTS)
        .map(m_at)
        .filter_map(|m| Some((m, Work::of(&Shape::new(m as usize, n, k, batch).ok()?))))
        .collect();
    work.dedup_by_key(|(m, _)| *m);
    let floor = |name: String, dash, us: &dyn Fn(&Work) -> f64| Floor {
        name,
        dash,
        points: work.iter().map(|(m, work)| (*m, us(work))).collect(),
    };
    let memory = ceilings.memory.ceiling();
    let bytes = format!("floor of bytes, at {:.2} TB/s", memory / 1e12);
    let mut floors = vec![floor(bytes, (2, 3), &|work| {
        1e6 * work.bytes as f64 / memory
    })];
    if let Some(arithmetic) = ceilings.arithmetic {
        let name = format!(
            "floor of arithmetic, at {:.0} TFLOP/s",
            arithmetic.flop_per_second / 1e12
        );
        floors.push(floor(name, (7, 3), &|work| {
            1e6 * work.flop as f64 / arithmetic.flop_per_second
        }));
    }
    floors
}

/// What one panel shows.
struct Drawing {
    caption: String,
    floors: Vec<Floor>,
    curves: Vec<Curve>,
    /// Every M measured, ascending.
    m: Vec<f64>,
    /// The ends of the axis of times.
    times: [f64; 2],
}

impl Drawing {
    fn new(ceilings: &Ceilings, rows: &[Row], family: Family, mode: Mode) -> Self {
        let curves = curves(rows, family, mode);
        let points = || curves.iter().flat_map(|curve| &curve.points);
        let mut m: Vec<f64> = points().map(|&(m, _)| m).collect();
        m.sort_by(f64::total_cmp);
        m.dedup();
        let floors = floors(ceilings, family, [m[0], m[m.len() - 1]]);
        let fastest = points().map(|(_, us)| us.p10).fold(f64::INFINITY, f64::min);
        let slowest = points().map(|(_, us)| us.p90).fold(0.0, f64::max);
        // That of arithmetic vanishes as M does.
        let bytes = floors[0].points.iter().map(|&(_, us)| us);
        let lowest = bytes.fold(fastest, f64::min);
        let caption = match mode {
            Mode::Replay => format!("One call, replayed on an idle device; {family}"),
            Mode::InRow => format!("A call among many in a row; {family}"),
        };
        Self {
            caption,
            floors,
            curves,
            m,
            times: [round_number(lowest, false), round_number(slowest, true)],
        }
    }

    fn draw(&self, panel: &Area<'_>) -> anyhow::Result<()> {
        let [least, most] = [self.m[0], self.m[self.m.len() - 1]];
        let [bottom, top] = self.times;
        let mut chart = ChartBuilder::on(panel)
            .caption(&self.caption, text(16))
            .margin(12)
            .margin_right(24)
            .x_label_area_size(44)
            .y_label_area_size(58)
            .build_cartesian_2d(
                (least..most).log_scale().with_key_points(labelled(&self.m)),
                (bottom..top)
                    .log_scale()
                    .with_key_points(round_numbers(bottom, top)),
            )?;
        chart
            .configure_mesh()
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .axis_style(INK)
            .label_style(text(13))
            .axis_desc_style(text(14))
            .x_desc("M, rows of A")
            .y_desc("time of a call, µs")
            .x_label_formatter(&|m| format!("{m:.0}"))
            .y_label_formatter(&|us| format!("{us}"))
            .draw()?;
        for Floor { dash, points, .. } in &self.floors {
            let visible = |&(_, us): &(f64, f64)| us >= bottom && us <= top;
            let points = points.iter().copied().filter(visible);
            let (dash, gap) = *dash;
            chart.draw_series(DashedLineSeries::new(
                points,
                dash,
                gap,
                FLOOR.stroke_width(2),
            ))?;
        }
        for curve in &self.curves {
            let medians = curve.points.iter().map(|&(m, us)| (m, us.median));
            chart.draw_series(LineSeries::new(medians.clone(), curve.stroke()))?;
            chart.draw_series(medians.map(|at| Circle::new(at, 3, curve.color.filled())))?;
            // The spread, where it is more than a marker's size.
            let spread = |&(m, us): &(f64, Summary)| {
                PathElement::new([(m, us.p10), (m, us.p90)], curve.color)
            };
            chart.draw_series(curve.points.iter().map(spread))?;
        }
        Ok(())
    }

    /// Beside the panels, where no curve can be.
    fn draw_legend(&self, area: &Area<'_>) -> anyhow::Result<()> {
        const LINE: i32 = 24;
        let mut y = 46;
        for curve in &self.curves {
            area.draw(&PathElement::new([(8, y), (8 + LINE, y)], curve.stroke()))?;
            area.draw(&Circle::new((8 + LINE / 2, y), 3, curve.color.filled()))?;
            area.draw(&Text::new(curve.name.clone(), (16 + LINE, y - 7), text(13)))?;
            y += 20;
        }
        for Floor {
            name,
            dash: (dash, gap),
            ..
        } in &self.floors
        {
            let ends = [(8, y), (8 + LINE, y)];
            area.draw(&DashedPathElement::new(
                ends,
                *dash,
                *gap,
                FLOOR.stroke_width(2),
            ))?;
            area.draw(&Text::new(name.clone(), (16 + LINE, y - 7), text(13)))?;
            y += 20;
        }
        area.draw(&Text::new("median; bars from p10 to p90", (8, y), text(12)))?;
        Ok(())
    }
}

/// The part of the axis of M that a label needs.
const LABEL: f64 = 0.05;

/// Those of the ascending `m` that have room for a label, powers of two before others.
fn labelled(m: &[f64]) -> Vec<f64> {
    let [Some(least), Some(most)] = [m.first(), m.last()] else {
        return Vec::new();
    };
    let span = (most / least).ln();
    let mut kept: Vec<f64> = Vec::new();
    let (powers, others): (Vec<f64>, Vec<f64>) = m.iter().partition(|m| m.log2().fract() == 0.0);
    for m in powers.into_iter().chain(others) {
        if kept
            .iter()
            .all(|other| (m / other).ln().abs() >= LABEL * span)
        {
            kept.push(m);
        }
    }
    kept.sort_by(f64::total_cmp);
    kept
}

impl Curve {
    fn stroke(&self) -> ShapeStyle {
        let is_ours = self.name.starts_with(OURS);
        self.color.stroke_width(if is_ours { 3 } else { 1 })
    }
}

fn text(size: u32) -> TextStyle<'static> {
    (FONT, size).into_font().color(&INK)
}

#[cfg(test)]
mod tests;
