//! Bilinear resizing, in two passes: along each row, then down the columns. With
//! [`Filter::Antialias`] the result for bytes is that of Pillow's `BILINEAR`, value for value.
//!
//! Made for speed: only the wanted window is computed, every source row is read once, and a pixel
//! travels as four lanes (`LANES`), which is one vector; grey images take one lane.

use ndarray::{Array3, ArrayView3, Axis};

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
/// are whole numbers.
pub fn resize<T: Sample>(
    image: ArrayView3<T>,
    height: usize,
    width: usize,
    filter: Filter,
) -> Result<Array3<f32>> {
    let channels = image.dim().2;
    let mut resized = Array3::zeros((height, width, channels));
    let window = Window {
        top: 0,
        left: 0,
        height,
        width,
    };
    resize_rows(
        image,
        (height, width),
        window,
        channels,
        filter,
        |y, line, lanes| {
            let row = resized.row_mut_slice(y);
            for (pixel, values) in row.chunks_exact_mut(channels).zip(line.chunks_exact(lanes)) {
                pixel.copy_from_slice(&values[..channels]);
            }
        },
    )?;
    Ok(resized)
}

/// A row of an image as a slice.
trait RowSlice {
    fn row_mut_slice(&mut self, y: usize) -> &mut [f32];
}

impl RowSlice for Array3<f32> {
    fn row_mut_slice(&mut self, y: usize) -> &mut [f32] {
        let (_, width, channels) = self.dim();
        let row = width * channels;
        // A new array is contiguous; the empty slice is never seen.
        self.as_slice_mut()
            .map_or(&mut [], |values| &mut values[y * row..(y + 1) * row])
    }
}

/// Resizes the first `channels` channels to `size` and hands each row of `window` to `sink`: its
/// number, its values and how many values (lanes) a pixel has, of which the first `channels` count.
pub(crate) fn resize_rows<T: Sample>(
    image: ArrayView3<T>,
    size: (usize, usize),
    window: Window,
    channels: usize,
    filter: Filter,
    sink: impl FnMut(usize, &[f32], usize),
) -> Result<()> {
    let (height, width, stored) = image.dim();
    if channels == 0 || channels > 4 || channels > stored {
        return Err(Error::caller(format!(
            "an image of {stored} channels cannot be resized"
        )));
    }
    if height == 0 || width == 0 || size.0 == 0 || size.1 == 0 {
        return Err(Error::caller("an image without pixels cannot be resized"));
    }
    let columns = Taps::<T>::new(
        width,
        size.1,
        window.left..window.left + window.width,
        filter,
    );
    let rows = Taps::<T>::new(
        height,
        size.0,
        window.top..window.top + window.height,
        filter,
    );
    if channels == 1 {
        passes::<T, 1>(image, &columns, &rows, sink);
    } else {
        passes::<T, 4>(image, &columns, &rows, sink);
    }
    Ok(())
}

/// Both passes, row by row: a source row is shrunk when the first output row needs it, and kept in
/// a ring until the last one has used it.
fn passes<T: Sample, const LANES: usize>(
    image: ArrayView3<T>,
    columns: &Taps<T>,
    rows: &Taps<T>,
    mut sink: impl FnMut(usize, &[f32], usize),
) {
    let (_, width, stored) = image.dim();
    let line = columns.len() * LANES;
    let mut ring = vec![T::Sum::default(); rows.reach() * line];
    let mut sums = vec![T::Sum::default(); line];
    let mut values = vec![0.0f32; line];
    // A last pixel has fewer values than lanes: let it read zeros.
    let mut source = vec![T::default(); width * stored + LANES];
    let mut next = 0;
    for (y, (first, weights)) in rows.iter().enumerate() {
        next = next.max(first);
        while next < first + weights.len() {
            copy_row(image, next, &mut source);
            let slot = next % rows.reach() * line;
            shrink_row::<T, LANES>(&source, stored, columns, &mut ring[slot..slot + line]);
            next += 1;
        }
        sums.fill(T::Sum::default());
        for (offset, &weight) in weights.iter().enumerate() {
            let slot = (first + offset) % rows.reach() * line;
            for (sum, &value) in sums.iter_mut().zip(&ring[slot..slot + line]) {
                *sum = *sum + weight * value;
            }
        }
        for (value, &sum) in values.iter_mut().zip(&sums) {
            *value = T::finish(T::settle(sum));
        }
        sink(y, &values, LANES);
    }
}

/// Copies row `y` to the start of `to`.
fn copy_row<T: Sample>(image: ArrayView3<T>, y: usize, to: &mut [T]) {
    let row = image.index_axis(Axis(0), y);
    match row.as_slice() {
        Some(values) => to[..values.len()].copy_from_slice(values),
        None => to.iter_mut().zip(row).for_each(|(to, &from)| *to = from),
    }
}

/// The pass along one row; `stored` values of `source` are a pixel.
fn shrink_row<T: Sample, const LANES: usize>(
    source: &[T],
    stored: usize,
    columns: &Taps<T>,
    line: &mut [T::Sum],
) {
    let (pixels, _) = line.as_chunks_mut::<LANES>();
    for (pixel, (first, weights)) in pixels.iter_mut().zip(columns.iter()) {
        let mut sums = [T::Sum::default(); LANES];
        let covered = source[first * stored..].array_windows::<LANES>();
        for (values, &weight) in covered.step_by(stored).zip(weights) {
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum = *sum + weight * value.widen();
            }
        }
        *pixel = sums.map(T::settle);
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
