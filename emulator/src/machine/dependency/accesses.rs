//! Which global memory a grid accesses, and by which instructions.

use std::cell::{Cell, RefCell};

/// The instruction that accesses memory, and who executes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accessor {
    pub cta: [u32; 3],
    pub warp: u32,
    pub lanes: u32,
    pub line: u32,
}

/// Bytes from `start` to before `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    pub start: u64,
    pub end: u64,
    pub writes: bool,
    pub by: Accessor,
}

impl Access {
    pub fn name(&self) -> &'static str {
        match self.writes {
            true => "writes",
            false => "reads",
        }
    }
}

/// Collects accesses in the order of execution.
#[derive(Debug, Default)]
pub struct AccessLog {
    now: Cell<Accessor>,
    accesses: RefCell<Vec<Access>>,
}

impl AccessLog {
    /// What follows is done by this instruction.
    pub fn set_accessor(&self, accessor: Accessor) {
        self.now.set(accessor);
    }

    /// Takes note of an access; neighbouring bytes of one instruction make one.
    pub fn add(&self, address: u64, bytes: u64, writes: bool) {
        let by = self.now.get();
        let end = address.saturating_add(bytes);
        let mut accesses = self.accesses.borrow_mut();
        match accesses.last_mut() {
            Some(last) if last.end == address && last.writes == writes && last.by == by => {
                last.end = end;
            }
            _ => accesses.push(Access {
                start: address,
                end,
                writes,
                by,
            }),
        }
    }

    pub fn take(&self) -> Vec<Access> {
        self.accesses.take()
    }
}

/// Everything that a grid accessed: of each byte one read and one write.
#[derive(Debug, Default)]
pub struct Footprint {
    reads: Vec<Access>,
    writes: Vec<Access>,
}

impl Footprint {
    pub fn new(accesses: Vec<Access>) -> Self {
        let (writes, reads) = accesses.into_iter().partition(|access| access.writes);
        Self {
            reads: disjoint(reads),
            writes: disjoint(writes),
        }
    }

    /// The first of `accesses` that meets a write, or is one and meets a read; with what it meets.
    pub fn conflict(&self, accesses: &[Access]) -> Option<(Access, Access)> {
        accesses.iter().find_map(|access| {
            let written = find(&self.writes, access);
            let read = || access.writes.then(|| find(&self.reads, access)).flatten();
            Some((*access, written.or_else(read)?))
        })
    }
}

/// By ascending address, without what others cover.
fn disjoint(mut accesses: Vec<Access>) -> Vec<Access> {
    accesses.sort_by_key(|access| access.start);
    let mut covered = 0;
    accesses.retain_mut(|access| {
        access.start = access.start.max(covered);
        covered = covered.max(access.end);
        access.start < access.end
    });
    accesses
}

fn find(disjoint: &[Access], access: &Access) -> Option<Access> {
    let first = disjoint.partition_point(|other| other.end <= access.start);
    let other = disjoint.get(first).copied();
    other.filter(|other| other.start < access.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(start: u64, end: u64, writes: bool, line: u32) -> Access {
        let by = Accessor {
            line,
            ..Accessor::default()
        };
        Access {
            start,
            end,
            writes,
            by,
        }
    }

    #[test]
    fn neighbouring_bytes_of_one_instruction_make_one_access() {
        let log = AccessLog::default();
        log.add(0, 4, true);
        log.add(4, 4, true);
        log.add(8, 4, false);
        log.add(16, 4, false);
        let expected = [
            access(0, 8, true, 0),
            access(8, 12, false, 0),
            access(16, 20, false, 0),
        ];
        assert_eq!(log.take(), expected);
    }

    #[test]
    fn a_conflict_has_a_write_and_common_bytes() {
        let footprint = Footprint::new(vec![
            access(8, 16, true, 1),
            access(0, 32, true, 2),
            access(12, 64, false, 3),
        ]);
        let other = |start, end, writes| {
            let conflict = footprint.conflict(&[access(start, end, writes, 9)]);
            conflict.map(|(_, other)| other.by.line)
        };
        assert_eq!(other(31, 40, false), Some(2));
        assert_eq!(other(32, 40, false), None);
        assert_eq!(other(32, 40, true), Some(3));
        assert_eq!(other(64, 80, true), None);
    }
}
