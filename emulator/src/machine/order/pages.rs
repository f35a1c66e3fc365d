//! Who accessed global memory, as far as a launch accesses it: a [`Shadow`] of each page that was touched.
//!
//! ```text
//! page, 4096 bytes     one cell for each granule of 32 bytes …
//! split granules       … and where an access touched a part of one, a cell for each of its bytes
//! ```

use std::collections::HashMap;
use std::ops::Range;

use super::shadow::{Record, RecordId, Records, Shadow};

const PAGE_BYTES: u64 = 4096;
const GRANULE_BYTES: usize = 32;
const GRANULES: usize = PAGE_BYTES as usize / GRANULE_BYTES;

/// An earlier access to some of the bytes of a later one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarlierBytes {
    pub record: RecordId,
    pub writes: bool,
    /// The first bytes that both touch.
    pub bytes: Range<u64>,
}

#[derive(Debug, Default)]
pub struct Pages(HashMap<u64, Page>);

#[derive(Debug)]
struct Page {
    granules: Shadow,
    split: HashMap<usize, Shadow>,
}

/// Cells of a page that lie in one shadow.
enum Run {
    Granules(Range<usize>),
    /// Bytes of one granule.
    Part(usize, Range<usize>),
}

impl Default for Page {
    fn default() -> Self {
        let mut granules = Shadow::default();
        granules.reset(GRANULES);
        let split = HashMap::new();
        Self { granules, split }
    }
}

impl Page {
    /// The parts of the page's bytes `range`.
    fn runs(&self, range: Range<usize>) -> Vec<Run> {
        let mut runs = Vec::with_capacity(3);
        let mut at = range.start;
        while at < range.end {
            let granule = at / GRANULE_BYTES;
            let start = granule * GRANULE_BYTES;
            let end = range.end.min(start + GRANULE_BYTES);
            let is_whole = (at, end) == (start, start + GRANULE_BYTES);
            match runs.last_mut() {
                _ if !is_whole || self.split.contains_key(&granule) => {
                    runs.push(Run::Part(granule, at - start..end - start));
                }
                Some(Run::Granules(run)) if run.end == granule => run.end += 1,
                _ => runs.push(Run::Granules(granule..granule + 1)),
            }
            at = end;
        }
        runs
    }

    /// The cells of a granule's bytes.
    fn bytes_of(&mut self, granule: usize) -> &mut Shadow {
        let Self { granules, split } = self;
        let whole = || granules.spread(granule, GRANULE_BYTES);
        split.entry(granule).or_insert_with(whole)
    }

    fn find(
        &self,
        records: &Records,
        range: Range<usize>,
        writes: bool,
        is_hazard: &mut dyn FnMut(&Record, bool) -> bool,
    ) -> Option<(RecordId, bool, Range<usize>)> {
        self.runs(range.clone()).into_iter().find_map(|run| {
            let (shadow, cells, base, cell_bytes) = match run {
                Run::Granules(granules) => (&self.granules, granules, 0, GRANULE_BYTES),
                Run::Part(granule, bytes) => match self.split.get(&granule) {
                    Some(split) => (split, bytes, granule * GRANULE_BYTES, 1),
                    None => (&self.granules, granule..granule + 1, 0, GRANULE_BYTES),
                },
            };
            let end = cells.end;
            let found = shadow.find(records, cells, writes, &mut *is_hazard)?;
            let cells = found.cell..shadow.extent(records, &found, end);
            let [start, end] = [cells.start, cells.end].map(|cell| base + cell * cell_bytes);
            let bytes = start.max(range.start)..end.min(range.end);
            Some((found.record, found.writes, bytes))
        })
    }
}

/// The pages that bytes lie on, and the bytes of each.
fn pages(bytes: Range<u64>) -> impl Iterator<Item = (u64, Range<usize>)> {
    let numbers = bytes.start / PAGE_BYTES..bytes.end.div_ceil(PAGE_BYTES);
    numbers.map(move |number| {
        let start = number * PAGE_BYTES;
        let within = |address: u64| (address.max(start) - start).min(PAGE_BYTES) as usize;
        (number, within(bytes.start)..within(bytes.end))
    })
}

impl Pages {
    /// [`Shadow::find`] in the cells of `bytes`.
    pub fn find(
        &self,
        records: &Records,
        bytes: Range<u64>,
        writes: bool,
        is_hazard: &mut dyn FnMut(&Record, bool) -> bool,
    ) -> Option<EarlierBytes> {
        pages(bytes).find_map(|(number, range)| {
            let page = self.0.get(&number)?;
            let (record, writes, bytes) = page.find(records, range, writes, is_hazard)?;
            let base = number * PAGE_BYTES;
            Some(EarlierBytes {
                record,
                writes,
                bytes: base + bytes.start as u64..base + bytes.end as u64,
            })
        })
    }

