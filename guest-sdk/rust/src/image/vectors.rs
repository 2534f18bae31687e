//! The pass along a row of bytes with Wasm's vector instructions: half the time of what the
//! compiler makes of the plain loop, which [`Sample`](super::Sample) has for all other cases.
//!
//! Four pixels are multiplied at once, in pairs: `i32x4_dot_i16x8` gives, for each channel, the sum
//! of two products of 16-bit numbers. A weight has 22 bits, so it is taken apart into 11 and 11.

use std::arch::wasm32::*;

use super::sample::FRACTION;
use super::taps::BLOCK;

/// See [`Sample::shrink_row`](super::Sample::shrink_row).
#[target_feature(enable = "simd128")]
pub(super) fn shrink_row<const CHANNELS: usize>(
    source: &[[u8; CHANNELS]],
    firsts: &[usize],
    weights: &[[i32; BLOCK]],
    line: &mut [[i32; CHANNELS]],
) {
    let bytes = source.as_flattened();
    let low = i32x4_splat((1 << (FRACTION / 2)) - 1);
    let half = i32x4_splat(1 << (FRACTION - 1));
    let (pair, next_pair) = (pair_of::<CHANNELS>(0), pair_of::<CHANNELS>(2));
    let blocks = (weights.len() / firsts.len().max(1)).max(1);
    for (pixel, (&first, weights)) in
        line.iter_mut().zip(firsts.iter().zip(weights.chunks_exact(blocks)))
    {
        let (mut high_sum, mut low_sum) = (i32x4_splat(0), i32x4_splat(0));
        let mut place = first * CHANNELS;
        for &[a, b, c, d] in weights {
            let Some(values) = bytes.get(place..place + 16) else {
                break;
            };
            place += BLOCK * CHANNELS;
            let values = load(values);
            let values = (i8x16_swizzle(values, pair), i8x16_swizzle(values, next_pair));
            let weights = i32x4(a, b, c, d);
            // Four upper halves, then four lower halves.
            let halves =
                i16x8_narrow_i32x4(i32x4_shr(weights, FRACTION / 2), v128_and(weights, low));
            let high = i32x4_add(
                i32x4_dot_i16x8(values.0, i32x4_shuffle::<0, 0, 0, 0>(halves, halves)),
                i32x4_dot_i16x8(values.1, i32x4_shuffle::<1, 1, 1, 1>(halves, halves)),
            );
            let low = i32x4_add(
                i32x4_dot_i16x8(values.0, i32x4_shuffle::<2, 2, 2, 2>(halves, halves)),
                i32x4_dot_i16x8(values.1, i32x4_shuffle::<3, 3, 3, 3>(halves, halves)),
            );
            high_sum = i32x4_add(high_sum, high);
            low_sum = i32x4_add(low_sum, low);
        }
        let sum = i32x4_add(i32x4_shl(high_sum, FRACTION / 2), low_sum);
        let settled = i32x4_shr(i32x4_add(sum, half), FRACTION);
        let settled = [
            i32x4_extract_lane::<0>(settled),
            i32x4_extract_lane::<1>(settled),
            i32x4_extract_lane::<2>(settled),
            i32x4_extract_lane::<3>(settled),
        ];
        pixel.copy_from_slice(&settled[..CHANNELS]);
    }
}

/// The first sixteen bytes, or zeros where there are fewer.
#[inline(always)]
fn load(bytes: &[u8]) -> v128 {
    match bytes.as_chunks::<8>().0 {
        [low, high, ..] => u64x2(u64::from_le_bytes(*low), u64::from_le_bytes(*high)),
        _ => i8x16_splat(0),
    }
}

/// Where the 16-bit numbers of pixels `first` and `first + 1` are, channel by channel: a byte of
/// the pixel, then a zero, which is what a place outside the vector gives.
#[inline(always)]
fn pair_of<const CHANNELS: usize>(first: usize) -> v128 {
    let mut places = [0xff; 16];
    for channel in 0..CHANNELS {
        places[channel * 4] = (first * CHANNELS + channel) as u8;
        places[channel * 4 + 2] = ((first + 1) * CHANNELS + channel) as u8;
    }
    load(&places)
}
