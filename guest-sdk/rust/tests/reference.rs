//! Pixels and scores against what Pillow and numpy make of the same (see make_reference.py).

use serde_json::Value;
use tms_guest::boxes::{Nms, Overlap};
use tms_guest::image::{Filter, Image, Transform, resize};
use tms_guest::ndarray::{Array3, s};
use tms_guest::scores::{softmax, top_k};
use tms_guest::serde_json;

const MEAN: [f32; 3] = [123.675, 116.28, 103.53];
const STD: [f32; 3] = [58.395, 57.12, 57.375];

fn reference() -> Value {
    serde_json::from_str(include_str!("reference.json")).unwrap()
}

fn floats(values: &Value) -> Vec<f32> {
    values.as_array().unwrap().iter().map(|value| value.as_f64().unwrap() as f32).collect()
}

fn places(values: &Value) -> Vec<usize> {
    values.as_array().unwrap().iter().map(|value| value.as_u64().unwrap() as usize).collect()
}

fn picture() -> Array3<u8> {
    Array3::from_shape_fn((37, 53, 3), |(y, x, c)| {
        ((y * 7919 + x * 10473 + c * 129_971 + y * x * 31) % 256) as u8
    })
}

#[track_caller]
fn assert_close<'a>(got: impl IntoIterator<Item = &'a f32>, name: &str, tolerance: f32) {
    let got: Vec<f32> = got.into_iter().copied().collect();
    let wanted = floats(&reference()[name]);
    assert_eq!(got.len(), wanted.len(), "{name}");
    for (at, (got, wanted)) in got.iter().zip(&wanted).enumerate() {
        assert!((got - wanted).abs() <= tolerance, "{name} {at}: {got}, not {wanted}");
    }
}

#[track_caller]
fn assert_resized(height: usize, width: usize, filter: Filter, name: &str, tolerance: f32) {
    let resized = resize(picture().view(), height, width, filter).unwrap();
    assert_close(&resized, name, tolerance);
}

#[test]
fn bytes_are_resized_as_pillow_does_level_for_level() {
    assert_resized(9, 11, Filter::Antialias, "pillow_smaller", 0.0);
    assert_resized(41, 60, Filter::Antialias, "pillow_larger", 0.0);
}

#[test]
fn floats_are_resized_without_rounding() {
    let floats = picture().mapv(f32::from);
    let resized = resize(floats.view(), 15, 14, Filter::Bilinear).unwrap();
    assert_close(&resized, "bilinear", 1e-3);
    // Bytes are rounded after each direction.
    assert_resized(15, 14, Filter::Bilinear, "bilinear", 1.01);
}

#[test]
fn areas_are_means() {
    assert_resized(9, 11, Filter::Area, "area_smaller", 1e-4);
    assert_resized(40, 12, Filter::Area, "area_mixed", 1e-4);
    let floats = picture().mapv(f64::from);
    assert_close(&resize(floats.view(), 40, 12, Filter::Area).unwrap(), "area_mixed", 1e-3);
}

#[test]
fn areas_of_tall_pictures_do_not_overflow() {
    // More rows than a column's partial sum holds.
    let tall = Array3::from_elem((2000, 1, 4), 255u8);
    let mean = resize(tall.view(), 1, 1, Filter::Area).unwrap();
    assert_eq!(mean.into_raw_vec_and_offset().0, [255.0; 4]);
    let part = tall.slice(s![..;-3, .., ..2]);
    assert_eq!(resize(part, 2, 2, Filter::Area).unwrap(), Array3::from_elem((2, 2, 2), 255.0));
}

#[test]
fn a_crop_is_normalised_as_numpy_does() {
    let image = Image::new(picture()).unwrap();
    let transform = Transform::new().shorter_side(24).center_crop(16, 20).normalize(MEAN, STD);
    assert_close(&transform.nchw(&image).unwrap(), "cropped_nchw", 2e-5);
    let mut planes = vec![0.0; 3 * 16 * 20];
    transform.write_chw(picture().view(), &mut planes).unwrap();
    assert_close(&planes, "cropped_nchw", 2e-5);
    assert!(transform.write_chw(picture().view(), &mut planes[1..]).is_err());
}

