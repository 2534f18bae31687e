//! The arithmetic of resizing: weighted sums of four rows' values at once, side by side. So there are
//! whole vectors whatever the number of channels, and a weight is loaded once for four rows.

use crate::vectors::*;

/// So many values are worked on in a turn of a loop: in the sandbox a turn costs a check of the clock,
/// and a store and a load of every vector that outlives it, so turns are few and long.
pub(super) const BLOCK: usize = 16;

/// The pairs of two neighbouring pixels: as many as of four channels, whatever there are, so that
/// a place is known without a multiplication.
pub(super) type Pairs<A> = [<A as Four>::Pair; 4];

/// How values of a type are summed, four rows at once.
///
/// Along the rows, neighbours are taken in pairs: bytes are multiplied and added in pairs at once.
pub trait Four: Copy + 'static {
    /// One channel of two neighbouring pixels.
    type Pair: Copy + Default;
    /// The weights of two neighbours.
    type PairWeights: Copy;
    /// A weighted sum of pairs.
    type Sum: Copy;
    /// What became of it.
    type Settled: Copy + Default;
    /// The weights of four rows.
    type RowWeights: Copy;
    /// A weighted sum of rows.
    type RowSum: Copy + Default;

    /// Weights for `add`.
    fn pair_weights(weights: [f64; 2]) -> Self::PairWeights;

    /// A sum of nothing.
    fn zero() -> Self::Sum;

    /// The sum with a weighted pair added.
    fn add(sum: Self::Sum, pair: &Self::Pair, weights: &Self::PairWeights) -> Self::Sum;

    /// A complete sum, rounded to a whole level for bytes.
    fn settle(sum: Self::Sum) -> Self::Settled;

    /// Weights for `add_rows`.
    fn row_weights(weights: [f64; 4]) -> Self::RowWeights;

    /// Adds four weighted rows.
    fn add_rows(
        sums: &mut [Self::RowSum; BLOCK],
        rows: &[Self::Settled; BLOCK],
        weights: &Self::RowWeights,
    );

    /// Complete sums of rows as values, rounded to whole levels for bytes.
    fn finish(sums: &[Self::RowSum; BLOCK], values: &mut [f32; BLOCK]);

    /// Both for few rows at once: `COUNT` times four.
    #[inline(always)]
    fn combine<const COUNT: usize>(
        rows: [&[Self::Settled; BLOCK]; COUNT],
        weights: &[Self::RowWeights; COUNT],
        values: &mut [f32; BLOCK],
    ) {
        let mut sums = [Self::RowSum::default(); BLOCK];
        for (rows, weights) in rows.into_iter().zip(weights) {
            Self::add_rows(&mut sums, rows, weights);
        }
        Self::finish(&sums, values);
    }
}

/// Floats are summed as `f32` and not rounded.
impl Four for f32 {
    /// Four rows of the left pixel, then of the right one.
    type Pair = [[f32; 4]; 2];
    /// Left and right, each as often as it is multiplied.
    type PairWeights = [[f32; 4]; 2];
    type Sum = V128;
    type Settled = [f32; 4];
    type RowWeights = [f32; 4];
    type RowSum = [f32; 4];

    fn pair_weights(weights: [f64; 2]) -> Self::PairWeights {
        weights.map(|weight| [weight as f32; 4])
    }

    #[inline(always)]
    fn zero() -> Self::Sum {
        zero()
    }

    #[inline(always)]
    fn add(sum: Self::Sum, [left, right]: &Self::Pair, weights: &Self::PairWeights) -> Self::Sum {
        let left = f32x4_mul(load(left), load(&weights[0]));
        let right = f32x4_mul(load(right), load(&weights[1]));
        f32x4_add(sum, f32x4_add(left, right))
    }

    #[inline(always)]
    fn settle(sum: Self::Sum) -> Self::Settled {
        let mut four = [0.0; 4];
        store(&mut four, sum);
        four
    }

    fn row_weights(weights: [f64; 4]) -> Self::RowWeights {
        weights.map(|weight| weight as f32)
    }

    #[inline(always)]
    fn add_rows(
        sums: &mut [Self::RowSum; BLOCK],
        rows: &[Self::Settled; BLOCK],
        weights: &Self::RowWeights,
    ) {
        for (sum, values) in sums.iter_mut().zip(rows) {
            store(sum, f32x4_add(load(sum), f32x4_mul(load(values), load(weights))));
        }
    }

    #[inline(always)]
    fn finish(sums: &[Self::RowSum; BLOCK], values: &mut [f32; BLOCK]) {
        let (fours, _) = values.as_chunks_mut::<4>();
        for (values, [a, b, c, d]) in fours.iter_mut().zip(sums.as_chunks().0) {
            // Neighbours twice, until one is left of each four.
            let (a, b, c, d) = (load(a), load(b), load(c), load(d));
            let ab = f32x4_add(evens(a, b), odds(a, b));
            let cd = f32x4_add(evens(c, d), odds(c, d));
            store(values, f32x4_add(evens(ab, cd), odds(ab, cd)));
        }
    }
}
