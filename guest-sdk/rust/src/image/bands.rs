//! The rows of a picture in the host, read a band at a time: the model never holds the whole picture,
//! and what it holds stays in the processor's caches.

use std::ops::Range;

use super::four::BLOCK;
use super::resize::resize_rows;
use super::rows::Rows;
use super::window::{Sink, Size, Window};
use super::{Filter, Sample};
use crate::{Error, Result, Tensor};

/// The rows of a picture in the host, read as they are needed.
pub(super) struct Bands<'a, T> {
    tensor: &'a Tensor,
    dim: (usize, usize, usize),
    /// The rows that were read last.
    rows: Range<usize>,
    values: Vec<T>,
}

/// So many bytes are read at once: they stay in the processor's caches until they have been used,
/// and the few microseconds of a read are little beside the work on them.
const BAND: usize = 128 << 10;

impl<'a, T: Sample> Bands<'a, T> {
    /// A tensor of this height, width and number of channels.
    pub(super) fn new(tensor: &'a Tensor, dim: (usize, usize, usize)) -> Self {
        Self { tensor, dim, rows: 0..0, values: Vec::new() }
    }

    fn read(&mut self, first: usize, least: usize) -> Result<()> {
        let (height, width, channels) = self.dim;
        let row = width * channels * size_of::<T>();
        let most = (BAND / row.max(1)).next_multiple_of(4);
        let end = height.min(first.saturating_add(most)).max(least);
        // The old band's memory is there for the new one.
        self.values = Vec::new();
        let bytes = self.tensor.read(first as u64 * row as u64..end as u64 * row as u64)?;
        self.values = T::decode(bytes)?;
        self.rows = first..end;
        Ok(())
    }
}

impl<T: Sample> Rows<T> for Bands<'_, T> {
    fn dim(&self) -> (usize, usize, usize) {
        self.dim
    }

    fn four(&mut self, at: [usize; 4]) -> Result<[&[T]; 4]> {
        let [first, _, _, last] = at;
        if first < self.rows.start || last >= self.rows.end {
            self.read(first, last + 1)?;
        }
        let row = self.dim.1 * self.dim.2;
        let rows = at.map(|y| {
            let start = y.checked_sub(self.rows.start)?.checked_mul(row)?;
            self.values.get(start..start.checked_add(row)?)
        });
        match rows {
            [Some(a), Some(b), Some(c), Some(d)] => Ok([a, b, c, d]),
            _ => Err(Error::model(format!("an image has no rows {at:?}"))),
        }
    }
}

/// The rows of an image of any type.
pub(super) enum ImageRows<'a> {
    U8(Bands<'a, u8>),
    F32(Bands<'a, f32>),
    F64(Bands<'a, f64>),
}

impl ImageRows<'_> {
    /// See [`Pixels::peak`](super::Pixels::peak).
    pub(super) fn peak(&mut self) -> Result<f32> {
        let unit = match self {
            Self::U8(_) => false,
            Self::F32(rows) => all_within_one(rows)?,
            Self::F64(rows) => all_within_one(rows)?,
        };
        Ok(if unit { 1.0 } else { 255.0 })
    }

    /// See [`resize_rows`].
    pub(super) fn resize(
        &mut self,
        size: Size,
        window: Window,
        filter: Filter,
        sink: Sink,
    ) -> Result<()> {
        match self {
            Self::U8(rows) => resize_rows(rows, size, window, filter, sink),
            Self::F32(rows) => resize_rows(rows, size, window, filter, sink),
            Self::F64(rows) => resize_rows(rows, size, window, filter, sink),
        }
    }
}

fn all_within_one<T: Sample>(rows: &mut Bands<'_, T>) -> Result<bool> {
    let height = rows.dim.0;
    for y in (0..height).step_by(4) {
        let four = rows.four([0, 1, 2, 3].map(|row| (y + row).min(height - 1)))?;
        if !four.into_iter().all(within_one) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether no value exceeds 1.
pub(super) fn within_one<T: Sample>(values: &[T]) -> bool {
    let (blocks, rest) = values.as_chunks::<BLOCK>();
    // So many running maxima instead of one: the compiler makes vectors of them.
    let mut peaks = [0.0f32; BLOCK];
    for block in blocks {
        for (peak, value) in peaks.iter_mut().zip(block) {
            *peak = if value.to_f32() > *peak { value.to_f32() } else { *peak };
        }
    }
    let rest = rest.iter().map(|value| value.to_f32());
    peaks.into_iter().chain(rest).all(|value| value <= 1.0)
}
