//! Inputs: bits that a name determines, the same on every machine.

/// `count` words of SplitMix64, seeded by the hash of `name`.
fn words(name: &str, count: usize) -> impl Iterator<Item = u64> + use<> {
    let mut state = super::hash(name.as_bytes());
    (0..count).map(move |_| {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    })
}

/// Any bits.
pub fn bytes(name: &str, count: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = words(name, count.div_ceil(8))
        .flat_map(u64::to_le_bytes)
        .collect();
    bytes.truncate(count);
    bytes
}

/// Leaves f32 elements the four least exponents, subnormals' among them.
pub fn make_small(bytes: &mut [u8]) {
    for element in bytes.as_chunks_mut().0 {
        let word = u32::from_le_bytes(*element);
        *element = (word & 0x81FF_FFFF).to_le_bytes();
    }
}

/// 128 f32 elements about ties of TF32: zeros, subnormals, numbers that might round to infinity, NaN, of both signs.
pub fn about_ties() -> Vec<u8> {
    const ABOVE: [u32; 8] = [
        0x0000_0000,
        0x0000_2000,
        0x0080_0000,
        0x3F80_0000,
        0x3F80_2000,
        0x7F7F_C000,
        0x7F7F_E000,
        0x7F80_0000,
    ];
    const BELOW: [u32; 8] = [0, 1, 0x0800, 0x0FFF, 0x1000, 0x1001, 0x1800, 0x1FFF];
    ABOVE
        .into_iter()
        .flat_map(|above| BELOW.map(|below| above | below))
        .flat_map(|magnitude| [magnitude, magnitude | 1 << 31])
        .flat_map(u32::to_le_bytes)
        .collect()
}

/// Numbers below a bound, for choices.
pub struct Choices(Box<dyn Iterator<Item = u64>>);

impl Choices {
    pub fn new(name: &str) -> Self {
        Self(Box::new(words(name, usize::MAX)))
    }

    /// Below `bound`, which is positive.
    pub fn below(&mut self, bound: u32) -> u32 {
        let word = self.0.next().unwrap_or_default();
        (word % u64::from(bound)) as u32
    }
}