#[test]
fn letterboxes_in_both_layouts_and_orders() {
    let image = Image::new(picture()).unwrap();
    let transform = Transform::new().letterbox(24, 30, 114.0).normalize(MEAN, STD);
    assert_close(&transform.nchw(&image).unwrap(), "letterbox_nchw", 2e-5);
    let bgr = transform.clone().bgr().nhwc(&image).unwrap();
    assert_eq!(bgr.dim(), (1, 24, 30, 3));
    assert_close(&bgr, "letterbox_nhwc_bgr", 2e-5);
    let planes = transform.bgr().nchw(&image).unwrap();
    assert_eq!(planes.permuted_axes([0, 2, 3, 1]), bgr);
    assert!(Transform::new().letterbox(9, 9, 0.0).center_crop(2, 2).nchw(&image).is_err());
}

#[test]
fn unit_floats_and_other_channels_are_letterboxed_alike() {
    let transform = Transform::new().letterbox(24, 30, 114.0).normalize(MEAN, STD);
    let unit = Image::new(picture().mapv(|value| f32::from(value) / 255.0)).unwrap();
    let wide = Image::new(picture().mapv(f32::from)).unwrap();
    let (unit, wide) = (transform.nchw(&unit).unwrap(), transform.nchw(&wide).unwrap());
    assert!(unit.iter().zip(&wide).all(|(a, b)| (a - b).abs() <= 1e-4));
    let with_alpha =
        Array3::from_shape_fn(
            (37, 53, 4),
            |(y, x, c)| {
                if c == 3 { 77 } else { picture()[[y, x, c]] }
            },
        );
    let with_alpha = Image::new(with_alpha).unwrap();
    assert_close(&transform.nchw(&with_alpha).unwrap(), "letterbox_nchw", 2e-5);
    assert_close(&transform.bgr().nhwc(&with_alpha).unwrap(), "letterbox_nhwc_bgr", 2e-5);
    let grey = Image::new(picture().slice_move(s![.., .., 1])).unwrap();
    let packed = Transform::new().nhwc(&grey).unwrap();
    let planes = Transform::new().bgr().nchw(&grey).unwrap();
    assert_eq!(planes.permuted_axes([0, 2, 3, 1]), packed);
}

#[test]
fn of_overlapping_boxes_the_best_are_kept() {
    let reference = reference();
    let boxes = reference["boxes"].as_array().unwrap().iter();
    let boxes: Vec<[f32; 4]> = boxes.map(|sides| floats(sides).try_into().unwrap()).collect();
    let scores = floats(&reference["scores"]);
    assert_eq!(Nms::new(0.4).keep(&boxes, &scores), places(&reference["nms_union"]));
    let inside = Nms::new(0.6).overlap(Overlap::Minimum).border(1.0);
    assert_eq!(inside.keep(&boxes, &scores), places(&reference["nms_minimum"]));
    assert!(Nms::new(0.5).keep(&[], &[]).is_empty());
    // Without area nothing overlaps.
    assert_eq!(Nms::new(0.5).keep(&[[1.0; 4]; 2], &[0.1, 0.2]), [1, 0]);
}

#[test]
fn probabilities_and_the_best_of_them() {
    let reference = reference();
    let logits = floats(&reference["logits"]);
    let probabilities = softmax(&logits);
    for (got, wanted) in probabilities.iter().zip(floats(&reference["softmax"])) {
        assert!((got - wanted).abs() <= 2e-6 * wanted, "{got}, not {wanted}");
    }
    let best: Vec<usize> = top_k(&probabilities, 10).iter().map(|(place, _)| *place).collect();
    assert_eq!(best, places(&reference["top"]));
}
