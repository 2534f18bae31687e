//! Real guests behind either runtime: what docs/decisions/002-worker-runtime.md compares. Loading,
//! instances and calls are the host's own; the transport is the bare one of [`crate::serve`].

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

use tms::{
    config::{ServeArgs as HostArgs, Settings},
    data::{Input, Output},
    grpc::proto::server::{ImageArgs, NumpyImage, TextArgs},
    models::{self, Call, Catalogue},
    nn::{self, DType, Tensor},
    schedule::{WorkerId, Workers},
};
use tokio::runtime::Handle;
use tonic::Status;

use crate::{
    serve::{Kind, ServeArgs, serve},
    service::Work,
};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    serve: ServeArgs,

    #[arg(long, default_value = "models")]
    models: PathBuf,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let settings = Settings::resolve(HostArgs {
        models: Some(args.models),
        workers: Some(args.serve.workers),
        ..HostArgs::default()
    })?;
    let loading = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let native = nn::Runtime::start(&nn::Options::default())?;
    let catalogue = loading.block_on(models::load::load(&settings, &native))?;
    let catalogue = Arc::new(catalogue);
    let homes = Arc::new(Workers::new(args.serve.workers));
    let busy: Arc<[AtomicUsize]> = (0..args.serve.workers).map(|_| 0.into()).collect();
    serve(&args.serve, |index, runtimes| {
        Guests(Arc::new(Inner {
            catalogue: catalogue.clone(),
            homes: homes.clone(),
            kind: args.serve.runtime,
            index,
            runtimes,
            busy: busy.clone(),
        }))
    })
}

struct Guests(Arc<Inner>);

struct Inner {
    catalogue: Arc<Catalogue>,
    homes: Arc<Workers>,
    kind: Kind,
    /// This runtime's number.
    index: usize,
    runtimes: Vec<Handle>,
    /// Calls that run on each runtime.
    busy: Arc<[AtomicUsize]>,
}

impl Guests {
    async fn run(&self, model: String, input: Input) -> Result<String, Status> {
        let inner = &self.0;
        let home = match inner.kind {
            Kind::Shared => inner.homes.home().0,
            Kind::PerWorker | Kind::Handover => inner.index,
        };
        if let Kind::Handover = inner.kind
            && inner.busy[home].load(Relaxed) > 0
            && let Some(idle) = inner.busy.iter().position(|n| n.load(Relaxed) == 0)
        {
            let inner = inner.clone();
            let elsewhere =
                self.0.runtimes[idle].spawn(async move { inner.run(idle, model, input).await });
            return elsewhere
                .await
                .map_err(|e| Status::internal(e.to_string()))?;
        }
        inner.run(home, model, input).await
    }
}

impl Inner {
    async fn run(&self, worker: usize, model: String, input: Input) -> Result<String, Status> {
        let model = self
            .catalogue
            .get(&model)
            .map_err(|_| Status::not_found("no such model"))?;
        let call = Call {
            home: WorkerId(worker),
            deadline: Instant::now() + model.timeout,
            args: "{}",
        };
        self.busy[worker].fetch_add(1, Relaxed);
        let result = self.catalogue.run(model, input, &[], call).await;
        self.busy[worker].fetch_sub(1, Relaxed);
        match result {
            Ok(Output { json, .. }) => Ok(json.unwrap_or_default()),
            Err(e) => Err(Status::internal(e.to_string())),
        }
    }
}

impl Work for Guests {
    async fn text(&self, args: TextArgs) -> Result<String, Status> {
        self.run(args.model, Input::Text(args.text)).await
    }

    async fn image(&self, image: NumpyImage, args: ImageArgs) -> Result<String, Status> {
        let shape: Vec<u64> = [image.height, image.width, image.channels]
            .map(|d| d as u64)
            .into();
        let tensor = Tensor::new(DType::U8, shape, image.data)
            .map_err(|e| Status::invalid_argument(e.to_string()))?;
        self.run(args.model, Input::Image(tensor)).await
    }
}
