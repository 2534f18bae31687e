//! What a [`Transform`](super::Transform) computes for an image of a given size.

use super::letterbox::Letterbox;
use super::resize::Window;
use crate::{Error, Result};

/// The size that an image is brought to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target {
    Unchanged,
    ShorterSide(usize),
    Size(usize, usize),
    /// Height, width and the level around the picture.
    Letterbox(usize, usize, f32),
}

/// What is computed for an image of a given size.
pub(super) struct Plan {
    /// The size to resize to, and the part of it that is wanted.
    pub(super) size: (usize, usize),
    pub(super) window: Window,
    /// The size of the result, and where in it the window goes.
    pub(super) canvas: (usize, usize),
    top: usize,
    left: usize,
    /// The level of what the window does not cover.
    pub(super) fill: f32,
}

impl Plan {
    /// The plan for an image of `height` and `width`, of which `crop`, if anything, is left.
    pub(super) fn new(
        target: Target,
        crop: Option<(usize, usize)>,
        (height, width): (usize, usize),
    ) -> Result<Self> {
        let whole = |(height, width)| Plan {
            size: (height, width),
            window: Window { top: 0, left: 0, height, width },
            canvas: (height, width),
            top: 0,
            left: 0,
            fill: 0.0,
        };
        let plan = match target {
            Target::Unchanged => whole((height, width)),
            Target::Size(height, width) => whole((height, width)),
            Target::ShorterSide(wanted) => {
                let scale = wanted as f64 / height.min(width) as f64;
                // Halves go to the even number, as Python's `round` does.
                let scaled = |side: usize| (side as f64 * scale).round_ties_even() as usize;
                whole((scaled(height), scaled(width)))
            }
            Target::Letterbox(rows, columns, fill) => {
                let fit = Letterbox::new((height, width), (rows, columns))?;
                let canvas = (rows, columns);
                Plan { canvas, top: fit.top, left: fit.left, fill, ..whole(fit.size) }
            }
        };
        let Some((height, width)) = crop else { return Ok(plan) };
        if matches!(target, Target::Letterbox(..)) {
            return Err(Error::model("a letterbox has its size already and takes no crop"));
        }
        let window = center(plan.size, (height, width))?;
        Ok(Plan { window, canvas: (height, width), ..plan })
    }

    /// Where row `y` of the window is in one plane of the result.
    pub(super) fn row(&self, y: usize) -> std::ops::Range<usize> {
        let start = (self.top + y) * self.canvas.1 + self.left;
        start..start + self.window.width
    }
}

/// The centre of an image; fails where the image is smaller.
pub(super) fn center(
    (rows, columns): (usize, usize),
    (height, width): (usize, usize),
) -> Result<Window> {
    if height > rows || width > columns {
        return Err(Error::model(format!(
            "a crop of {height}x{width} from an image of {rows}x{columns}"
        )));
    }
    let (top, left) = ((rows - height) / 2, (columns - width) / 2);
    Ok(Window { top, left, height, width })
}
