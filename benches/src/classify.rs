//! The classifier without a sandbox: models/efficientnet_lite0's own code compiled natively, around
//! the same graph in the same session as the host's.

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use efficientnet_lite0::{best, prepare};
use tms::{
    grpc::proto::server::{ImageArgs, NumpyImage, TextArgs},
    nn::{self, ComputeRequest, DType, Graph, GraphOptions},
};
use tms_guest::{Image, ndarray::ArrayView3};
use tonic::Status;

use crate::{
    serve::{ServeArgs, serve},
    service::Work,
};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    serve: ServeArgs,

    #[command(flatten)]
    network: Network,
}

/// The classifier's files.
#[derive(clap::Args, Clone, Debug)]
pub struct Network {
    /// The model's folder
    #[arg(long, default_value = "models/efficientnet_lite0")]
    model: PathBuf,

    /// ONNX Runtime's library, or its folder
    #[arg(long, env = "TMS_ONNXRUNTIME")]
    onnxruntime: Option<PathBuf>,
}

impl Network {
    /// The graph with the host's settings.
    pub fn load(&self) -> anyhow::Result<Graph> {
        let cores = std::thread::available_parallelism()?.get();
        let runtime = nn::Runtime::start(&nn::Options {
            onnxruntime: self.onnxruntime.clone(),
            threads: Some(cores),
            process: nn::Process::None,
            ..nn::Options::default()
        })?;
        let file = self.model.join("model.onnx");
        Ok(runtime.load("bench/model", &file, &GraphOptions::default())?)
    }

    fn labels(&self) -> anyhow::Result<Vec<&'static str>> {
        let text = std::fs::read_to_string(self.model.join("labels.txt"))?;
        Ok(text.leak().lines().collect())
    }
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let graph = args.network.load()?;
    let labels = args.network.labels()?;
    serve(&args.serve, || Classifier { graph: graph.clone(), labels: labels.clone() })
}

struct Classifier {
    graph: Graph,
    labels: Vec<&'static str>,
}

impl Work for Classifier {
    async fn text(&self, _: TextArgs) -> Result<String, Status> {
        Err(Status::invalid_argument("the model takes an image"))
    }

    async fn image(&self, image: NumpyImage, _: ImageArgs) -> Result<String, Status> {
        self.classify(&image).await.map_err(|e| Status::internal(e.to_string()))
    }
}

impl Classifier {
    async fn classify(&self, image: &NumpyImage) -> anyhow::Result<String> {
        let inputs = vec![("input".to_owned(), input(image)?)];
        let wanted = ["probs".to_owned()];
        let request = ComputeRequest { outputs: &wanted, ..ComputeRequest::of(inputs) };
        let outputs = self.graph.compute(request).await?.tensors;
        let (_, probabilities) = outputs.first().context("no output")?;
        let probabilities: Vec<f32> = probabilities
            .data()
            .as_chunks()
            .0
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect();
        Ok(serde_json::to_string(&best(&probabilities, &self.labels, 5))?)
    }
}

/// The network's input for a picture, as the model itself prepares it.
pub fn input(image: &NumpyImage) -> anyhow::Result<nn::Tensor> {
    let shape = (
        usize::try_from(image.height)?,
        usize::try_from(image.width)?,
        usize::try_from(image.channels)?,
    );
    let pixels = ArrayView3::<u8>::from_shape(shape, &image.data)?;
    let prepared = Image::new(pixels).and_then(|image| prepare(&image));
    let prepared = prepared.map_err(|e| anyhow!("{e}"))?;
    let shape: Vec<u64> = prepared.shape().iter().map(|&d| d as u64).collect();
    // Four bytes at a time, which the compiler makes one copy: byte by byte it takes 1 ms.
    let (values, _) = prepared.into_raw_vec_and_offset();
    let data: Vec<[u8; 4]> = values.into_iter().map(f32::to_le_bytes).collect();
    Ok(nn::Tensor::new(DType::F32, shape, data.into_flattened().into())?)
}
