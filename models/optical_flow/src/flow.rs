//! From two frames to the movements of all pixels: coarse ones in small pictures, finer ones in larger.

use tms_guest::{Result, Tensor};

use crate::equations::Pair;
use crate::expansion::Expansion;
use crate::frames::Frames;
use crate::options::Options;
use crate::plane::Plane;
use crate::pyramid::{Level, levels};
use crate::resize::{gaussian, resized};
use crate::window::improve;

/// How far each pixel has moved, right and down.
#[derive(Debug)]
pub struct Flow {
    pub x: Plane<f32>,
    pub y: Plane<f32>,
}

/// The movements from the first frame to the second.
pub fn flow(frames: &Frames, options: &Options) -> Flow {
    let (height, width) = (frames.first.height(), frames.first.width());
    let expansion = Expansion::new(options.poly_n, options.poly_sigma);
    let growth = (1.0 / options.pyramid_scale) as f32;
    let mut flow: Option<Flow> = None;
    for level in levels(height, width, options.pyramid_scale, options.levels) {
        let mut finer = match flow.take() {
            Some(coarse) => coarse.enlarged(level, growth),
            None => Flow::none(level),
        };
        let kernel = gaussian(level.sigma);
        let polynomials = |frame: &Plane<f32>| {
            expansion.polynomials(&resized(frame, level.height, level.width, &kernel))
        };
        let pair = Pair::new(polynomials(&frames.first), polynomials(&frames.second));
        for _ in 0..options.iterations {
            improve(&pair, &mut finer, options.window);
        }
        flow = Some(finer);
    }
    flow.unwrap_or_else(|| Flow::none(Level { height, width, sigma: 0.0 }))
}

impl Flow {
    fn none(level: Level) -> Self {
        let Level { height, width, .. } = level;
        Self { x: Plane::new(height, width), y: Plane::new(height, width) }
    }

    /// The same at a larger level, where all ways are longer by this factor.
    fn enlarged(&self, level: Level, growth: f32) -> Self {
        let larger = |plane: &Plane<f32>| {
            let mut larger = resized(plane, level.height, level.width, &[1.0]);
            larger.rows_mut().flatten().for_each(|way| *way *= growth);
            larger
        };
        Self { x: larger(&self.x), y: larger(&self.y) }
    }

    /// As the caller gets it: `[height, width, 2]`.
    pub fn into_tensor(self) -> Result<Tensor> {
        let ways = self.x.values().iter().zip(self.y.values()).map(|(x, y)| [*x, *y]);
        let ways: Vec<[f32; 2]> = ways.collect();
        Tensor::new(&[self.x.height(), self.x.width(), 2], ways.as_flattened())
    }
}
