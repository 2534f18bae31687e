//! Resizing. The bilinear ways have two passes: along each row, then down the columns. With
//! [`Filter::Antialias`] the result for bytes is that of Pillow's `BILINEAR`, value for value.
//!
//! Made for speed: only the wanted window is computed, and every source row is read once.

use ndarray::{Array3, ArrayView3, Axis};

use super::area::area;
use super::taps::Taps;
use super::{Filter, Sample};
use crate::{Error, Result};

/// The wanted part of the resized image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) top: usize,
    pub(crate) left: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
}

/// Resizes an image of up to four channels. The values keep their range; those of a `u8` image
/// are whole numbers, but for [`Filter::Area`].
pub fn resize<T: Sample>(
    image: ArrayView3<T>,
    height: usize,
    width: usize,
    filter: Filter,
) -> Result<Array3<f32>> {
    let channels = image.dim().2;
    let mut values = Vec::with_capacity(height * width * channels);
    let window = Window { top: 0, left: 0, height, width };
    resize_rows(image, (height, width), window, filter, |_, line| {
        values.extend_from_slice(line);
    })?;
    Ok(Array3::from_shape_vec((height, width, channels), values)?)
}

/// Resizes to `size` and hands each row of `window` to `sink`: its number and its values.
pub(crate) fn resize_rows<T: Sample>(
    image: ArrayView3<T>,
    size: (usize, usize),
    window: Window,
    filter: Filter,
    sink: impl FnMut(usize, &[f32]),
) -> Result<()> {
    let (height, width, channels) = image.dim();
    if height == 0 || width == 0 || size.0 == 0 || size.1 == 0 {
        return Err(Error::caller("an image without pixels cannot be resized"));
    }
    match channels {
        1 => rows::<T, 1>(image, size, window, filter, sink),
        2 => rows::<T, 2>(image, size, window, filter, sink),
        3 => rows::<T, 3>(image, size, window, filter, sink),
        4 => rows::<T, 4>(image, size, window, filter, sink),
        _ => {
            let message = format!("an image of {channels} channels cannot be resized");
            return Err(Error::caller(message));
        }
    }
    Ok(())
}

fn rows<T: Sample, const CHANNELS: usize>(
    image: ArrayView3<T>,
    size: (usize, usize),
    window: Window,
    filter: Filter,
    sink: impl FnMut(usize, &[f32]),
) {
    let (height, width, _) = image.dim();
    if filter == Filter::Area {
        return area::<T, CHANNELS>(image, size, window, sink);
    }
    let columns = window.left..window.left + window.width;
    let columns = Taps::<T>::new(width, size.1, columns, filter);
    let rows = window.top..window.top + window.height;
    let rows = Taps::<T>::new(height, size.0, rows, filter);
    passes::<T, CHANNELS>(image, &columns, &rows, sink);
}

/// Both passes, row by row: a source row is shrunk when the first output row needs it, and kept in
/// a ring until the last one has used it.
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
fn passes<T: Sample, const CHANNELS: usize>(
    image: ArrayView3<T>,
    columns: &Taps<T>,
    rows: &Taps<T>,
    mut sink: impl FnMut(usize, &[f32]),
) {
    let length = columns.len() * CHANNELS;
    let mut ring = vec![T::Sum::default(); rows.reach() * length];
    let mut sums = vec![T::Sum::default(); length];
    let mut values = vec![0.0f32; length];
    // The last pixels' weights reach beyond the row, and so does a vector: let them find zeros.
    let padded = image.dim().1 + columns.reach() + size_of::<[u8; 16]>();
    let mut source = vec![[T::default(); CHANNELS]; padded];
    let mut next = 0;
    for (y, (first, weights)) in rows.iter().enumerate() {
        next = next.max(first);
        while next < first + weights.len() {
            copy_row(image, next, source.as_flattened_mut());
            let slot = next % rows.reach() * length;
            let (line, _) = ring[slot..slot + length].as_chunks_mut();
            T::shrink_row::<CHANNELS>(&source, columns.firsts(), columns.blocks(), line);
            next += 1;
        }
        sums.fill(T::Sum::default());
        for (offset, &weight) in weights.iter().enumerate() {
            let slot = (first + offset) % rows.reach() * length;
            add_weighted::<T>(&mut sums, &ring[slot..slot + length], weight);
        }
        for (value, &sum) in values.iter_mut().zip(&sums) {
            *value = T::finish(T::settle(sum));
        }
        sink(y, &values);
    }
}

/// Adds a line's values times `weight` to `sums`.
#[inline(always)]
fn add_weighted<T: Sample>(sums: &mut [T::Sum], line: &[T::Sum], weight: T::Sum) {
    // Blocks make a long turn of the loop, see `BLOCK`.
    let (sums, last_sums) = sums.as_chunks_mut::<16>();
    let (line, last) = line.as_chunks::<16>();
    for (sums, values) in sums.iter_mut().zip(line) {
        for (sum, &value) in sums.iter_mut().zip(values) {
            *sum = *sum + weight * value;
        }
    }
    for (sum, &value) in last_sums.iter_mut().zip(last) {
        *sum = *sum + weight * value;
    }
}

/// Copies row `y` to the start of `to`.
pub(super) fn copy_row<T: Sample>(image: ArrayView3<T>, y: usize, to: &mut [T]) {
    let row = image.index_axis(Axis(0), y);
    match row.as_slice() {
        Some(values) => to[..values.len()].copy_from_slice(values),
        None => to.iter_mut().zip(row).for_each(|(to, &from)| *to = from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array, array, s};

    #[test]
    fn the_same_size_changes_nothing() {
        let image = Array::from_shape_fn((5, 7, 3), |(y, x, c)| (y * 40 + x * 5 + c) as u8);
        let resized = resize(image.view(), 5, 7, Filter::Antialias).unwrap();
        assert_eq!(resized, image.mapv(f32::from));
    }

    #[test]
    fn halving_weighs_four_pixels() {
        let image = array![[[0u8], [10], [20], [30]]];
        // Pillow's answer for the same row.
        let resized = resize(image.view(), 1, 2, Filter::Antialias).unwrap();
        assert_eq!(resized.as_slice().unwrap(), [7.0, 23.0]);
        let nearest = resize(image.view(), 1, 2, Filter::Bilinear).unwrap();
        assert_eq!(nearest.as_slice().unwrap(), [5.0, 25.0]);
    }

    #[test]
    fn views_of_any_layout_and_channels_agree() {
        let image = Array::from_shape_fn((9, 8, 4), |(y, x, c)| (y * 7 + x * 3 + c) as f32);
        let whole = resize(image.view(), 4, 5, Filter::Antialias).unwrap();
        for channels in 1..4 {
            let part =
                resize(image.slice(s![.., .., ..channels]), 4, 5, Filter::Antialias).unwrap();
            assert_eq!(part, whole.slice(s![.., .., ..channels]));
        }
    }

    #[test]
    fn what_cannot_be_resized_is_an_error() {
        let image = Array3::<u8>::zeros((2, 2, 5));
        assert!(resize(image.view(), 2, 2, Filter::Antialias).is_err());
        let image = Array3::<u8>::zeros((2, 2, 3));
        assert!(resize(image.view(), 0, 2, Filter::Antialias).is_err());
    }
}
