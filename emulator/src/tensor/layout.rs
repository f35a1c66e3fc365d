//! How one MMA spreads over the CTAs that execute it: which of them holds the rows of A and B, and where each element
//! of D lies (PTX ISA §9.7.16.10.5).
//!
//! This does not depend on the kind of the MMA. A kind gathers rows of A and B by [`DataPath::a_row`] and
//! [`DataPath::b_row`], and computes the [`Block`]s of D one by one.
//!
//! ```text
//! layout  cta_group  M    CTA     lane                          column
//! A       2          256  m/128   m % 128                       n
//! B       2          128  m/64    m % 64 + 64·(n / (N/2))       n % (N/2)
//! D       1          128  —       m                             n
//! F       1          64   —       m % 16 + 32·(m / 16)          n              all from lane 0, or from lane 16
//! ```
//!
//! Of a pair, CTA v holds rows [v·M/2, (v+1)·M/2) of A and rows [v·N/2, (v+1)·N/2) of B, at the same offsets of its own
//! shared memory; a row of B is a column of D. D is at the same address in both (CUTLASS `mma_traits_sm100.hpp`,
//! `mma_traits_sm100_frag.hpp`).

use std::ops::Range;

use super::memory::TensorMemory;
use super::mma::MmaError;

/// The memories of one CTA that takes part in an MMA, alone or as one of a pair.
#[derive(Debug)]
pub struct CtaMemory<'m> {
    /// The shared window from offset 0.
    pub shared: &'m [u8],
    pub tensor: &'m mut TensorMemory,
}

/// A row of an operand: the CTA of the group that holds it, and which of that CTA's rows it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnedRow {
    pub cta: usize,
    pub row: u32,
}

/// A part of D that lies in consecutive lanes and columns of one CTA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The CTA of the group: 0 or 1.
    pub cta: usize,
    /// Where its first element lies; the column counts from the address of D.
    pub lane: u32,
    pub column: u32,
    /// The rows and columns of D that it holds.
    pub m: Range<u32>,
    pub n: Range<u32>,
}

/// The split of an M × N MMA over the CTAs of its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataPath {
    ctas: u32,
    m: u32,
    n: u32,
}

impl DataPath {
    /// `m` and `n` are those of the instruction descriptor, both CTAs of a pair together.
    pub fn new(cta_group: u8, m: u32, n: u32) -> DataPath {
        DataPath {
            ctas: cta_group.into(),
            m,
            n,
        }
    }

    /// CTAs of the group.
    pub fn ctas(&self) -> usize {
        self.ctas as usize
    }

    /// Rows of A that each CTA holds.
    pub fn a_rows(&self) -> u32 {
        self.m / self.ctas
    }

    /// Rows of B that each CTA holds.
    pub fn b_rows(&self) -> u32 {
        self.n / self.ctas
    }

    /// Columns of tensor memory that D takes in each CTA.
    pub fn d_columns(&self) -> u32 {
        match self.halves_n() {
            true => self.n / 2,
            false => self.n,
        }
    }

    /// Layout B: the upper 64 lanes hold the second half of the columns.
    pub fn halves_n(&self) -> bool {
        self.ctas == 2 && self.m == 128
    }

    /// Layout F: half of the lanes hold all of D.
    fn halves_lanes(&self) -> bool {
        self.ctas == 1 && self.m == 64
    }

    /// The lanes that D takes, if it begins at lane 0: one bit per 16 of them.
    pub fn lanes(&self) -> u8 {
        match self.halves_lanes() {
            true => 0b0101_0101,
            false => 0b1111_1111,
        }
    }

    /// Checks the first lane of D, or of A in tensor memory.
    pub fn check_lane(&self, what: &'static str, lane: u32) -> Result<(), MmaError> {
        let (is_legal, legal) = match self.halves_lanes() {
            true => (lane == 0 || lane == 16, "0 or 16"),
            false => (lane == 0, "0"),
        };
        match is_legal {
            true => Ok(()),
            false => Err(MmaError::Lane { what, lane, legal }),
        }
    }

    pub fn a_row(&self, m: u32) -> OwnedRow {
        owned(m, self.a_rows())
    }

    pub fn b_row(&self, n: u32) -> OwnedRow {
        owned(n, self.b_rows())
    }

    /// The blocks of D, which together hold each element once.
    pub fn blocks(self) -> impl Iterator<Item = Block> {
        // Rows of a block, and how far apart the lanes of two blocks of rows are.
        let (rows, lanes) = match self.halves_lanes() {
            true => (16, 32),
            false => (self.a_rows(), 0),
        };
        let columns = self.d_columns();
        let parts = self.n / columns.max(1);
        (0..self.m / rows).flat_map(move |i| {
            (0..parts).map(move |part| Block {
                cta: (i * rows / self.a_rows()) as usize,
                lane: part * rows + i * lanes,
                column: 0,
                m: i * rows..(i + 1) * rows,
                n: part * columns..(part + 1) * columns,
            })
        })
    }
}

fn owned(row: u32, each: u32) -> OwnedRow {
    OwnedRow {
        cta: (row / each) as usize,
        row: row % each,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published table of layouts (CUTLASS `tmem_frg`), element by element.
    fn place(cta_group: u8, m_total: u32, n_total: u32, m: u32, n: u32) -> (usize, u32, u32) {
        let half = n_total / 2;
        match (cta_group, m_total) {
            (2, 256) => ((m / 128) as usize, m % 128, n),
            (2, _) => ((m / 64) as usize, m % 64 + 64 * (n / half), n % half),
            (1, 64) => (0, m % 16 + 32 * (m / 16), n),
            _ => (0, m, n),
        }
    }

    #[test]
    fn every_element_of_d_has_its_published_place() {
        for (cta_group, m, n) in [(1, 128, 8), (1, 128, 256), (1, 64, 24), (2, 256, 256)]
            .into_iter()
            .chain([(2, 128, 16), (2, 128, 240)])
        {
            let path = DataPath::new(cta_group, m, n);
            let mut seen = 0;
            for block in path.blocks() {
                for (i, row) in block.m.clone().enumerate() {
                    for (j, column) in block.n.clone().enumerate() {
                        let found = (block.cta, block.lane + i as u32, block.column + j as u32);
                        assert_eq!(found, place(cta_group, m, n, row, column));
                        assert!(found.2 < path.d_columns());
                        seen += 1;
                    }
                }
            }
            assert_eq!(seen, m * n);
        }
    }

    #[test]
    fn a_pair_shares_the_rows_of_a_and_b() {
        let path = DataPath::new(2, 256, 96);
        assert_eq!((path.a_rows(), path.b_rows()), (128, 48));
        assert_eq!(path.a_row(127), OwnedRow { cta: 0, row: 127 });
        assert_eq!(path.a_row(128), OwnedRow { cta: 1, row: 0 });
        assert_eq!(path.b_row(47), OwnedRow { cta: 0, row: 47 });
        assert_eq!(path.b_row(50), OwnedRow { cta: 1, row: 2 });
    }
}
