//! Which source pixels make one, and with what weights.

use std::ops::Range;

use super::Sample;

/// How many source pixels make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Filter {
    /// When shrinking, all the pixels that the new one covers, weighted by distance: what Pillow
    /// does, and torchvision on Pillow's images.
    #[default]
    Antialias,
    /// The nearest two in each direction, as OpenCV's `INTER_LINEAR`: faster, coarser.
    Bilinear,
    /// The mean of all the pixels that the new one touches, each in full: torch's
    /// `interpolate(mode="area")`. Not rounded, for bytes neither.
    Area,
}

/// How many weights are worked on at once. In the sandbox every turn of a loop costs a check of
/// the clock, so the innermost loop must have few and long turns.
pub(super) const BLOCK: usize = 4;

/// For each output position along one direction: the first source position and the weights from
/// there on, which sum to 1.
pub(super) struct Taps<T: Sample> {
    firsts: Vec<usize>,
    /// How many weights a position has.
    lengths: Vec<usize>,
    /// The weights, `reach` a position: after its own come zeros.
    weights: Vec<T::Sum>,
    reach: usize,
}

impl<T: Sample> Taps<T> {
    /// Taps for the positions `wanted` of `target`, from `source` positions.
    pub(super) fn new(source: usize, target: usize, wanted: Range<usize>, filter: Filter) -> Self {
        let scale = source as f64 / target as f64;
        // The triangle's half width: never less than one source pixel.
        let half = match filter {
            Filter::Antialias => scale.max(1.0),
            // `Area` has no weights and no taps.
            Filter::Bilinear | Filter::Area => 1.0,
        };
        let reach = (2.0 * half).ceil() as usize + 1;
        let mut taps = Self {
            firsts: Vec::with_capacity(wanted.len()),
            lengths: Vec::with_capacity(wanted.len()),
            weights: Vec::new(),
            reach: reach.next_multiple_of(BLOCK),
        };
        let mut triangle: Vec<f64> = Vec::new();
        for position in wanted {
            let center = (position as f64 + 0.5) * scale;
            // Positions outside the image are left out and their weight shared by the others.
            let first = ((center - half + 0.5).max(0.0) as usize).min(source - 1);
            let end = ((center + half + 0.5) as usize).clamp(first + 1, source);
            triangle.clear();
            triangle.extend((first..end).map(|at| {
                let distance = (at as f64 + 0.5 - center).abs() / half;
                (1.0 - distance).max(0.0)
            }));
            let total: f64 = triangle.iter().sum();
            let weights = triangle.iter().map(|weight| T::weight(weight / total));
            taps.weights.extend(weights);
            taps.firsts.push(first);
            taps.lengths.push(end - first);
            let padded = taps.firsts.len() * taps.reach;
            taps.weights.resize(padded, T::Sum::default());
        }
        taps
    }

    /// The number of output positions.
    pub(super) fn len(&self) -> usize {
        self.firsts.len()
    }

    /// The most source positions that an output position touches, zero weights included.
    pub(super) fn reach(&self) -> usize {
        self.reach
    }

    /// The first source position of each output position.
    pub(super) fn firsts(&self) -> &[usize] {
        &self.firsts
    }

    /// The weights of all output positions in blocks, equally many a position.
    pub(super) fn blocks(&self) -> &[[T::Sum; BLOCK]] {
        self.weights.as_chunks().0
    }

    /// First source position and weights of each output position, without zeros added.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &[T::Sum])> {
        let positions = self.firsts.iter().zip(&self.lengths);
        positions
            .zip(self.weights.chunks_exact(self.reach))
            .map(|((&first, &length), weights)| (first, &weights[..length]))
    }
}
