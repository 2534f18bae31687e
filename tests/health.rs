//! grpc.health.v1 and reflection: what clients and load balancers ask first.

use std::collections::BTreeSet;

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
    assert_eq!(unknown.code(), Code::NotFound);
}

#[tokio::test]
async fn watches_end_with_the_server() {
    let mut server = start!(Setup::new().guest("echo"));
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
    assert!(!server.log().contains("drain_timeout"), "{}", server.log());
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
