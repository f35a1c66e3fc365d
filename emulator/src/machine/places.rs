//! What lives at the addresses of a report: variables, mbarriers, what copies brought, allocations.

use std::collections::BTreeMap;
use std::ops::Range;

use super::cluster::{At, Cluster};
use super::footprint::SharedAddress;
use super::global::{Extent, GlobalFault};
use super::mbarrier::MBARRIER_BYTES;
use super::order::Finding;
use super::report::{Copied, FailureKind, Place, Role, SourceLine, StallReason, StallReport};
use crate::isa::windows;
use crate::tma::TensorMap;
use crate::tma::tensor_map::TENSOR_MAP_BYTES;

/// Copies that are remembered; a kernel with more destinations than that has lost them all at
/// times.
const MOST_COPIES: usize = 4096;

/// Places in one report.
const MOST_PLACES: usize = 16;

/// A copy as it was issued.
#[derive(Clone, Debug)]
struct Issued {
    /// Counts all copies.
    number: u64,
    bytes: u32,
    /// Generic address of the tensor map, or of the data.
    from: u64,
    tile: Option<(Vec<i32>, Vec<u32>)>,
    warp: u32,
    line: u32,
}

/// The last copies to shared memory, by CTA and offset.
#[derive(Debug, Default)]
pub struct Copies {
    issued: BTreeMap<(u32, u32), Issued>,
    number: u64,
}

impl Copies {
    pub fn clear(&mut self) {
        self.issued.clear();
    }

    /// The last one that wrote some of the bytes.
    fn last(&self, cta: u32, bytes: Range<u32>) -> Option<(u32, &Issued)> {
        let before = self.issued.range((cta, 0)..(cta, bytes.end.max(1)));
        before
            .filter(|((_, start), copy)| start + copy.bytes > bytes.start)
            .max_by_key(|(_, copy)| copy.number)
            .map(|((_, start), copy)| (*start, copy))
    }
}

/// Who allocated columns of tensor memory.
#[derive(Clone, Debug)]
pub struct ColumnOwner {
    pub columns: Range<u32>,
    pub warp: u32,
    pub line: u32,
}

