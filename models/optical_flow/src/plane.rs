//! Something of every pixel: a grey level, a movement, a polynomial.

/// Values row by row, from top to bottom.
#[derive(Debug, Clone, PartialEq)]
pub struct Plane<T> {
    width: usize,
    values: Vec<T>,
}

impl<T: Copy + Default> Plane<T> {
    /// Defaults.
    pub fn new(height: usize, width: usize) -> Self {
        Self { width, values: vec![T::default(); height * width] }
    }

    /// From values of whole rows of `width`, at least one.
    pub fn of(width: usize, values: Vec<T>) -> Self {
        Self { width, values }
    }

    /// How many rows there are.
    pub fn height(&self) -> usize {
        self.values.len() / self.width
    }

    /// How many columns there are.
    pub fn width(&self) -> usize {
        self.width
    }

    /// One row.
    pub fn row(&self, y: usize) -> &[T] {
        &self.values[y * self.width..][..self.width]
    }

    /// One row, to be written.
    pub fn row_mut(&mut self, y: usize) -> &mut [T] {
        &mut self.values[y * self.width..][..self.width]
    }

    /// All rows, to be written.
    pub fn rows_mut(&mut self) -> impl Iterator<Item = &mut [T]> {
        self.values.chunks_exact_mut(self.width)
    }

    /// All values.
    pub fn values(&self) -> &[T] {
        &self.values
    }
}
