//! What a [`Transform`](super::Transform) computes for an image of a given size.

use super::letterbox::Letterbox;
use super::window::{Size, Window};
use crate::{Error, Result};

/// The size that an image is brought to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target {
    Unchanged,
    ShorterSide(usize),
    Exactly(Size),
    Letterbox {
        canvas: Size,
        /// The level around the picture.
        fill: f32,
    },
}

/// What is computed for an image of a given size.
pub(super) struct Plan {
    /// The size to resize to, and the part of it that is wanted.
    pub(super) size: Size,
    pub(super) window: Window,
    /// The size of the result, and where in it the window goes.
    pub(super) canvas: Size,
    top: usize,
    left: usize,
    /// The level of what the window does not cover.
    pub(super) fill: f32,
}

impl Plan {
    /// The plan for an image of a size, of which `crop`, if anything, is left.
    pub(super) fn new(target: Target, crop: Option<Size>, image: Size) -> Result<Self> {
        let whole = |size| Plan {
            size,
            window: Window::whole(size),
            canvas: size,
            top: 0,
            left: 0,
            fill: 0.0,
        };
        let plan = match target {
            Target::Unchanged => whole(image),
            Target::Exactly(size) => whole(size),
            Target::ShorterSide(wanted) => {
                let scale = wanted as f64 / image.height.min(image.width) as f64;
                // Halves go to the even number, as Python's `round` does.
                let scaled = |side: usize| (side as f64 * scale).round_ties_even() as usize;
                whole(Size { height: scaled(image.height), width: scaled(image.width) })
            }
            Target::Letterbox { canvas, fill } => {
                let fit =
                    Letterbox::new((image.height, image.width), (canvas.height, canvas.width))?;
                let (height, width) = fit.size;
                let picture = whole(Size { height, width });
                Plan { canvas, top: fit.top, left: fit.left, fill, ..picture }
            }
        };
        let Some(crop) = crop else { return Ok(plan) };
        if matches!(target, Target::Letterbox { .. }) {
            return Err(Error::model("a letterbox has its size already and takes no crop"));
        }
        let window = center(plan.size, crop)?;
        Ok(Plan { window, canvas: crop, ..plan })
    }

    /// Where row `y` of the window is in one plane of the result.
    pub(super) fn row(&self, y: usize) -> std::ops::Range<usize> {
        let start = (self.top + y) * self.canvas.width + self.left;
        start..start + self.window.width
    }
}

/// The centre of an image; fails where the image is smaller.
pub(super) fn center(image: Size, crop: Size) -> Result<Window> {
    let Size { height, width } = crop;
    if height > image.height || width > image.width {
        let (rows, columns) = (image.height, image.width);
        return Err(Error::model(format!(
            "a crop of {height}x{width} from an image of {rows}x{columns}"
        )));
    }
    let (top, left) = ((image.height - height) / 2, (image.width - width) / 2);
    Ok(Window { top, left, height, width })
}
