//! The services, with real components and a bare graph behind them, started at the first input.

use std::{
    fs,
    future::poll_fn,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    task::Poll,
    time::{Duration, Instant},
};

use http::{HeaderMap, Response};
use http_body_util::BodyExt;
use tms::{
    config::{ServeArgs, Settings, StopServer, Threads},
    grpc::{
        app::App,
        connections::{Bounds, Connections},
        health::HealthService,
        layer::{CallService, Calls},
        listener::{self, Wire},
        load::{Load, Probes, Totals},
        origin::Origin,
        peer::Peer,
        reply::ReplyBody,
        web::Origins,
    },
    ledger::Ledger,
    repository::{self, Catalogue},
    sandbox::Compiling,
    schedule::{WorkerId, Workers},
};
use tokio::{runtime::Runtime, sync::Semaphore};
use tokio_util::sync::CancellationToken;
use tonic_health::pb::health_check_response::ServingStatus;

use super::case::Case;
use crate::world;

/// Components of the repository, and one graph without a component.
const COMPONENTS: [&str; 5] = [
    "models/example_text",
    "tests/guests/counter",
    "tests/guests/echo",
    "tests/guests/nn_probe",
    "tests/guests/tensor_sum",
];
const GRAPH: &str = "tests/data/graphs/two_inputs.onnx";
/// Of a message.
pub const MAX_MESSAGE: usize = 64 << 10;
/// Longer than any answer here takes, on a machine that is busy with a build.
const LONG: Duration = Duration::from_secs(20);

/// Connections are none of these, and have no bounds.
const BOUNDS: Bounds = Bounds {
    connections: usize::MAX,
    of_address: None,
    streams: u32::MAX,
    control_frames: u32::MAX,
    resets: u32::MAX,
    handshake: LONG,
    frame: LONG,
    idle: LONG,
    keepalive: LONG,
    keepalive_answer: LONG,
    reply: LONG,
};

/// What a caller got: nothing if it left first.
pub type Answer = Option<(HeaderMap, Vec<u8>, HeaderMap)>;

pub struct Server {
    runtime: Runtime,
    workers: Arc<Workers>,
    catalogue: Arc<Catalogue>,
    /// Replaced after StopServer.
    services: Mutex<Services>,
}

