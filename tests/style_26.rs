//! Images in, images out: a picture painted by a network that makes a picture of any size.

use serde_json::json;
use tms::grpc::proto::server::{BatchImageArgs, NumpyImage};
use tonic::{Code, Status};

use crate::harness::{Caller, Setup, assert_refused, image, repository};

const MODEL: &str = "style_26";

fn picture(name: &str) -> image::RgbImage {
    image::open(repository().join("models/style_26/tests").join(name)).unwrap().into_rgb8()
}

fn sent(picture: &image::RgbImage, dtype: &str, data: Vec<u8>) -> NumpyImage {
    image(picture.height() as i32, picture.width() as i32, 3, dtype, data)
}

fn rgb(picture: &image::RgbImage) -> NumpyImage {
    sent(picture, "uint8", picture.as_raw().clone())
}

/// The part of the picture that blended.png was made of.
fn part() -> image::RgbImage {
    image::imageops::crop_imm(&picture("chelsea.png"), 60, 20, 91, 63).to_image()
}

fn blend() -> String {
    let mut weights = [0; 26];
    // Their sum is not 1.
    (weights[3], weights[12]) = (2, 6);
    json!({ "styles": weights }).to_string()
}

async fn paint(caller: &Caller, picture: NumpyImage, args: &str) -> Result<NumpyImage, Status> {
    let reply = caller.image_to_image(MODEL, picture, args).await?;
    assert_eq!(reply.data, "null");
    Ok(reply.image.unwrap())
}

/// The levels of an image, 0 to 255, where floats have `peak` for 255.
fn levels(image: &NumpyImage, peak: f64) -> Vec<f64> {
    let values: Vec<f64> = match image.dtype.as_str() {
        "uint8" => image.data.iter().map(|level| f64::from(*level)).collect(),
        "float32" => {
            let (values, _) = image.data.as_chunks();
            values.iter().map(|value| f64::from(f32::from_le_bytes(*value))).collect()
        }
        _ => {
            let (values, _) = image.data.as_chunks();
            values.iter().map(|value| f64::from_le_bytes(*value)).collect()
        }
    };
    values.into_iter().map(|value| value * 255.0 / peak).collect()
}

/// The image must be the reference, but for a level or two: both were rounded, and processors differ.
#[track_caller]
fn assert_painted(got: &NumpyImage, peak: f64, reference: &str) {
    let reference = picture(reference);
    let size = (got.height as u32, got.width as u32, got.channels);
    assert_eq!(size, (reference.height(), reference.width(), 3));
    let levels = levels(got, peak);
    assert_eq!(levels.len(), reference.as_raw().len());
    for (at, (got, wanted)) in levels.iter().zip(reference.as_raw()).enumerate() {
        assert!((got - f64::from(*wanted)).abs() <= 2.0, "{at}: {got}, not {wanted}");
    }
}

