//! What a dual GEMM has to move and to compute, and how fast a device could do either.

use crate::format::BLOCK;
use crate::plan::Shape;

/// Bytes and operations of one dual GEMM that no kernel can do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// A, B1 and B2 with their scale factors read once, C written once. A workspace does not count.
    pub bytes: u64,
    /// Multiplications and additions of both products.
    pub flop: u64,
}

impl Work {
    /// That of one call.
    pub fn of(shape: &Shape) -> Self {
        let [m, n, k, batch] =
            [shape.m(), shape.n(), shape.k(), shape.batch()].map(|extent| extent as u64);
        let operand = |rows: u64| rows * (k / 2 + k / BLOCK as u64);
        Self {
            bytes: batch * (operand(m) + 2 * operand(n) + 2 * m * n),
            flop: 2 * shape.multiply_accumulates(),
        }
    }
}

/// Where an arithmetic ceiling comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArithmeticSource {
    /// A large bf16 product of the vendor's library, in the same run.
    Measured,
    /// The vendor's datasheet.
    Datasheet,
}

/// The rate of the tensor cores that an exact product can use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arithmetic {
    /// Operations a second.
    pub flop_per_second: f64,
    /// How it is known.
    pub source: ArithmeticSource,
}

impl Arithmetic {
    /// By the datasheet of the device's compute capability, dense: f16 on Hopper (H100 SXM and H200,
    /// 989.4 TFLOP/s), NVFP4 on Blackwell (B200, 9 PFLOP/s in HGX; B300, 14).
    pub fn by_datasheet(compute_capability: (u32, u32)) -> Option<Self> {
        let flop_per_second = match compute_capability {
            (9, 0) => 989.4e12,
            (10, 0) => 9e15,
            (10, 3) => 14e15,
            _ => return None,
        };
        Some(Self {
            flop_per_second,
            source: ArithmeticSource::Datasheet,
        })
    }
}

/// What was measured of the device's memory, in bytes a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Memory {
    /// A large copy from device to device, bytes read and bytes written.
    pub copy: f64,
    /// A large buffer read once.
    pub read: f64,
}

impl Memory {
    /// The faster of both: what a kernel that mostly reads can hope for.
    pub fn ceiling(&self) -> f64 {
        self.copy.max(self.read)
    }
}

/// Both ceilings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ceilings {
    /// Of memory.
    pub memory: Memory,
    /// Of arithmetic, where it is known.
    pub arithmetic: Option<Arithmetic>,
}

impl Ceilings {
    /// Microseconds below which no kernel gets.
    pub fn floor_us(&self, work: &Work) -> f64 {
        let memory = work.bytes as f64 / self.memory.ceiling();
        let arithmetic = self.arithmetic.map_or(0.0, |arithmetic| {
            work.flop as f64 / arithmetic.flop_per_second
        });
        1e6 * memory.max(arithmetic)
    }

    /// The share of the memory ceiling that a call of this many microseconds reaches.
    pub fn memory_share(&self, work: &Work, microseconds: f64) -> f64 {
        work.bytes as f64 / (1e-6 * microseconds) / self.memory.ceiling()
    }

    /// The share of the arithmetic ceiling; `None` where that is not known.
    pub fn arithmetic_share(&self, work: &Work, microseconds: f64) -> Option<f64> {
        let rate = work.flop as f64 / (1e-6 * microseconds);
        self.arithmetic
            .map(|arithmetic| rate / arithmetic.flop_per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(m: usize) -> Work {
        Work::of(&Shape::new(m, 4096, 7168, 1).unwrap())
    }

    #[test]
    fn work_counts_scale_factors_and_both_products() {
        // 2·4096·7168·(1/2 + 1/16), 7168·(1/2 + 1/16) and 2·4096.
        assert_eq!(work(1).bytes, 33_030_144 + 4_032 + 8_192);
        assert_eq!(work(256).flop, 4 * 256 * 4096 * 7168);
        let two = Work::of(&Shape::new(3, 64, 128, 2).unwrap());
        assert_eq!(two.bytes, 2 * (3 * 72 + 2 * 64 * 72 + 2 * 3 * 64));
    }

    #[test]
    fn the_floor_is_the_higher_of_both() {
        let ceilings = Ceilings {
            memory: Memory {
                copy: 2e12,
                read: 3e12,
            },
            arithmetic: Some(Arithmetic {
                flop_per_second: 800e12,
                source: ArithmeticSource::Measured,
            }),
        };
        let (few, many) = (work(1), work(4096));
        assert!((ceilings.floor_us(&few) - few.bytes as f64 / 3e6).abs() < 1e-9);
        assert!((ceilings.floor_us(&many) - many.flop as f64 / 800e6).abs() < 1e-9);
        let at_floor = ceilings.floor_us(&few);
        assert!((ceilings.memory_share(&few, 2.0 * at_floor) - 0.5).abs() < 1e-12);
        let share = ceilings.arithmetic_share(&many, 2.0 * ceilings.floor_us(&many));
        assert!((share.unwrap() - 0.5).abs() < 1e-12);
        let unknown = Ceilings {
            arithmetic: None,
            ..ceilings
        };
        assert_eq!(unknown.arithmetic_share(&many, 1.0), None);
        assert!(unknown.floor_us(&many) < ceilings.floor_us(&many));
    }
}
