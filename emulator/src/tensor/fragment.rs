//! Register fragments of `tcgen05.ld` and `tcgen05.st`: which lane and column each thread's register holds (PTX ISA
//! §9.7.16.2.3, §9.7.16.8).

use std::ops::Range;

use thiserror::Error;

use super::memory::{PARTITION_LANES, TensorAddress, TensorMemory, TensorMemoryError};
use crate::isa::ir::{LANES, TmemShape};

/// Registers per thread that a fragment has at most (PTX ISA §9.7.16.8).
pub const MOST_REGISTERS: usize = 128;

/// One register of each thread of a warp.
pub type WarpRegister = [u32; LANES];

/// Why a fragment cannot be loaded or stored.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FragmentError {
    #[error("{shape:?} does not exist with repeat .x{repeat}")]
    Repeat { shape: TmemShape, repeat: u32 },
    #[error("{shape:?}.x{repeat} has {needed} registers, not {found}")]
    Registers {
        shape: TmemShape,
        repeat: u32,
        needed: usize,
        found: usize,
    },
    #[error("{shape:?} {needs} a half-split offset")]
    HalfSplitOffset {
        shape: TmemShape,
        needs: &'static str,
    },
    #[error("{shape:?} at lane {lane}: it must start at lane {allowed} of the warp's partition")]
    Lane {
        shape: TmemShape,
        lane: u32,
        allowed: &'static str,
    },
    #[error(transparent)]
    Memory(#[from] TensorMemoryError),
}

/// Shape, repeat count and modifiers of one `tcgen05.ld` or `.st`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentShape {
    shape: TmemShape,
    repeat: u32,
    /// `.pack::16b` / `.unpack::16b`: a register holds the low halves of two neighbouring columns.
    packed: bool,
    half_split_offset: u32,
}

impl FragmentShape {
    /// `half_split_offset` is the immediate of `.16x32bx2`, in columns; other shapes have none.
    pub fn new(
        shape: TmemShape,
        repeat: u32,
        packed: bool,
        half_split_offset: Option<i64>,
    ) -> Result<FragmentShape, FragmentError> {
        if !repeat.is_power_of_two() || repeat > MOST_REGISTERS as u32 / shape.registers() {
            return Err(FragmentError::Repeat { shape, repeat });
        }
        let half_split_offset = match (shape, half_split_offset) {
            (TmemShape::S16x32bx2, Some(offset)) => {
                u32::try_from(offset).map_err(|_| FragmentError::HalfSplitOffset {
                    shape,
                    needs: "needs a non-negative 32-bit value for",
                })?
            }
            (TmemShape::S16x32bx2, None) => {
                return Err(FragmentError::HalfSplitOffset {
                    shape,
                    needs: "needs",
                });
            }
            (_, None) => 0,
            (_, Some(_)) => {
                return Err(FragmentError::HalfSplitOffset {
                    shape,
                    needs: "does not have",
                });
            }
        };
        Ok(FragmentShape {
            shape,
            repeat,
            packed,
            half_split_offset,
        })
    }

    /// Registers of each thread.
    pub fn registers(&self) -> usize {
        (self.shape.registers() * self.repeat) as usize
    }

    /// Lane and column, relative to the address, that register `r` of thread `t` holds. A packed register holds two
    /// columns: this is the first.
    fn position(&self, t: u32, r: u32) -> (u32, u32) {
        let scale = if self.packed { 2 } else { 1 };
        let (lane, column) = match self.shape {
            TmemShape::S32x32b => (t, r),
            TmemShape::S16x64b => (8 * (t & 1) + (t >> 2), (t >> 1 & 1) + 2 * r),
            TmemShape::S16x128b => ((t >> 2) + 8 * (r & 1), (t & 3) + 4 * (r >> 1)),
            TmemShape::S16x256b => (
                (t >> 2) + 8 * (r >> 1 & 1),
                2 * (t & 3) + (r & 1) + 8 * (r >> 2),
            ),
            TmemShape::S16x32bx2 => {
                return (t % 16, r * scale + t / 16 * self.half_split_offset);
            }
        };
        (lane, column * scale)
    }

    /// Whether all lanes of the warp's partition are touched, and not half of them.
    pub fn is_full_height(&self) -> bool {
        self.shape == TmemShape::S32x32b
    }

    /// The tensor memory columns that an access at `address` touches: those of both halves of `.16x32bx2`.
    pub fn columns(&self, address: u32) -> Vec<Range<u32>> {
        let column = TensorAddress::from_bits(address).column;
        let each = match self.shape {
            TmemShape::S32x32b | TmemShape::S16x32bx2 => 1,
            TmemShape::S16x64b => 2,
            TmemShape::S16x128b => 4,
            TmemShape::S16x256b => 8,
        };
        let count = each * self.repeat * if self.packed { 2 } else { 1 };
        let first = column..column + count;
        if self.shape != TmemShape::S16x32bx2 {
            return vec![first];
        }
        let second = column.saturating_add(self.half_split_offset);
        vec![first, second..second.saturating_add(count)]
    }

