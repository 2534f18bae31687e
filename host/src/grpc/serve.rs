//! All services on one port, until told to stop; then the drain.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::net::TcpListener;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server as Transport;
use tonic_health::{ServingStatus, server::HealthReporter};
use tower::util::MapResponseLayer;

use super::{
    app::App,
    inference::InferenceService,
    listen, proto,
    proto::{
        inference::grpc_inference_service_server::GrpcInferenceServiceServer,
        server::server_server::ServerServer,
    },
    server::ServerService,
    too_large,
};

/// The name under which the original's client asks for health.
const HEALTH_NAME: &str = "TinyModelServer";
/// HTTP/2 windows: an image fits without waiting for the peer's updates.
const WINDOW: u32 = 16 << 20;

/// Why the server ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("the gRPC server ended: {0}")]
    Transport(#[from] tonic::transport::Error),
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Serves on `listeners` until `app.stop` is cancelled, then lets the calls in flight end for at
/// most `drain`.
pub async fn serve(
    app: Arc<App>,
    listeners: Vec<TcpListener>,
    max_message: usize,
    drain: Duration,
) -> Result<(), ServeError> {
    let (health, health_service) = tonic_health::server::health_reporter();
    report_health(&health, &app).await;
    let drained = CancellationToken::new();
    let (connections, mut accepting) = listen::accept(listeners, app.clone(), app.stop.clone());
    let sized = move |limit| too_large::name_setting::<tonic::body::Body>(limit, max_message);
    let router = Transport::builder()
        .tcp_nodelay(true)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .layer(MapResponseLayer::new(sized))
        .add_service(health_service)
        .add_service(
            ServerServer::new(ServerService(app.clone()))
                .max_decoding_message_size(max_message)
                .max_encoding_message_size(max_message),
        )
        .add_service(
            GrpcInferenceServiceServer::new(InferenceService(app.clone()))
                .max_decoding_message_size(max_message)
                .max_encoding_message_size(max_message),
        )
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    let serving = router.serve_with_incoming_shutdown(
        ReceiverStream::new(connections),
        drained.clone().cancelled_owned(),
    );
    tokio::pin!(serving);
    tokio::select! {
        result = &mut serving => return Ok(result?),
        () = app.stop.cancelled() => {}
    }
    // The listeners close first: a caller that is turned away below can start a new server on the
    // same port at once.
    while accepting.join_next().await.is_some() {}
    stop_health(&health, &app).await;
    drained.cancel();
    let started = Instant::now();
    match tokio::time::timeout(drain, serving).await {
        Ok(result) => Ok(result?),
        Err(_) => {
            let busy: usize = app
                .catalogue
                .ready()
                .filter_map(|model| model.pool())
                .map(|pool| pool.busy())
                .sum();
            tracing::warn!(
                "stopped after {:.1?} with {busy} calls unanswered (drain_timeout)",
                started.elapsed()
            );
            Ok(())
        }
    }
}

async fn report_health(health: &HealthReporter, app: &App) {
    // The server itself, under no name and under the original's.
    for name in ["", HEALTH_NAME] {
        health
            .set_service_status(name, ServingStatus::Serving)
            .await;
    }
    for model in app.catalogue.ready() {
        let status = ServingStatus::Serving;
        health.set_service_status(&model.name, status).await;
    }
    for (name, _) in app.catalogue.failed() {
        let status = ServingStatus::NotServing;
        health.set_service_status(name, status).await;
    }
}

/// Says NOT_SERVING to whoever watches, and ends the watches: they would keep the drain waiting.
async fn stop_health(health: &HealthReporter, app: &App) {
    let models = app.catalogue.ready().map(|model| model.name.as_str());
    let failed = app.catalogue.failed().map(|(name, _)| name);
    for name in ["", HEALTH_NAME].into_iter().chain(models).chain(failed) {
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
