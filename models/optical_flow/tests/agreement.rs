//! The flow is the one that OpenCV finds (see make_reference.py).

use optical_flow::flow::flow;
use optical_flow::frames::Frames;
use optical_flow::options::Options;
use tms_guest::Image;
use tms_guest::image::Pixels;
use tms_guest::ndarray::{Array3, Axis, concatenate, s};

/// Of every fourth row and column there is a reference.
const STEP: usize = 4;

fn file(name: &str) -> image::DynamicImage {
    image::open(format!("{}/tests/{name}.png", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn frame(name: &str) -> Array3<u8> {
    let frame = file(name).into_luma8();
    let (width, height) = frame.dimensions();
    Array3::from_shape_vec((height as usize, width as usize, 1), frame.into_raw()).unwrap()
}

/// Both frames as callers send them.
fn pair(first: &str, second: &str) -> Array3<u8> {
    let (first, second) = (frame(first), frame(second));
    concatenate(Axis(2), &[first.view(), second.view()]).unwrap()
}

/// The flow of an image, as its caller gets it.
fn found(image: Image, options: &Options) -> Array3<f32> {
    options.check().unwrap();
    let tensor = flow(&Frames::of(&image).unwrap(), options).into_tensor().unwrap();
    tensor.to_array().unwrap().into_dimensionality().unwrap()
}

/// The ends of the movements must be the reference's, to a tenth of a pixel on the average.
#[track_caller]
fn assert_agrees(flow: &Array3<f32>, name: &str) {
    let reference = file(name).into_rgb16();
    let errors = reference.enumerate_pixels().map(|(x, y, pixel)| {
        let way = |at: usize| f32::from(pixel.0[at]) / 256.0 - 128.0;
        let place = [y as usize * STEP, x as usize * STEP];
        let off = |at: usize| flow[[place[0], place[1], at]] - way(at);
        off(0).hypot(off(1))
    });
    let errors: Vec<f32> = errors.collect();
    let mean = errors.iter().sum::<f32>() / errors.len() as f32;
    println!("{name}: {mean} pixels on the average");
    assert!(mean <= 0.1, "{name}: {mean} pixels on the average");
}

#[test]
fn a_shift() {
    let flow = found(Image::new(pair("first", "shifted")).unwrap(), &Options::default());
    assert_agrees(&flow, "shifted_flow");
    // And it is the shift.
    let way = |at: usize| flow.index_axis(Axis(2), at).mean().unwrap();
    assert!((way(0) - 6.3).abs() < 0.5 && (way(1) + 3.6).abs() < 0.5, "{} {}", way(0), way(1));
}

#[test]
fn a_turn_that_enlarges() {
    let flow = found(Image::new(pair("first", "scaled")).unwrap(), &Options::default());
    assert_agrees(&flow, "scaled_flow");
}

#[test]
fn other_options() {
    let options = Options {
        pyramid_scale: 0.77,
        levels: 5,
        window: 20,
        iterations: 2,
        poly_n: 7,
        poly_sigma: 1.5,
    };
    let flow = found(Image::new(pair("first", "scaled")).unwrap(), &options);
    assert_agrees(&flow, "other_flow");
}

#[test]
fn floats_and_colours() {
    let grey = pair("first", "scaled");
    let unit = grey.mapv(|level| f32::from(level) / 255.0);
    assert_agrees(&found(Image::new(unit).unwrap(), &Options::default()), "scaled_flow");
    let (height, width, _) = grey.dim();
    let colour = Array3::from_shape_fn((height, width, 6), |(y, x, c)| grey[[y, x, c / 3]]);
    let colour = Image::new(colour).unwrap();
    assert!(matches!(colour.pixels().unwrap(), Pixels::U8(_)));
    assert_agrees(&found(colour, &Options::default()), "scaled_flow");
}

#[test]
fn frames_of_any_size_have_a_flow() {
    for (height, width) in [(1, 1), (1, 50), (40, 2), (33, 70)] {
        let frames =
            Array3::from_shape_fn((height, width, 2), |(y, x, c)| (y * 9 + x * 7 + c) as u8);
        for options in
            [Options::default(), Options { window: 255, levels: 20, ..Options::default() }]
        {
            let flow = found(Image::new(frames.clone()).unwrap(), &options);
            assert_eq!(flow.dim(), (height, width, 2));
            assert!(flow.iter().all(|way| way.is_finite()));
        }
    }
}

#[test]
fn a_frame_that_does_not_change_does_not_move() {
    let flow = found(Image::new(pair("first", "first")).unwrap(), &Options::default());
    // Around the edges nothing is known for sure.
    let middle = flow.slice(s![30..170, 30..226, ..]);
    assert!(middle.iter().all(|way| way.abs() < 1e-3));
}
