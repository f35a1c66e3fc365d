//! The random numbers of schedules.

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
#[derive(Clone, Debug)]
pub struct SplitMix64 {
    state: u64,
}

impl SplitMix64 {
    /// A generator per `stream` of one seed.
    pub fn new(seed: u64, stream: u64) -> Self {
        Self {
            state: seed ^ stream.wrapping_mul(0xD1B5_4A32_D192_ED03),
        }
    }

    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }
}

/// A random order of the numbers below `count`, in constant memory: a Feistel network over the next power of four,
/// whose numbers beyond `count` are walked over.
#[derive(Clone, Debug)]
pub struct Permutation {
    count: u64,
    half_bits: u32,
    keys: [u64; 4],
}

impl Permutation {
    pub fn new(seed: u64, count: u64) -> Self {
        let mut random = SplitMix64::new(seed, count);
        let bits = u64::BITS - count.saturating_sub(1).leading_zeros();
        Self {
            count,
            half_bits: bits.div_ceil(2).max(1),
            keys: [(); 4].map(|()| random.next()),
        }
    }

    /// The number at this position, which is below `count`.
    pub fn at(&self, position: u64) -> u64 {
        let mut number = self.encrypt(position);
        while number >= self.count {
            number = self.encrypt(number);
        }
        number
    }

    fn encrypt(&self, number: u64) -> u64 {
        let mask = (1 << self.half_bits) - 1;
        let (left, right) = (number >> self.half_bits, number & mask);
        let (left, right) = self.keys.iter().fold((left, right), |(left, right), key| {
            let mixed = SplitMix64::new(*key, right).next();
            (right, left ^ (mixed & mask))
        });
        left << self.half_bits | right
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permutation_has_each_number_once() {
        for count in [1, 2, 3, 16, 17, 100, 1000] {
            let orders = [0, 1].map(|seed| {
                let permutation = Permutation::new(seed, count);
                (0..count).map(|i| permutation.at(i)).collect::<Vec<_>>()
            });
            for order in &orders {
                let mut sorted = order.clone();
                sorted.sort_unstable();
                assert!(sorted.into_iter().eq(0..count), "{count}: {order:?}");
            }
            assert!(count < 16 || orders[0] != orders[1], "{count}");
        }
    }
}
