//! NVFP4 matrices: packed e2m1 elements with one ue4m3 scale factor per 16 elements along K.

use crate::format::{BLOCK, e2m1, ue4m3};
use crate::scale_layout::ScaleLayout;

/// Why bytes and dimensions do not make an NVFP4 matrix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MatrixError {
    /// A dimension is zero.
    #[error("{dimension} is 0; rows, columns and batch must each be at least 1")]
    Zero {
        /// `rows`, `columns` or `batch`.
        dimension: &'static str,
    },
    /// Columns do not divide into scale-factor blocks.
    #[error("{columns} columns; an NVFP4 matrix needs a multiple of 16, one scale factor each")]
    Columns {
        /// The columns given.
        columns: usize,
    },
    /// A byte count does not fit the address space.
    #[error("a matrix of {batch} x {rows} x {columns} elements is too large to address")]
    TooLarge {
        /// The rows given.
        rows: usize,
        /// The columns given.
        columns: usize,
        /// The batch given.
        batch: usize,
    },
    /// A buffer has the wrong length.
    #[error("{buffer}: found {found} {unit}, needed {needed}")]
    Length {
        /// What the buffer holds.
        buffer: &'static str,
        /// `bytes` or `elements`.
        unit: &'static str,
        /// The length given.
        found: usize,
        /// The length that the dimensions ask for.
        needed: usize,
    },
}

impl MatrixError {
    pub(crate) fn check_length(
        buffer: &'static str,
        found: usize,
        needed: usize,
    ) -> Result<(), Self> {
        Self::check_length_in("bytes", buffer, found, needed)
    }

    pub(crate) fn check_length_in(
        unit: &'static str,
        buffer: &'static str,
        found: usize,
        needed: usize,
    ) -> Result<(), Self> {
        if found == needed {
            return Ok(());
        }
        Err(Self::Length {
            buffer,
            unit,
            found,
            needed,
        })
    }
}

/// The dimensions of an NVFP4 matrix, checked: none is zero, columns are a multiple of 16, and
/// every size below fits a `usize`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatrixShape {
    rows: usize,
    columns: usize,
    batch: usize,
    scale_layout: ScaleLayout,
}

impl MatrixShape {
    /// The shape of `batch` matrices of `rows` × `columns` elements; columns run along K.
    ///
    /// # Errors
    /// [`MatrixError::Zero`], [`MatrixError::Columns`] or [`MatrixError::TooLarge`].
    pub fn new(rows: usize, columns: usize, batch: usize) -> Result<Self, MatrixError> {
        for (dimension, value) in [("rows", rows), ("columns", columns), ("batch", batch)] {
            if value == 0 {
                return Err(MatrixError::Zero { dimension });
            }
        }
        if !columns.is_multiple_of(BLOCK) {
            return Err(MatrixError::Columns { columns });
        }
        let too_large = MatrixError::TooLarge {
            rows,
            columns,
            batch,
        };
        let elements = rows
            .checked_mul(columns)
            .and_then(|count| count.checked_mul(batch));
        let scale_layout = ScaleLayout::new(rows, columns).map_err(|_| too_large.clone())?;
        let scales = scale_layout.tiled_size().checked_mul(batch);
        // The bound is on f32 elements and not on packed bytes: dequantising must be able to
        // address them.
        let limit = isize::MAX as usize;
        match (elements.and_then(|count| count.checked_mul(4)), scales) {
            (Some(decoded), Some(scales)) if decoded <= limit && scales <= limit => Ok(Self {
                rows,
                columns,
                batch,
                scale_layout,
            }),
            _ => Err(too_large),
        }
    }

    /// Rows of one matrix (M or N).
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns of one matrix (K).
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Number of matrices (L).
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Scale factors per row: K / 16.
    pub fn blocks(&self) -> usize {
        self.columns / BLOCK
    }

    /// Elements of the whole batch.
    pub fn elements(&self) -> usize {
        self.batch * self.rows * self.columns
    }

    /// Bytes of the packed elements of the whole batch.
    pub fn packed_size(&self) -> usize {
        self.elements() / 2
    }

    /// Bytes of one packed row: K / 2.
    pub fn row_bytes(&self) -> usize {
        self.columns / 2
    }

    /// Where the scale factors of one matrix of the batch lie.
    pub fn scale_layout(&self) -> ScaleLayout {
        self.scale_layout
    }

    /// Bytes of the tiled scale factors of the whole batch.
    pub fn tiled_scales_size(&self) -> usize {
        self.batch * self.scale_layout.tiled_size()
    }

    /// Bytes of the row-major scale factors of the whole batch.
    pub fn row_major_scales_size(&self) -> usize {
        self.batch * self.scale_layout.row_major_size()
    }
}

