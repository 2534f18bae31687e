//! The floor: the same messages with next to no work behind them, or with the pixels' work of
//! tests/guests/pixels done natively.

use clap::ValueEnum;
use tms::grpc::proto::server::{ImageArgs, NumpyImage, TextArgs};
use tms_guest::{
    image::{Filter, resize},
    ndarray::ArrayView3,
};
use tonic::Status;

use crate::{
    serve::{ServeArgs, serve},
    service::Work,
};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    serve: ServeArgs,

    #[arg(long, default_value = "none")]
    work: Pixels,
}

/// What is done with an image's pixels.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Pixels {
    None,
    /// Resize to 224x224 and take the mean.
    Resize,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    serve(&args.serve, || args.work)
}

impl Work for Pixels {
    async fn text(&self, args: TextArgs) -> Result<String, Status> {
        // The answer of models/example_text.
        Ok(serde_json::Value::from(args.text + "_processed").to_string())
    }

    async fn image(&self, image: NumpyImage, _: ImageArgs) -> Result<String, Status> {
        match self {
            // The answer of models/example_image.
            Self::None => Ok(r#"[["object1",0.3],["object2",0.5]]"#.into()),
            Self::Resize => mean(&image)
                .map(|mean| mean.to_string())
                .map_err(|e| Status::invalid_argument(e.to_string())),
        }
    }
}

/// As tests/guests/pixels, straight from the message: no copy of the pixels is made.
fn mean(image: &NumpyImage) -> anyhow::Result<f64> {
    let shape = (
        usize::try_from(image.height)?,
        usize::try_from(image.width)?,
        usize::try_from(image.channels)?,
    );
    let pixels = ArrayView3::<u8>::from_shape(shape, &image.data)?;
    let small = resize(pixels, 224, 224, Filter::Antialias).map_err(|e| anyhow::anyhow!("{e}"))?;
    let rows = small.outer_iter().map(|row| f64::from(row.sum()));
    Ok(rows.sum::<f64>() / small.len() as f64)
}
