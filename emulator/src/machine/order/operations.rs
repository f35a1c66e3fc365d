//! Operations of the asynchronous engine: what is checked when they are issued, and known when they are complete.

use super::barriers::Use;
use super::shadow::Proxy;
use super::{Finding, Found, Order};
use crate::machine::footprint::{Footprint, Memory};
use crate::machine::global::GlobalView;
use crate::machine::operation::{Completion, Operation};
use crate::machine::report::FailureKind;

impl From<Box<Finding>> for FailureKind {
    fn from(finding: Box<Finding>) -> Self {
        Self::Order(finding)
    }
}

impl Order<'_> {
    /// An operation is put in flight. `group`: the number of the thread's bulk group that is being collected.
    pub fn issue(&mut self, operation: &mut Operation, group: u32, memory: &GlobalView) -> Found {
        let by = operation.issuer;
        let name = operation.work.name();
        let record = match operation.work.completion() {
            Completion::Phase => {
                for barrier in operation.work.barriers() {
                    self.mbarrier_use(by, *barrier, Use::Asynchronous)?;
                    self.issued_for(by, *barrier);
                }
                None
            }
            Completion::Commit => {
                for barrier in operation.work.barriers() {
                    self.mbarrier_use(by, *barrier, Use::Asynchronous)?;
                }
                operation.ticket = self.commit(by);
                return Ok(());
            }
            Completion::Pipe => Some(self.next_in_pipe(by, name)),
            Completion::TensorWait { loads } => Some(self.next_fragment(by, loads)),
            Completion::CopiesArrive => {
                for barrier in operation.work.barriers() {
                    self.mbarrier_use(by, *barrier, Use::Instruction)?;
                }
                operation.ticket = self.arrive_behind_copies(by);
                return Ok(());
            }
            Completion::WarpgroupGroup => Some(self.next_warpgroup_mma(by, name)),
            Completion::CopyGroup => Some(self.next_copy(by, name)),
            Completion::BulkGroup => Some(self.in_bulk_group(by, group, name)),
        };
        self.issue_global(operation, record, group, memory)?;
        let footprint = &operation.footprint;
        for (regions, writes) in [(&footprint.reads, false), (&footprint.writes, true)] {
            for region in regions {
                match (region.memory(), record) {
                    (Memory::Tensor, Some(record)) => {
                        self.issue_tensor(by, region, record, writes)?
                    }
                    (Memory::Tensor, None) | (Memory::Global, _) => {}
                    (Memory::Shared, record) => {
                        let is_operand = record.is_some_and(|record| record.pipe.is_some());
                        let proxy = record.map_or(Proxy::Async, |record| record.proxy);
                        self.issue_shared(by, region, proxy, writes, is_operand)?;
                        if let Some(record) = record {
                            self.until(region, record, writes);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// An operation is about to take effect.
    pub fn complete(&mut self, operation: &Operation) {
        match operation.work.completion() {
            Completion::Phase => {
                let (by, name) = (operation.issuer, operation.work.name());
                let barriers = operation.work.barriers();
                let Footprint { reads, writes, .. } = &operation.footprint;
                for (regions, writes) in [(reads, false), (writes, true)] {
                    for region in regions {
                        let beside = barriers.iter().find(|b| b.cta == region.cta());
                        if let Some(barrier) = beside.or(barriers.first()) {
                            self.until_phase(by, region, *barrier, name, writes);
                        }
                    }
                }
            }
            Completion::Commit | Completion::CopiesArrive => {
                for barrier in operation.work.barriers() {
                    self.completion_arrives(operation.issuer, &operation.ticket, *barrier);
                }
            }
            _ => {}
        }
    }
}
