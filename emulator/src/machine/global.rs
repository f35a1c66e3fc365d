//! Global memory: a table of allocations. A device address is a host address, so that managed and pinned memory work
//! unchanged; every access is checked against the table first.

/// Allocation table of a device.
#[derive(Debug, Default)]
pub struct GlobalMemory {}
