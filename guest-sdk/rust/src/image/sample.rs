//! The types of a pixel's value, and the arithmetic of weighted sums of them.

use std::ops::{Add, Mul};

use super::taps::BLOCK;
use crate::Element;

/// The type of a pixel's value, and how weighted sums of it are computed.
pub trait Sample: Element + Copy + Default {
    /// What sums are computed in: fixed point for bytes, so that the rounding is exact.
    type Sum: Copy + Default + Add<Output = Self::Sum> + Mul<Output = Self::Sum>;

    /// The value as it is.
    fn to_f32(self) -> f32;

    /// The value for a sum.
    fn widen(self) -> Self::Sum;

    /// A weight, 0 to 1, for a sum.
    fn weight(weight: f64) -> Self::Sum;

    /// A sum of weighted values as a value again, rounded to a whole level for bytes.
    fn settle(sum: Self::Sum) -> Self::Sum;

    /// A settled value as a float.
    fn finish(value: Self::Sum) -> f32;

    /// What values of a column are added up in, exactly for bytes.
    type Partial: Copy + Default + Into<f32>;

    /// So many values' sum fits into a `Partial`.
    const PARTIAL_ROWS: usize;

    /// The sum with this value added.
    fn add_to(self, sum: Self::Partial) -> Self::Partial;

    /// The pass along one row, see [`shrink_row`].
    #[doc(hidden)]
    #[inline(always)]
    fn shrink_row<const CHANNELS: usize>(
        source: &[[Self; CHANNELS]],
        firsts: &[usize],
        weights: &[[Self::Sum; BLOCK]],
        line: &mut [[Self::Sum; CHANNELS]],
    ) {
        shrink_row(source, firsts, weights, line);
    }
}

/// The weighted sums along one row, one for each of `firsts`: the source pixel that the first
/// of its weights is for. The weights are in blocks, equally many each.
#[inline(always)]
fn shrink_row<T: Sample, const CHANNELS: usize>(
    source: &[[T; CHANNELS]],
    firsts: &[usize],
    weights: &[[T::Sum; BLOCK]],
    line: &mut [[T::Sum; CHANNELS]],
) {
    let blocks = weights.len() / firsts.len().max(1);
    let positions = firsts.iter().zip(weights.chunks_exact(blocks.max(1)));
    for (pixel, (&first, weights)) in line.iter_mut().zip(positions) {
        let mut sums = [T::Sum::default(); CHANNELS];
        let (covered, _) = source[first..].as_chunks::<BLOCK>();
        for (values, weights) in covered.iter().zip(weights) {
            for (value, &weight) in values.iter().zip(weights) {
                for (sum, value) in sums.iter_mut().zip(value) {
                    *sum = *sum + weight * value.widen();
                }
            }
        }
        *pixel = sums.map(T::settle);
    }
}

/// The bits after the point of a weight for bytes: a sum of 255 times weights of 1 fits into 32.
pub(super) const FRACTION: u32 = 22;

impl Sample for u8 {
    type Sum = i32;

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self.into()
    }

    #[inline(always)]
    fn widen(self) -> i32 {
        self.into()
    }

    fn weight(weight: f64) -> i32 {
        (weight * f64::from(1 << FRACTION)).round() as i32
    }

    #[inline(always)]
    fn settle(sum: i32) -> i32 {
        // Halves go up. No clamp: a weighted mean of 0 to 255 stays there.
        (sum + (1 << (FRACTION - 1))) >> FRACTION
    }

    #[inline(always)]
    fn finish(value: i32) -> f32 {
        value as f32
    }

    type Partial = u16;
    const PARTIAL_ROWS: usize = 257;

    #[inline(always)]
    fn add_to(self, sum: u16) -> u16 {
        // Wrapping only in name: 257 times 255 is 65535.
        sum.wrapping_add(self.into())
    }

    #[cfg(target_arch = "wasm32")]
    #[inline(always)]
    fn shrink_row<const CHANNELS: usize>(
        source: &[[Self; CHANNELS]],
        firsts: &[usize],
        weights: &[[i32; BLOCK]],
        line: &mut [[i32; CHANNELS]],
    ) {
        // A vector is four channels of a pixel: little of it would be used for one or two.
        if CHANNELS < 3 {
            shrink_row(source, firsts, weights, line);
        } else {
            super::vectors::shrink_row(source, firsts, weights, line);
        }
    }
}

/// Floats are summed as `f32` and not rounded.
macro_rules! float_sample {
    ($($type:ty),+) => {$(
        impl Sample for $type {
            type Sum = f32;

            #[inline(always)]
            fn to_f32(self) -> f32 {
                self as f32
            }

            #[inline(always)]
            fn widen(self) -> f32 {
                self as f32
            }

            fn weight(weight: f64) -> f32 {
                weight as f32
            }

            #[inline(always)]
            fn settle(sum: f32) -> f32 {
                sum
            }

            #[inline(always)]
            fn finish(value: f32) -> f32 {
                value
            }

            type Partial = f32;
            const PARTIAL_ROWS: usize = usize::MAX;

            #[inline(always)]
            fn add_to(self, sum: f32) -> f32 {
                sum + self as f32
            }
        }
    )+};
}

float_sample!(f32, f64);
