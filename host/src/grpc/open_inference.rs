//! The Open Inference Protocol's six calls: components that take named tensors, and bare graphs.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use serde::{Serialize, Serializer};
use tokio_stream::Empty;
use tonic::{Request, Response as Answer, Status, Streaming};

use crate::{
    data::{NamedTensor, Output, VERSION},
    details::SequencePlace,
    models::{Body, Model, Session},
    nn::TensorInfo,
    repository::Unready,
};

use super::{
    app::{App, Facts},
    context::{Asked, CallContext},
    data_calls::Asks,
    decode::Charges,
    encode, error_details,
    original::answered_before,
    proto::inference::{
        InferParameter, ModelInferRequest, ModelInferResponse, ModelMetadataRequest,
        ModelMetadataResponse, ModelReadyRequest, ModelReadyResponse, ModelStreamInferResponse,
        ServerLiveRequest, ServerLiveResponse, ServerMetadataRequest, ServerMetadataResponse,
        ServerReadyRequest, ServerReadyResponse,
        grpc_inference_service_server::GrpcInferenceService, infer_parameter::ParameterChoice,
        model_metadata_response::TensorMetadata,
    },
    reply::Reply,
    runs::sequence_place,
    status,
    streams::AsksInParts,
    tensors,
};

pub struct OpenInferenceService(pub Arc<App>);

/// A model that is called, in a version.
async fn version_of<'a>(
    app: &'a App,
    caller: &mut CallContext,
    name: &str,
    version: &str,
) -> Result<&'a Arc<Model>, Status> {
    let model = app.model(caller, name).await?;
    match version {
        "" | VERSION => Ok(model),
        _ => Err(Status::not_found(format!("the model `{name}` has one version, {VERSION}"))),
    }
}

#[tonic::async_trait]
impl GrpcInferenceService for OpenInferenceService {
    async fn server_live(
        &self,
        _: Request<ServerLiveRequest>,
    ) -> Result<Answer<ServerLiveResponse>, Status> {
        Ok(Answer::new(ServerLiveResponse { live: true }))
    }

    async fn server_ready(
        &self,
        _: Request<ServerReadyRequest>,
    ) -> Result<Answer<ServerReadyResponse>, Status> {
        let ready = self.0.catalogue.is_loaded() && !self.0.stop.is_cancelled();
        Ok(Answer::new(ServerReadyResponse { ready }))
    }

    async fn model_ready(
        &self,
        request: Request<ModelReadyRequest>,
    ) -> Result<Answer<ModelReadyResponse>, Status> {
        let mut caller = CallContext::of(&request);
        let ModelReadyRequest { name, version } = request.into_inner();
        let ready = match self.0.catalogue.get(&name) {
            Ok(_) => version_of(&self.0, &mut caller, &name, &version).await.is_ok(),
            Err(Unready::Failed | Unready::Loading) => false,
            Err(unknown) => return Err(status::unready(&name, unknown, &self.0.catalogue)),
        };
        Ok(Answer::new(ModelReadyResponse { ready }))
    }

    async fn server_metadata(
        &self,
        _: Request<ServerMetadataRequest>,
    ) -> Result<Answer<ServerMetadataResponse>, Status> {
        Ok(Answer::new(ServerMetadataResponse {
            name: "tms".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            extensions: Vec::new(),
        }))
    }

    async fn model_metadata(
        &self,
        request: Request<ModelMetadataRequest>,
    ) -> Result<Answer<ModelMetadataResponse>, Status> {
        let mut caller = CallContext::of(&request);
        let ModelMetadataRequest { name, version } = request.into_inner();
        let model = version_of(&self.0, &mut caller, &name, &version).await?;
        let tensor = |info: &TensorInfo| TensorMetadata {
            name: info.name.clone(),
            datatype: info.dtype.oip_name().into(),
            shape: info.shape.clone(),
        };
        let platform = match &model.body {
            Body::Component(_) => "wasm_component".to_owned(),
            // As other servers of the protocol write it: `onnxruntime_onnx`, `tract_onnx`.
            Body::Graph(graph) => {
                format!("{}_onnx", graph.backend().to_lowercase().replace(' ', ""))
            }
        };
        Ok(Answer::new(ModelMetadataResponse {
            name,
            versions: vec![VERSION.into()],
            platform,
            inputs: model.description.inputs.iter().map(tensor).collect(),
            outputs: model.description.outputs.iter().map(tensor).collect(),
        }))
    }

    type ModelStreamInferStream = Empty<Result<ModelStreamInferResponse, Status>>;

    async fn model_stream_infer(
        &self,
        _: Request<Streaming<ModelInferRequest>>,
    ) -> Result<Answer<Self::ModelStreamInferStream>, Status> {
        answered_before()
    }

