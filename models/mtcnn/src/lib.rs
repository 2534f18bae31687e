//! Finds faces: MTCNN, a cascade of three small networks.
//!
//! Takes pictures of any size. Answers the faces, best first, each with its box, its score and five
//! points; the argument `min_face` says how many pixels the smallest face has, 40 unless given.
//!
//! - [`pyramid`]: the sizes at which the first network looks at the picture
//! - [`propose`]: what the first network sees in one of them
//! - [`faces`]: boxes and points, and how the networks correct them
//! - [`crops`]: parts of the picture as a batch for the second and third network
//! - [`cascade`]: the three together

pub mod cascade;
pub mod crops;
pub mod faces;
pub mod propose;
pub mod pyramid;

use tms_guest::prelude::*;

use crate::cascade::{Networks, detect};
use crate::pyramid::{LARGEST_FACE, MIN_FACE, SMALLEST_FACE};

struct Faces(Networks);

impl Model for Faces {
    fn init() -> Result<Self> {
        Ok(Self(Networks::load()?))
    }

    fn describe(&self) -> Description {
        Description::image()
    }

    fn run(&mut self, input: Input, args: &Args) -> Result<Output> {
        let min_face = args.field("min_face")?.unwrap_or(MIN_FACE);
        if !(SMALLEST_FACE..=LARGEST_FACE).contains(&min_face) {
            bail_caller!("args: min_face is {SMALLEST_FACE} to {LARGEST_FACE}, not {min_face}");
        }
        Output::json(&detect(&self.0, &input.image()?, min_face)?)
    }
}

tms_guest::export!(Faces);
