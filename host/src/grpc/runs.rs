//! The calls of the original's package that run a model, its own and ours: from messages to requests, and from
//! results to messages.

use std::{borrow::Cow, iter};

use bytes::Bytes;
use tonic::Status;

use crate::{
    data::{ENCODED, Encoded, IMAGE, Input, Kind, Output, check_json},
    details::SequencePlace,
    models::{Model, Session},
    nn::{DType, Tensor},
    sandbox::media_type,
};

use super::{
    app::{App, Facts},
    context::{Asked, CallContext},
    data_calls::Asks,
    decode::Charges,
    encode, error_details,
    images::{self, BadImage},
    proto::server::{
        self, BatchImageArgs, BatchImageResponse, BatchTextArgs, EncodedArgs, ImageArgs,
        ImageResponse, NamedTensor, Parts, Response, RunArgs, TextArgs, run_args,
    },
    reply::Reply,
    status,
    streams::AsksInParts,
};

/// Bytes of a sequence's id.
pub const LONGEST_ID: usize = 128;

/// One request for a model, as far as it can be understood without the model.
pub struct Run {
    input: Result<Input, Status>,
    pub model: String,
    args: Result<Arguments, Status>,
    sequence: Result<Option<SequencePlace>, Status>,
}

/// The same, for the image in the result.
pub struct RunToImage(Run);

impl Asks for Run {
    async fn answer(
        self,
        app: &App,
        mut caller: CallContext,
        mut charges: Charges,
    ) -> Result<Reply, Status> {
        let (model, output) = self.run(app, &mut caller, &mut charges).await?;
        let (response, facts) = response(output, false);
        app.reply(response, facts, model).await
    }
}

impl Asks for RunToImage {
    async fn answer(
        self,
        app: &App,
        mut caller: CallContext,
        mut charges: Charges,
    ) -> Result<Reply, Status> {
        let (model, mut output) = self.0.run(app, &mut caller, &mut charges).await?;
        let facts = Facts { batch: output.batch, charge: output.charge.take() };
        let (data, parts) = split(output);
        let image = parts.image.ok_or_else(|| no_image(model))?;
        app.reply(ImageResponse { data, image: Some(image) }, facts, model).await
    }
}

/// The model's results have no images.
fn no_image(model: &Model) -> Status {
    Status::invalid_argument(format!(
        "model `{}`: its result has no image, of shape [height, width] or [height, width, channels] and of \
         type uint8, float32 or float64: call RunImage",
        model.name
    ))
}

impl Run {
    /// The model's one answer.
    async fn run<'a>(
        self,
        app: &'a App,
        caller: &mut CallContext,
        charges: &mut Charges,
    ) -> Result<(&'a Model, Output), Status> {
        let Self { input, model, args, sequence } = self;
        let input = input?;
        let model = app.model(caller, &model).await?;
        charges.give_to(&model.tenant);
        let args = args?;
        let asked = Asked { sequence: sequence?, ..Asked::default() };
        let call = caller.call(model, &args, asked);
        let output = model.answer(input, call).await.map_err(|e| status::run(model, &e))?;
        Ok((model, output))
    }
}

impl AsksInParts for Run {
    async fn run(
        self,
        model: &Model,
        session: Option<&Session>,
        caller: CallContext,
        mut asked: Asked,
    ) -> Result<Output, Status> {
        asked.sequence = match (self.sequence?, session) {
            (Some(_), Some(_)) => {
                let message = "a session is a sequence: its messages have none";
                return Err(Status::invalid_argument(message));
            }
            (None, Some(session)) => Some(session.next()),
            (sequence, None) => sequence,
        };
        let (input, args) = (self.input?, self.args?);
        let call = caller.call(model, &args, asked);
        let answer = match session {
            Some(session) => session.answer(input, call).await,
            None => model.answer(input, call).await,
        };
        answer.map_err(|e| status::run(model, &e))
    }
}

/// A result as a message.
fn response(mut output: Output, more: bool) -> (Response, Facts) {
    let facts = Facts { batch: output.batch, charge: output.charge.take() };
    let (data, Parts { image, tensors, encoded }) = split(output);
    (Response { data, image, tensors, batch: Vec::new(), encoded, more }, facts)
}

