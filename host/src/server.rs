//! `tms serve`: from settings to exit. Nothing here is global, so that tests start many servers in
//! one process.

use std::{
    future::Future,
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    admin, allocator,
    child::Nursery,
    config::{Settings, values::WebOrigin},
    grpc::{
        self,
        app::App,
        connections::{self, Bounds, Connections},
        layer::Calls,
        load::{Load, Probes},
        sockets::{self, BindError, Listener},
        tls::{Tls, TlsError, TlsFiles},
        unix_socket::UnixSocket,
    },
    ledger::{Ledger, Spare},
    machine, nn,
    repository::{self, Catalogue},
    sandbox::{Children, Compiling},
    schedule::{WorkerId, Workers},
};

/// How often instances that nobody needs are looked for.
const SWEEP: Duration = Duration::from_secs(30);

/// How often memory of instances that are gone is given back to the system.
const TIDY: Duration = Duration::from_secs(1);

/// Why the server did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("the workers did not start: {0}")]
    Workers(std::io::Error),
    #[error("the thread that starts processes did not start: {0}")]
    Nursery(std::io::Error),
    #[error(transparent)]
    Models(#[from] repository::StartError),
    #[error(transparent)]
    Grpc(#[from] grpc::listener::ListenerError),
    #[error("TLS cannot be served: {0}")]
    Tls(#[from] TlsError),
}

/// What a server that is ready tells.
#[derive(Clone, Debug)]
pub struct Ready {
    /// Where calls are taken, such as grpc://127.0.0.1:50000 and unix:/run/tms.sock.
    pub urls: Vec<String>,
    /// Where metrics are read.
    pub metrics: Option<SocketAddr>,
    pub models: usize,
    pub failed: usize,
    pub workers: usize,
}

impl std::fmt::Display for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ready: {}", self.urls.join(" and "))?;
        write!(f, ", {} models", self.models)?;
        if self.failed > 0 {
            write!(f, " ({} failed, see the log)", self.failed)?;
        }
        write!(f, ", {} workers", self.workers)
    }
}

/// Serves until `shutdown` ends or a caller stops the server; `ready` hears when calls are taken.
pub async fn serve(
    settings: Settings,
    shutdown: impl Future<Output = ()>,
    ready: impl FnOnce(Ready),
) -> Result<(), ServeError> {
    // First of all: what is wrong here should not cost the time of loading models.
    let (cert, key) = (settings.tls_cert.clone(), settings.tls_key.clone());
    let tls_files = TlsFiles::of(cert, key, settings.tls_client_ca.clone())?;
    let tls = tls_files.map(Tls::new).transpose()?;
    let listeners = listen(&settings)?;
    let urls: Vec<_> =
        listeners.iter().filter_map(|listener| listener.url(tls.is_some())).collect();
    let metrics_sockets =
        settings.metrics.map(|address| sockets::bind(&[address.ip()], address.port(), "--metrics"));
    let metrics_sockets = metrics_sockets.transpose()?.unwrap_or_default();
    let mut shutdown = pin!(shutdown);
    // On a worker: files may be slow, and must not keep a signal waiting.
    let workers = Workers::start(settings.workers).map_err(ServeError::Workers)?;
    let workers_end = StopWorkers(workers.clone());
    let planning = {
        let settings = settings.clone();
        workers_end.0.spawn(WorkerId(0), async move { repository::load::begin(&settings) })
    };
    let (catalogue, plans) = tokio::select! {
        planned = planning => planned.map_err(|e| repository::StartError(e.to_string()))??,
        () = &mut shutdown => return Ok(()),
    };
    tracing::info!("calls are taken at {}; {} models load", urls.join(" and "), plans.len());
    let stop = CancellationToken::new();
    let ledger = Ledger::new(settings.accounted());
    let reserve = settings.memory().saturating_sub(ledger.limit() as u64);
    let spare: Arc<dyn Spare> = workers.clone();
    ledger.ask(Arc::downgrade(&spare));
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let app = Arc::new(App {
        catalogue: catalogue.clone(),
        workers: workers.clone(),
        stop: stop.clone(),
        stop_server: settings.stop_server,
        max_message: settings.max_message,
        ledger: ledger.clone(),
        long: Arc::new(Semaphore::new(cores)),
    });
    let metrics_address = metrics_sockets.first().and_then(|listener| listener.local_addr().ok());
    let stopping = async {
        shutdown.await;
        tracing::info!("stopping");
        stop.cancel();
        // The drain ends `serving` below.
        std::future::pending::<()>().await
    };
    // All children are its.
    let nursery = Arc::new(Nursery::start().map_err(ServeError::Nursery)?);
    let born = nursery.clone();
    let native = nn::Options {
        nursery: Some(nursery.clone()),
        ledger: ledger.clone(),
        ..repository::load::native(&settings)
    };
    let compiling = Compiling::Child(Children {
        nursery,
        program: settings.program.clone(),
        ledger: ledger.clone(),
    });
    let (healthy, health_tells) = oneshot::channel();
    // Models that are ready are served while others load.
    let loading = async {
        let load = repository::load::load(catalogue, plans, &settings, native, workers, compiling);
        if let Err(e) = load.await {
            return e;
        }
        // Whoever reads that the server is ready may ask for its health at once.
        if health_tells.await.is_ok() {
            ready(Ready {
                urls,
                metrics: metrics_address,
                models: app.catalogue.ready().count(),
                failed: app.catalogue.failed().count(),
                workers: settings.workers,
            });
        }
        std::future::pending().await
    };
    let Settings { max_message, message_timeout, window, .. } = settings;
    let connections = Connections::new(bounds(&settings), ledger.clone());
    let calls = Calls::default();
    let load = settings.load_reports.then(|| {
        Load::new(probes(app.catalogue.clone(), ledger.clone(), born, calls.clone(), cores))
    });
    let wire = grpc::listener::Wire {
        max_message,
        message_timeout,
        window,
        connections: connections.clone(),
        tls: tls.clone(),
        load,
        origins: settings.cors.iter().map(WebOrigin::as_str).collect(),
    };
    let open = connections.clone();
    let callers = move || admin::Callers {
        open: connections.open(),
        ended: connections.ended().collect(),
        untaken: connections.untaken(),
    };
    let callers = Box::new(callers);
    let measured = admin::Measured { catalogue: app.catalogue.clone(), ledger, callers };
    let serving =
        grpc::listener::serve(app.clone(), listeners, calls, wire, settings.drain_timeout, healthy);
    tokio::select! {
        result = serving => Ok(result?),
        e = loading => Err(e.into()),
        () = tidy(&app, &open, reserve) => Ok(()),
        () = stopping => Ok(()),
        () = follow(tls) => Ok(()),
        () = admin::listener::serve(metrics_sockets, measured) => Ok(()),
    }
}