/// An NVFP4 matrix, or a batch of them, that owns its bytes.
///
/// - elements: e2m1, `[L, rows, K/2]` bytes row-major, the lower k in the low nibble;
/// - scale factors: ue4m3, `[L, ceil(rows/128), ceil(K/64), 32, 4, 4]` bytes, see
///   [`crate::scale_layout`].
///
/// Element (row, k) stands for `e2m1 · ue4m3`; what multiplies the tensor as a whole is not part of
/// it but of the alphas. Any bytes are valid: a scale factor may be NaN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nvfp4Matrix {
    shape: MatrixShape,
    elements: Vec<u8>,
    scales: Vec<u8>,
}

impl Nvfp4Matrix {
    /// A matrix from packed elements `[L, rows, K/2]` and scale factors `[L, rows, K/16]`, which it
    /// tiles.
    ///
    /// # Errors
    /// [`MatrixError::Length`] if a buffer does not have the size that `shape` asks for.
    pub fn from_row_major_scales(
        shape: MatrixShape,
        elements: Vec<u8>,
        scales: &[u8],
    ) -> Result<Self, MatrixError> {
        MatrixError::check_length(
            "row-major scale factors",
            scales.len(),
            shape.row_major_scales_size(),
        )?;
        let layout = shape.scale_layout();
        let mut tiled = Vec::with_capacity(shape.tiled_scales_size());
        for matrix in scales.chunks_exact(layout.row_major_size()) {
            tiled.extend(layout.to_tiled(matrix)?);
        }
        Self::from_tiled_scales(shape, elements, tiled)
    }

    /// A matrix from packed elements `[L, rows, K/2]` and scale factors already in the 128×4 tile
    /// layout.
    ///
    /// # Errors
    /// [`MatrixError::Length`] if a buffer does not have the size that `shape` asks for.
    pub fn from_tiled_scales(
        shape: MatrixShape,
        elements: Vec<u8>,
        scales: Vec<u8>,
    ) -> Result<Self, MatrixError> {
        Nvfp4MatrixView::new(shape, &elements, &scales)?;
        Ok(Self {
            shape,
            elements,
            scales,
        })
    }

    /// The dimensions.
    pub fn shape(&self) -> MatrixShape {
        self.shape
    }

    /// The packed elements, `[L, rows, K/2]`.
    pub fn elements(&self) -> &[u8] {
        &self.elements
    }

    /// The scale factors in the 128×4 tile layout.
    pub fn tiled_scales(&self) -> &[u8] {
        &self.scales
    }

    /// The same matrix, borrowed.
    pub fn view(&self) -> Nvfp4MatrixView<'_> {
        Nvfp4MatrixView {
            shape: self.shape,
            elements: &self.elements,
            scales: &self.scales,
        }
    }

    /// The packed elements and the tiled scale factors.
    pub fn into_parts(self) -> (Vec<u8>, Vec<u8>) {
        (self.elements, self.scales)
    }
}

/// An NVFP4 matrix that borrows its bytes; layouts as in [`Nvfp4Matrix`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nvfp4MatrixView<'a> {
    shape: MatrixShape,
    elements: &'a [u8],
    scales: &'a [u8],
}

impl<'a> Nvfp4MatrixView<'a> {
    /// A view of packed elements `[L, rows, K/2]` and tiled scale factors.
    ///
    /// # Errors
    /// [`MatrixError::Length`] if a buffer does not have the size that `shape` asks for.
    pub fn new(
        shape: MatrixShape,
        elements: &'a [u8],
        scales: &'a [u8],
    ) -> Result<Self, MatrixError> {
        MatrixError::check_length("packed elements", elements.len(), shape.packed_size())?;
        MatrixError::check_length(
            "tiled scale factors",
            scales.len(),
            shape.tiled_scales_size(),
        )?;
        Ok(Self {
            shape,
            elements,
            scales,
        })
    }

    /// The dimensions.
    pub fn shape(&self) -> MatrixShape {
        self.shape
    }

