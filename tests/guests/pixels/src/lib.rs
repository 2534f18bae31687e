//! Reads every pixel, resizes to 224x224 and answers the mean of what came out: the work that the
//! benches compare with the same code run natively.

use tms_guest::image::{Filter, Sample, resize};
use tms_guest::ndarray::ArrayView3;
use tms_guest::prelude::*;

struct Mean;

impl Model for Mean {
    fn init() -> Result<Self> {
        Ok(Self)
    }

    fn describe(&self) -> Description {
        Description::image()
    }

    fn run(&mut self, input: Input, _args: &Args) -> Result<Output> {
        Output::json(&mean(&input.image()?)?)
    }
}

/// The mean of all values of the image at 224x224.
pub fn mean(image: &Image) -> Result<f64> {
    use tms_guest::image::Pixels;
    match image.pixels()? {
        Pixels::U8(pixels) => mean_of(pixels.view()),
        Pixels::F32(pixels) => mean_of(pixels.view()),
        Pixels::F64(pixels) => mean_of(pixels.view()),
    }
}

fn mean_of<T: Sample>(pixels: ArrayView3<T>) -> Result<f64> {
    let small = resize(pixels, 224, 224, Filter::Antialias)?;
    // A row's sum is exact in f32 for whole levels; the sum of all of them would not be.
    let rows = small.outer_iter().map(|row| f64::from(row.sum()));
    Ok(rows.sum::<f64>() / small.len() as f64)
}

tms_guest::export!(Mean);

#[cfg(test)]
mod tests {
    use super::*;
    use tms_guest::ndarray::Array3;

    #[test]
    fn a_plain_image_is_its_own_mean() {
        let image = Image::new(Array3::<u8>::from_elem((100, 150, 3), 7)).unwrap();
        assert_eq!(mean(&image).unwrap(), 7.0);
    }
}