/// A part of a result as a message of a stream. `more`: whether another one follows; the last one may have
/// nothing in it.
pub fn part(output: Output, more: bool) -> (Response, Facts) {
    match output.is_empty() && !more {
        true => (Response::default(), Facts { batch: output.batch, charge: output.charge }),
        false => response(output, more),
    }
}

/// Several of one kind.
pub struct RunBatch {
    kind: Kind,
    inputs: Result<Vec<Input>, Status>,
    model: String,
    args: Result<Arguments, Status>,
}

/// The same, for the images in the results.
pub struct RunBatchToImage(RunBatch);

impl RunBatch {
    async fn run(
        self,
        app: &App,
        mut caller: CallContext,
        mut charges: Charges,
    ) -> Result<(&Model, Vec<Output>, Facts), Status> {
        let inputs = self.inputs?;
        let model = app.model(&mut caller, &self.model).await?;
        charges.give_to(&model.tenant);
        let args = self.args?;
        let call = caller.call(model, &args, Asked::default());
        let outputs = model.run_batch(self.kind, inputs, call).await;
        let mut outputs = outputs.map_err(|e| status::run(model, &e))?;
        let mut facts = Facts::default();
        for output in &mut outputs {
            facts.add(output.batch, output.charge.take());
        }
        Ok((model, outputs, facts))
    }
}

impl Asks for RunBatch {
    async fn answer(
        self,
        app: &App,
        caller: CallContext,
        charges: Charges,
    ) -> Result<Reply, Status> {
        let (model, outputs, facts) = self.run(app, caller, charges).await?;
        let (data, mut batch): (Vec<_>, Vec<_>) = outputs.into_iter().map(split).unzip();
        if batch.iter().all(|parts| *parts == Parts::default()) {
            batch.clear();
        }
        let data = format!("[{}]", data.join(","));
        app.reply(Response { data, batch, ..Response::default() }, facts, model).await
    }
}

impl Asks for RunBatchToImage {
    async fn answer(
        self,
        app: &App,
        caller: CallContext,
        charges: Charges,
    ) -> Result<Reply, Status> {
        let (model, outputs, facts) = self.0.run(app, caller, charges).await?;
        let (data, parts): (Vec<_>, Vec<_>) = outputs.into_iter().map(split).unzip();
        let images = parts.into_iter().map(|parts| parts.image.ok_or_else(|| no_image(model)));
        let images = images.collect::<Result<_, _>>()?;
        let data = format!("[{}]", data.join(","));
        app.reply(BatchImageResponse { data, images }, facts, model).await
    }
}

impl encode::Reply for Response {
    fn slices(&self) -> impl Iterator<Item = &Bytes> {
        let of_batch = self.batch.iter().map(|parts| (&parts.image, &parts.tensors));
        let of_batch_files = self.batch.iter().filter_map(|parts| parts.encoded.as_ref());
        let encoded = self.encoded.iter().chain(of_batch_files);
        let all = iter::once((&self.image, &self.tensors)).chain(of_batch);
        all.flat_map(|(image, tensors)| {
            let image = image.iter().map(|image| &image.data);
            image.chain(tensors.iter().map(|tensor| &tensor.data))
        })
        .chain(encoded.map(|file| &file.data))
    }
}

impl encode::Reply for ImageResponse {
    fn slices(&self) -> impl Iterator<Item = &Bytes> {
        self.image.iter().map(|image| &image.data)
    }
}

impl encode::Reply for BatchImageResponse {
    fn slices(&self) -> impl Iterator<Item = &Bytes> {
        self.images.iter().map(|image| &image.data)
    }
}

impl From<TextArgs> for Run {
    fn from(TextArgs { text, model, args, sequence }: TextArgs) -> Self {
        let sequence = place(sequence);
        Self { input: Ok(Input::Text(text)), model, args: arguments(args), sequence }
    }
}

impl From<ImageArgs> for Run {
    fn from(ImageArgs { image, model, args, sequence }: ImageArgs) -> Self {
        let input = image.ok_or_else(|| error_details::field("image", "the request has no image"));
        let input = input.and_then(picture);
        Self { input, model, args: arguments(args), sequence: place(sequence) }
    }
}

impl From<EncodedArgs> for Run {
    fn from(EncodedArgs { encoded, model, args, sequence }: EncodedArgs) -> Self {
        let input =
            encoded.ok_or_else(|| error_details::field("encoded", "the request has no file"));
        let input = input.and_then(file);
        Self { input, model, args: arguments(args), sequence: place(sequence) }
    }
}

