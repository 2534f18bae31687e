//! The main listener: all services on one port until told to stop, then the drain.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::future::try_join_all;
use tokio::{
    sync::{
        mpsc::{self, UnboundedReceiver},
        oneshot,
    },
    task::JoinError,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;

use crate::schedule::WorkerId;

use super::{
    app::App,
    connect::Connect,
    connections::Connections,
    health::HealthService,
    inbox::Bounds,
    json::Messages,
    layer::{CallLayer, CallService, Calls},
    load::Load,
    open_inference::OpenInferenceService,
    orca::OrcaService,
    original::OriginalService,
    proto,
    proto::{
        inference::grpc_inference_service_server::GrpcInferenceServiceServer,
        server::server_server::ServerServer,
        xds::service::orca::v3::open_rca_service_server::OpenRcaServiceServer,
    },
    receive::{Inbox, SMALL_MESSAGE},
    serve::Server,
    sockets::{self, Accepted, Listener},
    tls::Tls,
    web::{Origins, Web},
};

/// Why the server ended by itself, or not well.
#[derive(Debug, thiserror::Error)]
pub enum ListenerError {
    #[error("a worker ended: {0}")]
    Worker(#[from] JoinError),
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    #[error("the calls' descriptors: {0}")]
    Descriptors(#[from] prost_reflect::DescriptorError),
    #[error(
        "stopped with {calls} calls unanswered, which took longer than {drain:?}: raise drain_timeout \
         if calls take so long"
    )]
    Unanswered { calls: usize, drain: Duration },
}

/// What callers may send.
#[derive(Clone, Debug)]
pub struct Wire {
    /// Bytes of a message.
    pub max_message: usize,
    /// How long a message may take to get on.
    pub message_timeout: Duration,
    /// Bytes of a call that may be under way before they are read. Small, so that a message goes
    /// through the processor's cache on its way from the socket to its buffer: see
    /// docs/performance.md.
    pub window: u32,
    pub connections: Arc<Connections>,
    /// On connections by TCP.
    pub tls: Option<Arc<Tls>>,
    /// Where callers are told how busy the server is.
    pub load: Option<Arc<Load>>,
    /// Pages that may call where browsers do.
    pub origins: Origins,
}

/// Serves on `listeners` until `app.stop` is cancelled, then lets the calls in flight end for at
/// most `drain`. Each worker serves its own connections. `loaded` hears when no model is loading any
/// more and health says so.
pub async fn serve(
    app: Arc<App>,
    listeners: Vec<Listener>,
    calls: Calls,
    wire: Wire,
    drain: Duration,
    loaded: oneshot::Sender<()>,
) -> Result<(), ListenerError> {
    let health = HealthService::new(app.catalogue.names());
    let is_web = |listener: &Listener| matches!(listener, Listener::Web(_));
    let web = match listeners.iter().any(is_web) {
        true => Some(Arc::new(web(&app, &wire)?)),
        false => None,
    };
    let mut homes = Vec::new();
    let mut serving = Vec::new();
    for worker in app.workers.ids() {
        let (home, connections) = mpsc::unbounded_channel();
        homes.push(home);
        let service = call_service(&app, worker, &health, &calls, &wire)?;
        let drained = calls.drained.clone();
        let (all, tls) = (wire.connections.clone(), wire.tls.clone());
        let server = Server::new(service, all, tls, web.clone(), drained, wire.window);
        let serve = serve_worker(server, connections, calls.drained.clone());
        serving.push(app.workers.spawn(worker, serve));
    }
    let mut serving = try_join_all(serving);
    let Wire { connections, .. } = &wire;
    let accepting = sockets::accept(listeners, connections, &app.workers, homes, &app.stop);
    tokio::select! {
        result = &mut serving => return Ok(result.map(drop)?),
        () = health.follow(&app.catalogue, loaded) => {}
        () = accepting => {}
    }
    // The listeners are closed now: a caller that is turned away below can start a new server on
    // the same port at once.
    health.close();
    connections.draining.store(true, Ordering::Release);
    calls.drained.cancel();
    if let Ok(result) = tokio::time::timeout(drain, serving).await {
        return Ok(result.map(drop)?);
    }
    match calls.totals().in_flight {
        // Connections whose peers do not let go of them.
        0 => Ok(()),
        calls => Err(ListenerError::Unanswered { calls, drain }),
    }
}

/// What the connections of curl and browsers share.
fn web(app: &Arc<App>, wire: &Wire) -> Result<Web, ListenerError> {
    let connect = Connect {
        messages: Messages::new()?,
        bounds: Bounds { most: wire.max_message, patience: wire.message_timeout },
        ledger: app.ledger.clone(),
        long: app.long.clone(),
    };
    Ok(Web::new(connect, wire.origins.clone()))
}

/// All services, with the layer around them, as one worker's connections have them.
pub fn call_service(
    app: &Arc<App>,
    worker: WorkerId,
    health: &HealthService,
    calls: &Calls,
    wire: &Wire,
) -> Result<CallService, ListenerError> {
    let Wire { max_message, message_timeout, .. } = *wire;
    let bounds = Bounds { most: max_message, patience: message_timeout };
    // One for each worker: what all share is written to by none.
    let inbox = Inbox::new(app.ledger.clone(), bounds, app.long.clone());
    let layer = CallLayer {
        calls: calls.clone(),
        traffic: calls.of_worker(wire.load.clone()),
        worker,
        inbox: Arc::new(inbox),
        app: app.clone(),
        window: wire.window as usize,
    };
    let mut routes = services(app, health, max_message)?;
    if let Some(load) = &wire.load {
        let orca = OrcaService { load: load.clone(), drained: calls.drained.clone() };
        let orca = OpenRcaServiceServer::new(orca);
        routes = routes.add_service(orca.max_decoding_message_size(SMALL_MESSAGE));
    }
    let routes = routes.prepare();
    Ok(CallService::new(routes, Arc::new(layer)))
}

/// Serves one worker's connections, each in a task of its own, until the drain and their end.
async fn serve_worker(
    server: Server,
    mut accepted: UnboundedReceiver<Accepted>,
    drained: CancellationToken,
) {
    let serving = TaskTracker::new();
    let serve = async {
        while let Some(accepted) = accepted.recv().await {
            match server.serve(accepted) {
                Ok(connection) => drop(serving.spawn(connection)),
                Err(e) => tracing::debug!("a connection ended before it was served: {e}"),
            }
        }
        std::future::pending::<()>().await
    };
    tokio::select! {
        () = serve => {}
        () = drained.cancelled() => {}
    }
    serving.close();
    serving.wait().await;
}

/// All services, without the layer around them.
fn services(
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
