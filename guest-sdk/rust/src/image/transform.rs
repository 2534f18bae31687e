//! From a picture of any size, type and number of channels to a network's input, in one pass.

use ndarray::{Array3, Array4, ArrayView3, s};

use super::resize::{Window, resize_rows};
use super::{Filter, Image, Pixels, Sample};
use crate::{Error, Result};

/// The steps of a network's preprocessing: resize, crop the centre, normalise.
///
/// Grey images become RGB with equal channels, an alpha channel is dropped, and floats of the range
/// 0 to 1 are brought to 0 to 255 (see [`Pixels::peak`]), so `mean` and `std` are in that range.
///
/// ```
/// use tms_guest::image::Transform;
/// // ImageNet the way torchvision does it.
/// Transform::new()
///     .shorter_side(256)
///     .center_crop(224, 224)
///     .normalize([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]);
/// ```
#[derive(Debug, Clone)]
pub struct Transform {
    target: Target,
    crop: Option<(usize, usize)>,
    mean: [f32; 3],
    std: [f32; 3],
    filter: Filter,
}

#[derive(Debug, Clone, Copy)]
enum Target {
    Unchanged,
    ShorterSide(usize),
    Size(usize, usize),
}

impl Default for Transform {
    fn default() -> Self {
        Self::new()
    }
}

impl Transform {
    /// Changes nothing but the channels.
    pub fn new() -> Self {
        Self {
            target: Target::Unchanged,
            crop: None,
            mean: [0.0; 3],
            std: [1.0; 3],
            filter: Filter::default(),
        }
    }

    /// Resizes so that the shorter side has this many pixels.
    pub fn shorter_side(self, pixels: usize) -> Self {
        Self { target: Target::ShorterSide(pixels), ..self }
    }

    /// Resizes to this size, whatever the proportions.
    pub fn resize(self, height: usize, width: usize) -> Self {
        Self { target: Target::Size(height, width), ..self }
    }

    /// How to resize.
    pub fn filter(self, filter: Filter) -> Self {
        Self { filter, ..self }
    }

    /// Keeps the centre of the resized image.
    pub fn center_crop(self, height: usize, width: usize) -> Self {
        Self { crop: Some((height, width)), ..self }
    }

    /// Gives each channel as `(value - mean) / std`.
    pub fn normalize(self, mean: [f32; 3], std: [f32; 3]) -> Self {
        Self { mean, std, ..self }
    }

    /// The image as `[1, 3, height, width]`, the layout that most networks take.
    pub fn nchw(&self, image: &Image) -> Result<Array4<f32>> {
        let pixels = image.pixels()?;
        let (size, window) = self.plan(&pixels)?;
        let plane = window.height * window.width;
        let mut planes = vec![0.0f32; 3 * plane];
        self.rows(&pixels, size, window, |y, line, gain| {
            let row = y * window.width..(y + 1) * window.width;
            for channel in 0..3 {
                let plane = &mut planes[channel * plane..][row.clone()];
                self.spread(line, channel, gain, plane);
            }
        })?;
        Ok(Array4::from_shape_vec((1, 3, window.height, window.width), planes)?)
    }

    /// The image as `[height, width, 3]`.
    pub fn hwc(&self, image: &Image) -> Result<Array3<f32>> {
        let pixels = image.pixels()?;
        let (size, window) = self.plan(&pixels)?;
        let mut values = vec![0.0f32; window.height * window.width * 3];
        let mut plane = vec![0.0f32; window.width];
        self.rows(&pixels, size, window, |y, line, gain| {
            let row = &mut values[y * window.width * 3..][..window.width * 3];
            for channel in 0..3 {
                self.spread(line, channel, gain, &mut plane);
                for (pixel, &value) in row.chunks_exact_mut(3).zip(&plane) {
                    pixel[channel] = value;
                }
            }
        })?;
        Ok(Array3::from_shape_vec((window.height, window.width, 3), values)?)
    }

    /// One channel of a row, normalised.
    fn spread(&self, line: &[f32], channel: usize, gain: f32, row: &mut [f32]) {
        let (mean, std) = (self.mean[channel], self.std[channel]);
        let (factor, less) = (gain / std, mean / std);
        // Grey (with or without alpha) is red, green and blue.
        match line.len() / row.len().max(1) {
            1 => copy_channel::<1>(line, 0, factor, less, row),
            2 => copy_channel::<2>(line, 0, factor, less, row),
            3 => copy_channel::<3>(line, channel, factor, less, row),
            _ => copy_channel::<4>(line, channel, factor, less, row),
        }
    }

    /// The size to resize to, and the part of it that is wanted.
    fn plan(&self, pixels: &Pixels) -> Result<((usize, usize), Window)> {
        let (height, width, _) = pixels.dim();
        let size = match self.target {
            Target::Unchanged => (height, width),
            Target::Size(height, width) => (height, width),
            Target::ShorterSide(wanted) => {
                let scale = wanted as f64 / height.min(width) as f64;
                // Halves go to the even number, as Python's `round` does.
                let scaled = |side: usize| (side as f64 * scale).round_ties_even() as usize;
                (scaled(height), scaled(width))
            }
        };
        let (height, width) = self.crop.unwrap_or(size);
        if height > size.0 || width > size.1 {
            let (rows, columns) = size;
            return Err(Error::model(format!(
                "a crop of {height}x{width} from an image of {rows}x{columns}"
            )));
        }
        let (top, left) = ((size.0 - height) / 2, (size.1 - width) / 2);
        Ok((size, Window { top, left, height, width }))
    }