    async fn model_infer(
        &self,
        _: Request<ModelInferRequest>,
    ) -> Result<Answer<ModelInferResponse>, Status> {
        answered_before()
    }
}

impl Asks for Infer {
    async fn answer(
        self,
        app: &App,
        mut caller: CallContext,
        mut charges: Charges,
    ) -> Result<Reply, Status> {
        let model = self.model(app, &mut caller).await?;
        charges.give_to(&model.tenant);
        let parts = self.parts(model);
        let output = self.ask(model, caller, Asked::default()).await?;
        let (message, facts) = parts.response(output);
        app.reply(message, facts, model).await
    }
}

impl AsksInParts for Infer {
    async fn run(
        self,
        model: &Model,
        _: Option<&Session>,
        caller: CallContext,
        asked: Asked,
    ) -> Result<Output, Status> {
        self.ask(model, caller, asked).await
    }
}

impl Infer {
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The model that is asked.
    pub async fn model<'a>(
        &self,
        app: &'a App,
        caller: &mut CallContext,
    ) -> Result<&'a Arc<Model>, Status> {
        version_of(app, caller, &self.model, &self.version).await
    }

    /// How results become messages.
    pub fn parts(&self, model: &Model) -> Parts {
        Parts {
            model: model.name.clone(),
            id: self.id.clone(),
            typed: self.typed,
            wanted: if model.description.streams { self.wanted.clone() } else { Vec::new() },
            empty_last: self.empty_last,
        }
    }

    async fn ask(self, model: &Model, caller: CallContext, asked: Asked) -> Result<Output, Status> {
        let Self { id, inputs, mut wanted, args, sequence, timeout, .. } = self;
        if asked.parts.is_some() && model.description.streams {
            // Not every part has all of them: see `Parts`.
            wanted.clear();
        }
        let parameters = model.asks().context.then(|| args.clone());
        let asked = Asked { request_id: id, parameters, sequence: sequence?, timeout, ..asked };
        let call = caller.call(model, "{}", asked);
        let output = model.infer(inputs?, &wanted, || args, call).await;
        output.map_err(|e| status::run(model, &e))
    }
}

/// How a request's results become messages.
pub struct Parts {
    model: String,
    id: String,
    /// Whether contents are typed.
    typed: bool,
    /// Names of the outputs that are wanted of parts, where these may lack some; all where it is empty.
    wanted: Vec<String>,
    /// Whether the end is told where it comes without a result.
    empty_last: bool,
}

/// Says of a message of a stream whether it is the request's last one.
const FINAL: &str = "triton_final_response";

impl Parts {
    fn response(&self, output: Output) -> (ModelInferResponse, Facts) {
        let facts = Facts { batch: output.batch, charge: output.charge };
        let (outputs, raw_output_contents) = tensors::to_proto(output.tensors, self.typed);
        let json = output.json.map(|json| {
            let parameter_choice = Some(ParameterChoice::StringParam(json));
            ("json".to_owned(), InferParameter { parameter_choice })
        });
        let response = ModelInferResponse {
            model_name: self.model.clone(),
            model_version: VERSION.into(),
            id: self.id.clone(),
            parameters: json.into_iter().collect(),
            outputs,
            raw_output_contents,
        };
        (response, facts)
    }

    /// A part of a result as a message of a stream.
    pub fn message(&self, mut output: Output, last: bool) -> (ModelStreamInferResponse, Facts) {
        if !self.wanted.is_empty() {
            output.tensors.retain(|(name, _)| self.wanted.contains(name));
        }
        let (mut response, facts) = self.response(output);
        let parameter_choice = Some(ParameterChoice::BoolParam(last));
        response.parameters.insert(FINAL.to_owned(), InferParameter { parameter_choice });
        let message = ModelStreamInferResponse {
            error_message: String::new(),
            infer_response: Some(response),
        };
        (message, facts)
    }

    /// The last part, if there is one that the caller wants to hear of.
    pub fn last(&self, output: Output) -> Option<(ModelStreamInferResponse, Facts)> {
        let wanted = !output.is_empty() || self.empty_last;
        wanted.then(|| self.message(output, true))
    }
}

/// The answer to a request of a stream that failed.
pub fn failed(id: String, status: &Status) -> ModelStreamInferResponse {
    ModelStreamInferResponse {
        error_message: status.message().to_owned(),
        infer_response: Some(ModelInferResponse { id, ..ModelInferResponse::default() }),
    }
}

impl encode::Reply for ModelStreamInferResponse {
    fn slices(&self) -> impl Iterator<Item = &Bytes> {
        self.infer_response.iter().flat_map(|response| &response.raw_output_contents)
    }
}

