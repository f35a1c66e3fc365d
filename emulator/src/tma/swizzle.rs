//! Shared-memory swizzles.
//!
//! A swizzle permutes 16-byte (or larger) chunks inside each 128-byte line, by an XOR of address bits with the line's
//! number. It acts on the *absolute* shared-memory address, so a tile whose base is not aligned to the pattern's period
//! starts in the middle of the pattern (PTX ISA §5.5.7).

/// How a tensor map or a matrix descriptor permutes shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Swizzle {
    None,
    /// 16-byte chunks within 32 bytes.
    B32,
    /// 16-byte chunks within 64 bytes.
    B64,
    /// 16-byte chunks within 128 bytes.
    B128,
    /// 32-byte chunks within 128 bytes.
    B128Atom32,
    /// As [`Swizzle::B128Atom32`]; every other line also swaps the 8-byte halves of each 16 bytes.
    B128Atom32Flip8,
    /// 64-byte chunks within 128 bytes.
    B128Atom64,
}

impl Swizzle {
    pub const ALL: [Swizzle; 7] = [
        Swizzle::None,
        Swizzle::B32,
        Swizzle::B64,
        Swizzle::B128,
        Swizzle::B128Atom32,
        Swizzle::B128Atom32Flip8,
        Swizzle::B128Atom64,
    ];

    /// Where the byte of the dense layout's shared address `address` lies. An involution.
    #[inline]
    pub fn apply(self, address: u32) -> u32 {
        self.apply_from(0, address)
    }

    /// As [`Self::apply`], where the pattern begins at this line instead of line 0.
    #[inline]
    pub fn apply_from(self, first_line: u32, address: u32) -> u32 {
        let line = (address >> 7).wrapping_sub(first_line);
        match self {
            Swizzle::None => address,
            Swizzle::B32 => address ^ ((line & 1) << 4),
            Swizzle::B64 => address ^ ((line & 3) << 4),
            Swizzle::B128 => address ^ ((line & 7) << 4),
            Swizzle::B128Atom32 => address ^ ((line & 3) << 5),
            Swizzle::B128Atom32Flip8 => address ^ ((line & 3) << 5) ^ ((line & 1) << 3),
            Swizzle::B128Atom64 => address ^ ((line & 1) << 6),
        }
    }

    /// Bytes within which chunks move: the longest inner box extent; `None` where nothing moves.
    pub fn span(self) -> Option<u32> {
        match self {
            Swizzle::None => None,
            Swizzle::B32 => Some(32),
            Swizzle::B64 => Some(64),
            Swizzle::B128
            | Swizzle::B128Atom32
            | Swizzle::B128Atom32Flip8
            | Swizzle::B128Atom64 => Some(128),
        }
    }

    /// Bytes after which the pattern repeats.
    pub fn period(self) -> u32 {
        match self {
            Swizzle::None => 16,
            Swizzle::B32 | Swizzle::B128Atom64 => 256,
            Swizzle::B64 | Swizzle::B128Atom32 | Swizzle::B128Atom32Flip8 => 512,
            Swizzle::B128 => 1024,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The chunk that each 16-byte chunk of each 128-byte line of a pattern goes to (tables of PTX ISA §5.5.7).
    fn table(swizzle: Swizzle) -> Vec<[u32; 8]> {
        (0..swizzle.period().div_ceil(128))
            .map(|line| {
                std::array::from_fn(|c| swizzle.apply(line * 128 + c as u32 * 16) % 128 / 16)
            })
            .collect()
    }

    #[test]
    fn tables_match_the_documentation() {
        assert_eq!(
            table(Swizzle::B32),
            [[0, 1, 2, 3, 4, 5, 6, 7], [1, 0, 3, 2, 5, 4, 7, 6]]
        );
        // The 64-byte pattern is the first half of the 128-byte one.
        assert_eq!(table(Swizzle::B64), table(Swizzle::B128)[..4]);
        assert_eq!(
            table(Swizzle::B128),
            [
                [0, 1, 2, 3, 4, 5, 6, 7],
                [1, 0, 3, 2, 5, 4, 7, 6],
                [2, 3, 0, 1, 6, 7, 4, 5],
                [3, 2, 1, 0, 7, 6, 5, 4],
                [4, 5, 6, 7, 0, 1, 2, 3],
                [5, 4, 7, 6, 1, 0, 3, 2],
                [6, 7, 4, 5, 2, 3, 0, 1],
                [7, 6, 5, 4, 3, 2, 1, 0],
            ]
        );
        assert_eq!(
            table(Swizzle::B128Atom32),
            [
                [0, 1, 2, 3, 4, 5, 6, 7],
                [2, 3, 0, 1, 6, 7, 4, 5],
                [4, 5, 6, 7, 0, 1, 2, 3],
                [6, 7, 4, 5, 2, 3, 0, 1],
            ]
        );
        assert_eq!(
            table(Swizzle::B128Atom64),
            [[0, 1, 2, 3, 4, 5, 6, 7], [4, 5, 6, 7, 0, 1, 2, 3]]
        );
    }

    #[test]
    fn the_flip_swaps_eight_byte_halves_on_odd_lines() {
        assert_eq!(Swizzle::B128Atom32Flip8.apply(0), 0);
        assert_eq!(Swizzle::B128Atom32Flip8.apply(128), 128 + 32 + 8);
        assert_eq!(Swizzle::B128Atom32Flip8.apply(128 + 8), 128 + 32);
        assert_eq!(Swizzle::B128Atom32Flip8.apply(256), 256 + 64);
    }

    proptest! {
        #[test]
        fn every_swizzle_is_a_bijection_of_each_span(
            which in 0..Swizzle::ALL.len(),
            address in 0u32..1 << 18,
        ) {
            let swizzle = Swizzle::ALL[which];
            let image = swizzle.apply(address);
            prop_assert_eq!(swizzle.apply(image), address);
            let span = swizzle.span().unwrap_or(1);
            prop_assert_eq!(image / span, address / span);
            let period = swizzle.period();
            prop_assert_eq!(swizzle.apply(address + period), image + period);
        }
    }
}
