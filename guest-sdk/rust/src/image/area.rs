//! Resizing by means: every new pixel is the mean of all the source pixels that it touches, each
//! counted in full, as torch's `interpolate(mode="area")` (adaptive average pooling) has it.
//!
//! Rows are added up first, value by value, which is all vectors; then, along that one line,
//! the pixels of each column's range.

use ndarray::{ArrayView3, Axis};

use super::Sample;
use super::resize::{Window, copy_row};

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
    let mut source = vec![T::default(); width * CHANNELS];
    let mut partial = vec![T::Partial::default(); width * CHANNELS];
    // A pixel is read as a vector of four, the last one too.
    let mut totals = vec![0.0f32; width * CHANNELS + 4];
    let mut values = vec![0.0f32; window.width * CHANNELS];
    for y in 0..window.height {
        let (first, end) = touched(window.top + y, height, size.0);
        totals.fill(0.0);
        for start in (first..end).step_by(T::PARTIAL_ROWS) {
            partial.fill(T::Partial::default());
            for row in start..end.min(start.saturating_add(T::PARTIAL_ROWS)) {
                match image.index_axis(Axis(0), row).to_slice() {
                    Some(values) => add_row(&mut partial, values),
                    None => {
                        copy_row(image, row, &mut source);
                        add_row(&mut partial, &source);
                    }
                }
            }
            for (total, &sum) in totals.iter_mut().zip(&partial) {
                *total += sum.into();
            }
        }
        let (pixels, _) = values.as_chunks_mut::<CHANNELS>();
        for (pixel, &(left, right)) in pixels.iter_mut().zip(&columns) {
            let mut sum = [0.0f32; 4];
            let touched = &totals[left * CHANNELS..(right - 1) * CHANNELS + 4];
            for values in touched.windows(4).step_by(CHANNELS) {
                for (sum, value) in sum.iter_mut().zip(values) {
                    *sum += value;
                }
            }
            let count = ((end - first) * (right - left)) as f32;
            let mean = sum.map(|sum| sum / count);
            pixel.copy_from_slice(&mean[..CHANNELS]);
        }
        sink(y, &values);
    }
}

/// The source positions, first and end, that position `at` of `target` touches.
fn touched(at: usize, source: usize, target: usize) -> (usize, usize) {
    let (at, source, target) = (at as u64, source as u64, target as u64);
    ((at * source / target) as usize, ((at + 1) * source).div_ceil(target) as usize)
}

/// Adds a row's values to their sums.
#[inline(always)]
fn add_row<T: Sample>(sums: &mut [T::Partial], row: &[T]) {
    // Blocks make a long turn of the loop, see `BLOCK`.
    let (sums, last_sums) = sums.as_chunks_mut::<16>();
    let (row, last) = row.as_chunks::<16>();
    for (sums, values) in sums.iter_mut().zip(row) {
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum = value.add_to(*sum);
        }
    }
    for (sum, value) in last_sums.iter_mut().zip(last) {
        *sum = value.add_to(*sum);
    }
}