    /// The first lane of an access. A warp reaches its own partition only: the hardware takes bits 5–6 of the lane from
    /// the warp, not from the address (PTX ISA §9.7.16.8.1), and so do we.
    fn first_lane(&self, address: u32, warp_in_group: usize) -> Result<usize, FragmentError> {
        let lane = TensorAddress::from_bits(address).lane % PARTITION_LANES as u32;
        let (legal, allowed) = match self.shape {
            TmemShape::S32x32b => (lane == 0, "0"),
            _ => (lane == 0 || lane == 16, "0 or 16"),
        };
        if !legal {
            return Err(FragmentError::Lane {
                shape: self.shape,
                lane,
                allowed,
            });
        }
        Ok(warp_in_group % 4 * PARTITION_LANES + lane as usize)
    }

    fn check(
        &self,
        memory: &TensorMemory,
        address: u32,
        what: &'static str,
        registers: usize,
    ) -> Result<(), FragmentError> {
        if registers != self.registers() {
            return Err(FragmentError::Registers {
                shape: self.shape,
                repeat: self.repeat,
                needed: self.registers(),
                found: registers,
            });
        }
        for columns in self.columns(address) {
            memory.check_columns(what, columns)?;
        }
        Ok(())
    }
}

/// `tcgen05.ld`: fills `out`, one entry per register, for the warp with `%warpid % 4 == warp_in_group`.
pub fn load(
    memory: &TensorMemory,
    shape: FragmentShape,
    address: u32,
    warp_in_group: usize,
    out: &mut [WarpRegister],
) -> Result<(), FragmentError> {
    shape.check(memory, address, "tcgen05.ld", out.len())?;
    let lane = shape.first_lane(address, warp_in_group)?;
    let column = TensorAddress::from_bits(address).column as usize;
    if shape.shape == TmemShape::S32x32b && !shape.packed {
        for t in 0..LANES {
            let row = &memory.row(lane + t)[column..column + out.len()];
            for (register, &word) in out.iter_mut().zip(row) {
                register[t] = word;
            }
        }
        return Ok(());
    }
    for (r, register) in out.iter_mut().enumerate() {
        for (t, value) in register.iter_mut().enumerate() {
            let (dl, dc) = shape.position(t as u32, r as u32);
            let at = column + dc as usize;
            let row = memory.row(lane + dl as usize);
            *value = match shape.packed {
                true => row[at] & 0xffff | row[at + 1] << 16,
                false => row[at],
            };
        }
    }
    Ok(())
}