    pub fn write(&mut self, bytes: Range<u64>, record: RecordId) {
        for (number, range) in pages(bytes) {
            let page = self.0.entry(number).or_default();
            for run in page.runs(range) {
                match run {
                    Run::Granules(granules) => page.granules.write(granules, record),
                    Run::Part(granule, bytes) if bytes.len() == GRANULE_BYTES => {
                        page.split.remove(&granule);
                        page.granules.write(granule..granule + 1, record);
                    }
                    Run::Part(granule, bytes) => page.bytes_of(granule).write(bytes, record),
                }
            }
        }
    }

    pub fn read(&mut self, records: &mut Records, bytes: Range<u64>, record: RecordId) {
        for (number, range) in pages(bytes) {
            let page = self.0.entry(number).or_default();
            for run in page.runs(range) {
                match run {
                    Run::Granules(granules) => page.granules.read(records, granules, record),
                    Run::Part(granule, bytes) => {
                        page.bytes_of(granule).read(records, bytes, record);
                    }
                }
            }
        }
    }

    /// All its shadows.
    pub fn shadows(&mut self) -> impl Iterator<Item = &mut Shadow> {
        self.0.values_mut().flat_map(|page| {
            let Page { granules, split } = page;
            std::iter::once(granules).chain(split.values_mut())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::clock::Epoch;
    use super::super::shadow::{Effect, Proxy};
    use super::*;

    fn record(records: &mut Records, cluster: u32) -> RecordId {
        let epoch = Epoch { agent: 0, time: 1 };
        records.add(Record {
            epoch,
            proxy: Proxy::Generic,
            strong: None,
            effect: Effect::Changes,
            pipe: None,
            cluster,
            cta: 0,
            warp: 0,
            lanes: 1,
            moment: None,
            line: 0,
            operation: None,
        })
    }

    /// Clusters that wrote the byte, or have read it since.
    fn touched(records: &Records, pages: &Pages, byte: u64) -> Vec<u32> {
        let mut found = Vec::new();
        pages.find(records, byte..byte + 1, true, &mut |record, _| {
            found.push(record.cluster);
            false
        });
        found
    }

    /// Against a map with one entry per byte, with accesses of all sizes on three pages.
    #[test]
    fn pages_are_bytes() {
        let mut records = Records::with_most_members(100);
        let mut pages = Pages::default();
        let mut bytes = vec![(None, Vec::<u32>::new()); 3 * PAGE_BYTES as usize];
        let mut random = crate::machine::random::SplitMix64::new(5, 0);
        for cluster in 0..60 {
            let id = record(&mut records, cluster);
            let start = random.below(bytes.len() - 5000);
            let length = 1 + random.below([4, 40, 300, 5000][cluster as usize % 4]);
            let range = start as u64..(start + length) as u64;
            let cells = &mut bytes[start..start + length];
            if cluster % 3 == 0 {
                pages.write(range, id);
                cells.fill((Some(cluster), Vec::new()));
            } else {
                pages.read(&mut records, range, id);
                cells.iter_mut().for_each(|cell| cell.1.push(cluster));
            }
        }
        for (byte, (writer, readers)) in bytes.iter().enumerate() {
            let expected: Vec<u32> = writer.iter().chain(readers).copied().collect();
            let mut found = touched(&records, &pages, byte as u64);
            found[usize::from(writer.is_some())..].sort_unstable();
            assert_eq!(found, expected, "byte {byte}");
        }
    }

    #[test]
    fn a_conflict_names_the_bytes_of_both() {
        let mut records = Records::with_most_members(4);
        let mut pages = Pages::default();
        let writer = record(&mut records, 1);
        pages.write(100..200, writer);
        let found = pages.find(&records, 0..150, false, &mut |_, _| true);
        let bytes = found.map(|found| found.bytes);
        assert!(bytes.is_some_and(|bytes| bytes.start == 100 && bytes.end <= 150));
        assert_eq!(pages.find(&records, 0..100, true, &mut |_, _| true), None);
        assert_eq!(pages.find(&records, 200..300, true, &mut |_, _| true), None);
    }

    #[test]
    fn the_oldest_readers_are_forgotten() {
        let mut records = Records::with_most_members(2);
        let mut pages = Pages::default();
        for cluster in 0..5 {
            let reader = record(&mut records, cluster);
            pages.read(&mut records, 0..64, reader);
        }
        assert_eq!(touched(&records, &pages, 7), [3, 4]);
    }
}
