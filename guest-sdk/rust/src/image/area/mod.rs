//! Resizing by means: every new pixel is the mean of all the source pixels that it touches, each
//! counted in full, as torch's `interpolate(mode="area")` (adaptive average pooling) has it.
//!
//! Rows are added up first, value by value; then, along that one line, the pixels of each column's
//! range. The two types of value differ in both: [`bytes`], [`floats`].

use std::ops::Range;

use super::rows::Rows;
use super::window::{Sink, Size, Window};
use crate::Result;

mod bytes;
mod floats;

/// How values are added up.
pub trait Average: Sized {
    /// The sum of some rows' values in one place.
    type Total: Copy + Default;

    /// What is kept from one row of the result to the next, to be allocated once.
    type Room: Default;

    /// So many rows may be added up at once where a range has up to so many columns.
    fn most_rows(columns: usize) -> usize;

    /// Adds rows to totals, or makes the totals of the `first` ones.
    fn add_up<const COUNT: usize>(totals: &mut [Self::Total], rows: [&[Self]; COUNT], first: bool);

    /// Adds the totals of each range of columns to `sums`.
    fn add_ranges<const CHANNELS: usize>(
        totals: &[Self::Total],
        columns: &[Columns],
        room: &mut Self::Room,
        sums: &mut [[f32; PIXEL]],
    );

    /// The means of the totals of so many rows in each range. Behind the last there is room for
    /// a pixel of most channels.
    fn means<const CHANNELS: usize>(
        totals: &[Self::Total],
        columns: &[Columns],
        rows: f32,
        room: &mut Self::Room,
        line: &mut [f32],
    );
}

/// A pixel has so many sums, also where it has fewer channels: one vector.
pub const PIXEL: usize = 4;

/// The source columns that one column touches.
pub struct Columns {
    start: usize,
    end: usize,
    /// How many they are.
    count: f32,
}

/// Hands each row of `window` of the image resized to `size` to `sink`: its number and its values.
pub(super) fn area<T: Average, const CHANNELS: usize>(
    image: &mut dyn Rows<T>,
    size: Size,
    window: Window,
    sink: Sink,
) -> Result<()> {
    let (height, width, _) = image.dim();
    let columns = (window.left..window.left + window.width).map(|x| touched(x, width, size.width));
    let columns: Vec<Columns> = columns
        .map(|range| Columns { start: range.start, end: range.end, count: range.len() as f32 })
        .collect();
    let widest = columns.iter().map(|columns| columns.end - columns.start).max().unwrap_or(1);
    let most_rows = T::most_rows(widest);
    let mut totals = vec![T::Total::default(); width * CHANNELS + PIXEL];
    let mut room = T::Room::default();
    let length = window.width * CHANNELS;
    let mut line = vec![0.0f32; length + PIXEL];
    for y in 0..window.height {
        let rows = touched(window.top + y, height, size.height);
        let count = rows.len() as f32;
        if rows.len() <= most_rows {
            add_up(image, rows, &mut totals)?;
            T::means::<CHANNELS>(&totals, &columns, count, &mut room, &mut line);
        } else {
            // So many that they cannot be added up at once.
            let mut sums = vec![[0.0f32; PIXEL]; window.width];
            for start in rows.clone().step_by(most_rows) {
                add_up(image, start..rows.end.min(start + most_rows), &mut totals)?;
                T::add_ranges::<CHANNELS>(&totals, &columns, &mut room, &mut sums);
            }
            let pixels = line.as_chunks_mut::<CHANNELS>().0.iter_mut();
            for ((pixel, sum), columns) in pixels.zip(&sums).zip(&columns) {
                *pixel = std::array::from_fn(|channel| sum[channel] / (count * columns.count));
            }
        }
        sink(y, &line[..length]);
    }
    Ok(())
}

/// The source positions that position `at` of `target` touches.
fn touched(at: usize, source: usize, target: usize) -> Range<usize> {
    let (at, source, target) = (at as u64, source as u64, target as u64);
    (at * source / target) as usize..((at + 1) * source).div_ceil(target) as usize
}

/// Makes `totals` those of some rows, column by column.
fn add_up<T: Average>(
    image: &mut dyn Rows<T>,
    rows: Range<usize>,
    totals: &mut [T::Total],
) -> Result<()> {
    for start in rows.clone().step_by(4) {
        let first = start == rows.start;
        let [a, b, c, d] = image.four([0, 1, 2, 3].map(|row| (start + row).min(rows.end - 1)))?;
        match rows.end - start {
            1 => T::add_up(totals, [a], first),
            2 => T::add_up(totals, [a, b], first),
            3 => T::add_up(totals, [a, b, c], first),
            _ => T::add_up(totals, [a, b, c, d], first),
        }
    }
    Ok(())
}
