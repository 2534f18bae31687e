//! From an input to a request. The first byte chooses the method, the second the way in which the
//! message is made, the third the headers and the caller's patience.

use arbitrary::{Result, Unstructured};
use http::{HeaderValue, Request};
use http_body_util::Full;
use tonic::body::Body;

use super::messages;

/// All methods, and one that is not there.
pub const METHODS: [&str; 27] = [
    "/server.Server/RunText",
    "/server.Server/RunImage",
    "/server.Server/RunBatchText",
    "/server.Server/RunBatchImage",
    "/server.Server/ListModels",
    "/server.Server/GetInputShape",
    "/server.Server/GetPID",
    "/server.Server/GetNumParallelWorkers",
    "/server.Server/StopServer",
    "/inference.GRPCInferenceService/ServerLive",
    "/inference.GRPCInferenceService/ServerReady",
    "/inference.GRPCInferenceService/ModelReady",
    "/inference.GRPCInferenceService/ServerMetadata",
    "/inference.GRPCInferenceService/ModelMetadata",
    "/inference.GRPCInferenceService/ModelInfer",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    "/server.Server/Nothing",
    "/server.Server/RunImageToImage",
    "/server.Server/RunBatchImageToImage",
    "/server.Server/RunEncoded",
    "/server.Server/RunStream",
    "/server.Server/RunSession",
    "/inference.GRPCInferenceService/ModelStreamInfer",
    "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics",
];

/// A request.
#[derive(Debug)]
pub struct Case {
    pub method: &'static str,
    pub message: Vec<u8>,
    /// The message is one of this method's, in a frame that says its length.
    pub well_formed: bool,
    /// What stands in front of the message instead of its length.
    frame: Option<[u8; 5]>,
    /// `grpc-timeout`
    pub timeout: Option<HeaderValue>,
    /// The caller goes away after so many polls.
    pub patience: Option<u8>,
    /// Which worker's connection it comes on.
    pub worker: usize,
}

impl Case {
    pub fn read(u: &mut Unstructured<'_>) -> Result<Self> {
        let method = METHODS[usize::from(u.arbitrary::<u8>()?) % METHODS.len()];
        let way: u8 = u.arbitrary()?;
        let bits: u8 = u.arbitrary()?;
        let patience = if bits & 0b11 == 0b11 { Some(u.arbitrary()?) } else { None };
        let timeout = if bits & 0b1100 == 0b1100 { timeout(u)? } else { None };
        let frame = if way & 0b111 == 0b111 { Some(u.arbitrary()?) } else { None };
        let structured = way & 1 == 0;
        let message = match structured {
            true => messages::message(method, u)?,
            false => u.bytes(u.len())?.to_vec(),
        };
        let well_formed = structured && frame.is_none();
        let worker = usize::from(bits >> 7);
        Ok(Self { method, message, well_formed, frame, timeout, patience, worker })
    }

    /// What stands in front of the message: whether it is compressed, and its length.
    fn prefix(&self) -> [u8; 5] {
        let [a, b, c, d] = (self.message.len() as u32).to_be_bytes();
        self.frame.unwrap_or([0, a, b, c, d])
    }

    /// How long the longest message is said to be, in bytes. What follows the bytes that a frame
    /// announces is the next frame, as a stream has any number of them.
    pub fn announced(&self) -> usize {
        let body = self.body();
        let mut rest = body.as_slice();
        let mut longest = 0;
        while let Some(([_, length @ ..], after)) = rest.split_first_chunk::<5>() {
            let length = u32::from_be_bytes(*length) as usize;
            longest = longest.max(length);
            rest = after.get(length..).unwrap_or_default();
        }
        longest
    }

    /// The frame, and what follows it.
    fn body(&self) -> Vec<u8> {
        let mut body = self.prefix().to_vec();
        body.extend_from_slice(&self.message);
        body
    }

    /// As it comes out of HTTP/2.
    pub fn request(&self) -> Request<Body> {
        let body = self.body();
        let mut request = Request::post(self.method)
            .header("content-type", "application/grpc")
            .body(Body::new(Full::from(body)))
            .expect("the parts of a request are fixed");
        if let Some(timeout) = &self.timeout {
            request.headers_mut().insert("grpc-timeout", timeout.clone());
        }
        request
    }
}

fn timeout(u: &mut Unstructured<'_>) -> Result<Option<HeaderValue>> {
    if u.arbitrary()? {
        let text: &[u8] = u.arbitrary()?;
        return Ok(HeaderValue::from_bytes(text).ok());
    }
    let number: u32 = u.arbitrary()?;
    let unit = u.choose(&["H", "M", "S", "m", "u", "n"])?;
    Ok(HeaderValue::try_from(format!("{}{unit}", number % 100_000_000)).ok())
}
