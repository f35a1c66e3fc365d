//! Sets of 16-byte chunks of shared memory: what operands of the tensor core touch, exactly.

use std::iter;
use std::ops::Range;

use super::descriptor::CHUNK_BYTES;

/// Chunks in a word of a set.
const WORD: u32 = u64::BITS;

/// A set of chunks, one bit each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkSet {
    /// Number of the first chunk that a bit stands for, a multiple of [`WORD`].
    first: u32,
    words: Box<[u64]>,
}

impl FromIterator<u32> for ChunkSet {
    /// The set of the chunks at these addresses, multiples of 16.
    fn from_iter<I: IntoIterator<Item = u32>>(addresses: I) -> Self {
        let mut first = 0;
        let mut words: Vec<u64> = Vec::new();
        for address in addresses {
            let chunk = address / CHUNK_BYTES;
            let word = chunk / WORD;
            if words.is_empty() {
                first = word;
            } else if word < first {
                words.splice(..0, iter::repeat_n(0, (first - word) as usize));
                first = word;
            }
            let index = (word - first) as usize;
            if index >= words.len() {
                words.resize(index + 1, 0);
            }
            words[index] |= 1 << (chunk % WORD);
        }
        Self {
            first: first * WORD,
            words: words.into(),
        }
    }
}

impl ChunkSet {
    /// Bytes of all chunks.
    pub fn bytes(&self) -> u32 {
        let chunks: u32 = self.words.iter().map(|word| word.count_ones()).sum();
        chunks * CHUNK_BYTES
    }

    /// The bytes of chunks that follow each other without a gap, by ascending address.
    pub fn runs(&self) -> impl Iterator<Item = Range<u32>> {
        let mut next = self.first;
        iter::from_fn(move || {
            let start = self.find(next, true)?;
            let end = self.find(start, false).unwrap_or(self.end());
            next = end;
            Some(start * CHUNK_BYTES..end * CHUNK_BYTES)
        })
    }

    /// The first run of bytes that lies both in the set and in `bytes`.
    pub fn first_in(&self, bytes: Range<u32>) -> Option<Range<u32>> {
        let start = self.find(bytes.start / CHUNK_BYTES, true)?;
        let end = self.find(start, false).unwrap_or(self.end());
        let common = bytes.start.max(start * CHUNK_BYTES)..bytes.end.min(end * CHUNK_BYTES);
        (!common.is_empty()).then_some(common)
    }

    /// The first run of bytes that lies in both sets.
    pub fn first_common(&self, other: &ChunkSet) -> Option<Range<u32>> {
        let first = self.first.max(other.first);
        let of = |set: &ChunkSet| ((first - set.first) / WORD) as usize;
        let words = self.words.get(of(self)..)?.iter();
        let words = words.zip(other.words.get(of(other)..)?);
        let common = ChunkSet {
            first,
            words: words.map(|(a, b)| a & b).collect(),
        };
        common.runs().next()
    }

    /// The chunk behind the last that a bit stands for.
    fn end(&self) -> u32 {
        self.first + self.words.len() as u32 * WORD
    }

    /// The first chunk from `from` on that is in the set, or is not.
    fn find(&self, from: u32, is_in: bool) -> Option<u32> {
        let from = from.max(self.first);
        let (mut index, within) = ((from - self.first) / WORD, from % WORD);
        let mut wanted = u64::MAX << within;
        loop {
            let word = *self.words.get(index as usize)?;
            let word = if is_in { word } else { !word } & wanted;
            if word != 0 {
                return Some(self.first + index * WORD + word.trailing_zeros());
            }
            wanted = u64::MAX;
            index += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn set(chunks: &BTreeSet<u32>) -> ChunkSet {
        chunks
            .iter()
            .rev()
            .map(|chunk| chunk * CHUNK_BYTES)
            .collect()
    }

    fn runs(chunks: &BTreeSet<u32>) -> Vec<Range<u32>> {
        let mut runs: Vec<Range<u32>> = Vec::new();
        for chunk in chunks {
            let (start, end) = (chunk * CHUNK_BYTES, (chunk + 1) * CHUNK_BYTES);
            match runs.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => runs.push(start..end),
            }
        }
        runs
    }

    fn chunks() -> impl Strategy<Value = BTreeSet<u32>> {
        (0u32..300, prop::collection::btree_set(0u32..200, 0..120))
            .prop_map(|(first, chunks)| chunks.into_iter().map(|c| first + c).collect())
    }

    proptest! {
        #[test]
        fn runs_are_those_of_an_ordered_set(a in chunks(), b in chunks(), at in 0u32..9000, len in 1u32..300) {
            let (set_a, set_b) = (set(&a), set(&b));
            prop_assert_eq!(set_a.runs().collect::<Vec<_>>(), runs(&a));
            prop_assert_eq!(set_a.bytes(), 16 * a.len() as u32);
            let common: BTreeSet<u32> = a.intersection(&b).copied().collect();
            prop_assert_eq!(set_a.first_common(&set_b), runs(&common).first().cloned());
            let within = runs(&a).into_iter().map(|run| run.start.max(at)..run.end.min(at + len));
            let first = within.into_iter().find(|run| !run.is_empty());
            prop_assert_eq!(set_a.first_in(at..at + len), first);
        }
    }
}
