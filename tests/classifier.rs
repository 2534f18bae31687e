//! A real network on real pictures: through a component and as a bare graph, on both backends, by
//! one caller and by many, under one worker and several.

use std::path::Path;

use serde_json::Value;
use tms::grpc::proto::server::NumpyImage;

use crate::{
    graphs::{assert_close, expected, numbers},
    harness::{
        Caller, Setup, image,
        oip::{floats, infer, raw, to_floats},
        repository,
    },
};

const MODEL: &str = "efficientnet_lite0";
const TRACT: &str = "[model.efficientnet_lite0.graph]\nbackend = 'tract'";

fn picture(name: &str) -> image::RgbImage {
    let folder = repository().join("models/efficientnet_lite0/tests");
    image::open(Path::new(&folder).join(name)).unwrap().into_rgb8()
}

/// A picture as callers send it.
fn rgb(picture: &image::RgbImage) -> NumpyImage {
    let (width, height) = picture.dimensions();
    sent(height, width, 3, "uint8", picture.as_raw().clone())
}

fn sent(height: u32, width: u32, channels: i32, dtype: &str, data: Vec<u8>) -> NumpyImage {
    image(height as i32, width as i32, channels, dtype, data)
}

/// Labels and probabilities, best first.
async fn classify(caller: &Caller, picture: NumpyImage) -> Vec<(String, f64)> {
    let reply = caller.image(MODEL, picture).await.unwrap();
    let answer: Value = serde_json::from_str(&reply.data).unwrap();
    let row = |row: &Value| (row[0].as_str().unwrap().to_owned(), row[1].as_f64().unwrap());
    answer.as_array().unwrap().iter().map(row).collect()
}

/// The answer must be the reference's.
#[track_caller]
fn assert_chelsea(answer: &[(String, f64)]) {
    let reference = expected("chelsea");
    let wanted = reference["top5"].as_array().unwrap();
    assert_eq!(answer.len(), 5);
    for ((label, probability), wanted) in answer.iter().zip(wanted) {
        assert_eq!(label, wanted[0].as_str().unwrap(), "{answer:?}");
        // Floats are not rounded between the steps, as the reference's levels are.
        let difference = (probability - wanted[1].as_f64().unwrap()).abs();
        assert!(difference < 0.01, "{answer:?}");
    }
}

#[tokio::test]
async fn a_cat_on_onnx_runtime() {
    let setup = Setup::new().onnxruntime().example(MODEL);
    let server = start!(setup);
    assert!(server.log().contains("ONNX Runtime serves it on cpu"), "{}", server.log());
    let caller = server.caller().await;
    assert_chelsea(&classify(&caller, rgb(&picture("chelsea.png"))).await);
    assert_eq!(caller.input_shape(MODEL).await.unwrap(), Value::Null);
}

#[tokio::test]
async fn a_cat_on_tract() {
    let server = start!(Setup::new().example(MODEL).config(TRACT));
    assert!(server.log().contains("tract serves it on cpu"), "{}", server.log());
    let caller = server.caller().await;
    assert_chelsea(&classify(&caller, rgb(&picture("chelsea.png"))).await);
}

#[tokio::test]
async fn all_probabilities_agree_with_the_reference() {
    let chelsea = picture("prepared.png");
    let mut values = vec![0.0; 3 * 224 * 224];
    for (x, y, pixel) in chelsea.enumerate_pixels() {
        for (channel, level) in pixel.0.iter().enumerate() {
            let place = (channel * 224 + y as usize) * 224 + x as usize;
            values[place] = (f32::from(*level) - 127.0) / 128.0;
        }
    }
    let reference = expected("chelsea");
    let setups =
        [Setup::new().onnxruntime(), Setup::new().config("[model.bare.graph]\nbackend = 'tract'")];
    for setup in setups {
        let graph = std::fs::read(repository().join("models/efficientnet_lite0/model.onnx"));
        let server = start!(setup.file("bare/model.onnx", graph.unwrap()));
        let request = raw("bare", vec![floats("input", &[1, 3, 224, 224], &values)]);
        let reply = infer(&server.caller().await, request).await.unwrap();
        let got: Vec<_> = to_floats(&reply, "probs").into_iter().map(f64::from).collect();
        assert_close(&got, &numbers(&reference["probs"]), &reference);
    }
}

