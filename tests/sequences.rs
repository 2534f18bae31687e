//! Sequences: calls of one id meet one instance, in their order; by both protocols.

use std::time::Duration;

use serde_json::{Value, json};
use tms::grpc::proto::{
    inference::{ModelInferRequest, infer_parameter::ParameterChoice},
    server::{Sequence, TextArgs},
};
use tonic::{Code, Request};

use crate::harness::{
    Setup,
    client::{Answer, Caller, assert_refused, json},
    metrics::metric,
    oip, until,
};

const MODEL: &str = "commands";

fn commands(limits: &str) -> Setup {
    Setup::new().guest(MODEL).config(&format!("[model.commands.limits]\n{limits}"))
}

fn args(text: &str, id: &str, start: bool, end: bool) -> TextArgs {
    let sequence = Some(Sequence { id: id.into(), start, end });
    TextArgs { text: text.into(), model: MODEL.into(), sequence, ..TextArgs::default() }
}

async fn call(caller: &Caller, text: &str, id: &str, start: bool, end: bool) -> Answer {
    json(caller.server().run_text(args(text, id, start, end)).await)
}

fn unknown(id: &str) -> String {
    format!(
        "model `commands`: there is no sequence `{id}`: its first call must say that it starts, and one that \
         failed, whose caller left, or that was idle for long has ended"
    )
}

#[tokio::test]
async fn each_sequence_has_an_instance() {
    let server = start!(commands(""));
    let caller = server.caller().await;
    for id in ["a", "b"] {
        assert_eq!(call(&caller, "count", id, true, false).await.unwrap(), 1);
    }
    assert_eq!(call(&caller, "count", "a", false, false).await.unwrap(), 2);
    // Another connection, whose home may be another worker.
    let other = server.caller().await;
    assert_eq!(call(&other, "count", "a", false, false).await.unwrap(), 3);
    assert_eq!(call(&other, "count", "b", false, true).await.unwrap(), 2);
    // Nothing of them is left.
    let gone = call(&caller, "count", "b", false, false).await;
    assert_refused(gone, Code::InvalidArgument, &unknown("b"));
    assert_eq!(call(&caller, "count", "b", true, true).await.unwrap(), 1);
    // A new start forgets the old one.
    assert_eq!(call(&caller, "count", "a", true, false).await.unwrap(), 1);
    // Calls without a sequence have their own instances.
    assert_eq!(caller.text(MODEL, "count", "").await.unwrap(), 1);
}

#[tokio::test]
async fn a_model_without_state_takes_no_notice() {
    let server = start!(Setup::new().guest("counter"));
    let args = TextArgs { model: "counter".into(), ..args("x", "a", false, false) };
    json(server.caller().await.server().run_text(args).await).unwrap();
}

#[tokio::test]
async fn the_calls_of_a_sequence_keep_their_order() {
    let server = start!(commands(""));
    let caller = server.caller().await;
    call(&caller, "count", "a", true, false).await.unwrap();
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let caller = caller.clone();
            tokio::spawn(async move { call(&caller, "count", "a", false, false).await })
        })
        .collect();
    for (position, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.unwrap().unwrap(), position + 2);
    }
}

#[tokio::test]
async fn a_trap_ends_a_sequence_and_an_error_does_not() {
    let server = start!(commands(""));
    let caller = server.caller().await;
    call(&caller, "count", "a", true, false).await.unwrap();
    let error = call(&caller, "fail:model", "a", false, false).await;
    assert_refused(error, Code::Internal, "model `commands`: said so");
    assert_eq!(call(&caller, "count", "a", false, false).await.unwrap(), 2);
    let trap = call(&caller, "trap", "a", false, false).await;
    assert_eq!(trap.unwrap_err().code(), Code::Internal);
    let gone = call(&caller, "count", "a", false, false).await;
    assert_refused(gone, Code::InvalidArgument, &unknown("a"));
}

