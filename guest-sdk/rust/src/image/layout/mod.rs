//! From a row of an image to a network's input: normalised, as planes or packed, in either order
//! of colours.

mod rows;

use rows::{as_it_is, packed, planes};

/// How the levels of red, green and blue become a network's numbers: `value * factor - less`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Levels {
    factor: [f32; 3],
    less: [f32; 3],
    /// The level where there is no picture.
    fill: f32,
    /// Blue first.
    bgr: bool,
}

impl Levels {
    /// `(value * gain - mean) / std`; `mean` and `std` are in the order that comes out.
    pub(super) fn new(mean: [f32; 3], std: [f32; 3], gain: f32, fill: f32, bgr: bool) -> Self {
        let factor = std.map(|std| gain / std);
        let less = [mean[0] / std[0], mean[1] / std[1], mean[2] / std[2]];
        Self { factor, less, fill, bgr }
    }

    /// The numbers where there is no picture.
    pub(super) fn fill(&self) -> [f32; 3] {
        [0, 1, 2].map(|channel| self.fill * self.factor[channel] - self.less[channel])
    }

    /// A row of pixels of `line.len() / rows[0].len()` values, each channel to a row of its own.
    pub(super) fn planes(&self, line: &[f32], rows: [&mut [f32]; 3]) {
        match line.len() / rows[0].len().max(1) {
            1 => planes::<1>(line, self, rows),
            2 => planes::<2>(line, self, rows),
            3 => planes::<3>(line, self, rows),
            _ => planes::<4>(line, self, rows),
        }
    }

    /// The same, all three channels pixel by pixel.
    pub(super) fn packed(&self, line: &[f32], row: &mut [f32]) {
        match line.len() / (row.len() / 3).max(1) {
            1 => packed::<1>(line, self, row),
            2 => packed::<2>(line, self, row),
            3 if !self.bgr => as_it_is(line, self, row),
            3 => packed::<3>(line, self, row),
            _ => packed::<4>(line, self, row),
        }
    }

    /// One pixel.
    fn pixel<const STORED: usize>(&self, pixel: [f32; STORED]) -> [f32; 3] {
        [0, 1, 2].map(|channel| {
            let place = if self.bgr { 2 - channel } else { channel };
            // Grey (with or without alpha) is red, green and blue.
            let value = if STORED < 3 { pixel[0] } else { pixel[place] };
            value * self.factor[channel] - self.less[channel]
        })
    }
}
