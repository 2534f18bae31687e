//! Calls whose results come in parts: RunStream with one request, RunSession and ModelStreamInfer with any
//! number of them, one after the other.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use prost::Message as _;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

use crate::{
    data::Output,
    details::Parts,
    models::{Model, Session},
};

use super::{
    app::{App, Facts},
    context::{Asked, CallContext},
    decode::{self, Charges},
    deflate::deflate,
    encode,
    inbox::{Messages, RequestBody},
    inflate::Encoding,
    open_inference::{self, Infer},
    proto::{
        inference::{ModelInferRequest, ModelStreamInferResponse},
        server::RunArgs,
    },
    receive::Inbox,
    reply::{Replies, Reply, ReplySender},
    runs::{self, Run},
    status,
};

/// A request whose result may come in parts.
pub trait AsksInParts: Send + Sized + 'static {
    /// Has the model answer, in a session if there is one. Parts go by what `asked` has.
    fn run(
        self,
        model: &Model,
        session: Option<&Session>,
        caller: CallContext,
        asked: Asked,
    ) -> impl Future<Output = Result<Output, Status>> + Send;
}

/// A caller's way back, for parts as they come.
struct WayBack {
    app: Arc<App>,
    replies: ReplySender,
    /// How messages are compressed.
    encoding: Option<Encoding>,
}

impl WayBack {
    /// Sends a message as soon as the caller can take it.
    async fn send<M: encode::Reply + 'static>(
        &self,
        message: M,
        facts: Facts,
        model: &Model,
    ) -> Result<(), Status> {
        let mut reply = self.app.reply(message, facts, model).await?;
        if let Some(encoding) = self.encoding {
            reply = Box::pin(deflate(reply, encoding, &self.app.long)).await?;
        }
        self.pass(reply).await
    }

    /// Sends what went wrong with one request of several.
    async fn send_error(&self, message: ModelStreamInferResponse) -> Result<(), Status> {
        let pieces = encode::encode(&message, message.encoded_len());
        self.pass(Reply { pieces, charge: None, batch: None, encoding: None }).await
    }

    async fn pass(&self, reply: Reply) -> Result<(), Status> {
        self.replies.send(Ok(reply)).await.map_err(|_| Status::cancelled("the caller has left"))
    }
}

/// Whose result it is, and where it is asked.
struct Place {
    model: Arc<Model>,
    session: Option<Arc<Session>>,
}

/// Runs one request, and sends the parts of its result as they come; gives the last one.
async fn run_in_parts<R: AsksInParts, M: encode::Reply + 'static>(
    asks: R,
    place: &Place,
    caller: CallContext,
    charges: Charges,
    way: &WayBack,
    part: impl Fn(Output) -> (M, Facts),
) -> Result<Output, Status> {
    let Place { model, session } = place;
    let (parts, mut receiver) = Parts::new(caller.stream_until(model));
    let asked = Asked { parts: Some(parts), ..Asked::default() };
    let (of_run, session) = (model.clone(), session.clone());
    // A task of its own: the model goes on, and its time is kept, while the caller is slow.
    let run = AbortOnDropHandle::new(tokio::spawn(async move {
        let answer = asks.run(&of_run, session.as_deref(), caller, asked).await;
        drop(charges);
        answer
    }));
    // The way for parts ends with the call.
    while let Some(next) = receiver.recv().await {
        let (message, facts) = part(next.output);
        way.send(message, facts, model).await?;
    }
    run.await.map_err(|_| Status::unavailable("the worker ended before it answered"))?
}

/// Answers RunStream.
pub fn run_stream(
    app: Arc<App>,
    run: Run,
    mut caller: CallContext,
    mut charges: Charges,
    encoding: Option<Encoding>,
) -> Box<Replies> {
    Replies::start(encoding, |replies| async move {
        let model = app.model(&mut caller, &run.model).await?.clone();
        charges.give_to(&model.tenant);
        let way = WayBack { app, replies, encoding };
        let place = Place { model, session: None };
        let part = |output| runs::part(output, true);
        let last = run_in_parts(run, &place, caller, charges, &way, part).await?;
        let (message, facts) = runs::part(last, false);
        way.send(message, facts, &place.model).await
    })
}

/// The requests of one call, as they come.
pub struct Requests<B> {
    pub app: Arc<App>,
    pub inbox: Arc<Inbox>,
    pub messages: Messages<B>,
    /// How messages are compressed, both ways.
    pub encoding: Option<Encoding>,
    pub caller: CallContext,
}

