//! Models that call other models: as far as the operator lets them, each call with limits of its own.

use std::time::Duration;

use serde_json::json;
use tonic::Code;

use crate::harness::{Setup, client::assert_refused, metrics::metric, until};

/// Three copies of the same guest.
fn three(config: &str) -> Setup {
    ["one", "two", "three"]
        .iter()
        .fold(Setup::new(), |setup, name| setup.component("tests/guests/commands", name))
        .config(config)
        .metrics()
}

const ALL: &str = "[model.one]
models = ['two', 'three']
[model.two]
models = ['one', 'three']
[model.three]
models = ['one']";

#[tokio::test]
async fn a_model_calls_another() {
    let server = start!(three(ALL));
    let caller = server.caller().await;
    let text = async |command: &str| caller.text("one", command, "").await;
    assert_eq!(text("names").await.unwrap(), json!(["two", "three"]));
    assert_eq!(text("call:two:upper:a").await.unwrap(), "A");
    assert_eq!(text("call:two:call:three:upper:a").await.unwrap(), "A");
    assert_eq!(text("batch:two:upper:a,names").await.unwrap(), json!(["A", ["one", "three"]]));
    // Its own calls are counted, too.
    assert_eq!(metric(&server, "tms_calls_total", &["model=\"three\"", "outcome=\"ok\""]), 1.0);
}

#[tokio::test]
async fn tensors_are_handed_on() {
    let server = start!(three(ALL));
    let request = tms::grpc::proto::server::TextArgs {
        text: "pass:two".into(),
        model: "one".into(),
        ..Default::default()
    };
    let reply = server.caller().await.server().run_text(request).await.unwrap().into_inner();
    assert_eq!(reply.tensors[0].data.as_ref(), [1, 2, 3, 4]);
}

#[tokio::test]
async fn a_model_calls_only_what_it_may() {
    let server = start!(three("[model.one]\nmodels = ['two']"));
    let caller = server.caller().await;
    let words = "model `one`: tms.toml does not let this model call `three` (models)";
    assert_refused(caller.text("one", "call:three:names", "").await, Code::Internal, words);
    let words = "model `two`: tms.toml does not let this model call `one` (models)";
    assert_refused(caller.text("two", "call:one:names", "").await, Code::Internal, words);
    assert_eq!(caller.text("two", "names", "").await.unwrap(), json!([]));
}

#[tokio::test]
async fn a_model_that_is_not_there_cannot_be_called() {
    let server = start!(three("[model.one]\nmodels = ['four']"));
    server.logged("tms.toml lets it call the model `four`, which is not there").await;
    let answer = server.caller().await.text("one", "names", "").await;
    assert_eq!(answer.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn circles_are_refused() {
    let server = start!(three(ALL));
    let caller = server.caller().await;
    let words = "models call each other in a circle: one -> two -> one";
    let answer = caller.text("one", "call:two:call:one:names", "").await.unwrap_err();
    assert!(answer.message().contains(words), "{answer}");
    let answer = caller.text("one", "call:two:call:three:call:one:names", "").await.unwrap_err();
    assert!(answer.message().contains("one -> two -> three -> one"), "{answer}");
}

#[tokio::test]
async fn what_the_inner_model_says_comes_through() {
    let server = start!(three(ALL));
    let caller = server.caller().await;
    for (command, code, words) in [
        ("call:two:fail:caller", Code::InvalidArgument, "model `one`: model `two`: said so"),
        ("call:two:fail:server", Code::Unavailable, "model `one`: model `two`: said so"),
        ("call:two:fail:model", Code::Internal, "model `one`: model `two`: said so"),
    ] {
        assert_refused(caller.text("one", command, "").await, code, words);
    }
    // The inner call takes one answer.
    let answer = caller.text("one", "call:two:emit:1", "").await.unwrap_err();
    assert_eq!(answer.code(), Code::InvalidArgument, "{answer}");
}

#[tokio::test]
async fn a_trap_of_the_inner_model_is_not_the_outer_ones() {
    let limits = format!("{ALL}\n[model.one.limits]\nmax_failures = 3\n[limits]\nmax_failures = 5");
    let server = start!(three(&limits));
    let caller = server.caller().await;
    for _ in 0..5 {
        let answer = caller.text("one", "call:two:trap", "").await.unwrap_err();
        assert_eq!(answer.code(), Code::Internal, "{answer}");
    }
    // The inner one is refused now, the outer one is not.
    assert_eq!(caller.text("one", "upper:a", "").await.unwrap(), "A");
    let answer = caller.text("one", "call:two:upper:a", "").await.unwrap_err();
    assert!(answer.message().contains("the model failed too often just before"), "{answer}");
}

#[tokio::test]
async fn the_inner_call_ends_with_the_outer_one() {
    let server = start!(three(&format!("{ALL}\n[model.one.limits]\ntimeout = '300ms'")));
    let caller = server.caller().await;
    let answer = caller.text("one", "call:two:sleep:60000", "").await.unwrap_err();
    assert_eq!(answer.code(), Code::DeadlineExceeded, "{answer}");
    let idle = async || metric(&server, "tms_calls_in_flight", &["model=\"two\""]) == 0.0;
    until("the inner call's end", idle).await;
    // A caller who leaves ends both.
    let left = tokio::time::timeout(
        Duration::from_millis(100),
        caller.text("three", "call:one:call:two:sleep:60000", ""),
    );
    left.await.unwrap_err();
    until("the inner call's end", idle).await;
}

#[tokio::test]
async fn large_tensors_count_as_the_outer_models() {
    let config = format!("{ALL}\n[model.one.limits]\nmemory = '64 MiB'");
    let server = start!(three(&config));
    let caller = server.caller().await;
    let answer = caller.text("one", "pass_large:two:8", "").await;
    answer.unwrap();
    let answer = caller.text("one", "pass_large:two:100", "").await.unwrap_err();
    assert_eq!(answer.code(), Code::Internal, "{answer}");
}
