//! Images: pixels as arrays, and the usual steps from a picture to a network's input.

mod area;
mod bands;
mod bytes;
mod fill;
mod four;
mod horizontal;
mod layout;
mod letterbox;
mod pairs;
mod plan;
mod resize;
mod rows;
mod sample;
mod taps;
mod transform;
mod vertical;
mod window;

use ndarray::{Array3, ArrayD, ArrayView3, Axis, Ix3};

pub use letterbox::Letterbox;
pub use resize::resize;
pub use sample::Sample;
pub use taps::Filter;
pub use transform::{Transform, center_crop};

use self::bands::{Bands, ImageRows, within_one};
use self::window::{Size, Window};
use crate::{DType, Element, Error, Result, Tensor};

/// One image: pixels of `u8`, `f32` or `f64`, rows top to bottom. The bytes stay in the host until
/// they are asked for.
#[derive(Debug)]
pub struct Image {
    tensor: Tensor,
    height: usize,
    width: usize,
    channels: usize,
}

impl Image {
    /// An image from `[height, width]` (grey) or `[height, width, channels]`.
    pub fn new(pixels: impl Into<Tensor>) -> Result<Self> {
        let tensor = pixels.into();
        let shape = tensor.shape();
        let (height, width, channels) = match shape[..] {
            [height, width] => (height, width, 1),
            [height, width, channels] => (height, width, channels),
            _ => return Err(Error::caller(format!("a tensor {shape:?} is no image"))),
        };
        if height == 0 || width == 0 || channels == 0 {
            return Err(Error::caller(format!("an image {shape:?} has no pixels")));
        }
        if !matches!(tensor.dtype(), DType::U8 | DType::F32 | DType::F64) {
            return Err(Error::caller(format!("an image has no pixels of {}", tensor.dtype())));
        }
        Ok(Self { tensor, height, width, channels })
    }

    /// The number of rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The number of columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The number of channels; 1 for a two-dimensional image.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The handle, for a graph that takes pixels as they are.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// The handle itself.
    pub fn into_tensor(self) -> Tensor {
        self.tensor
    }

    /// Copies the pixels into an array of the image's own rank. Fails where they are not `T`.
    pub fn array<T: Element>(&self) -> Result<ArrayD<T>> {
        self.tensor.to_array().map_err(|error| error.context("the image"))
    }

    /// Resizes an image of up to four channels, as [`resize`] does, without the whole picture in the
    /// model's memory.
    pub fn resize(&self, height: usize, width: usize, filter: Filter) -> Result<Array3<f32>> {
        let mut values = Vec::with_capacity(height * width * self.channels);
        let size = Size { height, width };
        self.rows().resize(size, Window::whole(size), filter, &mut |_, line| {
            values.extend_from_slice(line);
        })?;
        Ok(Array3::from_shape_vec((height, width, self.channels), values)?)
    }

    /// The rows, to be read as they are needed.
    fn rows(&self) -> ImageRows<'_> {
        let dim = (self.height, self.width, self.channels);
        match self.tensor.dtype() {
            DType::F32 => ImageRows::F32(Bands::new(&self.tensor, dim)),
            DType::F64 => ImageRows::F64(Bands::new(&self.tensor, dim)),
            _ => ImageRows::U8(Bands::new(&self.tensor, dim)),
        }
    }

    /// Copies the pixels into an array of three dimensions, whatever the type and rank.
    pub fn pixels(&self) -> Result<Pixels> {
        Ok(match self.tensor.dtype() {
            DType::F32 => Pixels::F32(self.cube()?),
            DType::F64 => Pixels::F64(self.cube()?),
            _ => Pixels::U8(self.cube()?),
        })
    }

    fn cube<T: Element>(&self) -> Result<Array3<T>> {
        let array = self.array()?;
        let array = if array.ndim() == 2 { array.insert_axis(Axis(2)) } else { array };
        Ok(array.into_dimensionality::<Ix3>()?)
    }
}

/// The pixels of an image, `[height, width, channels]`.
#[derive(Debug, Clone, PartialEq)]
pub enum Pixels {
    /// 0 to 255.
    U8(Array3<u8>),
    /// See [`Pixels::peak`] for the range.
    F32(Array3<f32>),
    /// See [`Pixels::peak`] for the range.
    F64(Array3<f64>),
}

impl Pixels {
    /// The value that stands for full brightness: 255, or 1 for an image of floats none of which
    /// exceeds 1. (Callers use both conventions for floats and do not say which.)
    pub fn peak(&self) -> f32 {
        fn unit<T: Sample>(pixels: ArrayView3<T>) -> bool {
            match pixels.as_slice() {
                Some(values) => within_one(values),
                None => pixels.iter().all(|value| value.to_f32() <= 1.0),
            }
        }
        let unit = match self {
            Pixels::U8(_) => false,
            Pixels::F32(pixels) => unit(pixels.view()),
            Pixels::F64(pixels) => unit(pixels.view()),
        };
        if unit { 1.0 } else { 255.0 }
    }

    /// `(height, width, channels)`.
    pub fn dim(&self) -> (usize, usize, usize) {
        match self {
            Pixels::U8(pixels) => pixels.dim(),
            Pixels::F32(pixels) => pixels.dim(),
            Pixels::F64(pixels) => pixels.dim(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, Array4};

    #[test]
    fn grey_images_have_one_channel() {
        let image = Image::new(Array2::<f64>::ones((3, 2))).unwrap();
        assert_eq!((image.height(), image.width(), image.channels()), (3, 2, 1));
        assert_eq!(image.array::<f64>().unwrap().ndim(), 2);
        assert_eq!(image.pixels().unwrap().dim(), (3, 2, 1));
    }

    #[test]
    fn what_is_no_image_is_refused() {
        assert!(Image::new(Array4::<u8>::zeros((1, 2, 2, 3))).is_err());
        assert!(Image::new(Array3::<u8>::zeros((2, 0, 3))).is_err());
        assert!(Image::new(Array2::<i32>::zeros((2, 2))).is_err());
    }

    #[test]
    fn floats_up_to_one_are_a_unit_range() {
        let mut pixels = Array3::<f32>::ones((2, 3, 3));
        assert_eq!(Pixels::F32(pixels.clone()).peak(), 1.0);
        pixels[[1, 2, 2]] = 1.5;
        assert_eq!(Pixels::F32(pixels).peak(), 255.0);
        assert_eq!(Pixels::U8(Array3::zeros((1, 1, 1))).peak(), 255.0);
    }
}