impl encode::Reply for ModelInferResponse {
    fn slices(&self) -> impl Iterator<Item = &Bytes> {
        self.raw_output_contents.iter()
    }
}

/// A request for a model, as far as it can be understood without the model.
pub struct Infer {
    model: String,
    version: String,
    id: String,
    /// Whether contents are typed.
    typed: bool,
    inputs: Result<Vec<NamedTensor>, Status>,
    /// Names of outputs.
    wanted: Vec<String>,
    /// JSON.
    args: String,
    sequence: Result<Option<SequencePlace>, Status>,
    /// How long the caller waits.
    timeout: Option<Duration>,
    /// Whether the end of a stream's results is told where it comes without one.
    empty_last: bool,
}

impl From<ModelInferRequest> for Infer {
    fn from(request: ModelInferRequest) -> Self {
        let parameters = &request.parameters;
        Self {
            sequence: sequence(parameters),
            timeout: positive(parameters, "timeout").map(Duration::from_micros),
            empty_last: is_set(parameters, "triton_enable_empty_final_response"),
            model: request.model_name,
            version: request.model_version,
            id: request.id,
            typed: request.raw_input_contents.is_empty() && !request.inputs.is_empty(),
            inputs: tensors::from_proto(request.inputs, request.raw_input_contents),
            wanted: request.outputs.into_iter().map(|o| o.name).collect(),
            args: arguments(&request.parameters),
        }
    }
}

fn choice<'a>(
    parameters: &'a HashMap<String, InferParameter>,
    name: &str,
) -> Option<&'a ParameterChoice> {
    parameters.get(name)?.parameter_choice.as_ref()
}

fn is_set(parameters: &HashMap<String, InferParameter>, name: &str) -> bool {
    matches!(choice(parameters, name), Some(ParameterChoice::BoolParam(true)))
}

fn positive(parameters: &HashMap<String, InferParameter>, name: &str) -> Option<u64> {
    let number = match choice(parameters, name)? {
        ParameterChoice::Int64Param(number) => u64::try_from(*number).ok(),
        ParameterChoice::Uint64Param(number) => Some(*number),
        _ => None,
    };
    number.filter(|number| *number > 0)
}

/// Where a request names its sequence.
const SEQUENCE_ID: &str = "parameters[\"sequence_id\"]";

/// A call's place in a sequence, as Triton's parameters have it: an id of 0 or of no letters is none.
fn sequence(parameters: &HashMap<String, InferParameter>) -> Result<Option<SequencePlace>, Status> {
    let (start, end) = (is_set(parameters, "sequence_start"), is_set(parameters, "sequence_end"));
    let id = match choice(parameters, "sequence_id") {
        Some(ParameterChoice::StringParam(id)) => id.clone(),
        Some(ParameterChoice::Int64Param(id)) if *id != 0 => id.to_string(),
        Some(ParameterChoice::Uint64Param(id)) if *id != 0 => id.to_string(),
        Some(ParameterChoice::BoolParam(_) | ParameterChoice::DoubleParam(_)) => {
            return Err(error_details::field(SEQUENCE_ID, "sequence_id is a number or a text"));
        }
        _ => String::new(),
    };
    match id.is_empty() {
        false => sequence_place(SEQUENCE_ID, id, start, end).map(Some),
        true if start || end => {
            let problem = "a sequence that starts or ends has a sequence_id";
            Err(error_details::field(SEQUENCE_ID, problem))
        }
        true => Ok(None),
    }
}

/// A request's parameters as the JSON arguments of a component, in the order of their names.
fn arguments(parameters: &HashMap<String, InferParameter>) -> String {
    if parameters.is_empty() {
        return "{}".into();
    }
    let ordered: BTreeMap<_, _> = parameters.iter().map(|(k, v)| (k, Argument(v))).collect();
    // It may be large, so it is not made in a buffer that grows to twice that.
    let mut length = Length(0);
    // Neither fails: they write to memory, and the names are texts.
    let _ = serde_json::to_writer(&mut length, &ordered);
    let mut json = Vec::with_capacity(length.0);
    let _ = serde_json::to_writer(&mut json, &ordered);
    String::from_utf8(json).unwrap_or_default()
}

/// A parameter as JSON.
struct Argument<'a>(&'a InferParameter);

impl Serialize for Argument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0.parameter_choice {
            Some(ParameterChoice::BoolParam(v)) => v.serialize(serializer),
            Some(ParameterChoice::Int64Param(v)) => v.serialize(serializer),
            Some(ParameterChoice::StringParam(v)) => v.serialize(serializer),
            Some(ParameterChoice::DoubleParam(v)) => v.serialize(serializer),
            Some(ParameterChoice::Uint64Param(v)) => v.serialize(serializer),
            None => serializer.serialize_unit(),
        }
    }
}

/// How much is written.
struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