impl Server {
    pub fn get() -> &'static Self {
        static SERVER: OnceLock<Server> = OnceLock::new();
        SERVER.get_or_init(Self::start)
    }

    fn start() -> Self {
        let folder = world::folder("grpc");
        let models = folder.join("models");
        for component in COMPONENTS {
            let name = component.rsplit('/').next().unwrap_or(component);
            let file = format!("{component}/model.wasm");
            world::place(&models.join(name), &[(&file, "model.wasm")]);
        }
        world::place(&models.join("graph"), &[(GRAPH, "graph.onnx")]);
        world::place(&models.join("nn_probe"), &[(GRAPH, "graph.onnx")]);
        // Not a component: a model that did not load.
        world::place(&models.join("broken"), &[(GRAPH, "model.wasm")]);
        // It fails as often as it is asked to.
        let operator = "[model.nn_probe.limits]\nmax_failures = 1000000000\n";
        fs::write(folder.join("tms.toml"), operator).expect("the operator's file can be written");
        let args = ServeArgs {
            models: Some(models),
            config: Some(folder.join("tms.toml")),
            workers: Threads::new(2),
            cache: Some(folder.join("cache")),
            ..ServeArgs::default()
        };
        let settings = Settings::resolve(args).expect("the settings are right");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime starts");
        let workers = Workers::start(2).expect("the workers start");
        let (catalogue, plans) = repository::load::begin(&settings).expect("there are models");
        let load = repository::load::load(
            catalogue.clone(),
            plans,
            &settings,
            world::native(),
            workers.clone(),
            Compiling::Here,
        );
        runtime.block_on(load).expect("the models load");
        assert_eq!(catalogue.ready().count(), COMPONENTS.len() + 1);
        let services = services(&catalogue, &workers);
        Self { runtime, workers, catalogue, services: Mutex::new(services) }
    }

    /// Calls as a connection of `case.worker` would.
    pub fn call(&self, case: &Case) -> Answer {
        let mut current = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        let home = WorkerId(case.worker);
        let peer = Peer::new(current.connections.clone(), Origin::UnixSocket);
        let answer = current.of_workers[case.worker].call(case.request(), peer.call());
        let endless = ["/Watch", "/StreamCoreMetrics"];
        let endless = endless.iter().any(|method| case.method.ends_with(method));
        let mut call = Box::pin(async move {
            let response = answer.await;
            read(response.expect("its error cannot exist"), endless).await
        });
        let mut left = case.patience;
        let patient = poll_fn(move |context| {
            match &mut left {
                Some(0) => return Poll::Ready(None),
                Some(polls) => *polls -= 1,
                None => {}
            }
            call.as_mut().poll(context).map(Some)
        });
        let answered =
            self.workers.spawn(home, async { tokio::time::timeout(LONG, patient).await });
        self.runtime.block_on(async {
            let answer = answered.await.expect("a worker lives on").expect("there is an answer");
            self.settled().await;
            if current.stop.is_cancelled() {
                *current = services(&self.catalogue, &self.workers);
            }
            answer
        })
    }

    /// Whatever became of a call, its lease and its instance come back.
    async fn settled(&self) {
        let began = Instant::now();
        while self.catalogue.busy() > 0 {
            assert!(began.elapsed() < LONG, "a lease is lost");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// What a listener has.
struct Services {
    stop: CancellationToken,
    connections: Arc<Connections>,
    /// As each worker's connections have them.
    of_workers: Vec<CallService>,
}

fn services(catalogue: &Arc<Catalogue>, workers: &Arc<Workers>) -> Services {
    let stop = CancellationToken::new();
    let ledger = Ledger::new(1 << 30);
    let app = Arc::new(App {
        ledger: ledger.clone(),
        catalogue: catalogue.clone(),
        workers: workers.clone(),
        stop: stop.clone(),
        stop_server: StopServer::Local,
        max_message: MAX_MESSAGE,
        long: Arc::new(Semaphore::new(2)),
    });
    let health = HealthService::new(catalogue.names());
    health.set("echo", ServingStatus::Serving);
    let connections = Connections::new(BOUNDS, ledger);
    let wire = Wire {
        max_message: MAX_MESSAGE,
        message_timeout: LONG,
        window: 64 << 10,
        connections: connections.clone(),
        tls: None,
        load: Some(load()),
        origins: Origins::default(),
    };
    let calls = Calls::default();
    let of_worker = |worker| listener::call_service(&app, worker, &health, &calls, &wire);
    let of_workers = workers.ids().map(of_worker).collect::<Result<_, _>>();
    let of_workers = of_workers.expect("reflection knows the services");
    Services { stop, connections, of_workers }
}

/// What reports say of a server that measures nothing.
fn load() -> Arc<Load> {
    Load::new(Probes {
        cpu: Box::new(|| Duration::ZERO),
        cores: 2,
        memory: Box::new(|| 0.5),
        waiting: Box::new(|| 0),
        calls: Box::new(Totals::default),
    })
}

/// Headers, body and trailers; of a stream without end only its first message.
async fn read(response: Response<ReplyBody>, endless: bool) -> (HeaderMap, Vec<u8>, HeaderMap) {
    let (head, mut body) = response.into_parts();
    let (mut data, mut trailers) = (Vec::new(), HeaderMap::new());
    while let Some(Ok(frame)) = body.frame().await {
        match frame.into_data() {
            Ok(bytes) => data.extend_from_slice(&bytes),
            Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
        }
        if endless && !data.is_empty() {
            break;
        }
    }
    (head.headers, data, trailers)
}
