//! Failures and warnings as one JSON object each, for tools.

use std::ops::Range;

use super::{AsyncRace, FailureKind, LaunchFailure, Place, Site, SourceLine};
use crate::json::{Object, array};
use crate::machine::DependentRace;
use crate::machine::global::{Extent, GlobalFault};
use crate::machine::mbarrier::MBARRIER_BYTES;
use crate::machine::order::{Finding, Party, Warning};

impl LaunchFailure {
    /// One JSON object. What is not known has no field.
    ///
    /// | field | value |
    /// |---|---|
    /// | `severity` | `"error"` or `"warning"` |
    /// | `rule` | id of the broken rule about the order of accesses ([`Rule`](crate::machine::order::Rule)) |
    /// | `class` | what a CUDA driver would make of the error: a [`FailureClass`](crate::machine::FailureClass) |
    /// | `message` | the report for people, without its place |
    /// | `kernel`, `line`, `text` | the instruction: its line in the PTX, from 1, and that line |
    /// | `cta`, `warp`, `lanes` | who executed it |
    /// | `memory` | `space`, `start` and `end` of the bytes or columns; `cta`: whose memory it is |
    /// | `places` | what lives there: `space`, `cta`, `start`, `end` and `roles`, each with a `role`: `variable`, `mbarrier`, `copy`, `columns` or `allocation`, and its fields |
    /// | `register` | its name |
    /// | `allocation` | the allocation that global memory belongs to: `start` and `bytes` |
    /// | `other` | the other party: `kernel` (of another grid), `cta`, `warp`, `lanes`, `did`, `operation`, `line`, `text` |
    /// | `missing` | what would order the two |
    /// | `replay` | the environment variable that brings the schedule back |
    pub fn to_json(&self) -> String {
        let object = Object::default()
            .text("severity", "error")
            .text("rule", rule(&self.kind))
            .text("class", &*format!("{:?}", self.class()))
            .text("message", &*self.kind.to_string())
            .text("kernel", &*self.kernel);
        let object = match &self.site {
            Some(site) => of_site(object, site),
            None => object,
        };
        of_kind(object, &self.kind)
            .field("places", places(&self.places))
            .text(
                "replay",
                self.schedule.as_ref().map(|s| s.replay()).as_deref(),
            )
            .finish()
    }
}

impl Warning {
    /// One JSON object, as [`LaunchFailure::to_json`] makes it, without `class` and `replay`.
    pub fn to_json(&self) -> String {
        let object = Object::default()
            .text("severity", "warning")
            .text("rule", self.finding.rule.id())
            .text("message", &*self.finding.to_string())
            .text("kernel", &*self.kernel);
        of_finding(of_site(object, &self.site), &self.finding)
            .field("places", places(&self.places))
            .finish()
    }
}

fn rule(kind: &FailureKind) -> Option<&'static str> {
    match kind {
        FailureKind::Order(finding) => Some(finding.rule.id()),
        FailureKind::Registers(_) => Some("E13"),
        FailureKind::Dependent(_) => Some("E14"),
        _ => None,
    }
}

fn of_site(object: Object, site: &Site) -> Object {
    of_source(object, &site.source)
        .field("cta", array(site.cta))
        .number("warp", site.warp)
        .field("lanes", lanes(site.lanes))
}

fn lanes(mask: u32) -> String {
    array((0..32).filter(|lane| mask >> lane & 1 != 0))
}

fn of_source(object: Object, source: &SourceLine) -> Object {
    object
        .number("line", source.line)
        .text("text", &*source.text)
}

fn of_kind(object: Object, kind: &FailureKind) -> Object {
    match kind {
        FailureKind::Order(finding) => of_finding(object, finding),
        FailureKind::AsyncRace(race) => of_race(object, race),
        FailureKind::Dependent(race) => of_dependent(object, race),
        FailureKind::OutOfBounds {
            space,
            address,
            bytes,
            ..
        } => object.field("memory", memory(space, extent(*address, *bytes), None)),
        FailureKind::Misaligned { space, address, .. } => {
            object.field("memory", memory(space, extent(*address, 1), None))
        }
        FailureKind::Global(
            GlobalFault::OutOfBounds { address, bytes, .. }
            | GlobalFault::Misaligned { address, bytes, .. },
        ) => object.field("memory", memory("global", extent(*address, *bytes), None)),
        FailureKind::Mbarrier { address, .. } => {
            let bytes = extent((*address).into(), MBARRIER_BYTES.into());
            object.field("memory", memory("mbarrier", bytes, None))
        }
        _ => object,
    }
}

fn of_finding(object: Object, finding: &Finding) -> Object {
    let range = finding.range.clone();
    object
        .field(
            "memory",
            finding
                .register
                .is_none()
                .then(|| memory(finding.space, range, finding.memory_of)),
        )
        .text("register", finding.register.as_deref())
        .field("allocation", finding.allocation.map(allocation))
        .field("other", finding.other.as_ref().map(party))
        .text("missing", &*finding.missing)
}

fn of_race(object: Object, race: &AsyncRace) -> Object {
    let other = Object::default()
        .number("warp", race.issued_by_warp)
        .text("did", race.in_flight)
        .text("operation", race.operation);
    object
        .field("memory", memory(race.space, race.overlap.clone(), None))
        .field("other", of_source(other, &race.issued_at).finish())
        .text("missing", "a wait for the completion of the other")
}

fn of_dependent(object: Object, race: &DependentRace) -> Object {
    let other = Object::default()
        .text("kernel", &*race.kernel)
        .field("cta", array(race.cta))
        .number("warp", race.warp)
        .text("did", race.before);
    object
        .field("memory", memory("global", race.overlap.clone(), None))
        .field("other", of_source(other, &race.source).finish())
        .text("missing", "griddepcontrol.wait")
}

fn places(places: &[Place]) -> Option<String> {
    (!places.is_empty()).then(|| array(places.iter().map(Place::to_json)))
}

fn party(party: &Party) -> String {
    let object = Object::default()
        .field("cta", array(party.cta))
        .number("warp", party.warp)
        .field("lanes", party.lanes.map(lanes))
        .text("did", party.did)
        .text("operation", party.operation);
    of_source(object, &party.source).finish()
}

fn allocation(extent: Extent) -> String {
    Object::default()
        .number("start", extent.base)
        .number("bytes", extent.bytes)
        .finish()
}

fn extent(address: u64, bytes: u64) -> Range<u64> {
    address..address.saturating_add(bytes)
}

fn memory(space: &str, range: Range<u64>, cta: Option<[u32; 3]>) -> String {
    Object::default()
        .text("space", space)
        .number("start", range.start)
        .number("end", range.end)
        .field("cta", cta.map(array))
        .finish()
}
