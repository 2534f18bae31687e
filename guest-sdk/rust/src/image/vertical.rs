//! The pass down the columns: rows of the new width become rows of the picture.

use std::ops::Range;

use super::four::{BLOCK, Four};
use super::taps::Taps;

/// How rows become fewer, or more. They are taken in bundles of four side by side; those that no
/// output row needs are left out.
pub(super) struct Vertical<T: Four> {
    /// The source rows that are needed, in order.
    needed: Vec<usize>,
    outputs: Vec<Output>,
    /// The weights of four rows each.
    weights: Vec<T::RowWeights>,
}

/// What an output row is made of.
struct Output {
    bundles: Range<usize>,
    /// Where the weights of its bundles begin.
    weights: usize,
}

impl<T: Four> Vertical<T> {
    pub(super) fn new(taps: &Taps) -> Self {
        let needed = taps.needed();
        let mut outputs = Vec::with_capacity(taps.len());
        let mut weights = Vec::new();
        let mut place = 0;
        for (first, taps) in taps.iter() {
            while needed[place] < first {
                place += 1;
            }
            let bundles = place / 4..(place + taps.len()).div_ceil(4);
            outputs.push(Output { bundles: bundles.clone(), weights: weights.len() });
            weights.extend(bundles.map(|bundle| {
                let at = |row: usize| (4 * bundle + row).checked_sub(place);
                let weight = |row: usize| at(row).and_then(|at| taps.get(at)).copied();
                T::row_weights([0, 1, 2, 3].map(|row| weight(row).unwrap_or(0.0)))
            }));
        }
        Self { needed, outputs, weights }
    }

    /// The number of output rows.
    pub(super) fn len(&self) -> usize {
        self.outputs.len()
    }

    /// The bundles that output row `y` is made of.
    pub(super) fn bundles(&self, y: usize) -> Range<usize> {
        self.outputs[y].bundles.clone()
    }

    /// The most bundles of an output row.
    pub(super) fn most_bundles(&self) -> usize {
        self.outputs.iter().map(|output| output.bundles.len()).max().unwrap_or(0)
    }

    /// The source rows of a bundle; the last one may repeat.
    pub(super) fn rows(&self, bundle: usize) -> [usize; 4] {
        let last = self.needed.len() - 1;
        [0, 1, 2, 3].map(|row| self.needed[(4 * bundle + row).min(last)])
    }

    /// Output row `y` from the lines of all bundles that `line` gives; `sums` is room for the way.
    pub(super) fn sum<'a>(
        &self,
        y: usize,
        line: impl Fn(usize) -> &'a [[T::Settled; BLOCK]],
        sums: &mut [[T::RowSum; BLOCK]],
        values: &mut [[f32; BLOCK]],
    ) where
        T::Settled: 'a,
    {
        let Output { bundles, weights } = &self.outputs[y];
        let (first, weights) = (bundles.start, &self.weights[*weights..][..bundles.len()]);
        match weights {
            [a] => combine::<T, 1>([line(first)], &[*a], values),
            [a, b] => combine::<T, 2>([line(first), line(first + 1)], &[*a, *b], values),
            [a, b, c] => {
                let lines = [line(first), line(first + 1), line(first + 2)];
                combine::<T, 3>(lines, &[*a, *b, *c], values);
            }
            _ => {
                sums.as_flattened_mut().fill(T::RowSum::default());
                for (bundle, weights) in bundles.clone().zip(weights) {
                    add_rows::<T>(sums, line(bundle), weights);
                }
                finish::<T>(sums, values);
            }
        }
    }
}

/// The values of `COUNT` bundles.
#[inline(never)]
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
fn combine<T: Four, const COUNT: usize>(
    lines: [&[[T::Settled; BLOCK]]; COUNT],
    weights: &[T::RowWeights; COUNT],
    values: &mut [[f32; BLOCK]],
) {
    // Of one length, so that one check does for all.
    let count = values.len();
    let lines = lines.map(|line| &line[..count]);
    for (at, values) in values.iter_mut().enumerate() {
        T::combine(lines.map(|line| &line[at]), weights, values);
    }
}

/// Adds a bundle to sums.
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
fn add_rows<T: Four>(
    sums: &mut [[T::RowSum; BLOCK]],
    line: &[[T::Settled; BLOCK]],
    weights: &T::RowWeights,
) {
    for (sums, rows) in sums.iter_mut().zip(line) {
        T::add_rows(sums, rows, weights);
    }
}

/// Complete sums as values.
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
fn finish<T: Four>(sums: &[[T::RowSum; BLOCK]], values: &mut [[f32; BLOCK]]) {
    for (values, sums) in values.iter_mut().zip(sums) {
        T::finish(sums, values);
    }
}
