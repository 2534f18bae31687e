//! One operation of the SDK at a time, `{"op": "…"}`: what the benches compare with the same code run
//! natively. Answers a number that is the same on both sides.

use std::collections::HashMap;

use tms_guest::boxes::Nms;
use tms_guest::image::{Filter, Transform};
use tms_guest::prelude::*;

/// All operations.
pub const OPS: [&str; 12] = [
    "read",
    "resize",
    "area",
    "bilinear",
    "crop",
    "nchw",
    "nhwc",
    "bgr",
    "letterbox",
    "softmax",
    "top_k",
    "nms",
];

/// Scores and boxes as a network might give them, made before they are needed.
pub struct Ops {
    scores: Vec<f32>,
    boxes: Vec<[f32; 4]>,
}

/// Scores a picture.
const CLASSES: usize = 1000;
/// Pictures in a batch.
const BATCH: usize = 64;
/// What a detector finds.
const BOXES: usize = 1000;

impl Ops {
    /// Makes scores and boxes.
    pub fn new() -> Self {
        let mut state = 1u32;
        // Numbers of 0 to 1 that look random, the same everywhere.
        let mut next = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        };
        let scores = (0..CLASSES * BATCH).map(|_| next() * 20.0 - 10.0).collect();
        let boxes = (0..BOXES)
            .map(|_| {
                let (left, top) = (next() * 600.0, next() * 600.0);
                [left, top, left + 10.0 + next() * 90.0, top + 10.0 + next() * 90.0]
            })
            .collect();
        Self { scores, boxes }
    }

    /// Does `op` and answers some of what came out.
    pub fn run(&self, op: &str, image: &Image) -> Result<f64> {
        let mean = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]);
        let normalize = Transform::new().normalize(mean.0, mean.1);
        Ok(match op {
            "read" => {
                let pixels = image.array::<u8>()?;
                let pixels = pixels.as_slice().unwrap_or_default();
                pixels.iter().step_by(997).map(|&value| f64::from(value)).sum()
            }
            "resize" => some(Transform::new().resize(224, 224).hwc(image)?.as_slice()),
            "area" => {
                let transform = Transform::new().resize(224, 224).filter(Filter::Area);
                some(transform.hwc(image)?.as_slice())
            }
            "bilinear" => {
                let transform = Transform::new().resize(224, 224).filter(Filter::Bilinear);
                some(transform.hwc(image)?.as_slice())
            }
            "crop" => some(Transform::new().center_crop(144, 144).hwc(image)?.as_slice()),
            "nchw" => some(normalize.nchw(image)?.as_slice()),
            "nhwc" => some(normalize.nhwc(image)?.as_slice()),
            "bgr" => some(Transform::new().bgr().hwc(image)?.as_slice()),
            "letterbox" => some(normalize.letterbox(640, 640, 114.0).nchw(image)?.as_slice()),
            "softmax" => {
                let rows = self.scores.chunks(CLASSES).map(scores::softmax);
                rows.map(|row| some(Some(&row))).sum()
            }
            "top_k" => {
                let rows = self.scores.chunks(CLASSES).map(|row| scores::top_k(row, 5));
                rows.flatten().map(|(place, _)| place as f64).sum()
            }
            "nms" => {
                let kept = Nms::new(0.5).keep(&self.boxes, &self.scores[..BOXES]);
                kept.iter().enumerate().map(|(at, &place)| (at * place) as f64).sum()
            }
            _ => bail_caller!("no operation {op}"),
        })
    }
}

impl Default for Ops {
    fn default() -> Self {
        Self::new()
    }
}

/// The sum of a hundred values.
fn some(values: Option<&[f32]>) -> f64 {
    let values = values.unwrap_or_default();
    values.iter().step_by((values.len() / 100).max(1)).map(|&value| f64::from(value)).sum()
}

impl Model for Ops {
    fn init() -> Result<Self> {
        Ok(Self::new())
    }

    fn describe(&self) -> Description {
        Description::image()
    }

    fn run(&mut self, input: Input, args: &Args) -> Result<Output> {
        let args: HashMap<String, String> = args.get()?;
        let op = args.get("op").map_or("", String::as_str);
        let answer = Ops::run(self, op, &input.image()?)?;
        Output::json(&answer)
    }
}

tms_guest::export!(Ops);
