//! Components built for version 0.1.0 of the interface: served as before.

use serde_json::{Value, json};
use tonic::Code;

use crate::harness::{
    Setup,
    client::{assert_refused, pixels},
    oip,
};

const MODEL: &str = "older";

#[tokio::test]
async fn an_older_component_is_served() {
    let server = start!(Setup::new().guest(MODEL));
    let caller = server.caller().await;
    assert_eq!(caller.text(MODEL, "abc", "").await.unwrap(), "ABC");
    assert_eq!(caller.texts(MODEL, &["a", "b"], "").await.unwrap(), json!(["A", "B"]));
    assert_eq!(caller.input_shape(MODEL).await.unwrap(), json!([4, 6, 3]));
    let image = pixels(4, 6, 3);
    let reply = caller.image(MODEL, image.clone()).await.unwrap();
    assert_eq!(reply.image, Some(image));
    let request = oip::raw(MODEL, vec![oip::floats("x", &[2], &[1.0, 2.0])]);
    let reply = oip::infer(&caller, request).await.unwrap();
    assert_eq!(oip::to_floats(&reply, "x"), [1.0, 2.0]);
    let words = "model `older`: told to, with {\"a\":1}";
    assert_refused(caller.text(MODEL, "fail", "{\"a\":1}").await, Code::InvalidArgument, words);
    assert!(server.log().contains("an older guest starts"));
}

#[tokio::test]
async fn it_has_a_snapshot_too() {
    let setup = Setup::new().guest(MODEL).file("older/model.toml", "snapshot = true");
    let server = start!(setup);
    assert_eq!(server.caller().await.text(MODEL, "a", "").await.unwrap(), Value::from("A"));
}
