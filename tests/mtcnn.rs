//! A cascade of three networks, each called with shapes that depend on the picture: faces, with the
//! rest of the work in the sandbox.

use serde_json::Value;
use tms::grpc::proto::server::{ImageArgs, NumpyImage};
use tonic::Code;

use crate::harness::{Caller, Setup, assert_refused, image, json, repository};

const MODEL: &str = "mtcnn";

/// Three faces and a cat.
fn collage() -> image::RgbImage {
    let file = repository().join("models/mtcnn/tests/people_collage.png");
    image::open(file).unwrap().into_rgb8()
}

fn sent(picture: &image::RgbImage, dtype: &str, data: Vec<u8>) -> NumpyImage {
    image(picture.height() as i32, picture.width() as i32, 3, dtype, data)
}

fn rgb(picture: &image::RgbImage) -> NumpyImage {
    sent(picture, "uint8", picture.as_raw().clone())
}

async fn faces(caller: &Caller, picture: NumpyImage) -> Value {
    serde_json::from_str(&caller.image(MODEL, picture).await.unwrap().data).unwrap()
}

async fn faces_with(
    caller: &Caller,
    picture: NumpyImage,
    args: &str,
) -> Result<Value, tonic::Status> {
    let request = ImageArgs {
        image: Some(picture),
        model: MODEL.into(),
        args: args.into(),
        ..ImageArgs::default()
    };
    json(caller.server().run_image(request).await)
}

/// All numbers of a face, in order.
fn numbers(face: &Value) -> Vec<f64> {
    let numbers = |value: &Value| -> Vec<f64> {
        value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
    };
    let points = face["landmarks"].as_array().unwrap().iter().flat_map(numbers);
    numbers(&face["box"]).into_iter().chain(points).collect()
}

/// The faces must be the reference's, best first, to so many pixels and so much of a score.
#[track_caller]
fn assert_faces(got: &Value, pixels: f64, score: f64) {
    let file = repository().join("models/mtcnn/tests/reference.json");
    let reference: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let (got, wanted) = (got.as_array().unwrap(), reference["faces"].as_array().unwrap());
    assert_eq!((got.len(), wanted.len()), (3, 3), "{got:?}");
    for (got, wanted) in got.iter().zip(wanted) {
        let difference = got["score"].as_f64().unwrap() - wanted["score"].as_f64().unwrap();
        assert!(difference.abs() <= score, "{got}, not {wanted}");
        let (numbers, wanted_numbers) = (numbers(got), numbers(wanted));
        assert_eq!((numbers.len(), wanted_numbers.len()), (14, 14));
        let close = |(a, b): (&f64, &f64)| (a - b).abs() <= pixels;
        assert!(numbers.iter().zip(&wanted_numbers).all(close), "{got}, not {wanted}");
    }
}

#[tokio::test]
async fn three_faces_and_none_in_a_cat() {
    let server = start!(Setup::new().onnxruntime().example(MODEL));
    assert!(server.log().contains("ONNX Runtime serves it on cpu"), "{}", server.log());
    let caller = server.caller().await;
    // A hundredth of a pixel is what the reference was rounded to.
    assert_faces(&faces(&caller, rgb(&collage())).await, 0.05, 1e-4);
    let cat = repository().join("models/efficientnet_lite0/tests/chelsea.png");
    let cat = rgb(&image::open(cat).unwrap().into_rgb8());
    assert_eq!(faces(&caller, cat).await, serde_json::json!([]));
    assert_eq!(caller.input_shape(MODEL).await.unwrap(), Value::Null);
}

#[tokio::test]
async fn the_same_on_tract() {
    let setup = Setup::new().example(MODEL).config("[model.mtcnn.graph]\nbackend = 'tract'");
    let server = start!(setup);
    assert!(server.log().contains("tract serves it on cpu"), "{}", server.log());
    assert_faces(&faces(&server.caller().await, rgb(&collage())).await, 0.05, 1e-4);
}

#[tokio::test]
async fn floats_of_either_range_and_an_alpha_channel() {
    let server = start!(Setup::new().onnxruntime().example(MODEL));
    let caller = server.caller().await;
    let picture = collage();
    let unit = picture.as_raw().iter().flat_map(|v| (f32::from(*v) / 255.0).to_le_bytes());
    assert_faces(&faces(&caller, sent(&picture, "float32", unit.collect())).await, 0.05, 1e-4);
    let wide = picture.as_raw().iter().flat_map(|v| f64::from(*v).to_le_bytes());
    assert_faces(&faces(&caller, sent(&picture, "float64", wide.collect())).await, 0.05, 1e-4);
    let (height, width) = (picture.height() as i32, picture.width() as i32);
    let rgba = image::DynamicImage::from(picture).into_rgba8().into_raw();
    assert_faces(&faces(&caller, image(height, width, 4, "uint8", rgba)).await, 0.05, 1e-4);
}

#[tokio::test]
async fn arguments_bound_the_size_of_faces() {
    let server = start!(Setup::new().onnxruntime().example(MODEL));
    let caller = server.caller().await;
    let found = faces_with(&caller, rgb(&collage()), r#"{"min_face": 150}"#).await.unwrap();
    // The others are 32 and 65 pixels tall, this one 130: sizes are not exact.
    assert_eq!(found.as_array().unwrap().len(), 1, "{found}");
    let refused = faces_with(&caller, rgb(&collage()), r#"{"min_face": 5}"#).await;
    let message = "model `mtcnn`: args: min_face is 20 to 100000, not 5";
    assert_refused(refused, Code::InvalidArgument, message);
}

#[tokio::test]
async fn pictures_too_small_for_a_face_and_many_too_large_for_one() {
    let server = start!(Setup::new().onnxruntime().example(MODEL));
    let caller = server.caller().await;
    let small = image(39, 1, 3, "uint8", vec![200; 39 * 3]);
    assert_eq!(faces(&caller, small).await, serde_json::json!([]));
    // Many faces, some cut at the edges: the picture in tiles.
    let tile = image::imageops::crop_imm(&collage(), 400, 180, 150, 180).to_image();
    let mut wall = image::RgbImage::new(1920, 1080);
    image::imageops::tile(&mut wall, &tile);
    let found = faces(&caller, rgb(&wall)).await;
    assert!(found.as_array().unwrap().len() >= 12 * 6, "{}", found.as_array().unwrap().len());
}

#[tokio::test]
async fn many_callers_get_their_own_faces() {
    let server = start!(Setup::new().onnxruntime().example(MODEL).workers(2));
    let caller = server.caller().await;
    let whole = collage();
    let part = image::imageops::crop_imm(&whole, 380, 150, 200, 250).to_image();
    let calls: Vec<_> = (0..24)
        .map(|i| {
            let (caller, picture) = (caller.clone(), rgb(if i % 2 == 0 { &whole } else { &part }));
            tokio::spawn(async move { faces(&caller, picture).await })
        })
        .collect();
    let mut alone = None;
    for (i, call) in calls.into_iter().enumerate() {
        let found = call.await.unwrap();
        if i % 2 == 0 {
            assert_faces(&found, 0.05, 1e-4);
            continue;
        }
        assert_eq!(found.as_array().unwrap().len(), 1, "{found}");
        assert_eq!(alone.get_or_insert(found.clone()), &found);
    }
    let batch = caller.images(MODEL, vec![rgb(&part), rgb(&whole)]).await.unwrap();
    let batch: Value = serde_json::from_str(&batch.data).unwrap();
    assert_eq!(batch[0], alone.unwrap());
    assert_faces(&batch[1], 0.05, 1e-4);
}
