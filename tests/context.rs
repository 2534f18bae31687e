//! What a model knows of a call: what belongs to it, and nothing of the caller but what the operator lets through.

use std::time::Duration;

use serde_json::{Value, json};
use tms::grpc::proto::{
    inference::{ModelInferRequest, infer_parameter::ParameterChoice},
    server::{Sequence, TextArgs},
};
use tonic::Request;

use crate::harness::{Server, Setup, oip};

const MODEL: &str = "commands";

/// What the model knows of this call.
async fn known(server: &Server, request: Request<TextArgs>) -> Value {
    let reply = server.caller().await.server().run_text(request).await.unwrap();
    serde_json::from_str(&reply.into_inner().data).unwrap()
}

fn request() -> Request<TextArgs> {
    let sequence = Some(Sequence { id: "s".into(), start: true, end: true });
    let args =
        TextArgs { text: "context".into(), model: MODEL.into(), sequence, ..TextArgs::default() };
    let mut request = Request::new(args);
    let metadata = request.metadata_mut();
    for (name, value) in [
        ("x-tenant", "acme"),
        ("authorization", "secret"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("tracestate", "a=1"),
    ] {
        metadata.insert(name, value.parse().unwrap());
    }
    request.set_timeout(Duration::from_secs(20));
    request
}

#[tokio::test]
async fn a_model_knows_its_call() {
    let server = start!(Setup::new().guest(MODEL));
    let mut known = known(&server, request()).await;
    let time_left = known["time_left"].take().as_u64().unwrap();
    assert!(time_left > 1_000_000 && time_left < 20_000_000, "{time_left}");
    let trace = json!({
        "parent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "state": "a=1",
    });
    assert_eq!(
        known,
        json!({
            "request_id": "", "model": MODEL, "version": "1", "time_left": null,
            "sequence": {"id": "s", "start": true, "end": true}, "parameters": "{}",
            "metadata": [], "trace": trace, "streaming": false,
        })
    );
}

#[tokio::test]
async fn metadata_comes_through_where_both_say_so() {
    let asks = "[asks]\nmetadata = ['X-Tenant', 'x-other']";
    let grants = "[model.commands.grants]\nmetadata = ['X-Tenant']";
    let setup = Setup::new().guest(MODEL).file("commands/model.toml", asks).config(grants);
    let server = start!(setup);
    let log = server.log();
    assert!(log.contains("granted: sees the metadata X-Tenant"), "{log}");
    assert!(log.contains("asks for what tms.toml does not grant: metadata x-other"), "{log}");
    assert_eq!(known(&server, request()).await["metadata"], json!([["x-tenant", "acme"]]));
}

#[tokio::test]
async fn a_request_has_an_id_and_parameters() {
    let server = start!(Setup::new().guest(MODEL));
    let request = oip::raw(MODEL, vec![oip::text("command", "context")]);
    let request = oip::with(request, "top", ParameterChoice::Int64Param(3));
    let request = ModelInferRequest { id: "my-id".into(), ..request };
    let reply = oip::infer(&server.caller().await, request).await.unwrap();
    let Some(ParameterChoice::StringParam(json)) = &reply.parameters["json"].parameter_choice
    else {
        panic!("{reply:?}");
    };
    let known: Value = serde_json::from_str(json).unwrap();
    assert_eq!(
        (&known["request_id"], &known["parameters"]),
        (&json!("my-id"), &json!("{\"top\":3}"))
    );
    assert_eq!((&known["sequence"], &known["trace"]), (&Value::Null, &Value::Null));
}
