//! Two frames in, the movement of every pixel out: work in the sandbox alone, much of it.

use tms::grpc::proto::server::NumpyImage;
use tonic::{Code, Status};

use crate::harness::{Caller, Setup, assert_refused, image, pixels, repository};

const MODEL: &str = "optical_flow";

/// Of every fourth row and column there is a reference.
const STEP: u32 = 4;

fn file(name: &str) -> image::DynamicImage {
    image::open(repository().join(format!("models/optical_flow/tests/{name}.png"))).unwrap()
}

/// Two frames as one image, each with this many equal channels.
fn frames(first: &str, second: &str, channels: usize) -> NumpyImage {
    let (first, second) = (file(first).into_luma8(), file(second).into_luma8());
    let (width, height) = first.dimensions();
    let levels = first.as_raw().iter().zip(second.as_raw());
    let data = levels.flat_map(|(first, second)| {
        [*first, *second].into_iter().flat_map(move |level| std::iter::repeat_n(level, channels))
    });
    image(height as i32, width as i32, 2 * channels as i32, "uint8", data.collect())
}

async fn flow(caller: &Caller, frames: NumpyImage, args: &str) -> Result<NumpyImage, Status> {
    let reply = caller.image_to_image(MODEL, frames, args).await?;
    assert_eq!(reply.data, "null");
    Ok(reply.image.unwrap())
}

/// The flow must be the reference's, to a tenth of a pixel on the average.
#[track_caller]
fn assert_agrees(flow: &NumpyImage, reference: &str) {
    assert_eq!((flow.channels, flow.dtype.as_str()), (2, "float32"));
    let (values, _) = flow.data.as_chunks();
    let values: Vec<f32> = values.iter().map(|value| f32::from_le_bytes(*value)).collect();
    assert_eq!(values.len(), 2 * (flow.height * flow.width) as usize);
    let reference = file(reference).into_rgb16();
    let size = ((flow.height as u32).div_ceil(STEP), (flow.width as u32).div_ceil(STEP));
    assert_eq!((reference.height(), reference.width()), size);
    let errors = reference.enumerate_pixels().map(|(x, y, pixel)| {
        let place = 2 * (y * STEP * flow.width as u32 + x * STEP) as usize;
        let off = |at: usize| values[place + at] - (f32::from(pixel.0[at]) / 256.0 - 128.0);
        off(0).hypot(off(1))
    });
    let errors: Vec<f32> = errors.collect();
    let mean = errors.iter().sum::<f32>() / errors.len() as f32;
    assert!(mean <= 0.1, "{mean} pixels on the average");
}

#[tokio::test]
async fn movements_are_those_that_opencv_finds() {
    let server = start!(Setup::new().example(MODEL));
    let caller = server.caller().await;
    let shifted = flow(&caller, frames("first", "shifted", 1), "").await.unwrap();
    assert_agrees(&shifted, "shifted_flow");
    let scaled = flow(&caller, frames("first", "scaled", 1), "").await.unwrap();
    assert_agrees(&scaled, "scaled_flow");
    // Red, green and blue of the same level are grey.
    let colour = flow(&caller, frames("first", "scaled", 3), "").await.unwrap();
    assert_agrees(&colour, "scaled_flow");
    let args = r#"{"pyramid_scale": 0.77, "levels": 5, "window": 20, "iterations": 2, "poly_n": 7,
                   "poly_sigma": 1.5}"#;
    let other = flow(&caller, frames("first", "scaled", 1), args).await.unwrap();
    assert_agrees(&other, "other_flow");
    assert_eq!(caller.input_shape(MODEL).await.unwrap(), serde_json::Value::Null);
}

#[tokio::test]
async fn floats_of_both_ranges() {
    let server = start!(Setup::new().example(MODEL));
    let caller = server.caller().await;
    let bytes = frames("first", "shifted", 1);
    let unit = bytes.data.iter().flat_map(|v| (f32::from(*v) / 255.0).to_le_bytes()).collect();
    let unit = image(bytes.height, bytes.width, 2, "float32", unit);
    assert_agrees(&flow(&caller, unit, "").await.unwrap(), "shifted_flow");
    let wide = bytes.data.iter().flat_map(|v| f64::from(*v).to_le_bytes()).collect();
    let wide = image(bytes.height, bytes.width, 2, "float64", wide);
    assert_agrees(&flow(&caller, wide, "").await.unwrap(), "shifted_flow");
}

#[tokio::test]
async fn frames_and_arguments_that_are_none() {
    let server = start!(Setup::new().example(MODEL));
    let caller = server.caller().await;
    let refused = flow(&caller, pixels(20, 30, 3), "").await;
    let message = "model `optical_flow`: both frames come as one image of 2 channels (grey, grey) or 6 \
                   (RGB, RGB), not 3";
    assert_refused(refused, Code::InvalidArgument, message);
    let cases = [
        (r#"{"window": 1}"#, "args: window is 2 to 255, not 1"),
        (r#"{"pyramid_scale": 1}"#, "args: pyramid_scale is 0.1 to 0.95, not 1"),
        (r#"{"iterations": 0}"#, "args: iterations is 1 to 100, not 0"),
    ];
    for (args, message) in cases {
        let refused = flow(&caller, pixels(20, 30, 2), args).await;
        assert_refused(refused, Code::InvalidArgument, &format!("model `optical_flow`: {message}"));
    }
    let infinite = (0..20 * 30 * 2).flat_map(|_| f32::INFINITY.to_le_bytes()).collect();
    let refused = flow(&caller, image(20, 30, 2, "float32", infinite), "").await;
    let message = "model `optical_flow`: the image holds values that are not finite";
    assert_refused(refused, Code::InvalidArgument, message);
    let least = flow(&caller, image(1, 1, 2, "uint8", vec![3, 200]), "").await.unwrap();
    assert_eq!((least.height, least.width, least.channels, least.data.len()), (1, 1, 2, 8));
}

#[tokio::test]
async fn many_callers_get_their_own_movements() {
    let server = start!(Setup::new().example(MODEL).workers(2));
    let caller = server.caller().await;
    let calls: Vec<_> = (0..12)
        .map(|i| {
            let caller = caller.clone();
            let second = if i % 2 == 0 { "shifted" } else { "scaled" };
            tokio::spawn(async move {
                let found = flow(&caller, frames("first", second, 1), "").await.unwrap();
                assert_agrees(&found, &format!("{second}_flow"));
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
}
