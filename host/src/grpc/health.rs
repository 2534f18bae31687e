//! grpc.health.v1: what serves by now. tonic-health's own service refuses to watch an unknown name, which
//! the protocol wants to be told of.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use futures_util::{StreamExt, stream, stream::BoxStream};
use tokio::sync::{oneshot, watch};
use tonic::{Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    health_server::Health,
};

use crate::repository::Catalogue;

use super::status;

/// Serves as soon as calls are taken: the original's client asks for it right after it has connected,
/// and a call to a model that still loads waits for it.
const ORIGINAL: &str = "TinyModelServer";
/// The server as a whole: serves once every model has loaded or failed.
const SERVER: &str = "";
/// The longest name that a service can have: a folder's.
const LONGEST_NAME: usize = 255;
/// How often a model that is refused is looked at, to say that it serves again.
const FOLLOW: Duration = Duration::from_millis(50);

/// The health of the server and of each model. Clones share it.
#[derive(Clone)]
pub struct HealthService(watch::Sender<Board>);

#[derive(Default)]
struct Board {
    /// By name; others are unknown.
    services: HashMap<String, ServingStatus>,
    /// The server stops: nothing changes any more, and watches end.
    closed: bool,
}

impl Board {
    fn status(&self, name: &str) -> Option<ServingStatus> {
        self.services.get(name).copied()
    }
}

impl HealthService {
    /// Of a server that takes calls and still loads these models.
    pub fn new<'a>(models: impl Iterator<Item = &'a str>) -> Self {
        let health = Self(watch::Sender::default());
        for name in models.chain([SERVER]) {
            health.set(name, ServingStatus::NotServing);
        }
        health.set(ORIGINAL, ServingStatus::Serving);
        health
    }

    /// Says so to whoever asks and watches, until [`Self::close`].
    pub fn set(&self, name: &str, status: ServingStatus) {
        self.0.send_if_modified(|board| {
            if board.closed || board.status(name) == Some(status) {
                return false;
            }
            board.services.insert(name.to_owned(), status);
            true
        });
    }

    /// Says NOT_SERVING to whoever watches, and ends the watches: they would keep the drain waiting.
    pub fn close(&self) {
        self.0.send_modify(|board| {
            board.services.values_mut().for_each(|status| *status = ServingStatus::NotServing);
            board.closed = true;
        });
    }

    /// Says SERVING of each model that is ready, and then of the server, which `loaded` hears;
    /// follows refusals from then on.
    pub async fn follow(&self, catalogue: &Catalogue, loaded: oneshot::Sender<()>) {
        loop {
            // Before the look: so that no later change is missed.
            let changed = catalogue.changed();
            let done = catalogue.is_loaded();
            for model in catalogue.ready() {
                self.set(&model.name, ServingStatus::Serving);
            }
            if done {
                break;
            }
            changed.await;
        }
        self.set(SERVER, ServingStatus::Serving);
        // Nobody may be listening.
        let _ = loaded.send(());
        self.follow_refusals(catalogue).await;
    }

    /// Says NOT_SERVING of a model for as long as it is refused after too many failures.
    async fn follow_refusals(&self, catalogue: &Catalogue) {
        let mut refused = BTreeSet::new();
        loop {
            if refused.is_empty() {
                catalogue.refusing.notified().await;
            } else {
                tokio::time::sleep(FOLLOW).await;
            }
            for model in catalogue.ready() {
                let name = model.name.as_str();
                if !model.is_serving() {
                    refused.insert(name);
                    self.set(name, ServingStatus::NotServing);
                } else if refused.remove(name) {
                    self.set(name, ServingStatus::Serving);
                }
            }
        }
    }
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let name = request.into_inner().service;
        let known = self.0.borrow().status(&name);
        match known {
            Some(status) => Ok(Response::new(reply(status))),
            None => {
                let name = status::escape(&name);
                Err(Status::not_found(format!(
                    "there is no health of `{name}`: ask for a model's name, for {ORIGINAL}, or for \
                     the empty name"
                )))
            }
        }
    }

    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let name = request.into_inner().service;
        let watcher = Watcher {
            board: self.0.subscribe(),
            // A longer one never becomes known, and a watch may stay open for long.
            name: (name.len() <= LONGEST_NAME).then_some(name),
            told: None,
        };
        Ok(Response::new(stream::unfold(watcher, Watcher::next).boxed()))
    }
}

/// Who watches one name.
struct Watcher {
    board: watch::Receiver<Board>,
    /// None where nothing can ever have this name.
    name: Option<String>,
    /// The last status that it was told.
    told: Option<ServingStatus>,
}

impl Watcher {
    /// The next status that is not the last one; nothing any more when the server stops.
    async fn next(mut self) -> Option<(Result<HealthCheckResponse, Status>, Self)> {
        loop {
            let (status, closed) = {
                let board = self.board.borrow_and_update();
                let status = self.name.as_ref().and_then(|name| board.status(name));
                (status.unwrap_or(ServingStatus::ServiceUnknown), board.closed)
            };
            if self.told != Some(status) {
                self.told = Some(status);
                return Some((Ok(reply(status)), self));
            }
            if closed {
                return None;
            }
            self.board.changed().await.ok()?;
        }
    }
}

fn reply(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn watch(health: &HealthService, name: &str) -> BoxStream<'static, ServingStatus> {
        let request = Request::new(HealthCheckRequest { service: name.into() });
        let replies = health.watch(request).await.unwrap().into_inner();
        replies.map(|reply| reply.unwrap().status()).boxed()
    }

    #[tokio::test]
    async fn who_watches_an_unknown_name_hears_when_it_becomes_known() {
        let health = HealthService::new(["model"].into_iter());
        let mut later = watch(&health, "later").await;
        let mut never = watch(&health, &"x".repeat(LONGEST_NAME + 1)).await;
        assert_eq!(later.next().await, Some(ServingStatus::ServiceUnknown));
        assert_eq!(never.next().await, Some(ServingStatus::ServiceUnknown));
        health.set("model", ServingStatus::Serving);
        health.set("later", ServingStatus::Serving);
        assert_eq!(later.next().await, Some(ServingStatus::Serving));
        health.close();
        assert_eq!(later.next().await, Some(ServingStatus::NotServing));
        assert_eq!(later.next().await, None);
        assert_eq!(never.next().await, None);
    }

    #[tokio::test]
    async fn nothing_serves_again_once_it_is_closed() {
        let health = HealthService::new(["model"].into_iter());
        health.close();
        health.set("model", ServingStatus::Serving);
        for name in [SERVER, ORIGINAL, "model"] {
            let told: Vec<_> = watch(&health, name).await.collect().await;
            assert_eq!(told, [ServingStatus::NotServing], "{name}");
        }
    }
}
