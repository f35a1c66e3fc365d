//! `cp.async.bulk`: the one-dimensional copy's rules (PTX ISA §9.7.9.25.4).

use thiserror::Error;

/// Alignment of both addresses and granule of the size, in bytes.
pub const BULK_GRANULE: u32 = 16;

/// Why a one-dimensional bulk copy cannot run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BulkCopyError {
    #[error("bulk copy to {address:#x}: the destination must be aligned to 16 bytes")]
    Destination { address: u64 },
    #[error("bulk copy from {address:#x}: the source must be aligned to 16 bytes")]
    Source { address: u64 },
    #[error("bulk copy of {bytes} bytes: the size must be a multiple of 16")]
    Size { bytes: u32 },
}

/// Checks the alignment of a one-dimensional bulk copy. Both addresses count from the start of their own space.
pub fn check_bulk_copy(destination: u64, source: u64, bytes: u32) -> Result<(), BulkCopyError> {
    let granule = u64::from(BULK_GRANULE);
    if !destination.is_multiple_of(granule) {
        return Err(BulkCopyError::Destination {
            address: destination,
        });
    }
    if !source.is_multiple_of(granule) {
        return Err(BulkCopyError::Source { address: source });
    }
    if !bytes.is_multiple_of(BULK_GRANULE) {
        return Err(BulkCopyError::Size { bytes });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_enforced() {
        assert_eq!(check_bulk_copy(1024, 4096, 512), Ok(()));
        assert_eq!(
            check_bulk_copy(8, 4096, 512),
            Err(BulkCopyError::Destination { address: 8 })
        );
        assert_eq!(
            check_bulk_copy(1024, 4100, 512),
            Err(BulkCopyError::Source { address: 4100 })
        );
        assert_eq!(
            check_bulk_copy(1024, 4096, 24),
            Err(BulkCopyError::Size { bytes: 24 })
        );
    }
}
