//! The main listener: all services on one port until told to stop, then the drain.

use std::{sync::Arc, thread, time::Duration};

use futures_util::future::{BoxFuture, try_join_all};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{
        Semaphore,
        mpsc::{self, UnboundedReceiver},
        oneshot,
    },
    task::JoinError,
};
use tokio_stream::{StreamExt, wrappers::UnboundedReceiverStream};
use tonic::{service::Routes, transport::Server as Transport};
use tonic_health::pb::health_server::HealthServer;

use crate::schedule::WorkerId;

use super::{
    app::App,
    connection::Connection,
    health::HealthService,
    inbox::Bounds,
    layer::{CallLayer, Calls},
    open_inference::OpenInferenceService,
    original::OriginalService,
    proto,
    proto::{
        inference::grpc_inference_service_server::GrpcInferenceServiceServer,
        server::server_server::ServerServer,
    },
    receive::{Inbox, SMALL_MESSAGE},
    sockets,
};

/// What a connection's callers may send ahead, together.
const CONNECTION_WINDOW: u32 = 16 << 20;
/// The largest HTTP/2 frame that callers may send. Those that do, as gRPC's own libraries, save most of
/// the system calls of a large message.
const FRAME: u32 = 256 << 10;
/// A call's headers: 64 KiB of metadata, and as much again for what HTTP/2 counts beside it, 32 bytes a
/// field.
const HEADERS: u32 = 128 << 10;

/// Why the server ended by itself, or not well.
#[derive(Debug, thiserror::Error)]
pub enum ListenerError {
    #[error("the gRPC server ended: {0}")]
    Transport(#[from] tonic::transport::Error),
    #[error("a worker ended: {0}")]
    Worker(#[from] JoinError),
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    #[error(
        "stopped with {calls} calls unanswered, which took longer than {drain:?}: raise drain_timeout \
         if calls take so long"
    )]
    Unanswered { calls: usize, drain: Duration },
}

/// What callers may send.
#[derive(Clone, Copy, Debug)]
pub struct Wire {
    /// Bytes of a message.
    pub max_message: usize,
    /// How long a message may take to get on.
    pub message_timeout: Duration,
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
) -> Result<(), ListenerError> {
    let health = HealthService::new(app.catalogue.names());
    let calls = Calls::default();
    let mut homes = Vec::new();
    let mut serving = Vec::new();
    let Wire { max_message, message_timeout, .. } = wire;
    let bounds = Bounds { most: max_message, patience: message_timeout };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let long = Arc::new(Semaphore::new(cores));
    for worker in app.workers.ids() {
        let (home, connections) = mpsc::unbounded_channel();
        homes.push(home);
        // One for each worker: what all share is written to by none.
        let inbox = Arc::new(Inbox::new(app.ledger.clone(), bounds, long.clone()));
        let server = serve_worker(&app, worker, &health, &calls, connections, wire, inbox)?;
        serving.push(app.workers.spawn(worker, server));
    }
    let mut serving = try_join_all(serving);
    let accepting = sockets::accept(listeners, &app.workers, homes, &app.stop);
    tokio::select! {
        result = &mut serving => return ended(result),
        () = health.follow(&app.catalogue, loaded) => {}
        () = accepting => {}
    }
    // The listeners are closed now: a caller that is turned away below can start a new server on
    // the same port at once.
    health.close();
    calls.drained.cancel();
    if let Ok(result) = tokio::time::timeout(drain, serving).await {
        return ended(result);
    }
    match calls.in_flight() {
        // Connections whose peers do not let go of them.
        0 => Ok(()),
        calls => Err(ListenerError::Unanswered { calls, drain }),
    }
}

type Served = Result<Vec<Result<(), tonic::transport::Error>>, JoinError>;

fn ended(served: Served) -> Result<(), ListenerError> {
    for result in served? {
        result?;
    }
    Ok(())
}

/// Serves all services on one worker's connections until the drain.
fn serve_worker(
    app: &Arc<App>,
    worker: WorkerId,
    health: &HealthService,
    calls: &Calls,
    connections: UnboundedReceiver<std::net::TcpStream>,
    wire: Wire,
    inbox: Arc<Inbox>,
) -> Result<BoxFuture<'static, Result<(), tonic::transport::Error>>, ListenerError> {
    let Wire { max_message, window, .. } = wire;
    let layer = CallLayer { calls: calls.clone(), worker, inbox };
    let router = Transport::builder()
        .initial_stream_window_size(window)
        .initial_connection_window_size(window.max(CONNECTION_WINDOW))
        .max_frame_size(FRAME)
        .http2_max_header_list_size(HEADERS)
        .layer(layer)
        .add_routes(services(app, health, max_message)?);
    let connections = UnboundedReceiverStream::new(connections)
        .map(|stream| TcpStream::from_std(stream).map(Connection::new));
    let end = calls.drained.clone().cancelled_owned();
    Ok(Box::pin(router.serve_with_incoming_shutdown(connections, end)))
}

/// All services, without HTTP/2 around them.
pub fn services(
    app: &Arc<App>,
    health: &HealthService,
    max_message: usize,
) -> Result<Routes, ListenerError> {
    let original = ServerServer::new(OriginalService(app.clone()));
    let open_inference = GrpcInferenceServiceServer::new(OpenInferenceService(app.clone()));
    let health = HealthServer::new(health.clone());
    let reflection_v1 = reflection().build_v1()?;
    let reflection_v1alpha = reflection().build_v1alpha()?;
    Ok(Routes::new(original.max_decoding_message_size(max_message))
        .add_service(open_inference.max_decoding_message_size(max_message))
        .add_service(health.max_decoding_message_size(SMALL_MESSAGE))
        .add_service(reflection_v1.max_decoding_message_size(SMALL_MESSAGE))
        .add_service(reflection_v1alpha.max_decoding_message_size(SMALL_MESSAGE)))
}

/// Tells clients such as grpcurl what can be called here.
fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}