    /// Calls `sink` with each finished row: its number, its values and their factor to 0..255.
    fn rows(
        &self,
        pixels: &Pixels,
        size: (usize, usize),
        window: Window,
        mut sink: impl FnMut(usize, &[f32], f32),
    ) -> Result<()> {
        let gain = 255.0 / pixels.peak();
        let sink = |y, line: &[f32]| sink(y, line, gain);
        match pixels {
            Pixels::U8(pixels) => resize_rows(pixels.view(), size, window, self.filter, sink),
            Pixels::F32(pixels) => resize_rows(pixels.view(), size, window, self.filter, sink),
            Pixels::F64(pixels) => resize_rows(pixels.view(), size, window, self.filter, sink),
        }
    }
}

/// `value * factor - less` of one of `STORED` values a pixel.
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
fn copy_channel<const STORED: usize>(
    line: &[f32],
    channel: usize,
    factor: f32,
    less: f32,
    row: &mut [f32],
) {
    let (pixels, _) = line.as_chunks::<STORED>();
    // Eight in a turn of the loop, see `BLOCK`.
    let (blocks, last) = row.as_chunks_mut::<8>();
    let (pixel_blocks, last_pixels) = pixels.as_chunks::<8>();
    for (row, pixels) in blocks.iter_mut().zip(pixel_blocks) {
        *row = pixels.map(|pixel| pixel[channel] * factor - less);
    }
    for (to, pixel) in last.iter_mut().zip(last_pixels) {
        *to = pixel[channel] * factor - less;
    }
}

/// The centre of an image; nothing is copied. Fails where the image is smaller.
pub fn center_crop<T: Sample>(
    image: ArrayView3<'_, T>,
    height: usize,
    width: usize,
) -> Result<ArrayView3<'_, T>> {
    let (rows, columns, _) = image.dim();
    if height > rows || width > columns {
        return Err(Error::model(format!(
            "a crop of {height}x{width} from an image of {rows}x{columns}"
        )));
    }
    let (top, left) = ((rows - height) / 2, (columns - width) / 2);
    Ok(image.slice_move(s![top..top + height, left..left + width, ..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array, Axis, concatenate};

    fn picture() -> Array3<u8> {
        Array::from_shape_fn((30, 45, 3), |(y, x, c)| ((y * 7 + x * 3 + c * 50) % 256) as u8)
    }

    fn transform() -> Transform {
        Transform::new().shorter_side(16).center_crop(12, 14).normalize([127.0; 3], [128.0; 3])
    }

    #[test]
    fn a_window_equals_the_crop_of_the_whole() {
        let image = Image::new(picture()).unwrap();
        let whole = Transform::new().shorter_side(16).hwc(&image).unwrap();
        assert_eq!(whole.dim(), (16, 24, 3));
        let crop = center_crop(whole.view(), 12, 14).unwrap();
        let window = Transform::new().shorter_side(16).center_crop(12, 14);
        assert_eq!(window.hwc(&image).unwrap(), crop);
        let planes = transform().nchw(&image).unwrap();
        assert_eq!(planes.dim(), (1, 3, 12, 14));
        assert_eq!(planes[[0, 2, 5, 6]], (crop[[5, 6, 2]] - 127.0) / 128.0);
    }

    #[test]
    fn alpha_is_dropped_and_grey_is_spread() {
        let opaque = Image::new(picture()).unwrap();
        let alpha = Array3::from_elem((30, 45, 1), 9u8);
        let with_alpha = concatenate![Axis(2), picture(), alpha];
        let with_alpha = Image::new(with_alpha).unwrap();
        assert_eq!(transform().nchw(&with_alpha).unwrap(), transform().nchw(&opaque).unwrap());

        let grey = picture().index_axis(Axis(2), 1).to_owned();
        let spread = Array3::from_shape_fn((30, 45, 3), |(y, x, _)| grey[[y, x]]);
        let (grey, spread) = (Image::new(grey).unwrap(), Image::new(spread).unwrap());
        assert_eq!(transform().nchw(&grey).unwrap(), transform().nchw(&spread).unwrap());
    }

    #[test]
    fn floats_of_either_range_give_the_same() {
        let bytes = transform().nchw(&Image::new(picture()).unwrap()).unwrap();
        let wide = transform().nchw(&Image::new(picture().mapv(f64::from)).unwrap()).unwrap();
        let unit = picture().mapv(|value| f32::from(value) / 255.0);
        let unit = transform().nchw(&Image::new(unit).unwrap()).unwrap();
        // Only the rounding to whole levels, twice, is missing.
        let level = 1.01 / 128.0;
        assert!(bytes.iter().zip(&wide).all(|(a, b)| (a - b).abs() <= level));
        assert!(wide.iter().zip(&unit).all(|(a, b)| (a - b).abs() <= 1e-5));
    }

    #[test]
    fn impossible_steps_are_errors() {
        let image = Image::new(picture()).unwrap();
        assert!(Transform::new().center_crop(31, 1).nchw(&image).is_err());
        assert!(Transform::new().resize(0, 4).nchw(&image).is_err());
        let five = Image::new(Array3::<u8>::zeros((2, 2, 5))).unwrap();
        assert!(Transform::new().nchw(&five).is_err());
    }
}
