//! Paints a picture in one of 26 styles, or in a blend of them: one network for all.
//!
//! Takes pictures of 5x5 pixels and more, grey, RGB or RGBA, of bytes or floats. Answers the picture
//! in its size as RGB of the same type; the argument `style` names a style, `styles` weighs all.
//!
//! - [`style`]: from the arguments to the network's weights
//! - [`picture`]: from the picture to the network's input, and from its output to a picture

pub mod picture;
pub mod style;

use tms_guest::prelude::*;

use crate::picture::{painted, prepare};
use crate::style::Style;

struct Painter(Graph);

impl Model for Painter {
    fn init() -> Result<Self> {
        Ok(Self(Graph::load("model")?))
    }

    fn describe(&self) -> Description {
        Description::image()
            .about("Paints a picture in one of 26 styles, or in a blend of them.")
            .args_mean(
                "`style`: which one, 0 to 25, 0 unless given. Or `styles`: 26 weights of a blend, none \
                 below 0.",
            )
            .json_means("null: the image is the answer.")
            .tensor_means("image", "The picture as painted: RGB, in the size and type of the request's.")
    }

    fn run(&mut self, input: Input, args: &Args) -> Result<Output> {
        let weights = args.get::<Style>()?.weights()?;
        let picture = input.image()?.pixels()?;
        let inputs = [("image", prepare(&picture)?), ("style_weights", (&weights).into())];
        let outputs = self.0.compute(inputs)?;
        Output::image(painted(outputs.get("stylized")?, &picture)?)
    }
}

tms_guest::export!(Painter);
