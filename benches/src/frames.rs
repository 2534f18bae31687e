//! The requests that h2load posts: one file each, a gRPC frame with a message in it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use prost::Message;
use tms::grpc::proto::server::{ImageArgs, NumpyImage, TextArgs};

#[derive(clap::Args)]
pub struct Args {
    /// The folder to write to
    out: PathBuf,

    /// The picture to be classified
    #[arg(long, default_value = "models/efficientnet_lite0/tests/chelsea.png")]
    picture: PathBuf,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    fs::create_dir_all(&args.out)?;
    let write = |name: &str, frame: Vec<u8>| fs::write(args.out.join(name), frame);
    write("text.bin", text("example_text"))?;
    for (size, image) in [
        ("small", pattern(150, 200)),
        ("large", pattern(1080, 1920)),
        ("picture", picture(&args.picture)?),
    ] {
        for model in ["example_image", "pixels", "efficientnet_lite0"] {
            write(&format!("{size}-{model}.bin"), of_image(model, image.clone()))?;
        }
    }
    Ok(())
}

fn text(model: &str) -> Vec<u8> {
    frame(&TextArgs { text: "text".into(), model: model.into(), args: String::new() })
}

fn of_image(model: &str, image: NumpyImage) -> Vec<u8> {
    frame(&ImageArgs { image: Some(image), model: model.into(), args: String::new() })
}

/// A message behind its prefix: not compressed, and its length.
fn frame(message: &impl Message) -> Vec<u8> {
    let mut frame = vec![0];
    frame.extend((message.encoded_len() as u32).to_be_bytes());
    frame.extend(message.encode_to_vec());
    frame
}

/// An image without meaning.
fn pattern(height: i32, width: i32) -> NumpyImage {
    let data: Vec<u8> = (0..height * width * 3).map(|i| (i.wrapping_mul(31) >> 3) as u8).collect();
    rgb(height, width, data.into())
}

/// A picture's pixels.
pub fn picture(file: &Path) -> anyhow::Result<NumpyImage> {
    let picture = image::open(file)?.into_rgb8();
    let (height, width) = (picture.height() as i32, picture.width() as i32);
    Ok(rgb(height, width, picture.into_raw().into()))
}

fn rgb(height: i32, width: i32, data: Bytes) -> NumpyImage {
    NumpyImage { height, width, channels: 3, data, dtype: "uint8".into() }
}
