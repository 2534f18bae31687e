//! Results in parts: RunStream and RunSession; slow callers, callers who leave, models that take long.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tms::grpc::proto::server::{Response, RunArgs, Tensors, run_args::Input};
use tokio_stream::iter;
use tonic::{Code, Request, Status, Streaming};

use crate::harness::{
    Server, Setup,
    client::{Caller, assert_refused, pixels},
    metrics::metric,
    until,
};

const MODEL: &str = "commands";

fn commands() -> Setup {
    Setup::new().guest(MODEL)
}

/// A text for the model.
pub fn text(text: &str) -> RunArgs {
    let input = Some(Input::Text(text.into()));
    RunArgs { input, model: MODEL.into(), ..RunArgs::default() }
}

/// Calls RunStream. An error before the first part is the call's own.
async fn stream(caller: &Caller, args: RunArgs) -> Result<Streaming<Response>, Status> {
    Ok(caller.server().run_stream(args).await?.into_inner())
}

/// All parts, and what came after them.
async fn all(mut parts: Streaming<Response>) -> (Vec<Response>, Result<(), Status>) {
    let mut taken = Vec::new();
    loop {
        match parts.message().await {
            Ok(Some(part)) => taken.push(part),
            Ok(None) => return (taken, Ok(())),
            Err(status) => return (taken, Err(status)),
        }
    }
}

async fn parts(caller: &Caller, command: &str) -> (Vec<Response>, Result<(), Status>) {
    all(stream(caller, text(command)).await.unwrap()).await
}

/// What each part says, and whether another one follows.
fn said(parts: &[Response]) -> Vec<(&str, bool)> {
    parts.iter().map(|part| (part.data.as_str(), part.more)).collect()
}

#[tokio::test]
async fn parts_come_in_order() {
    let server = start!(commands());
    let caller = server.caller().await;
    let (taken, end) = parts(&caller, "emit:3").await;
    end.unwrap();
    // The model returned nothing in the end.
    assert_eq!(said(&taken), [("0", true), ("1", true), ("2", true), ("", false)]);
    let bytes: Vec<_> = taken[..3].iter().map(|part| part.tensors[0].data.to_vec()).collect();
    assert_eq!(bytes, [[0, 0], [1, 1], [2, 2]]);
    let (taken, end) = parts(&caller, "share:2").await;
    end.unwrap();
    assert_eq!(said(&taken), [("null", true), ("null", true), ("\"end\"", false)]);
    assert!(taken.iter().all(|part| part.tensors[0].data.as_ref() == [1, 2, 3]));
}

#[tokio::test]
async fn parts_come_when_they_are_made() {
    let server = start!(commands());
    let caller = server.caller().await;
    // The second part takes longer than a test may.
    let mut parts = stream(&caller, text("slowly:2:3600000")).await.unwrap();
    assert_eq!(parts.message().await.unwrap().unwrap().data, "0");
}

#[tokio::test]
async fn any_model_answers_in_one_part() {
    let server = start!(Setup::new().guest("echo"));
    let caller = server.caller().await;
    let args = |input| RunArgs { input: Some(input), model: "echo".into(), ..RunArgs::default() };
    let (taken, end) = all(stream(&caller, args(Input::Text("é".into()))).await.unwrap()).await;
    end.unwrap();
    assert_eq!(said(&taken), [("\"é\"", false)]);
    let image = pixels(4, 3, 2);
    let (taken, _) = all(stream(&caller, args(Input::Image(image.clone()))).await.unwrap()).await;
    assert_eq!(taken[0].image.as_ref(), Some(&image));
    let tensor = tms::grpc::proto::server::NamedTensor {
        name: "x".into(),
        datatype: "INT16".into(),
        shape: vec![2],
        data: vec![1, 0, 2, 0].into(),
    };
    let tensors = Input::Tensors(Tensors { tensors: vec![tensor.clone()] });
    let (taken, _) = all(stream(&caller, args(tensors)).await.unwrap()).await;
    assert_eq!(taken[0].tensors, [tensor]);
}