/// What load reports are made of.
fn probes(
    catalogue: Arc<Catalogue>,
    ledger: Arc<Ledger>,
    nursery: Arc<Nursery>,
    calls: Calls,
    cores: usize,
) -> Probes {
    Probes {
        cpu: Box::new(move || machine::cpu_time().unwrap_or_default() + nursery.cpu_time()),
        cores,
        memory: Box::new(move || ledger.used() as f64 / ledger.limit().max(1) as f64),
        waiting: Box::new(move || catalogue.waiting()),
        calls: Box::new(move || calls.totals()),
    }
}

/// What connections may do.
fn bounds(settings: &Settings) -> Bounds {
    Bounds {
        connections: settings.max_connections,
        of_address: settings.max_address_connections.map(usize::from),
        streams: settings.max_streams,
        control_frames: settings.max_control_frames,
        resets: settings.max_resets,
        handshake: settings.handshake_timeout,
        frame: settings.frame_timeout,
        idle: settings.idle_timeout,
        // The kernel counts them in seconds.
        keepalive: settings.keepalive.max(Duration::from_secs(1)),
        keepalive_answer: settings.keepalive_timeout.max(Duration::from_secs(1)),
        reply: settings.reply_timeout,
    }
}

/// Drops instances that nobody needs, and gives memory back, without end. `reserve`: what the server may take
/// beside what is accounted for, in bytes.
async fn tidy(app: &App, callers: &Connections, reserve: u64) {
    /// What is worth giving back when it is gone, in bytes.
    const LARGE: usize = 16 << 20;
    /// Connections that are worth it.
    const MANY: usize = LARGE / connections::OPEN;
    // None at first: loading leaves much behind, too.
    let mut discarded = None;
    // The most that was charged, and that were open, since memory was last given back.
    let (mut high, mut most_open) = (0, 0);
    // What was left then.
    let mut left = 0;
    let mut swept = Instant::now();
    loop {
        tokio::time::sleep(TIDY).await;
        if swept.elapsed() >= SWEEP {
            app.workers.sweep_idle();
            app.catalogue.sweep_sequences();
            swept = Instant::now();
        }
        if !app.catalogue.is_loaded() {
            continue;
        }
        let before = discarded.replace(app.catalogue.discarded());
        // Calls that go on would take again what is given back: it waits until it is quieter.
        let (peak, used) = (app.ledger.take_peak(), app.ledger.used());
        high = high.max(peak);
        let quiet = peak <= used + LARGE;
        let open = callers.open();
        most_open = most_open.max(open);
        let gone = high > used + LARGE || most_open > open + MANY;
        // With what the allocator has kept the server might take more than it may.
        let own = machine::own_memory("self").unwrap_or_default();
        let much = own > (used as u64).saturating_add(reserve / 2) && own > left + LARGE as u64;
        if discarded != before || (quiet && gone) || much {
            allocator::give_back();
            (high, most_open) = (used, open);
            left = machine::own_memory("self").unwrap_or_default();
        }
    }
}

/// Follows the certificates without end.
async fn follow(tls: Option<Arc<Tls>>) {
    match tls {
        Some(tls) => tls.follow().await,
        None => std::future::pending().await,
    }
}

/// Listens wherever the settings say.
fn listen(settings: &Settings) -> Result<Vec<Listener>, BindError> {
    let mut listeners = Vec::new();
    if settings.tcp {
        let tcp = sockets::bind(&settings.host, settings.port, "--port")?;
        listeners.extend(tcp.into_iter().map(Listener::Tcp));
    }
    if let Some(address) = settings.http {
        let web = sockets::bind(&[address.ip()], address.port(), "--http")?;
        listeners.extend(web.into_iter().map(Listener::Web));
    }
    for socket in &settings.listen {
        listeners.push(Listener::Unix(UnixSocket::bind(socket.path(), settings.socket_mode)?));
    }
    Ok(listeners)
}

/// Ends the workers with the server, however it ends.
struct StopWorkers(Arc<Workers>);

impl Drop for StopWorkers {
    fn drop(&mut self) {
        self.0.stop();
    }
}
