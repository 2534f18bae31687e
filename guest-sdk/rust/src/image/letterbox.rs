//! Where a picture lies in a canvas of other proportions.

use crate::{Error, Result};

/// A picture in the middle of a canvas, as large as fits: see
/// [`Transform::letterbox`](super::Transform::letterbox).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Letterbox {
    /// Height and width of the picture in the canvas.
    pub size: (usize, usize),
    /// Rows above it.
    pub top: usize,
    /// Columns before it.
    pub left: usize,
    /// Pixels of the picture for one of the canvas.
    vertical: f32,
    horizontal: f32,
}

impl Letterbox {
    /// A picture of `source`, height and width, in a canvas of `canvas`.
    pub fn new(source: (usize, usize), canvas: (usize, usize)) -> Result<Self> {
        if source.0 == 0 || source.1 == 0 || canvas.0 == 0 || canvas.1 == 0 {
            return Err(Error::caller("an image without pixels cannot be resized"));
        }
        let scale = (canvas.0 as f64 / source.0 as f64).min(canvas.1 as f64 / source.1 as f64);
        // Halves go to the even number, as Python's `round` does; a thin picture keeps a pixel.
        let fit = |side: usize, most: usize| {
            ((side as f64 * scale).round_ties_even() as usize).clamp(1, most)
        };
        let size = (fit(source.0, canvas.0), fit(source.1, canvas.1));
        Ok(Self {
            size,
            top: (canvas.0 - size.0) / 2,
            left: (canvas.1 - size.1) / 2,
            vertical: source.0 as f32 / size.0 as f32,
            horizontal: source.1 as f32 / size.1 as f32,
        })
    }

    /// A point of the canvas in the picture's own pixels; outside of it for the filled parts.
    pub fn to_source(&self, x: f32, y: f32) -> (f32, f32) {
        ((x - self.left as f32) * self.horizontal, (y - self.top as f32) * self.vertical)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_side_fills_the_canvas() {
        let wide = Letterbox::new((1080, 1920), (640, 640)).unwrap();
        assert_eq!((wide.size, wide.top, wide.left), ((360, 640), 140, 0));
        assert_eq!(wide.to_source(320.0, 320.0), (960.0, 540.0));
        let tall = Letterbox::new((100, 33), (50, 40)).unwrap();
        // 16.5 goes to the even number.
        assert_eq!((tall.size, tall.top, tall.left), ((50, 16), 0, 12));
        let thin = Letterbox::new((1, 1000), (10, 10)).unwrap();
        assert_eq!((thin.size, thin.top), ((1, 10), 4));
        assert!(Letterbox::new((0, 5), (10, 10)).is_err());
    }
}