#[tokio::test]
async fn a_caller_who_leaves_ends_it() {
    let server = start!(commands("").metrics());
    let caller = server.caller().await;
    call(&caller, "count", "a", true, false).await.unwrap();
    let mut request = Request::new(args("sleep:60000", "a", false, false));
    request.set_timeout(Duration::from_millis(200));
    caller.server().run_text(request).await.unwrap_err();
    let gone = call(&caller, "count", "a", false, false).await;
    assert_refused(gone, Code::InvalidArgument, &unknown("a"));
}

#[tokio::test]
async fn an_idle_sequence_ends() {
    let server = start!(commands("sequence_idle = '200ms'\nmax_sequences = 1").metrics());
    let caller = server.caller().await;
    call(&caller, "count", "a", true, false).await.unwrap();
    // There is no room for another one before.
    let full = call(&caller, "count", "b", true, false).await;
    assert_eq!(full.unwrap_err().code(), Code::ResourceExhausted);
    assert_eq!(metric(&server, "tms_sequences_open", &["model=\"commands\""]), 1.0);
    let starts = async || call(&caller, "count", "b", true, false).await.is_ok();
    until("room for another sequence", starts).await;
    let gone = call(&caller, "count", "a", false, false).await;
    assert_refused(gone, Code::InvalidArgument, &unknown("a"));
}

#[tokio::test]
async fn what_makes_no_sequence_is_refused() {
    let server = start!(commands(""));
    let caller = server.caller().await;
    let nameless = call(&caller, "count", "", true, false).await;
    let words = "a sequence that starts or ends has an id";
    assert_refused(nameless, Code::InvalidArgument, words);
    let long = call(&caller, "count", &"x".repeat(129), true, false).await;
    let words = "the sequence's id has 129 bytes: there may be at most 128";
    assert_refused(long, Code::InvalidArgument, words);
    assert_eq!(call(&caller, "count", "", false, false).await.unwrap(), 1, "none is meant");
}

fn infer(id: ParameterChoice, start: bool, end: bool) -> ModelInferRequest {
    let request = oip::raw(MODEL, vec![oip::text("command", "count")]);
    oip::in_sequence(request, id, start, end)
}

async fn infer_count(caller: &Caller, request: ModelInferRequest) -> Answer {
    let reply = oip::infer(caller, request).await?;
    let Some(ParameterChoice::StringParam(json)) =
        reply.parameters.get("json").and_then(|json| json.parameter_choice.clone())
    else {
        panic!("no JSON in {reply:?}");
    };
    Ok(serde_json::from_str::<Value>(&json).unwrap())
}

#[tokio::test]
async fn by_the_open_inference_protocol() {
    let server = start!(commands(""));
    let caller = server.caller().await;
    let text = |id: &str| ParameterChoice::StringParam(id.into());
    for id in [text("seven"), ParameterChoice::Int64Param(7), ParameterChoice::Uint64Param(8)] {
        let one = infer(id.clone(), true, false);
        assert_eq!(infer_count(&caller, one).await.unwrap(), json!(1), "{id:?}");
    }
    // A number and its digits are the same id, in both protocols.
    assert_eq!(infer_count(&caller, infer(text("7"), false, false)).await.unwrap(), json!(2));
    assert_eq!(call(&caller, "count", "7", false, true).await.unwrap(), 3);
    let gone = infer_count(&caller, infer(ParameterChoice::Int64Param(7), false, false)).await;
    assert_refused(gone, Code::InvalidArgument, &unknown("7"));
    // Zero is none.
    let none = infer(ParameterChoice::Int64Param(0), false, false);
    assert_eq!(infer_count(&caller, none).await.unwrap(), json!(1));
    let odd = infer_count(&caller, infer(ParameterChoice::DoubleParam(1.0), true, false)).await;
    assert_refused(odd, Code::InvalidArgument, "sequence_id is a number or a text");
}
