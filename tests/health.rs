//! grpc.health.v1 and reflection: what clients and load balancers ask first.

use std::{collections::BTreeSet, time::Duration};

use rustix::process::Signal;
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::harness::{Caller, Setup};

fn service(name: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: name.into() }
}

async fn health(caller: &Caller, name: &str) -> Result<ServingStatus, tonic::Status> {
    let reply = caller.health().check(service(name)).await?;
    Ok(reply.into_inner().status())
}

#[tokio::test]
async fn the_server_and_each_model_have_a_health() {
    let setup = Setup::new().guest("echo").guest("broken_init").graph("scalar", "graph");
    let server = start!(setup);
    let caller = server.caller().await;
    for name in ["", "TinyModelServer", "echo", "graph"] {
        assert_eq!(health(&caller, name).await.unwrap(), ServingStatus::Serving, "`{name}`");
    }
    assert_eq!(health(&caller, "broken_init").await.unwrap(), ServingStatus::NotServing);
    let unknown = health(&caller, "nothing").await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound, "{unknown}");
}

/// `slow_counter`, whose `init` takes so many ms.
fn loading_for(ms: &str) -> Setup {
    Setup::new()
        .guest("slow_counter")
        .file("slow_counter/model.toml", "[asks]\nenv = [\"INIT_MS\"]")
        .config("[model.slow_counter.grants]\nenv = [\"INIT_MS\"]")
        .env("INIT_MS", ms)
}

#[tokio::test]
async fn the_originals_name_serves_as_soon_as_calls_are_taken() {
    let Some(mut server) = loading_for("600000").begin().await else { return };
    let caller = server.caller().await;
    // As the original's client does it.
    caller.pid().await;
    assert_eq!(health(&caller, "TinyModelServer").await.unwrap(), ServingStatus::Serving);
    for name in ["", "slow_counter"] {
        assert_eq!(health(&caller, name).await.unwrap(), ServingStatus::NotServing, "`{name}`");
    }
    server.signal(Signal::TERM);
    assert_eq!(server.exit().await.code(), Some(0));
}

#[tokio::test]
async fn the_empty_name_serves_when_all_have_loaded_or_failed() {
    let setup = loading_for("3000").guest("broken_init");
    let Some(server) = setup.begin().await else { return };
    let caller = server.caller().await;
    let mut watch = caller.health().watch(service("")).await.unwrap().into_inner();
    for status in [ServingStatus::NotServing, ServingStatus::Serving] {
        assert_eq!(watch.message().await.unwrap().unwrap().status(), status);
    }
    assert_eq!(health(&caller, "slow_counter").await.unwrap(), ServingStatus::Serving);
    assert_eq!(health(&caller, "broken_init").await.unwrap(), ServingStatus::NotServing);
}

#[tokio::test]
async fn who_watches_an_unknown_name_is_told_so_and_kept() {
    let mut server = start!(Setup::new().guest("echo").arg("--drain-timeout").arg("10m"));
    let caller = server.caller().await;
    let mut watches = Vec::new();
    for name in ["nothing", &"x".repeat(60_000)] {
        let mut watch = caller.health().watch(service(name)).await.unwrap().into_inner();
        let status = watch.message().await.unwrap().unwrap().status();
        assert_eq!(status, ServingStatus::ServiceUnknown);
        let next = tokio::time::timeout(Duration::from_millis(300), watch.message()).await;
        assert!(next.is_err(), "the watch stays open: {next:?}");
        watches.push(watch);
    }
    caller.stop().await.unwrap();
    for mut watch in watches {
        assert!(watch.message().await.unwrap().is_none(), "it ends with the server");
    }
    assert_eq!(server.exit().await.code(), Some(0));
}

#[tokio::test]
async fn watches_end_with_the_server() {
    let mut server = start!(Setup::new().guest("echo").arg("--drain-timeout").arg("10m"));
    let caller = server.caller().await;
    for name in ["", "TinyModelServer", "echo"] {
        let mut watch = caller.health().watch(service(name)).await.unwrap().into_inner();
        let status = watch.message().await.unwrap().unwrap().status();
        assert_eq!(status, ServingStatus::Serving);
        if name != "echo" {
            continue;
        }
        caller.stop().await.unwrap();
        // A watch must not keep the drain waiting: it hears of the end, and ends.
        let status = watch.message().await.unwrap().unwrap().status();
        assert_eq!(status, ServingStatus::NotServing);
        assert!(watch.message().await.unwrap().is_none());
    }
    assert_eq!(server.exit().await.code(), Some(0));
}

#[tokio::test]
async fn an_open_reflection_does_not_keep_the_drain_waiting() {
    let mut server = start!(Setup::new().guest("echo").arg("--drain-timeout").arg("10m"));
    let caller = server.caller().await;
    let mut client = ServerReflectionClient::new(caller.channel());
    let requests = tokio_stream::pending();
    let mut replies = client.server_reflection_info(requests).await.unwrap().into_inner();
    caller.stop().await.unwrap();
    assert!(replies.message().await.unwrap().is_none(), "it ends with the server");
    assert_eq!(server.exit().await.code(), Some(0));
}

#[tokio::test]
async fn reflection_lists_both_protocols() {
    let server = start!(Setup::new().guest("echo"));
    let mut client = ServerReflectionClient::new(server.caller().await.channel());
    let ask = |what| ServerReflectionRequest { host: String::new(), message_request: Some(what) };
    let requests = tokio_stream::iter([
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol("server.Server".into())),
        ask(MessageRequest::FileContainingSymbol("inference.GRPCInferenceService".into())),
    ]);
    let mut replies = client.server_reflection_info(requests).await.unwrap().into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) =
        replies.message().await.unwrap().unwrap().message_response
    else {
        panic!("no list of services");
    };
    let names: BTreeSet<_> = list.service.iter().map(|s| s.name.as_str()).collect();
    for name in ["server.Server", "inference.GRPCInferenceService", "grpc.health.v1.Health"] {
        assert!(names.contains(name), "{name} in {names:?}");
    }
    for call in ["RunBatchImage", "ModelInfer"] {
        let Some(MessageResponse::FileDescriptorResponse(files)) =
            replies.message().await.unwrap().unwrap().message_response
        else {
            panic!("no file that has {call}");
        };
        let has = |file: &Vec<u8>| String::from_utf8_lossy(file).contains(call);
        assert!(files.file_descriptor_proto.iter().any(has), "{call}");
    }
}
