//! The cascade: the first network proposes boxes in every size of the picture, the second refuses
//! most of them, the third finds the faces' points; each corrects the boxes.

use tms_guest::image::Pixels;
use tms_guest::prelude::*;

use crate::crops::{self, BATCH, crops, levels, resized};
use crate::faces::{Correction, Face, distinct, separate};
use crate::propose::{any_likely, proposals};
use crate::pyramid;

/// How far two boxes may overlap, between the networks and at the end.
const OVERLAP: f32 = 0.7;
/// What the second and third network must say at least.
const THRESHOLD: f32 = 0.7;

/// The networks, by what they do.
pub struct Networks {
    propose: Graph,
    refine: Graph,
    finish: Graph,
}

impl Networks {
    /// Opens the graphs beside the component.
    pub fn load() -> Result<Self> {
        let (propose, refine) = (Graph::load("pnet")?, Graph::load("rnet")?);
        Ok(Self { propose, refine, finish: Graph::load("onet")? })
    }
}

/// The faces of a picture, best first.
pub fn detect(networks: &Networks, image: &Image, min_face: f64) -> Result<Vec<Face>> {
    let picture = levels(image.pixels()?);
    let faces = proposed(&networks.propose, &picture, min_face)?;
    let faces = refined(&networks.refine, &picture, faces)?;
    finished(&networks.finish, &picture, faces)
}

fn proposed(network: &Graph, picture: &Pixels, min_face: f64) -> Result<Vec<Face>> {
    let (height, width, _) = picture.dim();
    let mut all = Vec::new();
    for level in pyramid::levels(height, width, min_face) {
        let input = resized(picture, level.height, level.width)?;
        let outputs = network.compute([("input", input)])?;
        let scores = outputs.get("prob")?;
        let [_, _, rows, columns] = scores.shape()[..] else {
            return Err(Error::model("pnet: prob is not of four dimensions"));
        };
        // Two planes: not a face, a face.
        let scores = scores.reshape(&[2, rows * columns])?.rows(1..2)?.to_vec::<f32>()?;
        if any_likely(&scores) {
            let corrections = outputs.get("reg")?.to_vec::<f32>()?;
            all.extend(proposals(&scores, &corrections, columns, level.scale));
        }
    }
    let boxes: Vec<Face> = all.iter().map(|(face, _)| *face).collect();
    let kept = distinct(&boxes, OVERLAP).into_iter();
    Ok(kept.map(|at| all[at].0.corrected(all[at].1, 0.0).square()).collect())
}

fn refined(network: &Graph, picture: &Pixels, faces: Vec<Face>) -> Result<Vec<Face>> {
    let looked_at = judge(network, picture, faces, 24, &["prob", "reg"])?;
    let faces: Vec<Face> = looked_at.iter().map(|judged| judged.face).collect();
    let kept = distinct(&faces, OVERLAP).into_iter();
    Ok(kept.map(|at| faces[at].corrected(looked_at[at].correction, 1.0).square()).collect())
}

fn finished(network: &Graph, picture: &Pixels, faces: Vec<Face>) -> Result<Vec<Face>> {
    let looked_at = judge(network, picture, faces, 48, &["prob", "reg", "landmarks"])?;
    let faces: Vec<Face> = looked_at
        .iter()
        .map(|judged| {
            judged.face.with_landmarks(judged.landmarks).corrected(judged.correction, 1.0)
        })
        .collect();
    Ok(separate(&faces, OVERLAP).into_iter().map(|at| faces[at]).collect())
}

/// What a network says about a box: it has a face, which lies a little elsewhere.
struct Judged {
    face: Face,
    correction: Correction,
    /// Zeros where the network gives none.
    landmarks: [f32; 10],
}

/// Shows the parts of the picture under `faces` to a network that takes squares of `side` pixels;
/// those that it takes for faces are left.
fn judge(
    network: &Graph,
    picture: &Pixels,
    faces: Vec<Face>,
    side: usize,
    outputs: &[&str],
) -> Result<Vec<Judged>> {
    let (height, width, _) = picture.dim();
    let inside = |face: &Face| crops::window(face.sides, height, width).is_some();
    let faces: Vec<Face> = faces.into_iter().filter(inside).collect();
    let mut judged = Vec::new();
    for faces in faces.chunks(BATCH) {
        let boxes: Vec<_> = faces.iter().map(|face| face.sides).collect();
        let input = crops(picture, &boxes, side)?;
        let answers = network.compute_some([("input", input)], outputs)?;
        let scores = answers.get("prob")?.to_vec::<f32>()?;
        let corrections = answers.get("reg")?.to_vec::<f32>()?;
        let landmarks = match outputs.contains(&"landmarks") {
            true => answers.get("landmarks")?.to_vec::<f32>()?,
            false => vec![0.0; faces.len() * 10],
        };
        let answers =
            scores.as_chunks().0.iter().zip(corrections.as_chunks().0).zip(landmarks.as_chunks().0);
        for (face, ((&[_, score], &correction), &landmarks)) in faces.iter().zip(answers) {
            if score > THRESHOLD {
                judged.push(Judged { face: Face { score, ..*face }, correction, landmarks });
            }
        }
    }
    Ok(judged)
}
