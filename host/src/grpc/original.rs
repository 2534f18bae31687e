//! The nine calls of the original Tiny Model Server.

use std::{borrow::Cow, iter, sync::Arc};

use bytes::Bytes;

use tonic::{Request, Response as Answer, Status};

use crate::{
    config::StopServer,
    data::{IMAGE, Input, Kind, Output, check_json},
};

use super::{
    app::{App, Facts},
    context::CallContext,
    data_calls::Asks,
    decode::Charges,
    encode, images,
    proto::server::{
        BatchImageArgs, BatchTextArgs, EmptyArgs, ImageArgs, NamedTensor, Parts, Response,
        StringArg, TextArgs, server_server::Server,
    },
    reply::Reply,
    status,
};

pub struct OriginalService(pub Arc<App>);

impl Asks for Run {
    async fn answer(
        self,
        app: &App,
        mut caller: CallContext,
        mut charges: Charges,
    ) -> Result<Reply, Status> {
        let input = self.input?;
        let model = app.model(&mut caller, &self.model).await?;
        charges.give_to(&model.tenant);
        let args = self.args?;
        let call = caller.call(model, &args);
        let mut output = model.run(input, call).await.map_err(|e| status::run(model, &e))?;
        let facts = Facts { batch: output.batch, charge: output.charge.take() };
        let (data, Parts { image, tensors }) = split(output);
        app.reply(Response { data, image, tensors, batch: Vec::new() }, facts, model).await
    }
}

impl Asks for RunBatch {
    async fn answer(
        self,
        app: &App,
        mut caller: CallContext,
        mut charges: Charges,
    ) -> Result<Reply, Status> {
        let inputs = self.inputs?;
        let model = app.model(&mut caller, &self.model).await?;
        charges.give_to(&model.tenant);
        let args = self.args?;
        let call = caller.call(model, &args);
        let outputs = model.run_batch(self.kind, inputs, call).await;
        let mut outputs = outputs.map_err(|e| status::run(model, &e))?;
        let mut facts = Facts::default();
        for output in &mut outputs {
            facts.add(output.batch, output.charge.take());
        }
        let (data, mut batch): (Vec<_>, Vec<_>) = outputs.into_iter().map(split).unzip();
        if batch.iter().all(|parts| *parts == Parts::default()) {
            batch.clear();
        }
        let data = format!("[{}]", data.join(","));
        app.reply(Response { data, batch, ..Response::default() }, facts, model).await
    }
}

impl encode::Reply for Response {
    fn slices(&self) -> impl Iterator<Item = &Bytes> {
        let of_batch = self.batch.iter().map(|parts| (&parts.image, &parts.tensors));
        let all = iter::once((&self.image, &self.tensors)).chain(of_batch);
        all.flat_map(|(image, tensors)| {
            let image = image.iter().map(|image| &image.data);
            image.chain(tensors.iter().map(|tensor| &tensor.data))
        })
    }
}

/// What tonic's server would say, had the layer not answered before.
pub fn answered_before<T>() -> Result<T, Status> {
    Err(Status::internal("calls with data are answered before they come here"))
}

#[tonic::async_trait]
impl Server for OriginalService {
    async fn run_text(&self, _: Request<TextArgs>) -> Result<Answer<Response>, Status> {
        answered_before()
    }

    async fn run_image(&self, _: Request<ImageArgs>) -> Result<Answer<Response>, Status> {
        answered_before()
    }

    async fn run_batch_text(&self, _: Request<BatchTextArgs>) -> Result<Answer<Response>, Status> {
        answered_before()
    }

    async fn run_batch_image(
        &self,
        _: Request<BatchImageArgs>,
    ) -> Result<Answer<Response>, Status> {
        answered_before()
    }

    async fn list_models(&self, _: Request<EmptyArgs>) -> Result<Answer<Response>, Status> {
        self.0.catalogue.loaded().await;
        let names: Vec<_> = self.0.catalogue.ready().map(|m| m.name.as_str()).collect();
        json(serde_json::json!(names))
    }

    async fn get_input_shape(
        &self,
        request: Request<StringArg>,
    ) -> Result<Answer<Response>, Status> {
        let mut caller = CallContext::of(&request);
        let model = self.0.model(&mut caller, &request.into_inner().data).await?;
        json(serde_json::json!(model.input_shape))
    }

