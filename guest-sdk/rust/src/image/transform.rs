//! From a picture of any size, type and number of channels to a network's input, in one pass.

use ndarray::{Array3, Array4, ArrayView3, Axis, s};

use super::layout::Levels;
use super::letterbox::Letterbox;
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
    bgr: bool,
}

#[derive(Debug, Clone, Copy)]
enum Target {
    Unchanged,
    ShorterSide(usize),
    Size(usize, usize),
    Letterbox(usize, usize, f32),
}

/// What is computed for an image of a given size.
struct Plan {
    /// The size to resize to, and the part of it that is wanted.
    size: (usize, usize),
    window: Window,
    /// The size of the result, and where in it the window goes.
    canvas: (usize, usize),
    top: usize,
    left: usize,
    /// The level of what the window does not cover.
    fill: f32,
}

impl Plan {
    /// Where row `y` of the window is in one plane of the result.
    fn row(&self, y: usize) -> std::ops::Range<usize> {
        let start = (self.top + y) * self.canvas.1 + self.left;
        start..start + self.window.width
    }

    fn covers_all(&self) -> bool {
        (self.window.height, self.window.width) == self.canvas
    }
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
        Self { target: Target::Size(height, width), ..self }
    }

    /// Resizes to what fits into this size, keeping the proportions, puts it into the middle and
    /// fills the rest with the level `fill`, 0 to 255. [`Letterbox`] has the way back.
    pub fn letterbox(self, height: usize, width: usize, fill: f32) -> Self {
        Self { target: Target::Letterbox(height, width, fill), ..self }
    }

    /// How to resize.
    pub fn filter(self, filter: Filter) -> Self {
        Self { filter, ..self }
    }

    /// Keeps the centre of the resized image.
    pub fn center_crop(self, height: usize, width: usize) -> Self {
        Self { crop: Some((height, width)), ..self }
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
        let (plan, levels, pixels) = self.prepare(image)?;
        let (height, width) = plan.canvas;
        let mut planes = vec![0.0; 3 * height * width];
        match &pixels {
            Pixels::U8(pixels) => self.planes(pixels.view(), &plan, levels, &mut planes),
            Pixels::F32(pixels) => self.planes(pixels.view(), &plan, levels, &mut planes),
            Pixels::F64(pixels) => self.planes(pixels.view(), &plan, levels, &mut planes),
        }?;
        Ok(Array4::from_shape_vec((1, 3, height, width), planes)?)
    }

    /// The same of a part of an image, written to `planes`: for crops, which become one batch. The
    /// values count as they are, 0 to 255 or not. Fails where `planes` has another size.
    pub fn write_chw<T: Sample>(
        &self,
        pixels: ArrayView3<'_, T>,
        planes: &mut [f32],
    ) -> Result<()> {
        let plan = self.plan(pixels.dim())?;
        let (height, width) = plan.canvas;
        if planes.len() != 3 * height * width {
            let found = planes.len();
            return Err(Error::model(format!("{found} values are no 3x{height}x{width} planes")));
        }
        self.planes(pixels, &plan, Levels::new(self.mean, self.std, 1.0, self.bgr), planes)
    }

    /// The image as `[1, height, width, 3]`, the layout of networks that come from TensorFlow.
    pub fn nhwc(&self, image: &Image) -> Result<Array4<f32>> {
        Ok(self.hwc(image)?.insert_axis(Axis(0)))
    }

    /// The image as `[height, width, 3]`.
    pub fn hwc(&self, image: &Image) -> Result<Array3<f32>> {
        let (plan, levels, pixels) = self.prepare(image)?;
        let (height, width) = plan.canvas;
        let mut values = vec![0.0; height * width * 3];
        match &pixels {
            Pixels::U8(pixels) => self.packed(pixels.view(), &plan, levels, &mut values),
            Pixels::F32(pixels) => self.packed(pixels.view(), &plan, levels, &mut values),
            Pixels::F64(pixels) => self.packed(pixels.view(), &plan, levels, &mut values),
        }?;
        Ok(Array3::from_shape_vec((height, width, 3), values)?)
    }

    fn prepare(&self, image: &Image) -> Result<(Plan, Levels, Pixels)> {
        let pixels = image.pixels()?;
        let plan = self.plan(pixels.dim())?;
        let gain = 255.0 / pixels.peak();
        let fill = plan.fill / gain;
        let plan = Plan { fill, ..plan };
        Ok((plan, Levels::new(self.mean, self.std, gain, self.bgr), pixels))
    }

    fn planes<T: Sample>(
        &self,
        pixels: ArrayView3<'_, T>,
        plan: &Plan,
        levels: Levels,
        planes: &mut [f32],
    ) -> Result<()> {
        let plane = plan.canvas.0 * plan.canvas.1;
        if !plan.covers_all() {
            for channel in 0..3 {
                planes[channel * plane..][..plane].fill(levels.level(channel, plan.fill));
            }
        }
        resize_rows(pixels, plan.size, plan.window, self.filter, |y, line| {
            for channel in 0..3 {
                levels.plane(line, channel, &mut planes[channel * plane..][plan.row(y)]);
            }
        })
    }

    fn packed<T: Sample>(
        &self,
        pixels: ArrayView3<'_, T>,
        plan: &Plan,
        levels: Levels,
        values: &mut [f32],
    ) -> Result<()> {
        let (values, _) = values.as_chunks_mut::<3>();
        if !plan.covers_all() {
            values.fill([0, 1, 2].map(|channel| levels.level(channel, plan.fill)));
        }
        resize_rows(pixels, plan.size, plan.window, self.filter, |y, line| {
            levels.packed(line, values[plan.row(y)].as_flattened_mut());
        })
    }

    fn plan(&self, (height, width, _): (usize, usize, usize)) -> Result<Plan> {
        let whole = |(height, width)| Plan {
            size: (height, width),
            window: Window { top: 0, left: 0, height, width },
            canvas: (height, width),
            top: 0,
            left: 0,
            fill: 0.0,
        };
        let plan = match self.target {
            Target::Unchanged => whole((height, width)),
            Target::Size(height, width) => whole((height, width)),
            Target::ShorterSide(wanted) => {
                let scale = wanted as f64 / height.min(width) as f64;
                // Halves go to the even number, as Python's `round` does.
                let scaled = |side: usize| (side as f64 * scale).round_ties_even() as usize;
                whole((scaled(height), scaled(width)))
            }
            Target::Letterbox(rows, columns, fill) => {
                let fit = Letterbox::new((height, width), (rows, columns))?;
                let canvas = (rows, columns);
                Plan { canvas, top: fit.top, left: fit.left, fill, ..whole(fit.size) }
            }
        };
        let Some((height, width)) = self.crop else { return Ok(plan) };
        if matches!(self.target, Target::Letterbox(..)) {
            return Err(Error::model("a letterbox has its size already and takes no crop"));
        }
        let (rows, columns) = plan.size;
        if height > rows || width > columns {
            return Err(Error::model(format!(
                "a crop of {height}x{width} from an image of {rows}x{columns}"
            )));
        }
        let (top, left) = ((rows - height) / 2, (columns - width) / 2);
        let window = Window { top, left, height, width };
        Ok(Plan { window, canvas: (height, width), ..plan })
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
