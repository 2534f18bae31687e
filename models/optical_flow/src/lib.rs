//! Where each pixel of a frame has moved to in the next: dense optical flow, all of it in the sandbox.
//!
//! Takes one image that holds both frames: two channels (grey, grey) or six (RGB, RGB), of bytes or
//! floats. Answers an image of two channels of `f32`: how far each pixel has moved, right and down.
//!
//! The method is Gunnar Farnebäck's, "Two-Frame Motion Estimation Based on Polynomial Expansion"
//! (2003): the surroundings of each pixel are taken for a polynomial of second degree, and a movement
//! is found that explains how its coefficients change. Its details are OpenCV's.
//!
//! - [`options`]: the arguments
//! - [`frames`]: both frames out of the image, in grey
//! - [`plane`]: values of all pixels, row by row
//! - [`pyramid`]: the sizes at which the frames are looked at, small ones first
//! - [`taps`]: which values along a line make a value of a smaller or larger one
//! - [`resize`]: frames and movements at another size
//! - [`expansion`]: the polynomial around each pixel
//! - [`equations`]: what the polynomials of both frames say about a pixel's movement
//! - [`window`]: the same of all pixels around one, and the movement that fits them best
//! - [`flow`]: all of them together

pub mod equations;
pub mod expansion;
pub mod flow;
pub mod frames;
pub mod options;
pub mod plane;
pub mod pyramid;
pub mod resize;
pub mod taps;
pub mod window;

use tms_guest::prelude::*;

use crate::flow::flow;
use crate::frames::Frames;
use crate::options::Options;

struct Flow;

impl Model for Flow {
    fn init() -> Result<Self> {
        Ok(Self)
    }

    fn describe(&self) -> Description {
        Description::image()
            .about("Finds how far each pixel of a frame has moved in the next one.")
            .args_mean(
                "pyramid_scale (0.5), levels (3), window (15), iterations (3), poly_n (5), poly_sigma \
                 (1.2), as in OpenCV's calcOpticalFlowFarneback.",
            )
            .json_means("null: the image is the answer.")
            .tensor_means("image", "Pixels of two float32: how far it has moved, right and down.")
    }

    fn run(&mut self, input: Input, args: &Args) -> Result<Output> {
        let options: Options = args.get()?;
        options.check()?;
        let frames = Frames::of(&input.image()?)?;
        Output::image(flow(&frames, &options).into_tensor()?)
    }
}

tms_guest::export!(Flow);