/// `tcgen05.st`: the inverse of [`load`]. With `.unpack::16b` each written word's high half becomes zero.
pub fn store(
    memory: &mut TensorMemory,
    shape: FragmentShape,
    address: u32,
    warp_in_group: usize,
    registers: &[WarpRegister],
) -> Result<(), FragmentError> {
    shape.check(memory, address, "tcgen05.st", registers.len())?;
    let lane = shape.first_lane(address, warp_in_group)?;
    let column = TensorAddress::from_bits(address).column as usize;
    for (r, register) in registers.iter().enumerate() {
        for (t, &value) in register.iter().enumerate() {
            let (dl, dc) = shape.position(t as u32, r as u32);
            let at = column + dc as usize;
            let row = memory.row_mut(lane + dl as usize);
            if shape.packed {
                row[at] = value & 0xffff;
                row[at + 1] = value >> 16;
            } else {
                row[at] = value;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHAPES: [(TmemShape, u32); 5] = [
        (TmemShape::S32x32b, 128),
        (TmemShape::S16x64b, 128),
        (TmemShape::S16x128b, 64),
        (TmemShape::S16x256b, 32),
        (TmemShape::S16x32bx2, 128),
    ];

    fn allocated() -> TensorMemory {
        let mut memory = TensorMemory::new();
        memory.allocate(512).unwrap();
        memory
    }

    /// Columns from the first to the last, relative to the address.
    fn span(shape: FragmentShape) -> u32 {
        shape
            .columns(0)
            .iter()
            .map(|columns| columns.end)
            .max()
            .unwrap()
    }

    fn shapes() -> impl Strategy<Value = FragmentShape> {
        (0..SHAPES.len(), 0u32..8, any::<bool>()).prop_filter_map(
            "repeat exists",
            |(shape, log_repeat, packed)| {
                let (shape, most) = SHAPES[shape];
                let repeat = 1 << log_repeat;
                let half = repeat * if packed { 2 } else { 1 };
                let offset = (shape == TmemShape::S16x32bx2).then_some(i64::from(half));
                (repeat <= most).then(|| FragmentShape::new(shape, repeat, packed, offset).unwrap())
            },
        )
    }

    /// Lane `l`, column `c` holds a word that names both.
    fn numbered() -> TensorMemory {
        let mut memory = allocated();
        for lane in 0..128 {
            for column in 0..512 {
                memory.row_mut(lane)[column] = (lane << 9 | column) as u32;
            }
        }
        memory
    }

    #[test]
    fn fragments_match_the_documented_figures() {
        let memory = numbered();
        let load_one = |shape, repeat, address, warp, offset| {
            let shape = FragmentShape::new(shape, repeat, false, offset).unwrap();
            let mut out = vec![[0; 32]; shape.registers()];
            load(&memory, shape, address, warp, &mut out).unwrap();
            out
        };
        let word = |lane: u32, column: u32| lane << 9 | column;

        let out = load_one(TmemShape::S32x32b, 4, 8, 2, None);
        assert_eq!(out[3][5], word(64 + 5, 8 + 3));
        let out = load_one(TmemShape::S16x64b, 2, 16 << 16, 1, None);
        assert_eq!(out[1][7], word(32 + 16 + 9, 3));
        let out = load_one(TmemShape::S16x128b, 1, 0, 0, None);
        assert_eq!(out[1][6], word(9, 2));
        let out = load_one(TmemShape::S16x256b, 2, 0, 3, None);
        assert_eq!(out[7][6], word(96 + 9, 13));
        let out = load_one(TmemShape::S16x32bx2, 2, 0, 0, Some(100));
        assert_eq!(out[1][17], word(1, 101));
    }

    #[test]
    fn the_warp_and_not_the_address_picks_the_partition() {
        let memory = numbered();
        let shape = FragmentShape::new(TmemShape::S32x32b, 1, false, None).unwrap();
        let mut out = [[0; 32]];
        load(&memory, shape, 96 << 16 | 7, 1, &mut out).unwrap();
        assert_eq!(out[0][0], 32 << 9 | 7);
    }

    #[test]
    fn illegal_accesses_are_refused() {
        use TmemShape::*;
        assert!(FragmentShape::new(S16x256b, 64, false, None).is_err());
        assert!(FragmentShape::new(S32x32b, 3, false, None).is_err());
        assert!(FragmentShape::new(S16x32bx2, 1, false, None).is_err());
        assert!(FragmentShape::new(S32x32b, 1, false, Some(1)).is_err());
        let memory = allocated();
        let at = |shape, repeat, address, registers| {
            let shape = FragmentShape::new(shape, repeat, false, None).unwrap();
            load(&memory, shape, address, 0, &mut vec![[0; 32]; registers])
        };
        assert!(matches!(
            at(S32x32b, 1, 16 << 16, 1),
            Err(FragmentError::Lane { .. })
        ));
        assert!(matches!(
            at(S16x64b, 1, 8 << 16, 1),
            Err(FragmentError::Lane { .. })
        ));
        assert!(matches!(
            at(S32x32b, 64, 480, 64),
            Err(FragmentError::Memory(_))
        ));
        assert!(matches!(
            at(S32x32b, 2, 0, 1),
            Err(FragmentError::Registers { .. })
        ));
        let shape = FragmentShape::new(S32x32b, 1, false, None).unwrap();
        let fresh = TensorMemory::new();
        assert!(matches!(
            load(&fresh, shape, 0, 0, &mut [[0; 32]]),
            Err(FragmentError::Memory(TensorMemoryError::Unallocated { .. }))
        ));
    }

    proptest! {
        /// Every register names its own word, and together they cover the rectangle without gaps.
        #[test]
        fn layouts_are_bijections(shape in shapes()) {
            let lanes = if shape.shape == TmemShape::S32x32b { 32 } else { 16 };
            let scale = if shape.packed { 2 } else { 1 };
            let mut seen = vec![false; lanes * span(shape) as usize];
            for t in 0..32 {
                for r in 0..shape.registers() as u32 {
                    let (lane, column) = shape.position(t, r);
                    for c in column..column + scale {
                        let slot = &mut seen[lane as usize * span(shape) as usize + c as usize];
                        prop_assert!(!*slot, "lane {} column {} twice", lane, c);
                        *slot = true;
                    }
                }
            }
            prop_assert!(seen.iter().all(|&s| s));
        }

        #[test]
        fn stores_are_read_back(shape in shapes(), warp in 0usize..4, upper in any::<bool>(), seed: u32) {
            prop_assume!(span(shape) <= 512);
            let mut memory = allocated();
            memory.poison(0..512, 0xffff_ffff);
            let lane = if upper && shape.shape != TmemShape::S32x32b { 16u32 } else { 0 };
            let address = lane << 16;
            let written: Vec<WarpRegister> = (0..shape.registers())
                .map(|r| std::array::from_fn(|t| seed.wrapping_mul(2654435761).wrapping_add((r * 32 + t) as u32)))
                .collect();
            store(&mut memory, shape, address, warp, &written).unwrap();
            let mut read = vec![[0; 32]; shape.registers()];
            load(&memory, shape, address, warp, &mut read).unwrap();
            prop_assert_eq!(&read, &written);
            let first = warp * 32 + lane as usize;
            let lanes = if shape.shape == TmemShape::S32x32b { 32 } else { 16 };
            for l in (0..128).filter(|l| !(first..first + lanes).contains(l)) {
                prop_assert!(memory.row(l).iter().all(|&w| w == 0xffff_ffff));
            }
        }
    }
}