#[tokio::test]
async fn grey_alpha_and_floats() {
    let setup = Setup::new().onnxruntime().example(MODEL);
    let server = start!(setup);
    let caller = server.caller().await;
    let colour = picture("chelsea.png");
    let (width, height) = colour.dimensions();
    let rgba = image::DynamicImage::from(colour.clone()).into_rgba8().into_raw();
    assert_chelsea(&classify(&caller, sent(height, width, 4, "uint8", rgba)).await);
    let unit = colour.as_raw().iter().flat_map(|v| (f32::from(*v) / 255.0).to_le_bytes());
    assert_chelsea(&classify(&caller, sent(height, width, 3, "float32", unit.collect())).await);
    let wide = colour.as_raw().iter().flat_map(|v| f64::from(*v).to_le_bytes());
    assert_chelsea(&classify(&caller, sent(height, width, 3, "float64", wide.collect())).await);
    // Without colour it is still a cat.
    let grey = image::DynamicImage::from(colour).into_luma8().into_raw();
    let answer = classify(&caller, sent(height, width, 1, "uint8", grey)).await;
    let cats = ["tiger cat", "Egyptian cat", "tabby", "lynx"];
    assert!(cats.contains(&answer[0].0.as_str()), "{answer:?}");
}

#[tokio::test]
async fn arguments_choose_how_many_labels() {
    let setup = Setup::new().onnxruntime().example(MODEL);
    let server = start!(setup);
    let mut client = server.caller().await.server();
    let request = tms::grpc::proto::server::ImageArgs {
        image: Some(rgb(&picture("chelsea.png"))),
        model: MODEL.into(),
        args: r#"{"top": 2}"#.into(),
        ..Default::default()
    };
    let reply = client.run_image(request).await.unwrap().into_inner();
    let answer: Value = serde_json::from_str(&reply.data).unwrap();
    assert_eq!(answer.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn one_worker_and_many_a_hundred_calls_in_flight_the_same_answers() {
    let colour = picture("chelsea.png");
    // Four different pictures, so that a mix-up shows.
    let pictures: Vec<_> =
        [(0, 0, 451, 300), (0, 0, 300, 300), (100, 20, 280, 260), (30, 0, 240, 200)]
            .map(|(x, y, w, h)| image::imageops::crop_imm(&colour, x, y, w, h).to_image())
            .iter()
            .map(rgb)
            .collect();
    let one = start!(Setup::new().onnxruntime().example(MODEL).workers(1));
    let caller = one.caller().await;
    let mut alone = Vec::new();
    for picture in &pictures {
        alone.push(classify(&caller, picture.clone()).await);
    }
    drop(one);
    assert!(alone.windows(2).all(|pair| pair[0] != pair[1]), "{alone:?}");

    let many = start!(Setup::new().onnxruntime().example(MODEL).workers(4));
    let callers = [many.caller().await, many.caller().await, many.caller().await];
    let calls: Vec<_> = (0..100)
        .map(|i| {
            let (caller, picture) = (callers[i % 3].clone(), pictures[i % 4].clone());
            tokio::spawn(async move { classify(&caller, picture).await })
        })
        .collect();
    for (i, call) in calls.into_iter().enumerate() {
        let answer = call.await.unwrap();
        assert_eq!(answer.len(), 5);
        for (got, wanted) in answer.iter().zip(&alone[i % 4]) {
            assert_eq!(got.0, wanted.0);
            assert!((got.1 - wanted.1).abs() < 1e-5, "{got:?}, not {wanted:?}");
        }
    }
    let batch = callers[0].images(MODEL, pictures.clone()).await.unwrap();
    let batch: Value = serde_json::from_str(&batch.data).unwrap();
    assert_eq!(batch.as_array().unwrap().len(), alone.len());
    for (member, wanted) in batch.as_array().unwrap().iter().zip(&alone) {
        assert_eq!(member[0][0].as_str().unwrap(), wanted[0].0);
    }
}
