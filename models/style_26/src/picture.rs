//! The picture on its way into the network and out of it.

use tms_guest::image::{Pixels, Transform};
use tms_guest::{Element, Error, Result, Tensor, bail_caller};

/// The network mirrors four pixels at each side, and cannot where there are no more.
const LEAST: usize = 5;
const CHANNELS: usize = 3;

/// The picture as the network takes it: `[1, 3, height, width]`, 0 to 1.
pub fn prepare(picture: &Pixels) -> Result<Tensor> {
    let (height, width, channels) = picture.dim();
    if height < LEAST || width < LEAST {
        bail_caller!(
            "a picture of at least {LEAST}x{LEAST} pixels can be painted, not {width}x{height}"
        );
    }
    if channels > 4 {
        bail_caller!("a picture has 1 to 4 channels, not {channels}");
    }
    let transform = Transform::new().normalize([0.0; 3], [picture.peak(); 3]);
    let mut planes = vec![0.0; CHANNELS * height * width];
    match picture {
        Pixels::U8(pixels) => transform.write_chw(pixels.view(), &mut planes),
        Pixels::F32(pixels) => transform.write_chw(pixels.view(), &mut planes),
        Pixels::F64(pixels) => transform.write_chw(pixels.view(), &mut planes),
    }?;
    Tensor::new(&[1, CHANNELS, height, width], &planes)
}

/// What the network made of the picture, with the picture's size, type and range.
pub fn painted(stylized: &Tensor, picture: &Pixels) -> Result<Tensor> {
    let (height, width, _) = picture.dim();
    let peak = picture.peak();
    match picture {
        // `as` keeps a byte between 0 and 255.
        Pixels::U8(_) => packed(stylized, height, width, |value| (value * peak + 0.5) as u8),
        Pixels::F32(_) => packed(stylized, height, width, |value| value * peak),
        Pixels::F64(_) => packed(stylized, height, width, |value| f64::from(value * peak)),
    }
}

/// The upper left of three planes as pixels: the network rounds sizes up to multiples of four.
fn packed<T: Element>(
    stylized: &Tensor,
    height: usize,
    width: usize,
    convert: impl Fn(f32) -> T,
) -> Result<Tensor> {
    let shape = stylized.shape();
    let (rows, columns) = match shape[..] {
        [1, CHANNELS, rows, columns] if rows >= height && columns >= width => (rows, columns),
        _ => {
            let message = format!("the network made {shape:?} of {height}x{width} pixels");
            return Err(Error::model(message));
        }
    };
    let values = stylized.to_vec::<f32>()?;
    let (red, others) = values.split_at(rows * columns);
    let (green, blue) = others.split_at(rows * columns);
    let mut pixels = Vec::with_capacity(height * width);
    for y in 0..height {
        let row = y * columns..y * columns + width;
        let colours = red[row.clone()].iter().zip(&green[row.clone()]).zip(&blue[row]);
        pixels.extend(colours.map(|((&red, &green), &blue)| [red, green, blue].map(&convert)));
    }
    Tensor::new(&[height, width, CHANNELS], &pixels.into_flattened())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tms_guest::ndarray::{Array3, Array4};
    use tms_guest::{DType, Fault};

    #[test]
    fn a_picture_survives_both_ways() {
        let picture = Array3::from_shape_fn((6, 9, 3), |(y, x, c)| (y * 40 + x * 3 + c) as u8);
        let pictures = [
            Pixels::F32(picture.mapv(|level| f32::from(level) / 255.0)),
            Pixels::F64(picture.mapv(f64::from)),
            Pixels::U8(picture),
        ];
        for picture in pictures {
            let planes = prepare(&picture).unwrap();
            assert_eq!(planes.shape(), [1, 3, 6, 9]);
            let values = planes.to_vec::<f32>().unwrap();
            assert!(values.iter().all(|value| (0.0..=1.0).contains(value)));
            let back = painted(&planes, &picture).unwrap();
            let wanted = match &picture {
                Pixels::U8(pixels) => (DType::U8, pixels.mapv(f64::from)),
                Pixels::F32(pixels) => (DType::F32, pixels.mapv(f64::from)),
                Pixels::F64(pixels) => (DType::F64, pixels.clone()),
            };
            assert_eq!(back.dtype(), wanted.0);
            let difference = back.to_f64().unwrap() - wanted.1.into_dyn();
            assert!(difference.iter().all(|difference| difference.abs() < 1e-4), "{difference}");
        }
    }

    #[test]
    fn grey_is_three_channels_and_alpha_is_none() {
        let fifths = |pixels| {
            let planes = prepare(&Pixels::U8(pixels)).unwrap().to_vec::<f32>().unwrap();
            planes.len() == 75 && planes.iter().all(|value| (value - 0.2).abs() < 1e-6)
        };
        assert!(fifths(Array3::from_elem((5, 5, 1), 51)));
        let alpha = |(_, _, channel)| if channel == 3 { 7 } else { 51 };
        assert!(fifths(Array3::from_shape_fn((5, 5, 4), alpha)));
    }

    #[test]
    fn what_is_rounded_up_is_cut() {
        let stylized = Array4::from_shape_fn((1, 3, 8, 12), |(_, c, y, x)| {
            (100 * c + 12 * y + x) as f32 / 255.0
        });
        let picture = Pixels::U8(Array3::zeros((7, 9, 1)));
        let back = painted(&(&stylized).into(), &picture).unwrap();
        assert_eq!(back.shape(), [7, 9, 3]);
        assert_eq!(back.to_vec::<u8>().unwrap()[(9 + 8) * 3..][..4], [20, 120, 220, 24]);
        let larger = Pixels::U8(Array3::zeros((9, 9, 1)));
        assert_eq!(painted(&stylized.into(), &larger).unwrap_err().fault(), Fault::Model);
    }

    #[test]
    fn what_the_network_cannot_take_is_the_callers_fault() {
        for dim in [(4, 9, 3), (9, 4, 3), (9, 9, 5)] {
            let error = prepare(&Pixels::U8(Array3::zeros(dim))).unwrap_err();
            assert_eq!(error.fault(), Fault::Caller, "{error}");
        }
    }
}
