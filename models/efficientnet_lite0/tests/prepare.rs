//! The preprocessing is exactly what the network was checked with: Pillow's.

use efficientnet_lite0::{best, prepare};
use tms_guest::Image;
use tms_guest::ndarray::{Array3, Array4};

fn picture(name: &str) -> Array3<u8> {
    let path = format!("{}/tests/{name}", env!("CARGO_MANIFEST_DIR"));
    let picture = image::open(path).unwrap().into_rgb8();
    let (width, height) = picture.dimensions();
    Array3::from_shape_vec((height as usize, width as usize, 3), picture.into_raw()).unwrap()
}

/// The picture as Pillow resized and cropped it, normalised here (see make_prepared.py).
fn expected() -> Array4<f32> {
    let resized = picture("prepared.png");
    Array4::from_shape_fn((1, 3, 224, 224), |(_, channel, y, x)| {
        (f32::from(resized[[y, x, channel]]) - 127.0) / 128.0
    })
}

#[test]
fn bytes_are_prepared_as_pillow_does() {
    let prepared = prepare(&Image::new(picture("chelsea.png")).unwrap()).unwrap();
    assert!(prepared == expected());
}

#[test]
fn floats_of_both_ranges_are_within_a_level() {
    let wide = picture("chelsea.png").mapv(f64::from);
    let unit = picture("chelsea.png").mapv(|value| f32::from(value) / 255.0);
    for image in [Image::new(wide).unwrap(), Image::new(unit).unwrap()] {
        let prepared = prepare(&image).unwrap();
        // Bytes are rounded twice on the way, floats never.
        let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1.01 / 128.0;
        assert!(prepared.iter().zip(&expected()).all(close));
    }
}

#[test]
fn labels_follow_their_probabilities() {
    let labels = ["cat", "dog", "cup"];
    assert_eq!(best(&[0.2, 0.1, 0.7], &labels, 2), [("cup", 0.7), ("cat", 0.2)]);
}
