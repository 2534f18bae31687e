//! What every answer must hold to, whatever was asked.

use prost::Message;
use tms::grpc::proto::{
    inference::ModelInferResponse,
    server::{BatchImageResponse, ImageResponse, Response},
};
use tonic::{Code, Status};

use super::{
    case::Case,
    server::{Answer, MAX_MESSAGE},
};
use crate::world;

/// Words of the host: its folders, its sources, its machine.
const HOST: [&str; 6] = ["tms-fuzz-grpc", ".rs:", "/src/", "/rustc/", "/root/", "/home/"];
/// The longest text of an error, in bytes: it travels in a header.
const MAX_TEXT: usize = 8 << 10;

/// Ends the process where the answer is wrong.
pub fn judge(input: &[u8], case: &Case, answer: Answer) {
    // The caller left.
    let Some((headers, data, trailers)) = answer else {
        return;
    };
    let status = Status::from_header_map(&trailers).or_else(|| Status::from_header_map(&headers));
    // A stream that was left after its first message has no status yet.
    let status = status.unwrap_or_else(|| Status::ok(""));
    let (code, message) = (status.code(), status.message());
    if let Some(word) = world::betrays(message, input, &HOST) {
        panic!("the message tells `{word}`: {message}");
    }
    assert!(message.len() <= MAX_TEXT, "a text of {} bytes", message.len());
    // Reflection is tonic's.
    let ours = !case.method.starts_with("/grpc.reflection.");
    assert!(!ours || !message.contains(char::is_control), "control characters: {message:?}");
    match code {
        Code::Ok => answered(case, &data),
        Code::Unknown => panic!("UNKNOWN: {message}"),
        Code::Internal => {
            // Its guest does as the text says, traps and bad results included.
            let faulty = message.starts_with("model `nn_probe`")
                // The SDK's arrays count an empty tensor's other dimensions in 32 bits.
                || message.ends_with("ShapeError/Overflow: arithmetic overflow");
            // tonic's word on a message or frame that cannot be read.
            assert!(faulty || !case.well_formed, "INTERNAL: {message}");
        }
        Code::DeadlineExceeded => {
            assert!(case.timeout.is_some(), "no deadline was given: {message}");
        }
        Code::ResourceExhausted => {
            // One call at a time leaves nobody else to wait for.
            let too_long = message.starts_with("the request is larger than");
            assert!(too_long && case.announced() > MAX_MESSAGE, "nothing is exhausted: {message}");
        }
        Code::Unavailable => {
            let may = ["the model `broken`", "model `nn_probe`"];
            assert!(may.iter().any(|start| message.starts_with(start)), "UNAVAILABLE: {message}");
        }
        _ => {}
    }
}

/// What an answer holds is well formed: one message, JSON in it, tensors as long as they say.
fn answered(case: &Case, data: &[u8]) {
    let Some((prefix, message)) = data.split_first_chunk::<5>() else {
        // A stream with nothing in it.
        assert!(!case.method.starts_with("/server"), "OK without an answer");
        return;
    };
    let [0, length @ ..] = prefix else {
        panic!("a compressed answer that nobody asked for");
    };
    // Streams have any number of messages, one after the other.
    let streams = ["/RunStream", "/RunSession", "/ModelStreamInfer", "/StreamCoreMetrics"];
    let streams = streams.iter().any(|method| case.method.ends_with(method));
    if case.method.starts_with("/grpc") || streams {
        return;
    }
    assert_eq!(u32::from_be_bytes(*length) as usize, message.len(), "the frame's length");
    if case.method.starts_with("/server") {
        let data = match case.method.rsplit('/').next() {
            Some("RunImageToImage") => ImageResponse::decode(message).map(|answer| answer.data),
            Some("RunBatchImageToImage") => {
                BatchImageResponse::decode(message).map(|answer| answer.data)
            }
            _ => Response::decode(message).map(|answer| answer.data),
        };
        let data = data.expect("an answer can be read");
        let json = serde_json::from_str::<serde_json::Value>(&data);
        assert!(json.is_ok(), "not JSON: {data}");
    }
    if case.method.ends_with("/ModelInfer") {
        let response = ModelInferResponse::decode(message).expect("an answer can be read");
        let raw = response.raw_output_contents;
        assert!(raw.is_empty() || raw.len() == response.outputs.len(), "raw contents and outputs");
    }
}
