//! The main listener: all services on one port until told to stop, then the drain.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::{BoxFuture, try_join_all};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{
        mpsc::{self, UnboundedReceiver},
        oneshot,
    },
    task::JoinError,
};
use tokio_stream::{StreamExt, wrappers::UnboundedReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::{body::Body, service::Routes, transport::Server as Transport};
use tonic_health::{
    ServingStatus,
    pb::health_server::{Health, HealthServer},
    server::HealthReporter,
};
use tower::util::{MapRequestLayer, MapResponseLayer};

use crate::schedule::WorkerId;

use super::{
    app::App,
    context::Arrived,
    open_inference::OpenInferenceService,
    original::OriginalService,
    proto,
    proto::{
        inference::grpc_inference_service_server::GrpcInferenceServiceServer,
        server::server_server::ServerServer,
    },
    sockets, too_large,
};

/// The name under which the original's client asks for health.
const HEALTH_NAME: &str = "TinyModelServer";
/// What a connection's callers may send ahead, together.
const CONNECTION_WINDOW: u32 = 16 << 20;
/// The largest HTTP/2 frame that callers may send. Those that do, as gRPC's own libraries, save most of
/// the system calls of a large message.
const FRAME: u32 = 256 << 10;
/// How often a model that is refused is looked at, to say that it serves again.
const FOLLOW: Duration = Duration::from_millis(50);

/// Why the server ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("the gRPC server ended: {0}")]
    Transport(#[from] tonic::transport::Error),
    #[error("a worker ended: {0}")]
    Worker(#[from] JoinError),
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// What callers may send.
#[derive(Clone, Copy, Debug)]
pub struct Wire {
    /// Bytes of a message.
    pub max_message: usize,
    /// Bytes of a call that may be under way before they are read. Small, so that a message goes
    /// through the processor's cache on its way from the socket to its buffer: see
    /// docs/performance.md.
    pub window: u32,
}

/// Serves on `listeners` until `app.stop` is cancelled, then lets the calls in flight end for at
/// most `drain`. Each worker serves its own connections. `loaded` hears when no model is loading any
/// more and health says so.
pub async fn serve(
    app: Arc<App>,
    listeners: Vec<TcpListener>,
    wire: Wire,
    drain: Duration,
    loaded: oneshot::Sender<()>,
) -> Result<(), ServeError> {
    let (health, health_service) = tonic_health::server::health_reporter();
    for name in names(&app) {
        health.set_service_status(name, ServingStatus::NotServing).await;
    }
    let drained = CancellationToken::new();
    let mut homes = Vec::new();
    let mut serving = Vec::new();
    for worker in app.workers.ids() {
        let (home, connections) = mpsc::unbounded_channel();
        homes.push(home);
        let (health, end) = (health_service.clone(), drained.clone().cancelled_owned());
        let server = serve_worker(&app, worker, health, connections, wire, end)?;
        serving.push(app.workers.spawn(worker, server));
    }
    let mut serving = try_join_all(serving);
    let accepting = sockets::accept(listeners, &app.workers, homes, &app.stop);
    tokio::select! {
        result = &mut serving => return ended(result),
        () = follow(&health, &app, loaded) => {}
        () = accepting => {}
    }
    // The listeners are closed now: a caller that is turned away below can start a new server on
    // the same port at once.
    stop_health(&health, &app).await;
    drained.cancel();
    let started = Instant::now();
    let result = tokio::time::timeout(drain, serving).await;
    if let Ok(result) = result {
        return ended(result);
    }
    let (took, busy) = (started.elapsed(), app.catalogue.busy());
    tracing::warn!("stopped after {took:.1?} with {busy} calls unanswered (drain_timeout)");
    Ok(())
}

type Served = Result<Vec<Result<(), tonic::transport::Error>>, JoinError>;

fn ended(served: Served) -> Result<(), ServeError> {
    for result in served? {
        result?;
    }
    Ok(())
}

/// Serves all services on one worker's connections until `end`.
fn serve_worker<H: Health>(
    app: &Arc<App>,
    worker: WorkerId,
    health: HealthServer<H>,
    connections: UnboundedReceiver<std::net::TcpStream>,
    wire: Wire,
    end: impl Future<Output = ()> + Send + 'static,
) -> Result<BoxFuture<'static, Result<(), tonic::transport::Error>>, ServeError> {
    let Wire { max_message, window } = wire;
    let mark = move |request| Arrived::mark::<Body>(request, worker);
    let name_setting = move |reply| too_large::name_setting::<Body>(reply, max_message);
    let router = Transport::builder()
        .initial_stream_window_size(window)
        .initial_connection_window_size(window.max(CONNECTION_WINDOW))
        .max_frame_size(FRAME)
        .layer(MapRequestLayer::new(mark))
        .layer(MapResponseLayer::new(name_setting))
        .add_routes(services(app, max_message)?)
        .add_service(health);
    let connections = UnboundedReceiverStream::new(connections).map(TcpStream::from_std);
    Ok(Box::pin(router.serve_with_incoming_shutdown(connections, end)))
}

/// All services but health, without HTTP/2 around them.
pub fn services(app: &Arc<App>, max_message: usize) -> Result<Routes, ServeError> {
    let server = ServerServer::new(OriginalService(app.clone()));
    let inference = GrpcInferenceServiceServer::new(OpenInferenceService(app.clone()));
    Ok(Routes::new(server.max_decoding_message_size(max_message))
        .add_service(inference.max_decoding_message_size(max_message))
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?))
}

/// The server itself, under no name and under the original's; and all models.
fn names(app: &App) -> impl Iterator<Item = &str> {
    ["", HEALTH_NAME].into_iter().chain(app.catalogue.names())
}

/// Says SERVING of each model that is ready, and then of the server; follows refusals from then on.
async fn follow(health: &HealthReporter, app: &App, loaded: oneshot::Sender<()>) {
    let mut told = BTreeSet::new();
    loop {
        // Before the look: what changes after it is heard of.
        let changed = app.catalogue.changed();
        let done = app.catalogue.is_loaded();
        for model in app.catalogue.ready() {
            if told.insert(model.name.as_str()) {
                health.set_service_status(&model.name, ServingStatus::Serving).await;
            }
        }
        if done {
            break;
        }
        changed.await;
    }
    for name in ["", HEALTH_NAME] {
        health.set_service_status(name, ServingStatus::Serving).await;
    }
    // Nobody may be listening.
    let _ = loaded.send(());
    follow_refusals(health, app).await;
}

/// Says NOT_SERVING of a model for as long as it is refused after too many failures.
async fn follow_refusals(health: &HealthReporter, app: &App) {
    let mut refused = BTreeSet::new();
    loop {
        if refused.is_empty() {
            app.catalogue.tripped.notified().await;
        } else {
            tokio::time::sleep(FOLLOW).await;
        }
        for model in app.catalogue.ready() {
            let name = model.name.as_str();
            let refuses = model.breaker.refuses(Instant::now()).is_some();
            let status = match refuses {
                true if refused.insert(name) => ServingStatus::NotServing,
                false if refused.remove(name) => ServingStatus::Serving,
                _ => continue,
            };
            health.set_service_status(name, status).await;
        }
    }
}

/// Says NOT_SERVING to whoever watches, and ends the watches: they would keep the drain waiting.
async fn stop_health(health: &HealthReporter, app: &App) {
    for name in names(app) {
        let status = ServingStatus::NotServing;
        health.set_service_status(name, status).await;
        health.clone().clear_service_status(name).await;
    }
}

/// Tells clients such as grpcurl what can be called here.
fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}
