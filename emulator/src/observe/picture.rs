//! A trace of one CTA as a picture (SVG): a lane per role, time from left to right.

use std::fmt::Write as _;

use super::trace::{Event, Trace, Track};

/// A row of the picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    pub label: String,
    pub what: What,
}

/// What a row shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Instructions and waits of a warp.
    Warp(u32),
    /// All copies, from issue to completion.
    Copies,
    /// MMAs and copies into tensor memory; `tcgen05.commit` as ticks.
    TensorPipe,
}

/// How to draw.
pub struct Style<'a> {
    pub title: String,
    pub lanes: Vec<Lane>,
    /// The stage that a shared-memory address belongs to, tile or barrier: it chooses the colour.
    pub stage: &'a dyn Fn(u32) -> Option<u32>,
    /// Where the picture ends, in steps; the trace's end if that comes first.
    pub until: u64,
}

/// Of stages: distinct for all readers, also in grey (Okabe and Ito, 2008).
const COLOURS: [&str; 7] = [
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442",
];
const NO_STAGE: &str = "#555555";

const LEFT: f64 = 150.0;
const WIDTH: f64 = 1000.0;
const TOP: f64 = 64.0;
const ROW: f64 = 34.0;
const GAP: f64 = 16.0;
/// Height of one copy among those in flight together.
const COPY: f64 = 5.0;
/// Width of a commit, and the least of everything else.
const COMMIT: f64 = 1.5;
const THINNEST: f64 = 0.8;

/// Draws the launch's first CTA in the trace.
pub fn draw(trace: &Trace, style: &Style<'_>) -> String {
    let first = trace
        .events
        .iter()
        .map(|event| (event.launch, event.cta))
        .min();
    let events: Vec<&Event> = trace
        .events
        .iter()
        .filter(|event| Some((event.launch, event.cta)) == first)
        .collect();
    let end = events.iter().map(|event| event.end).max().unwrap_or(1);
    let end = end.min(style.until).max(1);
    let x = |time: u64| LEFT + WIDTH * time.min(end) as f64 / end as f64;
    let copies = events
        .iter()
        .filter_map(|event| match event.track {
            Track::Copies(track) => Some(track + 1),
            _ => None,
        })
        .max()
        .unwrap_or(1);
    let mut body = String::new();
    let mut y = TOP;
    for lane in &style.lanes {
        let height = match lane.what {
            What::Copies => COPY * f64::from(copies),
            _ => ROW,
        };
        let middle = y + height / 2.0 + 4.0;
        let label = escaped(&lane.label);
        let _ = writeln!(
            body,
            r#"<text x="{}" y="{middle}" text-anchor="end">{label}</text>"#,
            LEFT - 10.0
        );
        let _ = writeln!(
            body,
            r##"<rect x="{LEFT}" y="{y}" width="{WIDTH}" height="{height}" fill="#f4f4f4"/>"##
        );
        for event in events.iter().filter(|event| event.start < end) {
            let Some((top, height)) = place(event, lane.what, y, height) else {
                continue;
            };
            let stage = event.shared.and_then(style.stage);
            let colour = stage.map_or(NO_STAGE, |stage| COLOURS[stage as usize % COLOURS.len()]);
            let (from, to) = (x(event.start), x(event.end));
            let title = format!(
                "{}, {} to {}{}",
                event.name,
                event.start,
                event.end,
                stage.map_or(String::new(), |stage| format!(", stage {stage}"))
            );
            let (left, width, shape) = match event.category {
                "wait" => (
                    from,
                    to - from,
                    format!(r#"fill="{colour}" fill-opacity="0.22""#),
                ),
                "tcgen05.commit" => (to, COMMIT, format!(r#"fill="{NO_STAGE}""#)),
                _ => (from, to - from, format!(r#"fill="{colour}""#)),
            };
            let width = width.max(THINNEST);
            let _ = writeln!(
                body,
                r#"<rect x="{left:.1}" y="{top:.1}" width="{width:.1}" height="{height:.1}" {shape}><title>{}</title></rect>"#,
                escaped(&title)
            );
        }
        y += height + GAP;
    }
    let _ = write!(body, "{}{}", axis(end, y, &x), legend(&events, style));
    let title = escaped(&style.title);
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" font-family="sans-serif" font-size="13" fill="#222">
<rect width="100%" height="100%" fill="white"/>
<text x="{LEFT}" y="22" font-size="15">{title}</text>
{body}</svg>
"##,
        LEFT + WIDTH + 20.0,
        y + 34.0
    )
}

/// Top and height of an event in a lane; `None` where it is not of the lane.
fn place(event: &Event, what: What, y: f64, height: f64) -> Option<(f64, f64)> {
    match (what, event.track) {
        (What::Warp(warp), Track::Warp(of)) if warp == of => Some(match event.category {
            "wait" => (y + height * 0.25, height * 0.5),
            _ => (y, height),
        }),
        (What::Copies, Track::Copies(track)) => Some((y + COPY * f64::from(track), COPY - 0.6)),
        (What::TensorPipe, Track::TensorPipe) => Some(match event.category {
            "tcgen05.commit" => (y - 5.0, height + 10.0),
            // Scale factors above, products below.
            "tcgen05.cp" => (y, height * 0.35),
            _ => (y + height * 0.4, height * 0.6),
        }),
        _ => None,
    }
}

fn axis(end: u64, y: f64, x: &dyn Fn(u64) -> f64) -> String {
    let step = [1, 2, 5]
        .into_iter()
        .cycle()
        .zip((0..60).map(|i| 10u64.pow(i / 3)))
        .map(|(digit, power)| digit * power)
        .find(|step| end / step <= 10)
        .unwrap_or(end);
    let mut axis = String::new();
    for time in (0..=end).step_by(step as usize) {
        let at = x(time);
        let _ = writeln!(
            axis,
            r##"<line x1="{at:.1}" x2="{at:.1}" y1="{}" y2="{y}" stroke="#ccc" stroke-width="0.5"/>
<text x="{at:.1}" y="{}" text-anchor="middle" font-size="11" fill="#666">{time}</text>"##,
            TOP - 6.0,
            y + 10.0
        );
    }
    let _ = writeln!(
        axis,
        r##"<text x="{LEFT}" y="{}" font-size="11" fill="#666">emulated steps: instructions of all warps, and completions; no measure of time on a device</text>"##,
        y + 26.0
    );
    axis
}

fn legend(events: &[&Event], style: &Style<'_>) -> String {
    let stages = events
        .iter()
        .filter_map(|event| (style.stage)(event.shared?));
    let count = stages.max().map_or(0, |last| last + 1);
    let mut legend = String::new();
    let mut put = |at: f64, text: &str, colour: &str, opacity: f64| {
        let _ = writeln!(
            legend,
            r#"<rect x="{at}" y="34" width="14" height="12" fill="{colour}" fill-opacity="{opacity}"/><text x="{}" y="45" font-size="12">{text}</text>"#,
            at + 19.0
        );
    };
    for stage in 0..count {
        let colour = COLOURS[stage as usize % COLOURS.len()];
        put(
            LEFT + 80.0 * f64::from(stage),
            &format!("stage {stage}"),
            colour,
            1.0,
        );
    }
    let after = LEFT + 80.0 * f64::from(count);
    put(after, "no stage", NO_STAGE, 1.0);
    put(
        after + 90.0,
        "waits (for the stage of its colour)",
        NO_STAGE,
        0.22,
    );
    legend
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
