//! Parts of the picture, resized to a network's input, as batches.

use std::ops::Range;

use tms_guest::image::{Filter, Pixels, Sample, Transform};
use tms_guest::ndarray::{ArrayView3, s};
use tms_guest::{Result, Tensor};

/// So many crops are one call of a network: a bound for memory, far above what faces need.
pub const BATCH: usize = 256;

/// What all three networks were trained on: means of pixels, about -1 to 1.
pub fn transform(height: usize, width: usize) -> Transform {
    let transform = Transform::new().resize(height, width).filter(Filter::Area);
    transform.normalize([127.5; 3], [128.0; 3])
}

/// The part of the picture that a box covers: rows and columns; none where it lies outside.
pub fn window(
    sides: [f32; 4],
    height: usize,
    width: usize,
) -> Option<(Range<usize>, Range<usize>)> {
    // Boxes count pixels from 1. Towards zero, as `as` has it, and so do infinities find an end.
    let range = |first: f32, end: f32, length: usize| {
        let first = (first as i64).max(1) - 1;
        let end = (end as i64).min(length as i64);
        (first < end).then_some(first as usize..end as usize)
    };
    Some((range(sides[1], sides[3], height)?, range(sides[0], sides[2], width)?))
}

/// The parts of the picture under `boxes`, none of them outside, as `[boxes, 3, side, side]`.
pub fn crops(picture: &Pixels, boxes: &[[f32; 4]], side: usize) -> Result<Tensor> {
    fn fill<T: Sample>(
        picture: ArrayView3<'_, T>,
        boxes: &[[f32; 4]],
        side: usize,
        values: &mut [f32],
    ) -> Result<()> {
        let (height, width, _) = picture.dim();
        let transform = transform(side, side);
        for (sides, planes) in boxes.iter().zip(values.chunks_exact_mut(3 * side * side)) {
            if let Some((rows, columns)) = window(*sides, height, width) {
                transform.write_chw(picture.slice(s![rows, columns, ..]), planes)?;
            }
        }
        Ok(())
    }
    let mut values = vec![0.0; boxes.len() * 3 * side * side];
    match picture {
        Pixels::U8(picture) => fill(picture.view(), boxes, side, &mut values),
        Pixels::F32(picture) => fill(picture.view(), boxes, side, &mut values),
        Pixels::F64(picture) => fill(picture.view(), boxes, side, &mut values),
    }?;
    Tensor::new(&[boxes.len(), 3, side, side], &values)
}

/// The whole picture at another size, as `[1, 3, height, width]`.
pub fn resized(picture: &Pixels, height: usize, width: usize) -> Result<Tensor> {
    let mut values = vec![0.0; 3 * height * width];
    let transform = transform(height, width);
    match picture {
        Pixels::U8(picture) => transform.write_chw(picture.view(), &mut values),
        Pixels::F32(picture) => transform.write_chw(picture.view(), &mut values),
        Pixels::F64(picture) => transform.write_chw(picture.view(), &mut values),
    }?;
    Tensor::new(&[1, 3, height, width], &values)
}

/// The picture with levels of 0 to 255, whatever the caller's were.
pub fn levels(picture: Pixels) -> Pixels {
    let gain = 255.0 / picture.peak();
    match picture {
        Pixels::F32(picture) if gain != 1.0 => Pixels::F32(picture.mapv_into(|v| v * gain)),
        Pixels::F64(picture) if gain != 1.0 => {
            Pixels::F64(picture.mapv_into(|value| value * f64::from(gain)))
        }
        picture => picture,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_cut_at_the_edges() {
        assert_eq!(window([1.0, 1.0, 10.0, 5.0], 20, 20), Some((0..5, 0..10)));
        assert_eq!(window([-3.5, 2.9, 30.0, 4.2], 20, 25), Some((1..4, 0..25)));
        assert_eq!(window([26.0, 1.0, 40.0, 5.0], 20, 25), None);
        assert_eq!(window([f32::NAN, 1.0, f32::INFINITY, 5.0], 20, 25), Some((0..5, 0..25)));
        assert_eq!(window([f32::NEG_INFINITY, 1.0, f32::NAN, 5.0], 20, 25), None);
    }
}
