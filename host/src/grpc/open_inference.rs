//! The Open Inference Protocol's six calls: components that take named tensors, and bare graphs.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::Arc,
};

use bytes::Bytes;
use serde::{Serialize, Serializer};
use tonic::{Request, Response as Answer, Status};

use crate::{
    data::NamedTensor,
    models::{Body, Model},
    nn::TensorInfo,
    repository::Unready,
};

use super::{
    app::{App, Facts},
    context::CallContext,
    data_calls::Asks,
    decode::Charges,
    encode,
    original::answered_before,
    proto::inference::{
        InferParameter, ModelInferRequest, ModelInferResponse, ModelMetadataRequest,
        ModelMetadataResponse, ModelReadyRequest, ModelReadyResponse, ServerLiveRequest,
        ServerLiveResponse, ServerMetadataRequest, ServerMetadataResponse, ServerReadyRequest,
        ServerReadyResponse, grpc_inference_service_server::GrpcInferenceService,
        infer_parameter::ParameterChoice, model_metadata_response::TensorMetadata,
    },
    reply::Reply,
    status, tensors,
};

/// Models have one version.
const VERSION: &str = "1";

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
        let Self { model, version, id, typed, inputs, wanted, args } = self;
        let model = version_of(app, &mut caller, &model, &version).await?;
        charges.give_to(&model.tenant);
        let call = caller.call(model, "{}");
        let output = model.infer(inputs?, &wanted, || args, call).await;
        let output = output.map_err(|e| status::run(model, &e))?;
        let facts = Facts { batch: output.batch, charge: output.charge };
        let (outputs, raw_output_contents) = tensors::to_proto(output.tensors, typed);
        let json = output.json.map(|json| {
            let parameter_choice = Some(ParameterChoice::StringParam(json));
            ("json".to_owned(), InferParameter { parameter_choice })
        });
        let reply = ModelInferResponse {
            model_name: model.name.clone(),
            model_version: VERSION.into(),
            id,
            parameters: json.into_iter().collect(),
            outputs,
            raw_output_contents,
        };
        app.reply(reply, facts, model).await
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
}

impl From<ModelInferRequest> for Infer {
    fn from(request: ModelInferRequest) -> Self {
        Self {
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
