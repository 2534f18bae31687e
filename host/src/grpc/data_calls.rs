//! The calls with data, of both protocols: read, asked, and answered here, without tonic's server. It would
//! copy what it knows of a call several times on the way, read an empty message and write a reply into a
//! second buffer: a third of what a small call takes in all.

use tonic::Status;

use super::{
    app::App,
    context::{Arrived, CallContext},
    decode::{self, Charges},
    deflate::deflate,
    inbox::RequestBody,
    inflate::Encoding,
    open_inference::Infer,
    original::{Run, RunBatch},
    proto::{
        inference::ModelInferRequest,
        server::{BatchImageArgs, BatchTextArgs, ImageArgs, TextArgs},
    },
    receive::Inbox,
    reply::Reply,
};

/// A call with data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataCall {
    Text,
    Image,
    BatchText,
    BatchImage,
    Infer,
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

impl DataCall {
    /// None for all other calls.
    pub fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/server.Server/RunText" => Self::Text,
            "/server.Server/RunImage" => Self::Image,
            "/server.Server/RunBatchText" => Self::BatchText,
            "/server.Server/RunBatchImage" => Self::BatchImage,
            "/inference.GRPCInferenceService/ModelInfer" => Self::Infer,
            _ => return None,
        })
    }

    /// Reads the message and answers it.
    pub async fn answer<B: RequestBody + Send>(
        self,
        message: Message<'_, B>,
        app: &App,
        arrived: Arrived,
    ) -> Result<Reply, Status> {
        match self {
            Self::Text => message.answer::<TextArgs, Run>(app, arrived).await,
            Self::Image => message.answer::<ImageArgs, Run>(app, arrived).await,
            Self::BatchText => message.answer::<BatchTextArgs, RunBatch>(app, arrived).await,
            Self::BatchImage => message.answer::<BatchImageArgs, RunBatch>(app, arrived).await,
            Self::Infer => message.answer::<ModelInferRequest, Infer>(app, arrived).await,
        }
    }
}

/// A call's message, on its way.
pub struct Message<'a, B> {
    pub inbox: &'a Inbox,
    pub body: B,
    pub encoding: Option<Encoding>,
}

impl<B: RequestBody + Send> Message<'_, B> {
    async fn answer<M, R>(self, app: &App, arrived: Arrived) -> Result<Reply, Status>
    where
        M: decode::Request,
        R: From<M> + Asks,
    {
        let (asked, charges) = self.inbox.receive::<M, R>(self.body, self.encoding).await?;
        let reply = asked.answer(app, CallContext::new(arrived), charges).await?;
        match self.encoding {
            // Seldom, and large: not a part of every call.
            Some(encoding) if encoding.compresses() => {
                Box::pin(deflate(reply, encoding, &app.long)).await
            }
            _ => Ok(reply),
        }
    }
}
