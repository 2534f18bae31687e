//! The requests that the load generators post: one file each, a gRPC frame with a message in it.
//! `WHAT-MODEL.bin` is for the calls of server.proto, `infer-MODEL.bin` for ModelInfer.

use std::{
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use image::{RgbImage, imageops};
use prost::Message;
use tms::grpc::proto::{
    inference::{ModelInferRequest, model_infer_request::InferInputTensor},
    server::{ImageArgs, NumpyImage, TextArgs},
};

/// Inputs of the network that benches/network.py makes.
const ROW: u32 = 512;

#[derive(clap::Args)]
pub struct Args {
    /// The folder to write to
    out: PathBuf,

    /// The picture to be classified
    #[arg(long, default_value = "models/efficientnet_lite0/tests/chelsea.png")]
    picture: PathBuf,

    /// The picture with the faces
    #[arg(long, default_value = "models/mtcnn/tests/people_collage.png")]
    people: PathBuf,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    fs::create_dir_all(&args.out)?;
    let write = |name: &str, frame: Vec<u8>| fs::write(args.out.join(name), frame);
    let (small, large) = (pattern(150, 200), pattern(1080, 1920));
    write("empty.bin", frame(&()))?;
    write("text-example_text.bin", of_text("example_text", "text"))?;
    let sentence = "Two children are building a boat out of paper while it rains outside.";
    write("text-sentence_embedding.bin", of_text("sentence_embedding", sentence))?;
    for model in ["example_image", "pixels"] {
        write(&format!("small-{model}.bin"), of_image(model, small.clone()))?;
        write(&format!("large-{model}.bin"), of_image(model, large.clone()))?;
    }
    let cat = picture(&args.picture)?;
    write("picture-efficientnet_lite0.bin", of_image("efficientnet_lite0", cat))?;
    write("faces-mtcnn.bin", of_image("mtcnn", crowd(&args.people)?))?;
    write("row-mlp_row.bin", of_image("mlp_row", line(&row())))?;
    for model in ["mlp", "mlp_row"] {
        write(&format!("infer-{model}.bin"), of_row(model, &row()))?;
    }
    Ok(())
}

fn of_text(model: &str, text: &str) -> Vec<u8> {
    frame(&TextArgs {
        text: text.into(),
        model: model.into(),
        args: String::new(),
        ..TextArgs::default()
    })
}

fn of_image(model: &str, image: NumpyImage) -> Vec<u8> {
    frame(&ImageArgs {
        image: Some(image),
        model: model.into(),
        args: String::new(),
        ..ImageArgs::default()
    })
}

/// A row as the tensor `input`.
fn of_row(model: &str, row: &Bytes) -> Vec<u8> {
    let input = InferInputTensor {
        name: "input".into(),
        datatype: "FP32".into(),
        shape: vec![1, ROW.into()],
        ..InferInputTensor::default()
    };
    frame(&ModelInferRequest {
        model_name: model.into(),
        inputs: vec![input],
        raw_input_contents: vec![row.clone()],
        ..ModelInferRequest::default()
    })
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

/// Floats of -1 to 1 without meaning.
fn row() -> Bytes {
    let value = |i: u32| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0;
    (0..ROW).flat_map(|i| value(i).to_le_bytes()).collect()
}

/// A row as an image of one line.
fn line(row: &Bytes) -> NumpyImage {
    let data = row.clone();
    NumpyImage { height: 1, width: ROW as i32, channels: 1, data, dtype: "float32".into() }
}

/// A picture's pixels.
pub fn picture(file: &Path) -> anyhow::Result<NumpyImage> {
    Ok(of_pixels(image::open(file)?.into_rgb8()))
}

/// 1080p with 14 faces: the picture of people five times, each of another size, so that no two faces
/// are alike.
fn crowd(file: &Path) -> anyhow::Result<NumpyImage> {
    let people = image::open(file)?.into_rgb8();
    let mut crowd = RgbImage::from_pixel(1920, 1080, image::Rgb([90, 100, 110]));
    for (left, top, width) in
        [(0, 0, 1100), (1110, 0, 800), (0, 635, 700), (720, 635, 560), (1290, 500, 630)]
    {
        let height = people.height() * width / people.width();
        let resized = imageops::resize(&people, width, height, imageops::FilterType::Triangle);
        imageops::replace(&mut crowd, &resized, left, top);
    }
    Ok(of_pixels(crowd))
}

fn of_pixels(pixels: RgbImage) -> NumpyImage {
    rgb(pixels.height() as i32, pixels.width() as i32, pixels.into_raw().into())
}

fn rgb(height: i32, width: i32, data: Bytes) -> NumpyImage {
    NumpyImage { height, width, channels: 3, data, dtype: "uint8".into() }
}
