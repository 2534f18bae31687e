//! Resizing by means: every new pixel is the mean of all the source pixels that it touches, each
//! counted in full, as torch's `interpolate(mode="area")` (adaptive average pooling) has it.
//!
//! Rows are added up first, value by value, which is all vectors; then, along that one line,
//! the pixels of each column's range.

use std::ops::Range;

use ndarray::{ArrayView3, Axis};

use super::Sample;
use super::resize::{Window, copy_row};

/// So many rows are added up at once: a sum is loaded and stored once for all of them.
const ROWS: usize = 4;

/// So many values of a row are added up at once.
const LANES: usize = 32;

/// A pixel is read as so many values, also where it has fewer channels.
const PIXEL: usize = 4;

/// Hands each row of `window` of the image resized to `size` to `sink`: its number and its values.
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
pub(super) fn area<T: Sample, const CHANNELS: usize>(
    image: ArrayView3<T>,
    size: (usize, usize),
    window: Window,
    mut sink: impl FnMut(usize, &[f32]),
) {
    let (height, width, _) = image.dim();
    let columns: Vec<_> =
        (window.left..window.left + window.width).map(|x| touched(x, width, size.1)).collect();
    let mut line = Line::<T>::new(width * CHANNELS);
    let mut values = vec![0.0f32; window.width * CHANNELS];
    for y in 0..window.height {
        let rows = touched(window.top + y, height, size.0);
        line.add_up(image, rows.clone());
        let (pixels, _) = values.as_chunks_mut::<CHANNELS>();
        match line.many {
            false => means(&line.sums, &columns, rows.len(), pixels),
            true => means(&line.totals, &columns, rows.len(), pixels),
        }
        sink(y, &values);
    }
}

/// The source positions that position `at` of `target` touches.
fn touched(at: usize, source: usize, target: usize) -> Range<usize> {
    let (at, source, target) = (at as u64, source as u64, target as u64);
    (at * source / target) as usize..((at + 1) * source).div_ceil(target) as usize
}

/// The sums of some rows' values, column by column.
struct Line<T: Sample> {
    /// Whole vectors, and the last pixel's.
    sums: Vec<T::Partial>,
    /// In the place of `sums` where so many rows do not fit into them.
    totals: Vec<f32>,
    many: bool,
    /// Rows that do not lie in one piece.
    copies: [Vec<T>; ROWS],
}

impl<T: Sample> Line<T> {
    fn new(length: usize) -> Self {
        let sums = vec![T::Partial::default(); length + PIXEL];
        let copies = std::array::from_fn(|_| vec![T::default(); length]);
        Self { sums, totals: vec![0.0; length + PIXEL], many: false, copies }
    }

    #[inline(always)]
    fn add_up(&mut self, image: ArrayView3<T>, rows: Range<usize>) {
        self.many = rows.len() > T::PARTIAL_ROWS;
        if !self.many {
            return self.add_to_sums(image, rows);
        }
        self.totals.fill(0.0);
        for start in rows.clone().step_by(T::PARTIAL_ROWS) {
            self.add_to_sums(image, start..rows.end.min(start + T::PARTIAL_ROWS));
            for (total, &sum) in self.totals.iter_mut().zip(&self.sums) {
                *total += sum.into();
            }
        }
    }

    /// Sets the sums to those of at most `PARTIAL_ROWS` rows.
    #[inline(always)]
    fn add_to_sums(&mut self, image: ArrayView3<T>, rows: Range<usize>) {
        for start in rows.clone().step_by(ROWS) {
            let first = start == rows.start;
            let mut copies = self.copies.iter_mut();
            let mut row = |at: usize| {
                let copy = copies.next().map(Vec::as_mut_slice).unwrap_or_default();
                match image.index_axis_move(Axis(0), start + at).to_slice() {
                    Some(values) => values,
                    None => {
                        copy_row(image, start + at, copy);
                        copy
                    }
                }
            };
            match rows.end - start {
                1 => add_rows(&mut self.sums, [row(0)], first),
                2 => add_rows(&mut self.sums, [row(0), row(1)], first),
                3 => add_rows(&mut self.sums, [row(0), row(1), row(2)], first),
                _ => add_rows(&mut self.sums, [row(0), row(1), row(2), row(3)], first),
            }
        }
    }
}

/// Adds rows to sums, or makes the sums of them.
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
fn add_rows<T: Sample, const COUNT: usize>(
    sums: &mut [T::Partial],
    rows: [&[T]; COUNT],
    first: bool,
) {
    let (blocks, _) = sums.as_chunks_mut::<LANES>();
    let chunks = rows.map(|row| row.as_chunks::<LANES>().0);
    let count = chunks.iter().fold(blocks.len(), |count, chunks| count.min(chunks.len()));
    for (at, block) in blocks[..count].iter_mut().enumerate() {
        let mut sum = if first { [T::Partial::default(); LANES] } else { *block };
        for chunks in &chunks {
            for (sum, value) in sum.iter_mut().zip(&chunks[at]) {
                *sum = value.add_to(*sum);
            }
        }
        *block = sum;
    }
    for (at, sum) in sums.iter_mut().enumerate().skip(count * LANES) {
        let before = if first { T::Partial::default() } else { *sum };
        *sum =
            rows.iter().filter_map(|row| row.get(at)).fold(before, |sum, value| value.add_to(sum));
    }
}

/// The means of the sums of `rows` rows over each range of pixels.
#[inline(always)]
fn means<S: Copy + Into<f32>, const CHANNELS: usize>(
    sums: &[S],
    columns: &[Range<usize>],
    rows: usize,
    means: &mut [[f32; CHANNELS]],
) {
    for (mean, columns) in means.iter_mut().zip(columns) {
        let mut total = [0.0f32; PIXEL];
        let mut rest = &sums[columns.start * CHANNELS..];
        for _ in columns.clone() {
            let Some((pixel, _)) = rest.split_first_chunk::<PIXEL>() else { break };
            for (total, &value) in total.iter_mut().zip(pixel) {
                *total += value.into();
            }
            rest = &rest[CHANNELS..];
        }
        let count = (rows * columns.len()) as f32;
        let total = total.map(|total| total / count);
        mean.copy_from_slice(&total[..CHANNELS]);
    }
}
