//! From a row of an image to a network's input: normalised, as planes or packed, in either order
//! of colours.

/// How the levels of red, green and blue become a network's numbers: `value * factor - less`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Levels {
    factor: [f32; 3],
    less: [f32; 3],
    /// Blue first.
    bgr: bool,
}

impl Levels {
    /// `(value * gain - mean) / std`; `mean` and `std` are in the order that comes out.
    pub(super) fn new(mean: [f32; 3], std: [f32; 3], gain: f32, bgr: bool) -> Self {
        let factor = std.map(|std| gain / std);
        let less = [mean[0] / std[0], mean[1] / std[1], mean[2] / std[2]];
        Self { factor, less, bgr }
    }

    /// What a source level becomes in channel `channel`.
    pub(super) fn level(&self, channel: usize, value: f32) -> f32 {
        value * self.factor[channel] - self.less[channel]
    }

    /// Channel `channel` of a row of pixels of `line.len() / row.len()` values.
    pub(super) fn plane(&self, line: &[f32], channel: usize, row: &mut [f32]) {
        let (factor, less) = (self.factor[channel], self.less[channel]);
        let channel = if self.bgr { 2 - channel } else { channel };
        // Grey (with or without alpha) is red, green and blue.
        match line.len() / row.len().max(1) {
            1 => copy_channel::<1>(line, 0, factor, less, row),
            2 => copy_channel::<2>(line, 0, factor, less, row),
            3 => copy_channel::<3>(line, channel, factor, less, row),
            _ => copy_channel::<4>(line, channel, factor, less, row),
        }
    }

    /// All three channels, pixel by pixel.
    pub(super) fn packed(&self, line: &[f32], row: &mut [f32]) {
        match (line.len() / (row.len() / 3).max(1), self.bgr) {
            (1, _) => pack::<1>(line, [0, 0, 0], self, row),
            (2, _) => pack::<2>(line, [0, 0, 0], self, row),
            (3, false) => pack::<3>(line, [0, 1, 2], self, row),
            (3, true) => pack::<3>(line, [2, 1, 0], self, row),
            (_, false) => pack::<4>(line, [0, 1, 2], self, row),
            (_, true) => pack::<4>(line, [2, 1, 0], self, row),
        }
    }
}

/// `value * factor - less` of one of `STORED` values a pixel.
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
fn copy_channel<const STORED: usize>(
    line: &[f32],
    channel: usize,
    factor: f32,
    less: f32,
    row: &mut [f32],
) {
    let (pixels, _) = line.as_chunks::<STORED>();
    // Eight in a turn of the loop, see `BLOCK`.
    let (blocks, last) = row.as_chunks_mut::<8>();
    let (pixel_blocks, last_pixels) = pixels.as_chunks::<8>();
    for (row, pixels) in blocks.iter_mut().zip(pixel_blocks) {
        *row = pixels.map(|pixel| pixel[channel] * factor - less);
    }
    for (to, pixel) in last.iter_mut().zip(last_pixels) {
        *to = pixel[channel] * factor - less;
    }
}

/// The three channels that `places` says of `STORED` values a pixel. Inlined into its callers, so
/// that the places are known.
#[inline(always)]
fn pack<const STORED: usize>(line: &[f32], places: [usize; 3], levels: &Levels, row: &mut [f32]) {
    let Levels { factor, less, .. } = *levels;
    // Four pixels are three whole vectors, in which the factors take turns.
    let factors: [f32; 12] = std::array::from_fn(|i| factor[i % 3]);
    let lesses: [f32; 12] = std::array::from_fn(|i| less[i % 3]);
    let (pixels, _) = line.as_chunks::<STORED>();
    let (pixel_blocks, last_pixels) = pixels.as_chunks::<4>();
    let (blocks, last) = row.as_chunks_mut::<12>();
    for (row, pixels) in blocks.iter_mut().zip(pixel_blocks) {
        let values = pixels.as_flattened();
        let values: [f32; 12] = std::array::from_fn(|i| values[i / 3 * STORED + places[i % 3]]);
        *row = std::array::from_fn(|i| values[i] * factors[i] - lesses[i]);
    }
    for (row, pixel) in last.as_chunks_mut::<3>().0.iter_mut().zip(last_pixels) {
        *row = [0, 1, 2].map(|i| pixel[places[i]] * factor[i] - less[i]);
    }
}
