//! Resizing. The bilinear ways have two passes: along each row, then down the columns. With
//! [`Filter::Antialias`] the result for bytes is that of Pillow's `BILINEAR`, value for value.
//!
//! Made for speed: only the wanted window is computed, and every source row is read once.

use ndarray::{Array3, ArrayView3};

use super::area::area;
use super::four::BLOCK;
use super::horizontal::Horizontal;
use super::rows::{ArrayRows, Rows};
use super::taps::Taps;
use super::vertical::Vertical;
use super::window::{Sink, Size, Window};
use super::{Filter, Sample};
use crate::{Error, Result};

/// Resizes an image of up to four channels. The values keep their range; those of a `u8` image
/// are whole numbers, but for [`Filter::Area`].
pub fn resize<T: Sample>(
    image: ArrayView3<T>,
    height: usize,
    width: usize,
    filter: Filter,
) -> Result<Array3<f32>> {
    let (_, _, channels) = image.dim();
    let size = Size { height, width };
    let mut values = Vec::with_capacity(height * width * channels);
    let mut rows = ArrayRows::new(image);
    resize_rows(&mut rows, size, Window::whole(size), filter, &mut |_, line| {
        values.extend_from_slice(line);
    })?;
    Ok(Array3::from_shape_vec((height, width, channels), values)?)
}

/// Resizes to `size` and hands each row of `window` to `sink`.
pub(super) fn resize_rows<T: Sample>(
    image: &mut dyn Rows<T>,
    size: Size,
    window: Window,
    filter: Filter,
    sink: Sink,
) -> Result<()> {
    let (height, width, channels) = image.dim();
    if height == 0 || width == 0 || size.height == 0 || size.width == 0 {
        return Err(Error::caller("an image without pixels cannot be resized"));
    }
    if !(1..=4).contains(&channels) {
        return Err(Error::caller(format!("an image of {channels} channels cannot be resized")));
    }
    if size == (Size { height, width }) {
        return copy(image, window, sink);
    }
    if filter == Filter::Area {
        return match channels {
            1 => area::<T, 1>(image, size, window, sink),
            2 => area::<T, 2>(image, size, window, sink),
            3 => area::<T, 3>(image, size, window, sink),
            _ => area::<T, 4>(image, size, window, sink),
        };
    }
    let columns = window.left..window.left + window.width;
    let taps = Taps::new(width, size.width, columns, filter);
    let horizontal = Horizontal::new(&taps, width, channels);
    let rows = window.top..window.top + window.height;
    let vertical = Vertical::new(&Taps::new(height, size.height, rows, filter));
    passes(image, &horizontal, &vertical, window.width * channels, sink)
}

/// Both passes, row by row: four source rows are shrunk when the first output row needs them, and
/// kept in a ring until the last one has used them.
fn passes<T: Sample>(
    image: &mut dyn Rows<T>,
    horizontal: &Horizontal<T::Arithmetic>,
    vertical: &Vertical<T::Arithmetic>,
    length: usize,
    sink: Sink,
) -> Result<()> {
    // Whole blocks: what is behind the last value is computed and not looked at.
    let blocks = length.div_ceil(BLOCK);
    let slots = vertical.most_bundles();
    let mut ring = vec![[Default::default(); BLOCK]; slots * blocks];
    let mut sums = vec![[Default::default(); BLOCK]; blocks];
    let mut values = vec![[0.0f32; BLOCK]; blocks];
    let mut pairs = horizontal.room();
    let mut next = 0;
    for y in 0..vertical.len() {
        let bundles = vertical.bundles(y);
        while next < bundles.end {
            let line = ring[next % slots * blocks..][..blocks].as_flattened_mut();
            horizontal.shrink(image.four(vertical.rows(next))?, &mut pairs, &mut line[..length]);
            next += 1;
        }
        let line = |bundle: usize| &ring[bundle % slots * blocks..][..blocks];
        vertical.sum(y, line, &mut sums, &mut values);
        sink(y, &values.as_flattened()[..length]);
    }
    Ok(())
}

/// The window of an image that is not resized.
fn copy<T: Sample>(image: &mut dyn Rows<T>, window: Window, sink: Sink) -> Result<()> {
    let channels = image.dim().2;
    let mut values = vec![0.0f32; window.width * channels];
    for y in (0..window.height).step_by(4) {
        let count = (window.height - y).min(4);
        let rows = image.four([0, 1, 2, 3].map(|row| window.top + y + row.min(count - 1)))?;
        for (offset, row) in rows[..count].iter().enumerate() {
            T::convert(&row[window.left * channels..][..values.len()], &mut values);
            sink(y + offset, &values);
        }
    }
    Ok(())
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