impl From<RunArgs> for Run {
    fn from(RunArgs { input, model, args, sequence }: RunArgs) -> Self {
        let input = match input {
            Some(run_args::Input::Text(text)) => Ok(Input::Text(text)),
            Some(run_args::Input::Image(image)) => picture(image),
            Some(run_args::Input::Encoded(encoded)) => file(encoded),
            Some(run_args::Input::Tensors(given)) => {
                let tensors = given.tensors.into_iter().enumerate();
                let tensors = tensors.map(|(i, given)| tensor(i, given));
                let tensors = tensors.collect::<Result<_, _>>();
                tensors.map(Input::Tensors)
            }
            // An empty text is not sent by some clients.
            None => Ok(Input::Text(String::new())),
        };
        Self { input, model, args: arguments(args), sequence: place(sequence) }
    }
}

impl From<ImageArgs> for RunToImage {
    fn from(args: ImageArgs) -> Self {
        Self(args.into())
    }
}

impl From<BatchImageArgs> for RunBatchToImage {
    fn from(args: BatchImageArgs) -> Self {
        Self(args.into())
    }
}

/// An image as the ring within has it.
fn picture(image: server::NumpyImage) -> Result<Input, Status> {
    let image = images::from_proto(image);
    let image = image.map_err(|BadImage { field, problem }| {
        error_details::field(format!("image.{field}"), problem)
    });
    Ok(Input::Image(image?))
}

/// A file as the ring within has it.
fn file(server::Encoded { data, media_type: named }: server::Encoded) -> Result<Input, Status> {
    let Some(media_type) = media_type(&named) else {
        let named = status::escape(&named);
        let problem =
            format!("the file's media_type is `{named}`: write it as image/jpeg or audio/wav");
        return Err(error_details::field("encoded.media_type", problem));
    };
    let length = data.len() as u64;
    let bytes = Tensor::new(DType::U8, vec![length], data);
    let bytes = bytes.map_err(|e| Status::invalid_argument(status::fit(e)))?;
    Ok(Input::Encoded(Encoded { bytes, media_type }))
}

/// A request's tensor at this place.
fn tensor(place: usize, given: NamedTensor) -> Result<(String, Tensor), Status> {
    let NamedTensor { name, datatype, shape, data } = given;
    let wrong = |why: String| {
        let name = status::escape(&name);
        let field = format!("tensors.tensors[{place}]");
        error_details::field(field, format!("tensor `{name}`: {why}"))
    };
    let tensor = super::tensors::of_raw(&datatype, &shape, data).map_err(wrong)?;
    Ok((name, tensor))
}

/// A call's place in a sequence, if it has one.
fn place(sequence: Option<server::Sequence>) -> Result<Option<SequencePlace>, Status> {
    match sequence {
        Some(server::Sequence { id, start, end }) if !id.is_empty() => {
            Ok(Some(sequence_place("sequence.id", id, start, end)?))
        }
        Some(server::Sequence { start: false, end: false, .. }) | None => Ok(None),
        Some(_) => {
            Err(error_details::field("sequence.id", "a sequence that starts or ends has an id"))
        }
    }
}

/// A place in a sequence, whose id, of this field, is not too long.
pub fn sequence_place(
    field: &str,
    id: String,
    start: bool,
    end: bool,
) -> Result<SequencePlace, Status> {
    if id.len() > LONGEST_ID {
        let problem =
            format!("the sequence's id has {} bytes: there may be at most {LONGEST_ID}", id.len());
        return Err(error_details::field(field, problem));
    }
    Ok(SequencePlace { id, start, end })
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
            let image = images::from_proto(image).map_err(|BadImage { field, problem }| {
                let field = format!("images[{i}].{field}");
                error_details::field(field, format!("image {i}: {problem}"))
            });
            inputs.push(Input::Image(image?));
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
        return Err(error_details::field("args", format!("args is not JSON: {e}")));
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
    let mut media_type = output.media_type;
    for (name, tensor) in output.tensors {
        if name == IMAGE
            && parts.image.is_none()
            && let Some(image) = images::to_proto(&tensor)
        {
            parts.image = Some(image);
            continue;
        }
        if name == ENCODED
            && let Some(media_type) = media_type.take()
        {
            parts.encoded = Some(server::Encoded { data: tensor.data().clone(), media_type });
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
