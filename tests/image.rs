//! Images: every type and layout in and out, batches of them, and images that are none.

use serde_json::{Value, json};
use tonic::Code;

use crate::harness::{Setup, assert_refused, image, pixels};

#[tokio::test]
async fn the_example_answers_as_the_original() {
    let server = start!(Setup::new().example("example_image"));
    let caller = server.caller().await;
    let reply = caller.image("example_image", pixels(30, 40, 3)).await.unwrap();
    // To the byte: clients compare it.
    assert_eq!(reply.data, r#"[["object1",0.3],["object2",0.5]]"#);
    assert_eq!((reply.image, reply.tensors.len(), reply.batch.len()), (None, 0, 0));
    let images = vec![pixels(1080, 1920, 3), pixels(2, 2, 3)];
    let reply = caller.images("example_image", images).await.unwrap();
    let answer: Value = serde_json::from_str(&reply.data).unwrap();
    let one = json!([["object1", 0.3], ["object2", 0.5]]);
    assert_eq!(answer, json!([one, one]));
    assert!(reply.batch.is_empty());
}

#[tokio::test]
async fn every_type_and_layout_comes_back() {
    let server = start!(Setup::new().guest("echo"));
    let caller = server.caller().await;
    for channels in [1, 2, 3, 4, 7] {
        for (dtype, size) in [("uint8", 1), ("float32", 4), ("float64", 8)] {
            for (height, width) in [(1, 1), (3, 5), (200, 150)] {
                let bytes = height * width * channels * size;
                let data = (0..bytes).map(|i| (i % 251) as u8).collect();
                let sent = image(height, width, channels, dtype, data);
                let reply = caller.image("echo", sent.clone()).await.unwrap();
                assert_eq!(reply.data, "null");
                assert_eq!(reply.image, Some(sent));
            }
        }
    }
    let large = pixels(1080, 1920, 3);
    assert_eq!(caller.image("echo", large.clone()).await.unwrap().image, Some(large));
}

#[tokio::test]
async fn a_batch_may_have_mixed_sizes() {
    let server = start!(Setup::new().guest("echo"));
    let caller = server.caller().await;
    let images = vec![
        pixels(2, 3, 3),
        pixels(30, 20, 1),
        image(1, 1, 4, "float64", vec![7; 32]),
        pixels(300, 200, 4),
    ];
    let reply = caller.images("echo", images.clone()).await.unwrap();
    assert_eq!(reply.data, "[null,null,null,null]");
    let back: Vec<_> = reply.batch.into_iter().map(|parts| parts.image.unwrap()).collect();
    assert_eq!(back, images);
    let none = caller.images("echo", Vec::new()).await.unwrap();
    assert_eq!((none.data.as_str(), none.batch.len()), ("[]", 0));
}

#[tokio::test]
async fn what_is_no_image_is_refused() {
    let server = start!(Setup::new().guest("echo"));
    let caller = server.caller().await;
    const SIZES: &str = "the image's height, width and channels are";
    let many = i32::MAX;
    let cases = [
        (
            image(2, 2, 3, "uint8", vec![0; 11]),
            "the image's data has 11 bytes, but 2 x 2 x 3 of uint8 are 12".into(),
        ),
        (
            image(2, 2, 3, "float64", vec![0; 12]),
            "the image's data has 12 bytes, but 2 x 2 x 3 of float64 are 96".into(),
        ),
        (
            image(2, 2, 3, "uint8", vec![]),
            "the image's data has 0 bytes, but 2 x 2 x 3 of uint8 are 12".into(),
        ),
        (
            image(2, 2, 3, "int32", vec![0; 48]),
            "the image's dtype is `int32`: uint8, float32 or float64".into(),
        ),
        (
            image(2, 2, 3, "", vec![0; 12]),
            "the image's dtype is ``: uint8, float32 or float64".into(),
        ),
        (
            image(2, 2, 3, "UINT8\n\u{1f680}", vec![0; 12]),
            "the image's dtype is `UINT8\\n\u{1f680}`: uint8, float32 or float64".into(),
        ),
        (
            image(-2, -2, 3, "uint8", vec![0; 12]),
            format!("{SIZES} -2, -2, 3: each must be at least 1"),
        ),
        (image(2, 2, 0, "uint8", vec![]), format!("{SIZES} 2, 2, 0: each must be at least 1")),
        (image(0, 0, 3, "uint8", vec![]), format!("{SIZES} 0, 0, 3: each must be at least 1")),
        (
            image(i32::MIN, 1, 1, "uint8", vec![0]),
            format!("{SIZES} -2147483648, 1, 1: each must be at least 1"),
        ),
        (
            // Eight bytes for each of 2^93 elements: more than 64 bits hold.
            image(many, many, many, "float64", vec![0; 8]),
            "the image's data has 8 bytes, but 2147483647 x 2147483647 x 2147483647 of float64 \
             are 79228162403583873202826248184"
                .into(),
        ),
    ];
    for (sent, message) in cases {
        let one = caller.image("echo", sent.clone()).await;
        assert_refused(one, Code::InvalidArgument, &message);
        let batch = vec![pixels(2, 2, 3), sent];
        let batch = caller.images("echo", batch).await;
        assert_refused(batch, Code::InvalidArgument, &format!("image 1: {message}"));
    }
}

#[tokio::test]
async fn a_request_without_an_image_is_refused() {
    use tms::grpc::proto::server::ImageArgs;
    let server = start!(Setup::new().guest("echo"));
    let request = ImageArgs { model: "echo".into(), ..ImageArgs::default() };
    let refused = server.caller().await.server().run_image(request).await;
    assert_refused(refused, Code::InvalidArgument, "the request has no image");
}