#[tokio::test]
async fn a_unary_call_takes_no_parts() {
    let server = start!(commands());
    let caller = server.caller().await;
    let words = "model `commands`: the model gives its result in parts, and this call takes one answer: \
                 call RunStream, RunSession or ModelStreamInfer";
    assert_refused(caller.text(MODEL, "emit:1", "").await, Code::InvalidArgument, words);
    assert_refused(caller.texts(MODEL, &["emit:1"], "").await, Code::InvalidArgument, &{
        words.replace("the model gives", "input 0: the model gives")
    });
}

#[tokio::test]
async fn an_error_ends_the_stream() {
    let server = start!(commands());
    let caller = server.caller().await;
    let first = stream(&caller, text("fail:caller")).await;
    assert_refused(first.map(drop), Code::InvalidArgument, "model `commands`: said so");
    let (taken, end) = parts(&caller, "fail_late:server").await;
    assert_eq!(said(&taken), [("\"a part\"", true)]);
    assert_refused(end, Code::Unavailable, "model `commands`: said so");
    let (taken, end) = parts(&caller, "trap_late").await;
    assert_eq!(taken.len(), 1);
    assert_eq!(end.unwrap_err().code(), Code::Internal);
    let unknown = RunArgs { model: "none".into(), ..text("x") };
    assert_eq!(stream(&caller, unknown).await.map(drop).unwrap_err().code(), Code::NotFound);
    let args = RunArgs { args: "{".into(), ..text("x") };
    assert_eq!(stream(&caller, args).await.map(drop).unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_part_is_what_a_result_may_be() {
    let server = start!(commands());
    let caller = server.caller().await;
    let (taken, end) = parts(&caller, "wrong_part").await;
    end.unwrap();
    let words = "the model's result is not a file: `nonsense` is not a media type";
    assert_eq!(serde_json::from_str::<Value>(&taken[0].data).unwrap(), words);
}

#[tokio::test]
async fn the_timeout_holds_from_part_to_part() {
    let limits = "[model.commands.limits]\ntimeout = '1s'\nmax_stream = '30s'";
    let server = start!(commands().config(limits));
    let caller = server.caller().await;
    // Longer than the limit in all.
    let (taken, end) = parts(&caller, "slowly:4:500").await;
    end.unwrap();
    assert_eq!(taken.len(), 5);
    let (taken, end) = parts(&caller, "slowly:2:60000").await;
    assert_eq!(taken.len(), 1);
    assert_eq!(end.unwrap_err().code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_stream_ends() {
    let limits = "[model.commands.limits]\nmax_stream = '1s'";
    let server = start!(commands().config(limits));
    let (taken, end) = parts(&server.caller().await, "slowly:1000:100").await;
    assert!(!taken.is_empty() && taken.len() < 100, "{}", taken.len());
    assert_eq!(end.unwrap_err().code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn the_callers_deadline_holds_for_all_parts() {
    let server = start!(commands());
    let mut request = Request::new(text("slowly:1000:100"));
    request.set_timeout(Duration::from_secs(1));
    let parts = server.caller().await.server().run_stream(request).await.unwrap().into_inner();
    let (taken, end) = all(parts).await;
    assert!(!taken.is_empty());
    let code = end.unwrap_err().code();
    // The client's own clock may be first.
    assert!(matches!(code, Code::DeadlineExceeded | Code::Cancelled), "{code:?}");
}

/// In flight, and waiting.
fn is_idle(server: &Server) -> bool {
    metric(server, "tms_calls_in_flight", &["model=\"commands\""]) == 0.0
}

#[tokio::test]
async fn a_caller_who_leaves_ends_it() {
    let server = start!(commands().metrics());
    let caller = server.caller().await;
    let mut parts = stream(&caller, text("slowly:1000:100")).await.unwrap();
    parts.message().await.unwrap().unwrap();
    assert!(!is_idle(&server));
    drop(parts);
    until("the call's end", async || is_idle(&server)).await;
}

#[tokio::test]
async fn a_model_waits_for_a_slow_caller() {
    let server = start!(commands().metrics().config("memory = '256 MiB'"));
    let caller = server.caller().await;
    // 600 MiB, of which the caller takes one part and then nothing for a while.
    let mut parts = stream(&caller, text("large:600")).await.unwrap();
    parts.message().await.unwrap().unwrap();
    // Others are answered meanwhile.
    for _ in 0..20 {
        let other = server.caller().await;
        assert_eq!(other.text(MODEL, "upper:a", "").await.unwrap(), json!("A"));
    }
    let (taken, end) = all(parts).await;
    end.unwrap();
    assert_eq!(taken.len(), 600);
    assert_eq!(taken.last().unwrap().data, "\"end\"");
}

#[tokio::test]
async fn a_session_meets_one_instance() {
    let server = start!(commands());
    let caller = server.caller().await;
    let run = async |commands: &[&str]| {
        let messages: Vec<_> = commands.iter().map(|command| text(command)).collect();
        let answers = caller.server().run_session(iter(messages)).await.unwrap().into_inner();
        all(answers).await
    };
    for _ in 0..2 {
        let (answers, end) = run(&["count", "count", "emit:1", "count"]).await;
        end.unwrap();
        let expected = [("1", false), ("2", false), ("0", true), ("", false), ("3", false)];
        assert_eq!(said(&answers), expected);
    }
    // An error ends it.
    let (answers, end) = run(&["count", "fail:caller", "count"]).await;
    assert_eq!(said(&answers), [("1", false)]);
    assert_refused(end, Code::InvalidArgument, "model `commands`: said so");
}

#[tokio::test]
async fn a_session_is_with_one_model() {
    let server = start!(commands().guest("echo"));
    let caller = server.caller().await;
    let nameless = RunArgs { model: String::new(), ..text("count") };
    let other = RunArgs { model: "echo".into(), ..text("x") };
    let messages = iter(vec![text("count"), nameless, other]);
    let answers = caller.server().run_session(messages).await.unwrap().into_inner();
    let (answers, end) = all(answers).await;
    assert_eq!(said(&answers), [("1", false), ("2", false)]);
    let words = "the session is with the model `commands`: another model needs another session";
    assert_refused(end, Code::InvalidArgument, words);
}

#[tokio::test]
async fn an_idle_session_ends() {
    let limits = "[model.commands.limits]\nsequence_idle = '300ms'";
    let server = start!(commands().config(limits));
    let (messages, receiver) = tokio::sync::mpsc::channel(1);
    messages.send(text("count")).await.unwrap();
    let messages_in = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let answers = server.caller().await.server().run_session(messages_in).await.unwrap();
    let (answers, end) = all(answers.into_inner()).await;
    assert_eq!(said(&answers), [("1", false)]);
    let words = "the session had no message for 300ms (sequence_idle)";
    assert_refused(end, Code::DeadlineExceeded, words);
    drop(messages);
}

#[tokio::test]
async fn there_are_so_many_sessions() {
    let limits = "[model.commands.limits]\nmax_sequences = 2";
    let server = start!(commands().config(limits));
    let caller = server.caller().await;
    let open = async || {
        let (messages, receiver) = tokio::sync::mpsc::channel(1);
        messages.send(text("count")).await.unwrap();
        let messages_in = tokio_stream::wrappers::ReceiverStream::new(receiver);
        let answers = caller.server().run_session(messages_in).await.unwrap();
        let mut answers = answers.into_inner();
        let first = answers.message().await;
        (messages, answers, first)
    };
    let (one, two) = (open().await, open().await);
    assert_eq!(one.2.unwrap().unwrap().data, "1");
    assert_eq!(two.2.unwrap().unwrap().data, "1");
    let (_, _, third) = open().await;
    let words = "model `commands`: 2 sequences and sessions are open, the most there may be \
                 (max_sequences)";
    assert_refused(third.map(drop), Code::ResourceExhausted, words);
    drop((one.0, one.1));
    until("a session's end", async || open().await.2.is_ok()).await;
}

#[tokio::test]
async fn a_server_that_stops_ends_idle_sessions() {
    let mut server = start!(commands());
    let (messages, receiver) = tokio::sync::mpsc::channel(1);
    messages.send(text("count")).await.unwrap();
    let messages_in = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let answers = server.caller().await.server().run_session(messages_in).await.unwrap();
    let mut answers = answers.into_inner();
    answers.message().await.unwrap().unwrap();
    server.signal(Signal::TERM);
    let end = answers.message().await;
    assert_refused(end.map(drop), Code::Unavailable, "the server stops");
    assert_eq!(server.exit().await.code(), Some(0));
}
