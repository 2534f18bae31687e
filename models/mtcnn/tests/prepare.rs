//! What the networks are shown is what the definition says (see make_reference.py).

use mtcnn::crops::{crops, levels, resized};
use tms_guest::image::Pixels;
use tms_guest::ndarray::Array3;
use tms_guest::serde_json::Value;
use tms_guest::{Image, Tensor};

fn picture() -> Array3<u8> {
    let path = format!("{}/tests/people_collage.png", env!("CARGO_MANIFEST_DIR"));
    let picture = image::open(path).unwrap().into_rgb8();
    let (width, height) = picture.dimensions();
    Array3::from_shape_vec((height as usize, width as usize, 3), picture.into_raw()).unwrap()
}

fn reference() -> Value {
    tms_guest::serde_json::from_str(include_str!("reference.json")).unwrap()
}

fn floats(values: &Value) -> Vec<f32> {
    values.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
}

#[track_caller]
fn assert_close(got: &Tensor, wanted: &[f32]) {
    let got = got.to_vec::<f32>().unwrap();
    assert_eq!(got.len(), wanted.len());
    for (at, (got, wanted)) in got.iter().zip(wanted).enumerate() {
        assert!((got - wanted).abs() <= 2e-5, "{at}: {got}, not {wanted}");
    }
}

#[test]
fn the_picture_at_another_size() {
    let level = &reference()["level"];
    let wanted = floats(&level["values"]);
    let bytes = Pixels::U8(picture());
    let floats = Pixels::F32(picture().mapv(f32::from));
    let unit = Pixels::F64(picture().mapv(|value| f64::from(value) / 255.0));
    for picture in [bytes, floats, levels(unit)] {
        let input = resized(&picture, 14, 24).unwrap();
        assert_eq!(input.shape(), [1, 3, 14, 24]);
        assert_close(&input, &wanted);
    }
}

#[test]
fn crops_at_the_edge_and_enlarged() {
    let reference = reference();
    let (mut boxes, mut wanted) = (Vec::new(), Vec::new());
    for crop in reference["crops"].as_array().unwrap() {
        boxes.push(<[f32; 4]>::try_from(floats(&crop["box"])).unwrap());
        wanted.extend(floats(&crop["values"]));
    }
    let input = crops(&Pixels::U8(picture()), &boxes, 24).unwrap();
    assert_eq!(input.shape(), [2, 3, 24, 24]);
    assert_close(&input, &wanted);
}

#[test]
fn grey_pictures_have_three_equal_channels() {
    let grey = Image::new(picture().slice_move(tms_guest::ndarray::s![.., .., 0])).unwrap();
    let input = resized(&grey.pixels().unwrap(), 10, 10).unwrap();
    let planes = input.reshape(&[3, 100]).unwrap().to_vec::<f32>().unwrap();
    assert_eq!(planes[..100], planes[100..200]);
    assert_eq!(planes[..100], planes[200..]);
}
