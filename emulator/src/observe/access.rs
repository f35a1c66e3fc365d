//! How the accesses of a warp's lanes fall on the banks of shared memory and the sectors of global memory.

/// Shared memory has 32 banks of 4 bytes (CUDA C++ Programming Guide, "Shared Memory").
const BANKS: u64 = 32;
const BANK_BYTES: u64 = 4;

/// Global memory is moved in sectors of 32 bytes (CUDA C++ Best Practices Guide, "Coalesced Access to Global Memory").
const SECTOR_BYTES: u64 = 32;

/// Passes that an access takes, and the least that accesses of this width and number need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passes {
    pub taken: u64,
    pub least: u64,
}

/// Of an access of `bytes` each to shared memory. Accesses of 8 bytes go by half warps, of 16 bytes by quarters; lanes
/// that read one word share it.
pub fn shared_passes(addresses: &[(usize, u64)], bytes: u64) -> Passes {
    let lanes_per_pass = match bytes {
        0..=4 => 32,
        5..=8 => 16,
        _ => 8,
    };
    let mut passes = Passes::default();
    for part in 0..32 / lanes_per_pass {
        let mut words: Vec<u64> = addresses
            .iter()
            .filter(|(lane, _)| lane / lanes_per_pass == part)
            .flat_map(|(_, address)| address / BANK_BYTES..(address + bytes).div_ceil(BANK_BYTES))
            .collect();
        if words.is_empty() {
            continue;
        }
        words.sort_unstable();
        words.dedup();
        let mut banks = [0; BANKS as usize];
        for word in words {
            banks[(word % BANKS) as usize] += 1;
        }
        passes.taken += banks.into_iter().max().unwrap_or_default();
        passes.least += 1;
    }
    passes
}

/// Sectors that an access of `bytes` each to global memory touches, and as many as its distinct bytes would fill.
pub fn global_sectors(addresses: &[(usize, u64)], bytes: u64) -> Passes {
    let mut starts: Vec<u64> = addresses.iter().map(|(_, address)| *address).collect();
    starts.sort_unstable();
    starts.dedup();
    let mut sectors: Vec<u64> = starts
        .iter()
        .flat_map(|start| start / SECTOR_BYTES..(start + bytes).div_ceil(SECTOR_BYTES))
        .collect();
    sectors.dedup();
    let mut distinct = 0;
    let mut end = 0;
    for start in starts {
        distinct += (start + bytes) - start.max(end);
        end = start + bytes;
    }
    Passes {
        taken: sectors.len() as u64,
        least: distinct.div_ceil(SECTOR_BYTES),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_lane(address: impl Fn(u64) -> u64) -> Vec<(usize, u64)> {
        (0..32).map(|lane| (lane as usize, address(lane))).collect()
    }

    #[test]
    fn words_in_one_bank_conflict() {
        let passes = |stride| shared_passes(&by_lane(|lane| 4 * lane * stride), 4);
        assert_eq!(passes(1), Passes { taken: 1, least: 1 });
        assert_eq!(passes(2), Passes { taken: 2, least: 1 });
        assert_eq!(
            passes(32),
            Passes {
                taken: 32,
                least: 1
            }
        );
        assert_eq!(passes(33), Passes { taken: 1, least: 1 });
        // One word for all.
        assert_eq!(passes(0), Passes { taken: 1, least: 1 });
    }

    #[test]
    fn wide_accesses_go_by_parts_of_the_warp() {
        let rows = |pitch| shared_passes(&by_lane(|lane| lane * pitch), 16);
        assert_eq!(rows(16), Passes { taken: 4, least: 4 });
        assert_eq!(
            rows(128),
            Passes {
                taken: 32,
                least: 4
            }
        );
        assert_eq!(rows(144), Passes { taken: 4, least: 4 });
        let pairs = shared_passes(&by_lane(|lane| lane * 8), 8);
        assert_eq!(pairs, Passes { taken: 2, least: 2 });
    }

    #[test]
    fn scattered_accesses_touch_more_sectors() {
        let sectors =
            |stride: u64, bytes| global_sectors(&by_lane(|lane| 4096 + stride * lane), bytes);
        assert_eq!(sectors(4, 4), Passes { taken: 4, least: 4 });
        assert_eq!(sectors(8, 4), Passes { taken: 8, least: 4 });
        assert_eq!(
            sectors(128, 16),
            Passes {
                taken: 32,
                least: 16
            }
        );
        assert_eq!(
            sectors(16, 16),
            Passes {
                taken: 16,
                least: 16
            }
        );
        assert_eq!(sectors(0, 4), Passes { taken: 1, least: 1 });
        let shifted = global_sectors(&by_lane(|lane| 4100 + 4 * lane), 4);
        assert_eq!(shifted, Passes { taken: 5, least: 4 });
    }
}
