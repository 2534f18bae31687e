//! Files in and out: a model that decodes what it is given, and gives a file back; images for images.

use serde_json::json;
use tms::grpc::proto::server::{BatchImageArgs, Encoded, EncodedArgs};
use tonic::Code;

use crate::harness::{
    Setup,
    client::{assert_refused, image, pixels},
};

const MODEL: &str = "commands";

fn args(model: &str, data: &[u8], media_type: &str) -> EncodedArgs {
    let encoded = Some(Encoded { data: data.to_vec().into(), media_type: media_type.into() });
    EncodedArgs { encoded, model: model.into(), ..EncodedArgs::default() }
}

#[tokio::test]
async fn a_file_comes_in_and_goes_out() {
    let server = start!(Setup::new().guest(MODEL));
    let caller = server.caller().await;
    let reply = caller.server().run_encoded(args(MODEL, b"abc", "Image/PNG; q=1")).await;
    let reply = reply.unwrap().into_inner();
    let said: serde_json::Value = serde_json::from_str(&reply.data).unwrap();
    assert_eq!(said, json!({"media_type": "image/png", "length": 3, "sum": 294}));
    let encoded = Encoded { data: b"abc".to_vec().into(), media_type: "image/png".into() };
    assert_eq!((reply.encoded, reply.tensors.len()), (Some(encoded), 0));
    // An empty one is a file, too.
    caller.server().run_encoded(args(MODEL, b"", "image/png")).await.unwrap();
}

#[tokio::test]
async fn files_that_do_not_fit_are_refused() {
    let server = start!(Setup::new().guest(MODEL).guest("counter"));
    let caller = server.caller().await;
    for (request, words) in [
        (
            args(MODEL, b"x", "text/plain"),
            "model `commands`: the model takes application/octet-stream, image/png, not text/plain",
        ),
        (
            args(MODEL, b"x", "png"),
            "the file's media_type is `png`: write it as image/jpeg or audio/wav",
        ),
        (
            args("counter", b"x", "image/png"),
            "model `counter`: the model takes a text or an image or named tensors, not an encoded file",
        ),
        (EncodedArgs { model: MODEL.into(), ..EncodedArgs::default() }, "the request has no file"),
    ] {
        let answer = caller.server().run_encoded(request).await;
        assert_refused(answer, Code::InvalidArgument, words);
    }
}

#[tokio::test]
async fn an_image_comes_back_as_an_image() {
    let server = start!(Setup::new().guest(MODEL));
    let caller = server.caller().await;
    let flow: Vec<u8> = (0..4 * 3 * 2).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let doubles: Vec<u8> = (0..4 * 3).flat_map(|i| f64::from(i).to_le_bytes()).collect();
    let images = [
        pixels(4, 3, 1),
        pixels(4, 3, 3),
        image(4, 3, 2, "float32", flow),
        image(4, 3, 1, "float64", doubles),
    ];
    for sent in &images {
        let reply = caller.image_to_image(MODEL, sent.clone(), "").await.unwrap();
        assert_eq!(reply.image.as_ref(), Some(sent));
        assert!(reply.data.parse::<f64>().is_ok(), "{}", reply.data);
    }
    let args = BatchImageArgs { images: images.to_vec(), model: MODEL.into(), args: String::new() };
    let reply = caller.server().run_batch_image_to_image(args).await.unwrap().into_inner();
    assert_eq!(reply.images, images);
    let means: Vec<f64> = serde_json::from_str(&reply.data).unwrap();
    assert_eq!(means.len(), images.len());
    // Without images there is nothing to ask.
    let args = BatchImageArgs { model: MODEL.into(), ..BatchImageArgs::default() };
    let reply = caller.server().run_batch_image_to_image(args).await.unwrap().into_inner();
    assert_eq!((reply.data.as_str(), reply.images.len()), ("[]", 0));
}

#[tokio::test]
async fn a_model_without_images_is_named() {
    let server = start!(Setup::new().example("example_image"));
    let caller = server.caller().await;
    let answer = caller.image_to_image("example_image", pixels(4, 3, 3), "").await.unwrap_err();
    assert_eq!(answer.code(), Code::InvalidArgument);
    assert!(answer.message().contains("its result has no image"), "{answer}");
}