#[tokio::test]
async fn a_cat_in_one_style_and_in_a_blend() {
    let server = start!(Setup::new().onnxruntime().example(MODEL));
    assert!(server.log().contains("ONNX Runtime serves it on cpu"), "{}", server.log());
    let caller = server.caller().await;
    let painted = paint(&caller, rgb(&picture("chelsea.png")), r#"{"style": 7}"#).await.unwrap();
    assert_painted(&painted, 255.0, "painted.png");
    // The network makes 64x92 pixels of 63x91.
    let blended = paint(&caller, rgb(&part()), &blend()).await.unwrap();
    assert_painted(&blended, 255.0, "blended.png");
    assert_eq!(caller.input_shape(MODEL).await.unwrap(), serde_json::Value::Null);
}

#[tokio::test]
async fn the_same_on_tract() {
    let setup = Setup::new().example(MODEL).config("[model.style_26.graph]\nbackend = 'tract'");
    let server = start!(setup);
    assert!(server.log().contains("tract serves it on cpu"), "{}", server.log());
    let caller = server.caller().await;
    let painted = paint(&caller, rgb(&picture("chelsea.png")), r#"{"style": 7}"#).await.unwrap();
    assert_painted(&painted, 255.0, "painted.png");
    let blended = paint(&caller, rgb(&part()), &blend()).await.unwrap();
    assert_painted(&blended, 255.0, "blended.png");
}

#[tokio::test]
async fn images_come_back_as_what_they_came() {
    let server = start!(Setup::new().onnxruntime().example(MODEL));
    let caller = server.caller().await;
    let part = part();
    let unit = part.as_raw().iter().flat_map(|v| (f32::from(*v) / 255.0).to_le_bytes());
    let painted = paint(&caller, sent(&part, "float32", unit.collect()), &blend()).await.unwrap();
    assert_eq!(painted.dtype, "float32");
    assert_painted(&painted, 1.0, "blended.png");
    let wide = part.as_raw().iter().flat_map(|v| f64::from(*v).to_le_bytes());
    let painted = paint(&caller, sent(&part, "float64", wide.collect()), &blend()).await.unwrap();
    assert_eq!(painted.dtype, "float64");
    assert_painted(&painted, 255.0, "blended.png");
    let rgba = image::DynamicImage::from(part.clone()).into_rgba8().into_raw();
    let painted = paint(&caller, image(63, 91, 4, "uint8", rgba), &blend()).await.unwrap();
    assert_eq!(painted.dtype, "uint8");
    assert_painted(&painted, 255.0, "blended.png");
    // Grey is a colour: the same as three equal channels.
    let grey = image::DynamicImage::from(part).into_luma8();
    let same = image::DynamicImage::from(grey.clone()).into_rgb8();
    let grey = image(63, 91, 1, "uint8", grey.into_raw());
    let painted = paint(&caller, grey, "").await.unwrap();
    assert_eq!(painted, paint(&caller, rgb(&same), r#"{"style": 0}"#).await.unwrap());
}

#[tokio::test]
async fn styles_that_are_none_and_pictures_that_are_too_small() {
    let server = start!(Setup::new().onnxruntime().example(MODEL));
    let caller = server.caller().await;
    let cases = [
        (r#"{"style": 26}"#, "args: style is 0 to 25, not 26"),
        (r#"{"style": -1}"#, "args: style is 0 to 25, not -1"),
        (r#"{"styles": [1, 2]}"#, "args: styles are 26 weights, not 2"),
    ];
    for (args, message) in cases {
        let refused = paint(&caller, rgb(&part()), args).await;
        assert_refused(refused, Code::InvalidArgument, &format!("model `style_26`: {message}"));
    }
    let refused = paint(&caller, image(4, 9, 3, "uint8", vec![0; 108]), "").await;
    let message = "model `style_26`: a picture of at least 5x5 pixels can be painted, not 9x4";
    assert_refused(refused, Code::InvalidArgument, message);
    // The model has not suffered.
    let least = paint(&caller, image(5, 5, 3, "uint8", vec![90; 75]), "").await.unwrap();
    assert_eq!((least.height, least.width, least.channels), (5, 5, 3));
}

#[tokio::test]
async fn many_callers_get_their_own_pictures() {
    let server = start!(Setup::new().onnxruntime().example(MODEL).workers(2));
    let caller = server.caller().await;
    let calls: Vec<_> = (0..20)
        .map(|i| {
            let caller = caller.clone();
            tokio::spawn(async move {
                if i % 2 == 0 {
                    let whole = rgb(&picture("chelsea.png"));
                    let painted = paint(&caller, whole, r#"{"style": 7}"#).await.unwrap();
                    assert_painted(&painted, 255.0, "painted.png");
                } else {
                    let blended = paint(&caller, rgb(&part()), &blend()).await.unwrap();
                    assert_painted(&blended, 255.0, "blended.png");
                }
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    // A batch has one style for all.
    let images = vec![rgb(&part()), rgb(&picture("chelsea.png"))];
    let request = BatchImageArgs { images, model: MODEL.into(), args: r#"{"style": 7}"#.into() };
    let batch = caller.server().run_batch_image_to_image(request).await.unwrap().into_inner();
    assert_eq!((batch.data.as_str(), batch.images.len()), ("[null,null]", 2));
    assert_eq!((batch.images[0].height, batch.images[0].width), (63, 91));
    assert_painted(&batch.images[1], 255.0, "painted.png");
}
