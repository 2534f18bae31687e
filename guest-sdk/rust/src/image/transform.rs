//! From a picture of any size, type and number of channels to a network's input, in one pass.

use ndarray::{Array3, Array4, ArrayView3, Axis, s};

use super::fill::{fill, fill_to};
use super::layout::Levels;
use super::plan::{Plan, Target, center};
use super::resize::resize_rows;
use super::rows::ArrayRows;
use super::window::{Sink, Size};
use super::{Filter, Image, Sample};
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
    crop: Option<Size>,
    mean: [f32; 3],
    std: [f32; 3],
    filter: Filter,
    bgr: bool,
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
            bgr: false,
        }
    }

    /// Resizes so that the shorter side has this many pixels.
    pub fn shorter_side(self, pixels: usize) -> Self {
        Self { target: Target::ShorterSide(pixels), ..self }
    }

    /// Resizes to this size, whatever the proportions.
    pub fn resize(self, height: usize, width: usize) -> Self {
        Self { target: Target::Exactly(Size { height, width }), ..self }
    }

    /// Resizes to what fits into this size, keeping the proportions, puts it into the middle and
    /// fills the rest with the level `fill`, 0 to 255. [`Letterbox`] has the way back.
    pub fn letterbox(self, height: usize, width: usize, fill: f32) -> Self {
        Self { target: Target::Letterbox { canvas: Size { height, width }, fill }, ..self }
    }

    /// How to resize.
    pub fn filter(self, filter: Filter) -> Self {
        Self { filter, ..self }
    }

    /// Keeps the centre of the resized image.
    pub fn center_crop(self, height: usize, width: usize) -> Self {
        Self { crop: Some(Size { height, width }), ..self }
    }

    /// Gives each channel as `(value - mean) / std`, in the order of the channels that come out.
    pub fn normalize(self, mean: [f32; 3], std: [f32; 3]) -> Self {
        Self { mean, std, ..self }
    }

    /// Gives blue first.
    pub fn bgr(self) -> Self {
        Self { bgr: true, ..self }
    }

    /// The image as `[1, 3, height, width]`, the layout that most networks take.
    pub fn nchw(&self, image: &Image) -> Result<Array4<f32>> {
        let plan = self.plan(image.height(), image.width())?;
        let Size { height, width } = plan.canvas;
        let mut planes = vec![0.0; 3 * height * width];
        let mut rows = image.rows();
        let levels = self.levels(255.0 / rows.peak()?, plan.fill);
        self.planes(&plan, &levels, &mut planes, |sink| {
            rows.resize(plan.size, plan.window, self.filter, sink)
        })?;
        Ok(Array4::from_shape_vec((1, 3, height, width), planes)?)
    }

    /// The same of a part of an image, written to `planes`: for crops, which become one batch. The
    /// values count as they are, 0 to 255 or not. Fails where `planes` has another size.
    pub fn write_chw<T: Sample>(
        &self,
        pixels: ArrayView3<'_, T>,
        planes: &mut [f32],
    ) -> Result<()> {
        let (rows, columns, _) = pixels.dim();
        let plan = self.plan(rows, columns)?;
        let Size { height, width } = plan.canvas;
        if planes.len() != 3 * height * width {
            let found = planes.len();
            return Err(Error::model(format!("{found} values are no 3x{height}x{width} planes")));
        }
        self.planes(&plan, &self.levels(1.0, plan.fill), planes, |sink| {
            let mut rows = ArrayRows::new(pixels);
            resize_rows(&mut rows, plan.size, plan.window, self.filter, sink)
        })
    }

    /// The image as `[1, height, width, 3]`, the layout of networks that come from TensorFlow.
    pub fn nhwc(&self, image: &Image) -> Result<Array4<f32>> {
        Ok(self.hwc(image)?.insert_axis(Axis(0)))
    }

    /// The image as `[height, width, 3]`.
    pub fn hwc(&self, image: &Image) -> Result<Array3<f32>> {
        let plan = self.plan(image.height(), image.width())?;
        let Size { height, width } = plan.canvas;
        let mut rows = image.rows();
        let levels = self.levels(255.0 / rows.peak()?, plan.fill);
        // Row behind row, so that nothing is filled that is overwritten.
        let mut pixels = Vec::with_capacity(height * width);
        let mut row = vec![[0.0; 3]; plan.window.width];
        rows.resize(plan.size, plan.window, self.filter, &mut |y, line| {
            fill_to(&mut pixels, plan.row(y).start, levels.fill());
            levels.packed(line, row.as_flattened_mut());
            pixels.extend_from_slice(&row);
        })?;
        fill_to(&mut pixels, height * width, levels.fill());
        Ok(Array3::from_shape_vec((height, width, 3), pixels.into_flattened())?)
    }

    fn plan(&self, height: usize, width: usize) -> Result<Plan> {
        Plan::new(self.target, self.crop, Size { height, width })
    }

    fn levels(&self, gain: f32, fill: f32) -> Levels {
        Levels::new(self.mean, self.std, gain, fill / gain, self.bgr)
    }

    /// Fills the three planes with what `resize` gives.
    fn planes(
        &self,
        plan: &Plan,
        levels: &Levels,
        planes: &mut [f32],
        resize: impl FnOnce(Sink) -> Result<()>,
    ) -> Result<()> {
        let plane = plan.canvas.height * plan.canvas.width;
        let (first, rest) = planes.split_at_mut(plane);
        let (second, third) = rest.split_at_mut(plane);
        let mut planes = [first, second, third];
        for (plane, level) in planes.iter_mut().zip(levels.fill()) {
            let mut start = 0;
            for y in 0..plan.window.height {
                let row = plan.row(y);
                // Behind one row and before the next.
                fill(&mut plane[start..row.start], level);
                start = row.end;
            }
            fill(&mut plane[start..], level);
        }
        resize(&mut |y, line| {
            levels.planes(line, planes.each_mut().map(|plane| &mut plane[plan.row(y)]));
        })
    }
}

/// The centre of an image; nothing is copied. Fails where the image is smaller.
pub fn center_crop<T: Sample>(
    image: ArrayView3<'_, T>,
    height: usize,
    width: usize,
) -> Result<ArrayView3<'_, T>> {
    let (rows, columns, _) = image.dim();
    let window = center(Size { height: rows, width: columns }, Size { height, width })?;
    let (top, left) = (window.top, window.left);
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
