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
}

/// For each output position along one direction: the first source position and the weights from
/// there on, which sum to 1.
pub(super) struct Taps<T: Sample> {
    firsts: Vec<usize>,
    ends: Vec<usize>,
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
            Filter::Bilinear => 1.0,
        };
        let mut taps = Self {
            firsts: vec![],
            ends: vec![],
            weights: vec![],
            reach: 1,
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
            taps.firsts.push(first);
            taps.weights
                .extend(triangle.iter().map(|weight| T::weight(weight / total)));
            taps.ends.push(taps.weights.len());
            taps.reach = taps.reach.max(end - first);
        }
        taps
    }

    /// The most weights that a position has.
    pub(super) fn reach(&self) -> usize {
        self.reach
    }

    /// The number of output positions.
    pub(super) fn len(&self) -> usize {
        self.firsts.len()
    }

    /// First source position and weights of each output position.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &[T::Sum])> {
        let mut start = 0;
        self.firsts
            .iter()
            .zip(&self.ends)
            .map(move |(&first, &end)| {
                let weights = &self.weights[start..end];
                start = end;
                (first, weights)
            })
    }
}
