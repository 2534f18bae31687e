//! The Open Inference Protocol's six calls, on components and on bare graphs.

use std::collections::HashMap;

use serde_json::{Value, json};
use tms::grpc::proto::inference::{
    InferParameter, ModelMetadataRequest, ModelReadyRequest, ServerLiveRequest,
    ServerMetadataRequest, ServerReadyRequest, infer_parameter::ParameterChoice,
};
use tonic::Code;

use crate::harness::{
    Setup, assert_refused,
    oip::{floats, infer, input, raw, to_floats, wanting},
};

#[tokio::test]
async fn live_ready_and_metadata_of_the_server() {
    let server = start!(Setup::new().guest("echo"));
    let mut client = server.caller().await.inference();
    assert!(client.server_live(ServerLiveRequest {}).await.unwrap().into_inner().live);
    assert!(client.server_ready(ServerReadyRequest {}).await.unwrap().into_inner().ready);
    let metadata = client.server_metadata(ServerMetadataRequest {}).await.unwrap().into_inner();
    assert_eq!(metadata.name, "tms");
    assert_eq!(metadata.version, env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn readiness_of_models() {
    let server = start!(Setup::new().guest("echo").guest("broken_init"));
    let mut client = server.caller().await.inference();
    for (name, version, ready) in
        [("echo", "", true), ("echo", "1", true), ("echo", "2", false), ("broken_init", "", false)]
    {
        let (name, version) = (name.into(), version.into());
        let reply = client.model_ready(ModelReadyRequest { name, version }).await.unwrap();
        assert_eq!(reply.into_inner().ready, ready);
    }
    let unknown = client
        .model_ready(ModelReadyRequest { name: "nothing".into(), ..ModelReadyRequest::default() });
    let message = "there is no model `nothing`; there are: echo";
    assert_refused(unknown.await, Code::NotFound, message);
}

#[tokio::test]
async fn metadata_of_models() {
    let setup = Setup::new()
        .guest("echo")
        .graph("two_inputs", "graph")
        .config("[model.graph.graph]\nbackend = 'tract'");
    let server = start!(setup);
    let mut client = server.caller().await.inference();
    let mut metadata = async |name: &str, version: &str| {
        let (name, version) = (name.into(), version.into());
        let reply = client.model_metadata(ModelMetadataRequest { name, version }).await;
        reply.map(tonic::Response::into_inner)
    };
    let graph = metadata("graph", "").await.unwrap();
    assert_eq!((graph.name.as_str(), graph.platform.as_str()), ("graph", "tract_onnx"));
    assert_eq!(graph.versions, ["1"]);
    let infos =
        |list: &[tms::grpc::proto::inference::model_metadata_response::TensorMetadata]| {
            let each = list.iter().map(|t| format!("{} {} {:?}", t.name, t.datatype, t.shape));
            each.collect::<Vec<_>>()
        };
    assert_eq!(infos(&graph.inputs), ["a FP32 [-1, 3]", "b FP32 [-1, 3]"]);
    assert_eq!(infos(&graph.outputs), ["sum FP32 [-1, 3]", "product FP32 [-1, 3]"]);
    let echo = metadata("echo", "1").await.unwrap();
    assert_eq!(echo.platform, "wasm_component");
    assert!(echo.inputs.is_empty() && echo.outputs.is_empty());
    let version = metadata("echo", "2").await;
    assert_refused(version, Code::NotFound, "the model `echo` has one version, 1");
    let unknown = metadata("nothing", "").await;
    let message = "there is no model `nothing`; there are: echo, graph";
    assert_refused(unknown, Code::NotFound, message);
}

#[tokio::test]
async fn ids_and_versions_come_back() {
    let server = start!(Setup::new().guest("echo"));
    let caller = server.caller().await;
    let request = |version: &str| {
        let mut request = raw("echo", vec![floats("x", &[2], &[1.0, 2.0])]);
        request.id = "call \u{1f680} 1".into();
        request.model_version = version.into();
        request
    };
    for version in ["", "1"] {
        let reply = infer(&caller, request(version)).await.unwrap();
        assert_eq!(reply.model_name, "echo");
        assert_eq!((reply.id.as_str(), reply.model_version.as_str()), ("call \u{1f680} 1", "1"));
        assert_eq!(to_floats(&reply, "x"), [1.0, 2.0]);
    }
    let version = infer(&caller, request("latest")).await;
    assert_refused(version, Code::NotFound, "the model `echo` has one version, 1");
}

#[tokio::test]
async fn parameters_are_arguments() {
    let server = start!(Setup::new().guest("echo"));
    let caller = server.caller().await;
    let mut request = raw("echo", vec![floats("x", &[1], &[1.0])]);
    request.parameters = HashMap::from([
        ("args", ParameterChoice::BoolParam(true)),
        ("n", ParameterChoice::Int64Param(-5)),
        ("big", ParameterChoice::Uint64Param(u64::MAX)),
        ("s", ParameterChoice::StringParam("\u{1f680}\0".into())),
        ("d", ParameterChoice::DoubleParam(1.5)),
    ])
    .into_iter()
    .map(|(name, choice)| {
        let parameter_choice = Some(choice);
        (name.to_owned(), InferParameter { parameter_choice })
    })
    .collect();
    let reply = infer(&caller, request).await.unwrap();
    let Some(ParameterChoice::StringParam(json)) = &reply.parameters["json"].parameter_choice
    else {
        panic!("{:?}", reply.parameters);
    };
    let args: Value = serde_json::from_str(json).unwrap();
    let wanted = json!({"args": true, "n": -5, "big": u64::MAX, "s": "\u{1f680}\0", "d": 1.5});
    assert_eq!(args, wanted);
}

#[tokio::test]
async fn outputs_are_those_asked_for() {
    let setup = Setup::new().guest("echo").graph("two_inputs", "graph");
    let server = start!(setup);
    let caller = server.caller().await;
    let inputs = || vec![floats("a", &[1, 3], &[1., 2., 3.]), floats("b", &[1, 3], &[4., 5., 6.])];
    for (model, both, message) in [
        ("echo", ["a", "b"], "model `echo`: the model gives no output `nothing`, or not twice"),
        (
            "graph",
            ["sum", "product"],
            "model `graph`: the graph has no output `nothing`; it gives `sum`, `product`",
        ),
    ] {
        let names = async |wanted: &[&str]| {
            let request = wanting(raw(model, inputs()), wanted);
            let reply = infer(&caller, request).await?;
            let names: Vec<_> = reply.outputs.iter().map(|o| o.name.clone()).collect();
            Ok::<_, tonic::Status>(names)
        };
        let [first, second] = both;
        assert_eq!(names(&[]).await.unwrap(), both);
        assert_eq!(names(&[second]).await.unwrap(), [second]);
        assert_eq!(names(&[second, first]).await.unwrap(), [second, first]);
        assert_refused(names(&[first, "nothing"]).await, Code::InvalidArgument, message);
        let twice = names(&[first, first]).await.unwrap_err();
        assert_eq!(twice.code(), Code::InvalidArgument, "{twice}");
    }
}

#[tokio::test]
async fn a_component_reads_what_it_is_sent() {
    let server = start!(Setup::new().guest("tensor_sum"));
    let caller = server.caller().await;
    let words = (input("words", "BYTES", &[2]), b"\x02\0\0\0ab\x03\0\0\0\xff\0c".to_vec());
    let inputs = vec![floats("x", &[2, 2], &[1.5, 2.0, -3.0, 4.0]), words];
    let reply = infer(&caller, raw("tensor_sum", inputs)).await.unwrap();
    let sums: Vec<_> = reply
        .outputs
        .iter()
        .zip(&reply.raw_output_contents)
        .map(|(output, raw)| {
            assert!(output.datatype == "FP64" && output.shape.is_empty());
            let bytes = raw.as_ref().try_into().unwrap();
            (output.name.as_str(), f64::from_le_bytes(bytes))
        })
        .collect();
    assert_eq!(sums, [("x_sum", 4.5), ("words_sum", 5.0)]);
}

#[tokio::test]
async fn models_that_take_no_tensors_say_so() {
    let server = start!(Setup::new().example("example_text"));
    let request = raw("example_text", vec![floats("x", &[1], &[1.0])]);
    let refused = infer(&server.caller().await, request).await;
    let message = "model `example_text`: the model takes a text, not named tensors";
    assert_refused(refused, Code::InvalidArgument, message);
}

#[tokio::test]
async fn a_huge_shape_is_not_echoed_whole() {
    let server = start!(Setup::new().guest("echo").graph("two_inputs", "graph"));
    let caller = server.caller().await;
    for model in ["echo", "graph"] {
        for (dimension, rank, words) in [
            (-1, 10_000, "the shape [-1, -1, -1,"),
            (1, 10_000, "a tensor of 10000 dimensions: there may be at most 64"),
            (1, 64, "8 bytes of data do not make"),
            (i64::MAX, 64, "is too large"),
        ] {
            let shape = vec![dimension; rank];
            let input = (input("a", "FP32", &shape), vec![0; 8]);
            let refused = infer(&caller, raw(model, vec![input])).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
            let text = refused.message();
            assert!(text.starts_with("input `a`: ") && text.contains(words), "{text}");
        }
    }
}
