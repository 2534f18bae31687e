//! Which source positions make one, and with what weights.

use std::ops::Range;

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

/// For each output position along one direction: the first source position, and the weights from
/// there on, which sum to 1.
pub(super) struct Taps {
    firsts: Vec<usize>,
    /// Where the weights of each position end.
    ends: Vec<usize>,
    weights: Vec<f64>,
}

impl Taps {
    /// Taps for the positions `wanted` of `target`, from `source` positions.
    pub(super) fn new(source: usize, target: usize, wanted: Range<usize>, filter: Filter) -> Self {
        let scale = source as f64 / target as f64;
        // The triangle's half width: never less than one source pixel.
        let half = match filter {
            Filter::Antialias => scale.max(1.0),
            // `Area` has no weights and no taps.
            Filter::Bilinear | Filter::Area => 1.0,
        };
        let most = (2.0 * half).ceil() as usize + 1;
        let mut taps = Self {
            firsts: Vec::with_capacity(wanted.len()),
            ends: Vec::with_capacity(wanted.len()),
            weights: Vec::with_capacity(wanted.len() * most.min(source)),
        };
        for position in wanted {
            let center = (position as f64 + 0.5) * scale;
            // Positions outside the image are left out and their weight shared by the others.
            let first = ((center - half + 0.5).max(0.0) as usize).min(source - 1);
            let end = ((center + half + 0.5) as usize).clamp(first + 1, source);
            let start = taps.weights.len();
            taps.weights.extend((first..end).map(|at| {
                let distance = (at as f64 + 0.5 - center).abs() / half;
                (1.0 - distance).max(0.0)
            }));
            let weights = &mut taps.weights[start..];
            let total: f64 = weights.iter().sum();
            weights.iter_mut().for_each(|weight| *weight /= total);
            taps.firsts.push(first);
            taps.ends.push(taps.weights.len());
        }
        taps
    }

    /// The number of output positions.
    pub(super) fn len(&self) -> usize {
        self.firsts.len()
    }

    /// First source position and weights of each output position.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &[f64])> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let positions = self.firsts.iter().zip(starts.zip(&self.ends));
        positions.map(|(&first, (start, &end))| (first, &self.weights[start..end]))
    }

    /// The source positions that are needed at all, in order.
    pub(super) fn needed(&self) -> Vec<usize> {
        let mut needed = Vec::new();
        let mut next = 0;
        for (first, weights) in self.iter() {
            needed.extend(first.max(next)..first + weights.len());
            next = next.max(first + weights.len());
        }
        needed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_sum_to_one() {
        for (source, target) in [(1, 1), (1, 9), (9, 1), (7, 5), (5, 7), (1000, 3), (3, 1000)] {
            for filter in [Filter::Antialias, Filter::Bilinear] {
                let taps = Taps::new(source, target, 0..target, filter);
                assert_eq!(taps.len(), target);
                for (first, weights) in taps.iter() {
                    assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
                    assert!(first + weights.len() <= source);
                }
            }
        }
    }

    #[test]
    fn only_some_are_needed() {
        assert_eq!(Taps::new(12, 2, 0..2, Filter::Bilinear).needed(), [2, 3, 8, 9]);
        assert_eq!(Taps::new(4, 8, 2..5, Filter::Antialias).needed(), [0, 1, 2]);
        assert_eq!(Taps::new(12, 3, 1..2, Filter::Antialias).needed(), [2, 3, 4, 5, 6, 7, 8, 9]);
    }
}
