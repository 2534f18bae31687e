//! ModelStreamInfer: any number of responses to each request, errors within the stream, and its marks of the end.

use std::time::Duration;

use tms::grpc::proto::inference::{
    ModelInferRequest, ModelStreamInferResponse, infer_parameter::ParameterChoice,
};
use tokio_stream::iter;
use tonic::{Code, Request, Status};

use crate::harness::{Setup, client::Caller, oip};

const MODEL: &str = "commands";

fn command(id: &str, command: &str) -> ModelInferRequest {
    let request = oip::raw(MODEL, vec![oip::text("command", command)]);
    ModelInferRequest { id: id.into(), ..request }
}

async fn responses(
    caller: &Caller,
    requests: Vec<ModelInferRequest>,
) -> (Vec<ModelStreamInferResponse>, Result<(), Status>) {
    let stream = caller.inference().model_stream_infer(iter(requests)).await;
    let mut stream = stream.unwrap().into_inner();
    let mut taken = Vec::new();
    loop {
        match stream.message().await {
            Ok(Some(response)) => taken.push(response),
            Ok(None) => return (taken, Ok(())),
            Err(status) => return (taken, Err(status)),
        }
    }
}

/// The id, the model's JSON, how many outputs, whether it is the last one, and the error.
fn told(response: &ModelStreamInferResponse) -> (&str, &str, usize, bool, &str) {
    let infer = response.infer_response.as_ref().unwrap();
    let choice = |name: &str| infer.parameters.get(name)?.parameter_choice.as_ref();
    let json = match choice("json") {
        Some(ParameterChoice::StringParam(json)) => json,
        _ => "",
    };
    let last = choice("triton_final_response") == Some(&ParameterChoice::BoolParam(true));
    (&infer.id, json, infer.outputs.len(), last, &response.error_message)
}

#[tokio::test]
async fn each_request_has_any_number_of_responses() {
    let server = start!(Setup::new().guest(MODEL));
    let caller = server.caller().await;
    let empty = ParameterChoice::BoolParam(true);
    let requests = vec![
        command("one", "emit:2"),
        oip::with(command("two", "emit:1"), "triton_enable_empty_final_response", empty),
        command("three", "upper:a"),
        command("four", "emit:0"),
    ];
    let (taken, end) = responses(&caller, requests).await;
    end.unwrap();
    let taken: Vec<_> = taken.iter().map(told).collect();
    assert_eq!(
        taken,
        [
            ("one", "0", 1, false, ""),
            ("one", "1", 1, false, ""),
            ("two", "0", 1, false, ""),
            ("two", "", 0, true, ""),
            ("three", "\"A\"", 0, true, ""),
        ]
    );
}

#[tokio::test]
async fn an_error_does_not_end_the_stream() {
    let server = start!(Setup::new().guest(MODEL));
    let requests = vec![
        command("one", "fail:caller"),
        ModelInferRequest { model_name: "none".into(), ..command("two", "x") },
        command("three", "trap_late"),
        oip::with(command("four", "sleep:60000"), "timeout", ParameterChoice::Int64Param(100_000)),
        command("five", "upper:a"),
    ];
    let (taken, end) = responses(&server.caller().await, requests).await;
    end.unwrap();
    let taken: Vec<_> = taken.iter().map(told).collect();
    assert_eq!(taken[0], ("one", "", 0, false, "model `commands`: said so"));
    assert_eq!((taken[1].0, taken[1].4.contains("there is no model `none`")), ("two", true));
    assert_eq!(taken[2], ("three", "\"a part\"", 0, false, ""));
    assert_eq!((taken[3].0, taken[3].4.contains("the model trapped")), ("three", true));
    assert_eq!((taken[4].0, taken[4].4.contains("did not answer within")), ("four", true));
    assert_eq!(taken[5], ("five", "\"A\"", 0, true, ""));
    assert_eq!(taken.len(), 6);
}

#[tokio::test]
async fn parts_have_the_outputs_that_are_wanted() {
    let server = start!(Setup::new().guest(MODEL));
    let caller = server.caller().await;
    let wanted = oip::wanting(command("", "emit:1"), &["x"]);
    let other = oip::wanting(command("", "emit:1"), &["y"]);
    let (taken, end) = responses(&caller, vec![wanted, other]).await;
    end.unwrap();
    let outputs: Vec<_> = taken.iter().map(|response| told(response).2).collect();
    assert_eq!(outputs, [1, 0]);
}

#[tokio::test]
async fn the_callers_deadline_holds_for_all() {
    let server = start!(Setup::new().guest(MODEL));
    let caller = server.caller().await;
    let mut request = Request::new(iter(vec![command("", "slowly:1000:100")]));
    request.set_timeout(Duration::from_secs(1));
    let mut stream = caller.inference().model_stream_infer(request).await.unwrap().into_inner();
    let mut parts = 0;
    let end = loop {
        match stream.message().await {
            Ok(Some(response)) if response.error_message.is_empty() => parts += 1,
            other => break other,
        }
    };
    assert!(parts > 0);
    match end {
        // Told within the stream, before the client's own clock.
        Ok(Some(response)) => assert!(response.error_message.contains("did not answer within")),
        Ok(None) => panic!("it ended well"),
        Err(status) => {
            assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status}");
        }
    }
}

#[tokio::test]
async fn a_graph_answers_once() {
    let server = start!(Setup::new().graph("identity_fp32", "identity"));
    let requests = vec![oip::raw("identity", vec![oip::floats("x", &[1], &[1.0])])];
    let (taken, end) = responses(&server.caller().await, requests).await;
    end.unwrap();
    assert_eq!(taken.len(), 1);
}
