//! Both frames out of the one image that holds them, in grey of 0 to 255.

use tms_guest::image::{Pixels, Sample};
use tms_guest::ndarray::Array3;
use tms_guest::{Error, Image, Result, bail_caller};

use crate::plane::Plane;

/// Two frames of one size.
#[derive(Debug)]
pub struct Frames {
    pub first: Plane<f32>,
    pub second: Plane<f32>,
}

impl Frames {
    /// The first frame is in the first half of the channels.
    pub fn of(image: &Image) -> Result<Self> {
        // How certain a movement is counts in levels: 1 is white where no float exceeds it.
        let pixels = image.pixels()?;
        let gain = 255.0 / pixels.peak();
        match pixels {
            Pixels::U8(pixels) => split(&pixels, gain),
            Pixels::F32(pixels) => split(&pixels, gain),
            Pixels::F64(pixels) => split(&pixels, gain),
        }
    }
}

fn split<T: Sample>(pixels: &Array3<T>, gain: f32) -> Result<Frames> {
    let (_, width, channels) = pixels.dim();
    let values = pixels.as_slice().ok_or_else(|| Error::model("the image is not in rows"))?;
    if !finite(values) {
        bail_caller!("the image holds values that are not finite");
    }
    let plane = |values: Vec<f32>| Plane::of(width, values);
    match channels {
        2 => {
            let (pixels, _) = values.as_chunks::<2>();
            let of = |at: usize| plane(pixels.iter().map(|p| p[at].to_f32() * gain).collect());
            Ok(Frames { first: of(0), second: of(1) })
        }
        6 => {
            let (pixels, _) = values.as_chunks::<6>();
            let of = |at: usize| {
                let grey = |p: &[T; 6]| grey([p[at], p[at + 1], p[at + 2]].map(T::to_f32)) * gain;
                plane(pixels.iter().map(grey).collect())
            };
            Ok(Frames { first: of(0), second: of(3) })
        }
        _ => bail_caller!(
            "both frames come as one image of 2 channels (grey, grey) or 6 (RGB, RGB), not {channels}"
        ),
    }
}

/// How bright a colour is, as television has it (BT.601) and OpenCV.
fn grey([red, green, blue]: [f32; 3]) -> f32 {
    0.299 * red + 0.587 * green + 0.114 * blue
}

/// Sums of others would be no numbers either, far around.
fn finite<T: Sample>(values: &[T]) -> bool {
    values.iter().all(|value| value.to_f32().is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tms_guest::Fault;

    #[test]
    fn two_greys_and_two_colours() {
        let grey = Array3::from_shape_fn((2, 3, 2), |(y, x, c)| (100 * c + 10 * y + x) as u8);
        let frames = Frames::of(&Image::new(grey).unwrap()).unwrap();
        assert_eq!(frames.first.values(), [0.0, 1.0, 2.0, 10.0, 11.0, 12.0]);
        assert_eq!(frames.second.row(1), [110.0, 111.0, 112.0]);
        let colour =
            Array3::from_shape_fn((1, 1, 6), |(_, _, c)| [1.0, 0.0, 0.0, 0.5, 0.5, 0.5][c]);
        let frames = Frames::of(&Image::new(colour).unwrap()).unwrap();
        let close = |a: f32, b: f32| (a - b).abs() < 1e-4;
        assert!(close(frames.first.values()[0], 0.299 * 255.0), "{frames:?}");
        assert!(close(frames.second.values()[0], 127.5), "{frames:?}");
    }

    #[test]
    fn what_holds_no_two_frames_is_the_callers_fault() {
        for image in [
            Image::new(Array3::<u8>::zeros((4, 4, 3))).unwrap(),
            Image::new(Array3::<f32>::from_elem((4, 4, 2), f32::NAN)).unwrap(),
            Image::new(Array3::<f64>::from_elem((4, 4, 6), f64::MAX)).unwrap(),
        ] {
            assert_eq!(Frames::of(&image).unwrap_err().fault(), Fault::Caller);
        }
    }
}