    async fn get_pid(&self, request: Request<EmptyArgs>) -> Result<Answer<Response>, Status> {
        let home = CallContext::of(&request).home();
        json(serde_json::json!({"pid": self.0.workers.pid(home)}))
    }

    async fn get_num_parallel_workers(
        &self,
        _: Request<EmptyArgs>,
    ) -> Result<Answer<Response>, Status> {
        json(serde_json::json!({"num_workers": self.0.workers.count()}))
    }

    async fn stop_server(&self, request: Request<EmptyArgs>) -> Result<Answer<Response>, Status> {
        let refused = match self.0.stop_server {
            StopServer::Anyone => None,
            StopServer::Local if CallContext::of(&request).is_local() => None,
            StopServer::Local => Some("StopServer is for callers on the server's machine (local)"),
            StopServer::Never => Some("StopServer is switched off on this server (never)"),
        };
        if let Some(refused) = refused {
            return Err(Status::permission_denied(format!(
                "{refused}: whoever runs the server can stop it with a signal, or let others stop it \
                 with --stop-server, TMS_STOP_SERVER or stop_server in tms.toml"
            )));
        }
        self.0.stop.cancel();
        json(serde_json::json!({"stopping": true}))
    }
}

fn json(value: serde_json::Value) -> Result<Answer<Response>, Status> {
    Ok(Answer::new(Response { data: value.to_string(), ..Response::default() }))
}

/// A text or an image for a model, as far as it can be understood without the model.
pub struct Run {
    input: Result<Input, Status>,
    model: String,
    args: Result<Arguments, Status>,
}

impl From<TextArgs> for Run {
    fn from(TextArgs { text, model, args }: TextArgs) -> Self {
        Self { input: Ok(Input::Text(text)), model, args: arguments(args) }
    }
}

impl From<ImageArgs> for Run {
    fn from(ImageArgs { image, model, args }: ImageArgs) -> Self {
        let input = images::from_proto(image).map(Input::Image);
        Self { input, model, args: arguments(args) }
    }
}

/// Several of one kind.
pub struct RunBatch {
    kind: Kind,
    inputs: Result<Vec<Input>, Status>,
    model: String,
    args: Result<Arguments, Status>,
}

impl From<BatchTextArgs> for RunBatch {
    fn from(BatchTextArgs { texts, model, args }: BatchTextArgs) -> Self {
        let inputs = Ok(texts.into_iter().map(Input::Text).collect());
        Self { kind: Kind::Text, inputs, model, args: arguments(args) }
    }
}

impl From<BatchImageArgs> for RunBatch {
    fn from(BatchImageArgs { images, model, args }: BatchImageArgs) -> Self {
        let mut inputs = Vec::with_capacity(images.len());
        let mut member = |(i, image)| {
            let image = images::from_proto(Some(image));
            let image =
                image.map_err(|e| Status::new(e.code(), format!("image {i}: {}", e.message())))?;
            inputs.push(Input::Image(image));
            Ok(())
        };
        let checked = images.into_iter().enumerate().try_for_each(&mut member);
        let inputs = checked.map(|()| inputs);
        Self { kind: Kind::Image, inputs, model, args: arguments(args) }
    }
}

/// JSON.
type Arguments = Cow<'static, str>;

/// A caller's arguments: JSON, with several ways to say that there are none.
fn arguments(mut args: String) -> Result<Arguments, Status> {
    let trimmed = args.trim();
    if matches!(trimmed, "" | "\"\"" | "null" | "{}") {
        return Ok(Cow::Borrowed("{}"));
    }
    if let Err(e) = check_json(trimmed) {
        return Err(Status::invalid_argument(format!("args is not JSON: {e}")));
    }
    // In its place: it may be large.
    let before = args.len() - args.trim_start().len();
    args.truncate(args.trim_end().len());
    args.drain(..before);
    Ok(Cow::Owned(args))
}

/// A result as its JSON and the rest. A result without JSON is `null`.
fn split(output: Output) -> (String, Parts) {
    let mut parts = Parts::default();
    for (name, tensor) in output.tensors {
        if name == IMAGE
            && parts.image.is_none()
            && let Some(image) = images::to_proto(&tensor)
        {
            parts.image = Some(image);
            continue;
        }
        parts.tensors.push(NamedTensor {
            name,
            datatype: tensor.dtype().oip_name().into(),
            shape: tensor.shape().iter().map(|d| *d as i64).collect(),
            data: tensor.data().clone(),
        });
    }
    (output.json.unwrap_or_else(|| "null".into()), parts)
}
