//! Says what a picture shows: EfficientNet-Lite0, the thousand classes of ImageNet.
//!
//! Takes pictures of any size, grey, RGB or RGBA, of bytes or floats. Answers the best five labels
//! with their probabilities, `[["tabby", 0.61], ...]`; the argument `top` asks for another number.

use tms_guest::ndarray::Array4;
use tms_guest::prelude::*;

struct Classifier {
    graph: Graph,
    labels: Vec<&'static str>,
}

impl Model for Classifier {
    fn init() -> Result<Self> {
        let labels = include_str!("../labels.txt").lines().collect();
        Ok(Self { graph: Graph::load("model")?, labels })
    }

    fn describe(&self) -> Description {
        Description::image()
    }

    fn run(&mut self, input: Input, args: &Args) -> Result<Output> {
        let top = args.field("top")?.unwrap_or(5);
        let outputs = self.graph.compute([("input", prepare(&input.image()?)?)])?;
        let probabilities = outputs.get("probs")?.to_vec::<f32>()?;
        Output::json(&best(&probabilities, &self.labels, top))
    }
}

/// What the network was trained on: the shorter side 256, the middle 224x224, about -1 to 1.
pub fn prepare(picture: &Image) -> Result<Array4<f32>> {
    let transform = Transform::new().shorter_side(256).center_crop(224, 224);
    transform.normalize([127.0; 3], [128.0; 3]).nchw(picture)
}

/// The labels of the highest probabilities.
pub fn best<'a>(probabilities: &[f32], labels: &[&'a str], top: usize) -> Vec<(&'a str, f32)> {
    let best = scores::top_k(probabilities, top).into_iter();
    best.filter_map(|(class, probability)| Some((*labels.get(class)?, probability))).collect()
}

tms_guest::export!(Classifier);
