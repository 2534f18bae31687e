//! Weighted sums of bytes, in fixed point so that the rounding is exactly Pillow's: a weight has 22
//! bits, and a vector instruction multiplies 16, so it is taken apart into 11 and 11.

use super::four::{BLOCK, Four};
use crate::vectors::*;

/// The bits after the point of a weight: a sum of 255 times weights of 1 fits into 32.
const FRACTION: u32 = 22;
const HALF: u32 = FRACTION / 2;

/// A weight's upper and lower bits, as the 16-bit numbers that they are multiplied as.
fn split(weight: f64) -> [u16; 2] {
    let fixed = (weight * f64::from(1 << FRACTION)).round() as u32;
    [(fixed >> HALF) as u16, (fixed & ((1 << HALF) - 1)) as u16]
}

impl Four for u8 {
    /// Left and right of the first row, of the second, and so on.
    type Pair = [u8; 8];
    /// Left and right, their upper bits and their lower ones, each as often as it is multiplied.
    type PairWeights = [[u32; 4]; 2];
    /// Sums with the upper and with the lower bits of the weights.
    type Sum = [V128; 2];
    /// Four 16-bit numbers.
    type Settled = u64;
    /// Four rows' upper bits, then the lower ones.
    type RowWeights = [u64; 2];
    /// Of the first two rows and of the others.
    type RowSum = [i32; 2];

    fn pair_weights(weights: [f64; 2]) -> Self::PairWeights {
        let [left, right] = weights.map(split);
        [0, 1].map(|part| [u32::from(left[part]) | u32::from(right[part]) << 16; 4])
    }

    #[inline(always)]
    fn zero() -> Self::Sum {
        [zero(); 2]
    }

    #[inline(always)]
    fn add(
        [upper, lower]: Self::Sum,
        pair: &Self::Pair,
        [weight_upper, weight_lower]: &Self::PairWeights,
    ) -> Self::Sum {
        let values = u16x8_extend_low_u8x16(load_half(pair));
        [
            i32x4_add(upper, i32x4_dot_i16x8(values, load(weight_upper))),
            i32x4_add(lower, i32x4_dot_i16x8(values, load(weight_lower))),
        ]
    }

    #[inline(always)]
    fn settle([upper, lower]: Self::Sum) -> Self::Settled {
        let levels = rounded(i32x4_add(i32x4_shl(upper, HALF), lower));
        lower_half(i16x8_narrow_i32x4(levels, levels))
    }

    fn row_weights(weights: [f64; 4]) -> Self::RowWeights {
        let rows = weights.map(split);
        [0, 1].map(|part| rows.iter().rev().fold(0, |all, row| all << 16 | u64::from(row[part])))
    }

    #[inline(always)]
    fn add_rows(
        sums: &mut [Self::RowSum; BLOCK],
        rows: &[Self::Settled; BLOCK],
        weights: &Self::RowWeights,
    ) {
        for (sums, rows) in sums.as_chunks_mut::<2>().0.iter_mut().zip(rows.as_chunks::<2>().0) {
            store(sums, i32x4_add(load(sums), weigh(rows, weights)));
        }
    }

    #[inline(always)]
    fn finish(sums: &[Self::RowSum; BLOCK], values: &mut [f32; BLOCK]) {
        let (fours, _) = values.as_chunks_mut::<4>();
        for (values, [first, last]) in fours.iter_mut().zip(sums.as_chunks::<2>().0.as_chunks().0) {
            store(values, levels(load(first), load(last)));
        }
    }

    #[inline(always)]
    fn combine<const COUNT: usize>(
        rows: [&[Self::Settled; BLOCK]; COUNT],
        weights: &[Self::RowWeights; COUNT],
        values: &mut [f32; BLOCK],
    ) {
        // No loop: the compiler unrolls none here.
        four_columns::<COUNT, 0>(rows, weights, values);
        four_columns::<COUNT, 1>(rows, weights, values);
        four_columns::<COUNT, 2>(rows, weights, values);
        four_columns::<COUNT, 3>(rows, weights, values);
    }
}

/// Sums as levels.
#[inline(always)]
fn rounded(sum: V128) -> V128 {
    // Halves go up. No clamp: a weighted mean of 0 to 255 stays there.
    i32x4_shr(i32x4_add(sum, i32x4_splat(1 << (FRACTION - 1))), FRACTION)
}

/// Two columns of four rows each, weighted: for each the first two rows' sum and the others'.
#[inline(always)]
fn weigh(rows: &[u64; 2], [upper, lower]: &[u64; 2]) -> V128 {
    let rows = load(rows);
    i32x4_add(
        i32x4_shl(i32x4_dot_i16x8(rows, u64x2_splat(*upper)), HALF),
        i32x4_dot_i16x8(rows, u64x2_splat(*lower)),
    )
}

/// Four columns of complete sums as levels.
#[inline(always)]
fn levels(first: V128, last: V128) -> V128 {
    f32x4_convert_i32x4(rounded(i32x4_add(evens(first, last), odds(first, last))))
}

/// Columns `4 * AT` to `4 * AT + 3` of a block.
#[inline(always)]
fn four_columns<const COUNT: usize, const AT: usize>(
    rows: [&[u64; BLOCK]; COUNT],
    weights: &[[u64; 2]; COUNT],
    values: &mut [f32; BLOCK],
) {
    let (mut first, mut last) = (zero(), zero());
    for (rows, weights) in rows.into_iter().zip(weights) {
        let (two, _) = rows.as_chunks::<2>();
        first = i32x4_add(first, weigh(&two[2 * AT], weights));
        last = i32x4_add(last, weigh(&two[2 * AT + 1], weights));
    }
    store(&mut values.as_chunks_mut::<4>().0[AT], levels(first, last));
}
