//! The listener of metrics: `GET /metrics` over HTTP/1.1, on an address of its own.

use std::{convert::Infallible, sync::Arc, time::Duration};

use futures_util::future::join_all;
use http::{Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};

use super::{Measured, metrics};

/// What is served, as OpenMetrics names it.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Readers at a time; more wait.
const READERS: usize = 16;
/// The longest that a reader may take from connecting to its reply.
const PATIENCE: Duration = Duration::from_secs(10);

/// Says where the metrics of `measured` are read, and answers whoever does, until it is dropped. It has no
/// end of its own: where nobody wants metrics, there are no listeners.
pub async fn serve(listeners: Vec<TcpListener>, measured: Measured) {
    let registry = Arc::new(metrics::registry(measured));
    for address in listeners.iter().filter_map(|listener| listener.local_addr().ok()) {
        tracing::info!("metrics on http://{address}/metrics");
    }
    let answering = listeners.into_iter().map(|listener| answers(listener, registry.clone()));
    join_all(answering).await;
    std::future::pending().await
}

async fn answers(listener: TcpListener, registry: Arc<Registry>) {
    let readers = Arc::new(Semaphore::new(READERS));
    // They end with this future, whoever is connected then.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        // The semaphore is never closed.
        let reader = readers.clone().acquire_owned().await;
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(e) => {
                tracing::warn!("a connection for metrics was not accepted: {e}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let registry = registry.clone();
        connections.spawn(async move {
            let answer = service_fn(|request| std::future::ready(answer(&request, &registry)));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), answer);
            // A reader that leaves or is slow is nobody's error.
            let _ = tokio::time::timeout(PATIENCE, connection).await;
            drop(reader);
        });
    }
}

fn answer(
    request: &Request<Incoming>,
    registry: &Registry,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, kind, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => match metrics::encode(registry) {
            Ok(metrics) => (StatusCode::OK, OPENMETRICS, metrics),
            Err(e) => (StatusCode::INTERNAL_SERVER_ERROR, "text/plain", e.to_string()),
        },
        _ => (StatusCode::NOT_FOUND, "text/plain", "see GET /metrics\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(kind));
    Ok(response)
}