    /// The packed elements, `[L, rows, K/2]`.
    pub fn elements(&self) -> &'a [u8] {
        self.elements
    }

    /// The scale factors in the 128×4 tile layout.
    pub fn tiled_scales(&self) -> &'a [u8] {
        self.scales
    }

    /// The packed elements of one row, K/2 bytes.
    ///
    /// # Panics
    /// If `batch` or `row` is out of bounds.
    #[inline]
    pub fn row(&self, batch: usize, row: usize) -> &'a [u8] {
        self.assert_in_bounds(batch, row);
        let bytes = self.shape.row_bytes();
        let start = (batch * self.shape.rows + row) * bytes;
        &self.elements[start..start + bytes]
    }

    /// The code of one scale factor: that of elements 16·`block` to 16·`block` + 15 of a row.
    ///
    /// # Panics
    /// If an index is out of bounds.
    #[inline]
    pub fn scale(&self, batch: usize, row: usize, block: usize) -> u8 {
        self.assert_in_bounds(batch, row);
        assert!(block < self.shape.blocks(), "block {block} out of bounds");
        let layout = &self.shape.scale_layout;
        self.scales[batch * layout.tiled_size() + layout.offset(row, block)]
    }

    /// The value of one element: e2m1 times its scale factor, exact in f32.
    ///
    /// # Panics
    /// If an index is out of bounds.
    pub fn value(&self, batch: usize, row: usize, k: usize) -> f32 {
        let byte = self.row(batch, row)[k / 2];
        e2m1::decode_pair(byte)[k % 2] * ue4m3::decode(self.scale(batch, row, k / BLOCK))
    }

    /// The scale factors as `[L, rows, K/16]`.
    pub fn row_major_scales(&self) -> Vec<u8> {
        let (rows, blocks) = (self.shape.rows, self.shape.blocks());
        let mut scales = Vec::with_capacity(self.shape.row_major_scales_size());
        for batch in 0..self.shape.batch {
            for row in 0..rows {
                scales.extend((0..blocks).map(|block| self.scale(batch, row, block)));
            }
        }
        scales
    }

    /// A copy that owns its bytes.
    pub fn to_owned(&self) -> Nvfp4Matrix {
        Nvfp4Matrix {
            shape: self.shape,
            elements: self.elements.to_vec(),
            scales: self.scales.to_vec(),
        }
    }

    #[inline]
    fn assert_in_bounds(&self, batch: usize, row: usize) {
        let shape = &self.shape;
        assert!(batch < shape.batch, "batch {batch} out of bounds");
        assert!(row < shape.rows, "row {row} out of bounds");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scale_layout::PADDING;

    #[test]
    fn sizes() {
        let shape = MatrixShape::new(130, 80, 3).unwrap();
        assert_eq!(shape.packed_size(), 3 * 130 * 40);
        assert_eq!(shape.blocks(), 5);
        assert_eq!(shape.row_major_scales_size(), 3 * 130 * 5);
        assert_eq!(shape.tiled_scales_size(), 3 * 2 * 2 * 512);
    }

    #[test]
    fn bad_dimensions_name_the_rule() {
        for (rows, columns, batch, dimension) in [
            (0, 64, 1, "rows"),
            (1, 0, 1, "columns"),
            (1, 64, 0, "batch"),
        ] {
            let error = MatrixShape::new(rows, columns, batch).unwrap_err();
            assert_eq!(error, MatrixError::Zero { dimension });
        }
        assert_eq!(
            MatrixShape::new(1, 24, 1).unwrap_err(),
            MatrixError::Columns { columns: 24 }
        );
        for (rows, columns, batch) in [
            (usize::MAX, 64, 1),
            (1, usize::MAX & !15, 2),
            (1 << 31, 1 << 31, 1),
            (1, 16, usize::MAX / 64),
            (1 << 21, 1 << 21, 1 << 21),
        ] {
            let error = MatrixShape::new(rows, columns, batch).unwrap_err();
            assert!(matches!(error, MatrixError::TooLarge { .. }), "{error}");
        }
    }

    #[test]
    fn bad_lengths_name_found_and_needed() {
        let shape = MatrixShape::new(2, 32, 1).unwrap();
        let error = Nvfp4Matrix::from_row_major_scales(shape, vec![0; 32], &[0; 3]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "row-major scale factors: found 3 bytes, needed 4"
        );
        let error = Nvfp4Matrix::from_row_major_scales(shape, vec![0; 31], &[0; 4]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "packed elements: found 31 bytes, needed 32"
        );
        let error = Nvfp4Matrix::from_tiled_scales(shape, vec![0; 32], vec![0; 513]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "tiled scale factors: found 513 bytes, needed 512"
        );
    }

    #[test]
    fn both_constructors_agree_element_by_element() {
        let shape = MatrixShape::new(130, 80, 2).unwrap();
        let elements: Vec<u8> = (0..shape.packed_size()).map(|i| (i * 37) as u8).collect();
        let scales: Vec<u8> = (0..shape.row_major_scales_size())
            .map(|i| (i * 11 % 0x7F) as u8)
            .collect();
        let matrix = Nvfp4Matrix::from_row_major_scales(shape, elements.clone(), &scales).unwrap();
        let view = matrix.view();
        assert_eq!(view.row_major_scales(), scales);
        for (batch, row, k) in [(0, 0, 0), (0, 129, 79), (1, 5, 17), (1, 129, 64)] {
            let flat = (batch * 130 + row) * 80 + k;
            let code = elements[flat / 2] >> (flat % 2 * 4);
            let scale = scales[(batch * 130 + row) * 5 + k / 16];
            assert_eq!(
                view.value(batch, row, k),
                e2m1::decode(code) * ue4m3::decode(scale)
            );
        }
        let padding = matrix
            .tiled_scales()
            .iter()
            .filter(|&&byte| byte == PADDING);
        assert!(padding.count() >= shape.tiled_scales_size() - scales.len());
        let again = Nvfp4Matrix::from_tiled_scales(shape, elements, matrix.tiled_scales().to_vec());
        assert_eq!(again.unwrap(), matrix);
        assert_eq!(view.to_owned(), matrix);
    }
}