impl Cluster<'_> {
    /// Takes note of a copy from the generic address `from`; `tile`: coordinates and box of a
    /// tensor copy. Only where the order of accesses is checked.
    pub fn note_copy(
        &mut self,
        at: At,
        destination: SharedAddress,
        bytes: u32,
        from: u64,
        tile: Option<(&[i32], &TensorMap)>,
    ) {
        if self.order.is_none() {
            return;
        }
        let copies = &mut self.copies;
        if copies.issued.len() >= MOST_COPIES {
            copies.clear();
        }
        copies.number += 1;
        let extents = |map: &TensorMap| map.tile_dims()[..map.rank()].to_vec();
        let issued = Issued {
            number: copies.number,
            bytes,
            from,
            tile: tile.map(|(coordinates, map)| (coordinates.to_vec(), extents(map))),
            warp: at.warp as u32,
            line: at.line,
        };
        copies
            .issued
            .insert((destination.cta, destination.offset), issued);
    }

    /// The places that a failure names. `cta`: where it happened.
    pub fn places(&self, kind: &FailureKind, cta: Option<usize>) -> Vec<Place> {
        let here = |bytes: Range<u64>| match cta {
            Some(cta) => vec![self.shared_place(cta, bytes)],
            None => Vec::new(),
        };
        let extent = |address: u64, bytes: u64| address..address.saturating_add(bytes);
        let mut places = match kind {
            FailureKind::OutOfBounds {
                space: "shared",
                address,
                bytes,
                ..
            } => here(extent(*address, *bytes)),
            FailureKind::Misaligned {
                space: "shared",
                address,
                ..
            } => here(extent(*address, 1)),
            FailureKind::Misaligned {
                space: "global",
                address,
                ..
            } => vec![self.global_place(extent(*address, 1))],
            FailureKind::Mbarrier { address, .. } => {
                here(extent((*address).into(), MBARRIER_BYTES.into()))
            }
            FailureKind::Global(GlobalFault::OutOfBounds {
                address,
                bytes,
                nearest,
            }) => vec![self.allocation_place(extent(*address, *bytes), *nearest)],
            FailureKind::Global(GlobalFault::Misaligned { address, bytes, .. }) => {
                vec![self.global_place(extent(*address, *bytes))]
            }
            FailureKind::AsyncRace(race) => {
                vec![self.place(race.space, race.overlap.clone(), race.memory_of as usize)]
            }
            FailureKind::Order(finding) => self.places_of(finding),
            FailureKind::Dependent(race) => vec![self.global_place(race.overlap.clone())],
            FailureKind::TensorMemoryLeak { .. } => self.leaks(),
            FailureKind::Deadlock(report)
            | FailureKind::Livelock(report)
            | FailureKind::Hang(report) => self.awaited(report),
            _ => Vec::new(),
        };
        places.retain(|place| !place.roles.is_empty());
        places
    }

    pub fn places_of(&self, finding: &Finding) -> Vec<Place> {
        let range = finding.range.clone();
        if finding.allocation.is_some() {
            return vec![self.global_place(range)];
        }
        let Some(of) = finding.memory_of else {
            return Vec::new();
        };
        let cta = self.ctas.iter().position(|cta| cta.id == of);
        cta.map_or_else(Vec::new, |cta| vec![self.place(finding.space, range, cta)])
    }

    /// Completes warnings that the last instruction gave.
    pub fn place_warnings(&mut self) {
        let Some(order) = &self.order else { return };
        let places: Vec<_> = order
            .new_warnings()
            .iter()
            .map(|warning| self.places_of(&warning.finding))
            .collect();
        if let Some(order) = &mut self.order
            && !places.is_empty()
        {
            order.place_warnings(places);
        }
    }

    /// By the words of reports.
    fn place(&self, space: &str, range: Range<u64>, cta: usize) -> Place {
        match space {
            "columns of tensor memory" => self.tensor_place(cta, range),
            "bytes of global memory" => self.global_place(range),
            _ => self.shared_place(cta, range),
        }
    }

    fn shared_place(&self, cta: usize, range: Range<u64>) -> Place {
        let bytes = range.start.min(u32::MAX.into()) as u32..range.end.min(u32::MAX.into()) as u32;
        let mut roles = Vec::new();
        roles.extend(self.variable(bytes.start));
        let shared = &self.ctas[cta].shared;
        let kernel = self.context.kernel;
        roles.extend(
            shared
                .mbarriers_in(bytes.clone())
                .map(|(address, barrier)| Role::Mbarrier {
                    address,
                    initialised: SourceLine::of(kernel, barrier.initialised_at),
                    phase: barrier.phase,
                    pending: barrier.pending,
                    expected: barrier.expected,
                    tx: barrier.tx,
                }),
        );
        if let Some((start, copy)) = self.copies.last(cta as u32, bytes) {
            roles.push(Role::Copy(Box::new(Copied {
                range: start..start + copy.bytes,
                from: self.origin(copy),
                tile: copy.tile.clone(),
                warp: copy.warp,
                issued: SourceLine::of(kernel, copy.line),
            })));
        }
        Place {
            space: "shared",
            cta: Some(self.ctas[cta].id),
            range,
            roles,
        }
    }

    /// The variable that holds the byte, or the last one before it.
    fn variable(&self, byte: u32) -> Option<Role> {
        let variables = &self.context.kernel.shared_variables;
        let before = variables.iter().filter(|v| v.offset <= byte);
        let variable = before.max_by_key(|v| v.offset)?;
        Some(Role::Variable {
            name: variable.name.clone(),
            bytes: variable.bytes,
            offset: byte - variable.offset,
        })
    }

    /// Where a copy takes its data from, in words.
    fn origin(&self, copy: &Issued) -> String {
        let what = if copy.tile.is_some() {
            "tensor map"
        } else {
            "memory"
        };
        let parameter = copy.from.checked_sub(windows::PARAM).and_then(|offset| {
            let mut params = self.context.kernel.params.iter();
            params.find(|p| (p.offset.into()..u64::from(p.offset + p.size)).contains(&offset))
        });
        if let Some(parameter) = parameter {
            return format!("{what} `{}`", parameter.name);
        }
        let extent = self.global.extent(copy.from);
        match extent.map(|extent| self.parameters_into(&extent)) {
            Some(names) if !names.is_empty() => {
                format!("{what} at {:#x} (`{}`)", copy.from, names.join("`, `"))
            }
            _ => format!("{what} at {:#x}", copy.from),
        }
    }

    fn tensor_place(&self, cta: usize, range: Range<u64>) -> Place {
        let touches = |owner: &&ColumnOwner| {
            u64::from(owner.columns.start) < range.end && range.start < owner.columns.end.into()
        };
        let roles = self.ctas[cta]
            .column_owners
            .iter()
            .filter(touches)
            .map(|owner| Role::Columns {
                columns: owner.columns.clone(),
                warp: owner.warp,
                allocated: SourceLine::of(self.context.kernel, owner.line),
            })
            .collect();
        Place {
            space: "tensor",
            cta: Some(self.ctas[cta].id),
            range,
            roles,
        }
    }

    fn global_place(&self, range: Range<u64>) -> Place {
        let extent = self.global.extent(range.start);
        self.allocation_place(range, extent)
    }

    /// `extent`: the allocation that the range is in, or the nearest.
    fn allocation_place(&self, range: Range<u64>, extent: Option<Extent>) -> Place {
        let roles = extent.map(|extent| Role::Allocation {
            base: extent.base,
            bytes: extent.bytes,
            parameters: self.parameters_into(&extent),
        });
        Place {
            space: "global",
            cta: None,
            range,
            roles: roles.into_iter().collect(),
        }
    }

    /// The kernel's parameters that point into an allocation.
    fn parameters_into(&self, extent: &Extent) -> Vec<String> {
        let params = &self.context.launch.params;
        let pointer = |offset: u32, size: u32| {
            let bytes = params.get(offset as usize..(offset + size) as usize)?;
            match bytes.len() {
                8 => Some(u64::from_le_bytes(bytes.try_into().ok()?)),
                TENSOR_MAP_BYTES => {
                    let map = TensorMap::from_bytes(bytes.try_into().ok()?).ok()?;
                    Some(map.global_address())
                }
                _ => None,
            }
        };
        let into = |address: u64| (extent.base..extent.end()).contains(&address);
        let all = self.context.kernel.params.iter();
        all.filter(|param| pointer(param.offset, param.size).is_some_and(into))
            .map(|param| param.name.clone())
            .collect()
    }

    /// Columns that were not freed.
    fn leaks(&self) -> Vec<Place> {
        let ctas = (0..self.ctas.len()).flat_map(|cta| {
            let owners = self.ctas[cta].column_owners.iter();
            owners.map(move |owner| (cta, owner.columns.clone()))
        });
        ctas.take(MOST_PLACES)
            .map(|(cta, columns)| self.tensor_place(cta, columns.start.into()..columns.end.into()))
            .collect()
    }

    /// What groups that cannot go on wait for, each once.
    fn awaited(&self, report: &StallReport) -> Vec<Place> {
        let mut found: Vec<(usize, u32)> = Vec::new();
        for group in &report.groups {
            let reason = match &group.reason {
                StallReason::Polling(reason) => reason,
                reason => reason,
            };
            let cta = self.ctas.iter().position(|cta| cta.id == group.cta);
            if let StallReason::Mbarrier { address, .. } = reason
                && let Some(cta) = cta
                && !found.contains(&(cta, *address))
            {
                found.push((cta, *address));
            }
        }
        let places = found.into_iter().take(MOST_PLACES);
        places
            .map(|(cta, address)| {
                let address = u64::from(address);
                self.shared_place(cta, address..address + u64::from(MBARRIER_BYTES))
            })
            .collect()
    }
}
