//! Where the rows of a picture come from: see also [`bands`](super::bands).

use ndarray::{ArrayView3, Axis};

use crate::Result;

/// A picture's rows.
pub(super) trait Rows<T> {
    /// Height, width, channels.
    fn dim(&self) -> (usize, usize, usize);

    /// Four rows, none above the one before it.
    fn four(&mut self, at: [usize; 4]) -> Result<[&[T]; 4]>;
}

/// The rows of an array of any layout.
pub(super) struct ArrayRows<'a, T> {
    array: ArrayView3<'a, T>,
    /// Rows that do not lie in one piece.
    copies: [Vec<T>; 4],
}

impl<'a, T> ArrayRows<'a, T> {
    pub(super) fn new(array: ArrayView3<'a, T>) -> Self {
        Self { array, copies: Default::default() }
    }
}

impl<T: Copy> Rows<T> for ArrayRows<'_, T> {
    fn dim(&self) -> (usize, usize, usize) {
        self.array.dim()
    }

    fn four(&mut self, at: [usize; 4]) -> Result<[&[T]; 4]> {
        let mut copies = self.copies.iter_mut();
        Ok(at.map(|y| {
            let row = self.array.index_axis_move(Axis(0), y);
            match (row.to_slice(), copies.next()) {
                (None, Some(copy)) => {
                    copy.clear();
                    copy.extend(row);
                    copy
                }
                (values, _) => values.unwrap_or_default(),
            }
        }))
    }
}
