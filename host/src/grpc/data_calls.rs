//! The calls with data, of both protocols: read, asked, and answered here, without tonic's server. It would
//! copy what it knows of a call several times on the way, read an empty message and write a reply into a
//! second buffer: a third of what a small call takes in all.

use std::sync::Arc;

use http::HeaderMap;
use tonic::Status;

use super::{
    app::App,
    context::{Arrived, CallContext},
    decode::{self, Charges},
    deflate::deflate,
    inbox::RequestBody,
    inflate::Encoding,
    open_inference::Infer,
    proto::{
        inference::ModelInferRequest,
        server::{BatchImageArgs, BatchTextArgs, EncodedArgs, ImageArgs, RunArgs, TextArgs},
    },
    receive::Inbox,
    reply::{Replies, Reply},
    runs::{Run, RunBatch, RunBatchToImage, RunToImage},
    streams::{self, Requests},
};

/// A call with data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataCall {
    Text,
    Image,
    BatchText,
    BatchImage,
    ImageToImage,
    BatchImageToImage,
    Encoded,
    Stream,
    Session,
    Infer,
    StreamInfer,
}

/// What a message asks for.
pub trait Asks: Send + Sized + 'static {
    /// What becomes of it. `charges` are for the request's memory, as long as they are there.
    fn answer(
        self,
        app: &App,
        caller: CallContext,
        charges: Charges,
    ) -> impl Future<Output = Result<Reply, Status>> + Send;
}

/// What comes back.
pub enum Answered {
    One(Reply),
    /// Any number of messages.
    Several(Box<Replies>),
}

impl DataCall {
    /// None for all other calls.
    pub fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/server.Server/RunText" => Self::Text,
            "/server.Server/RunImage" => Self::Image,
            "/server.Server/RunBatchText" => Self::BatchText,
            "/server.Server/RunBatchImage" => Self::BatchImage,
            "/server.Server/RunImageToImage" => Self::ImageToImage,
            "/server.Server/RunBatchImageToImage" => Self::BatchImageToImage,
            "/server.Server/RunEncoded" => Self::Encoded,
            "/server.Server/RunStream" => Self::Stream,
            "/server.Server/RunSession" => Self::Session,
            "/inference.GRPCInferenceService/ModelInfer" => Self::Infer,
            "/inference.GRPCInferenceService/ModelStreamInfer" => Self::StreamInfer,
            _ => return None,
        })
    }

    /// Reads what the caller sends, and answers it.
    pub async fn answer<B: RequestBody + Send + 'static>(
        self,
        request: Request<'_, B>,
    ) -> Result<Answered, Status> {
        match self {
            Self::Text => request.answer::<TextArgs, Run>().await,
            Self::Image => request.answer::<ImageArgs, Run>().await,
            Self::BatchText => request.answer::<BatchTextArgs, RunBatch>().await,
            Self::BatchImage => request.answer::<BatchImageArgs, RunBatch>().await,
            Self::ImageToImage => request.answer::<ImageArgs, RunToImage>().await,
            Self::BatchImageToImage => request.answer::<BatchImageArgs, RunBatchToImage>().await,
            Self::Encoded => request.answer::<EncodedArgs, Run>().await,
            Self::Infer => request.answer::<ModelInferRequest, Infer>().await,
            // Seldom, and large: not a part of every call.
            Self::Stream => Box::pin(request.stream()).await,
            Self::Session => Ok(request.several(Requests::run_session)),
            Self::StreamInfer => Ok(request.several(Requests::stream_infer)),
        }
    }
}

/// A call as it comes. What all calls share is only lent: a count of who has it would be written by all workers.
pub struct Request<'a, B> {
    pub app: &'a Arc<App>,
    pub inbox: &'a Arc<Inbox>,
    pub arrived: Arrived,
    pub headers: HeaderMap,
    pub body: B,
    pub encoding: Option<Encoding>,
    /// What a caller may send of a call that is not read, in bytes.
    pub window: usize,
}

impl<B: RequestBody + Send + 'static> Request<'_, B> {
    /// One message, answered with one.
    async fn answer<M, R>(self) -> Result<Answered, Status>
    where
        M: decode::Request,
        R: From<M> + Asks,
    {
        let Self { app, inbox, arrived, headers, body, encoding, .. } = self;
        let (asked, charges) = inbox.receive::<M, R>(body, encoding).await?;
        let reply = asked.answer(app, CallContext::new(arrived, headers), charges).await?;
        Ok(Answered::One(match encoding {
            // Seldom, and large: not a part of every call.
            Some(encoding) if encoding.compresses() => {
                Box::pin(deflate(reply, encoding, &app.long)).await?
            }
            _ => reply,
        }))
    }

    /// One message, answered with several.
    async fn stream(self) -> Result<Answered, Status> {
        let Self { app, inbox, arrived, headers, body, encoding, .. } = self;
        let (run, charges) = inbox.receive::<RunArgs, Run>(body, encoding).await?;
        let caller = CallContext::new(arrived, headers);
        let encoding = encoding.filter(|encoding| encoding.compresses());
        let replies = streams::run_stream(app.clone(), run, caller, charges, encoding);
        Ok(Answered::Several(replies.begun().await?))
    }

    /// Several messages, answered with several.
    fn several(self, answer: impl FnOnce(Requests<B>) -> Box<Replies>) -> Answered {
        let Self { app, inbox, arrived, headers, body, encoding, window } = self;
        Answered::Several(answer(Requests {
            messages: inbox.messages(body, window),
            app: app.clone(),
            inbox: inbox.clone(),
            encoding: encoding.filter(|encoding| encoding.compresses()),
            caller: CallContext::new(arrived, headers),
        }))
    }
}
