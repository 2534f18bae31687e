//! The levels of a pixel as the numbers that a network takes.

/// How the levels of red, green and blue become a network's numbers: `value * factor - less`.
#[derive(Debug, Clone, Copy)]
pub(in crate::image) struct Levels {
    pub(super) factor: [f32; 3],
    pub(super) less: [f32; 3],
    /// The level where there is no picture.
    fill: f32,
    /// Blue first.
    pub(super) bgr: bool,
}

impl Levels {
    /// `(value * gain - mean) / std`; `mean` and `std` are in the order that comes out.
    pub(in crate::image) fn new(
        mean: [f32; 3],
        std: [f32; 3],
        gain: f32,
        fill: f32,
        bgr: bool,
    ) -> Self {
        let factor = std.map(|std| gain / std);
        let less = [mean[0] / std[0], mean[1] / std[1], mean[2] / std[2]];
        Self { factor, less, fill, bgr }
    }

    /// The numbers where there is no picture.
    pub(in crate::image) fn fill(&self) -> [f32; 3] {
        [0, 1, 2].map(|channel| self.fill * self.factor[channel] - self.less[channel])
    }

    /// One pixel.
    pub(super) fn pixel<const STORED: usize>(&self, pixel: [f32; STORED]) -> [f32; 3] {
        [0, 1, 2].map(|channel| {
            let place = if self.bgr { 2 - channel } else { channel };
            // Grey (with or without alpha) is red, green and blue.
            let value = if STORED < 3 { pixel[0] } else { pixel[place] };
            value * self.factor[channel] - self.less[channel]
        })
    }
}