impl<B: RequestBody + Send + 'static> Requests<B> {
    /// The next one; None where the caller has said all.
    async fn next<M, R>(&mut self) -> Result<Option<(R, Charges, CallContext)>, Status>
    where
        M: decode::Request,
        R: From<M> + Send + 'static,
    {
        let next = self.inbox.next::<M, R>(&mut self.messages, self.encoding);
        // The server may not wait for callers who have said nothing when it stops.
        let next = tokio::select! {
            next = next => next?,
            () = self.app.stop.cancelled() => {
                return Err(Status::unavailable("the server stops"));
            }
        };
        Ok(next.map(|(request, charges)| (request, charges, self.caller.again())))
    }

    /// Answers RunSession.
    pub fn run_session(mut self) -> Box<Replies> {
        Replies::start(self.encoding, |replies| async move {
            let way = WayBack { app: self.app.clone(), replies, encoding: self.encoding };
            let mut session: Option<(Place, Instant)> = None;
            loop {
                let patience = session.as_ref().map(|(place, _)| place.model.sequence_idle);
                let next = within(patience, self.next::<RunArgs, Run>()).await?;
                let Some((run, mut charges, mut caller)) = next else { return Ok(()) };
                let (place, until) = match &session {
                    Some(session) => session,
                    None => session.insert(open_session(&self.app, &run.model, &mut caller).await?),
                };
                if ![place.model.name.as_str(), ""].contains(&run.model.as_str()) {
                    return Err(Status::invalid_argument(format!(
                        "the session is with the model `{}`: another model needs another session",
                        place.model.name
                    )));
                }
                if *until <= Instant::now() {
                    return Err(Status::deadline_exceeded(
                        "the session has lasted as long as it may (max_stream)",
                    ));
                }
                charges.give_to(&place.model.tenant);
                let part = |output| runs::part(output, true);
                let answer = run_in_parts(run, place, caller, charges, &way, part);
                let last = tokio::select! {
                    last = answer => last?,
                    status = self.messages.read_ahead() => return Err(status),
                };
                let (message, facts) = runs::part(last, false);
                way.send(message, facts, &place.model).await?;
            }
        })
    }

    /// Answers ModelStreamInfer.
    pub fn stream_infer(mut self) -> Box<Replies> {
        Replies::start(self.encoding, |replies| async move {
            let way = WayBack { app: self.app.clone(), replies, encoding: self.encoding };
            while let Some((infer, charges, caller)) =
                self.next::<ModelInferRequest, Infer>().await?
            {
                let id = infer.id().to_owned();
                let answer = tokio::select! {
                    answer = infer_in_parts(infer, charges, caller, &way) => answer,
                    status = self.messages.read_ahead() => return Err(status),
                };
                if let Err(status) = answer {
                    way.send_error(open_inference::failed(id, &status)).await?;
                }
            }
            Ok(())
        })
    }
}

/// Opens a session with a model. Gives also when it must have ended.
async fn open_session(
    app: &App,
    name: &str,
    caller: &mut CallContext,
) -> Result<(Place, Instant), Status> {
    let model = app.model(caller, name).await?.clone();
    let session = model.session(caller.home()).map_err(|e| status::run(&model, &e))?;
    let until = caller.stream_until(&model);
    Ok((Place { model, session: Some(Arc::new(session)) }, until))
}

/// Answers one request of ModelStreamInfer.
async fn infer_in_parts(
    infer: Infer,
    mut charges: Charges,
    mut caller: CallContext,
    way: &WayBack,
) -> Result<(), Status> {
    let model = infer.model(&way.app, &mut caller).await?.clone();
    charges.give_to(&model.tenant);
    let place = Place { model, session: None };
    let parts = infer.parts(&place.model);
    let part = |output| parts.message(output, false);
    let last = run_in_parts(infer, &place, caller, charges, way, part).await?;
    if let Some((message, facts)) = parts.last(last) {
        way.send(message, facts, &place.model).await?;
    }
    Ok(())
}

/// Waits for the next message of a session, which may take as long as a sequence may be idle.
async fn within<T>(
    patience: Option<Duration>,
    next: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    let Some(patience) = patience else { return next.await };
    tokio::time::timeout(patience, next).await.unwrap_or_else(|_| {
        Err(Status::deadline_exceeded(format!(
            "the session had no message for {patience:?} (sequence_idle)"
        )))
    })
}
