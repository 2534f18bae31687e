//! WebAssembly's vectors.

pub use std::arch::wasm32::{
    f32x4_add, f32x4_convert_i32x4, f32x4_div, f32x4_gt, f32x4_mul, f32x4_pmax, f32x4_pmin,
    f32x4_splat, f32x4_sub, i16x8_add, i16x8_narrow_i32x4, i32x4_add, i32x4_bitmask,
    i32x4_dot_i16x8, i32x4_gt, i32x4_shl, i32x4_shr, i32x4_splat, i32x4_sub,
    u16x8_extend_high_u8x16, u16x8_extend_low_u8x16, u32x4_extend_high_u16x8,
    u32x4_extend_low_u16x8, u32x4_shr, u64x2_splat, v128 as V128, v128_andnot, v128_or, v128_xor,
};
use std::arch::wasm32::{i8x16_shuffle, i32x4_shuffle, i64x2_shuffle, u64x2, u64x2_extract_lane};

/// A number with zeros above it.
#[inline(always)]
pub fn from_u64(low: u64) -> V128 {
    u64x2(low, 0)
}

/// The lower half.
#[inline(always)]
pub fn lower_half(v: V128) -> u64 {
    u64x2_extract_lane::<0>(v)
}

/// The 32-bit numbers of the lower halves by turns.
#[inline(always)]
pub fn zip_low_32(a: V128, b: V128) -> V128 {
    i32x4_shuffle::<0, 4, 1, 5>(a, b)
}

/// The 32-bit numbers of the upper halves by turns.
#[inline(always)]
pub fn zip_high_32(a: V128, b: V128) -> V128 {
    i32x4_shuffle::<2, 6, 3, 7>(a, b)
}

/// The lower halves.
#[inline(always)]
pub fn zip_64(a: V128, b: V128) -> V128 {
    i64x2_shuffle::<0, 2>(a, b)
}

/// The 32-bit numbers in even places.
#[inline(always)]
pub fn evens(a: V128, b: V128) -> V128 {
    i32x4_shuffle::<0, 2, 4, 6>(a, b)
}

/// The 32-bit numbers in odd places.
#[inline(always)]
pub fn odds(a: V128, b: V128) -> V128 {
    i32x4_shuffle::<1, 3, 5, 7>(a, b)
}

/// The 32-bit numbers of four pixels of three channels, channel by channel.
#[inline(always)]
pub fn split_three([a, b, c]: [V128; 3]) -> [V128; 3] {
    // One shuffle each would take from three: the first gathers what the second lacks.
    let late = i32x4_shuffle::<2, 2, 5, 5>(b, c);
    let middle = i32x4_shuffle::<3, 3, 6, 6>(b, c);
    let early = i32x4_shuffle::<1, 1, 4, 4>(a, b);
    let early_last = i32x4_shuffle::<2, 2, 5, 5>(a, b);
    [
        i32x4_shuffle::<0, 3, 4, 6>(a, late),
        i32x4_shuffle::<0, 2, 4, 6>(early, middle),
        i32x4_shuffle::<0, 2, 4, 7>(early_last, c),
    ]
}

/// The other way.
#[inline(always)]
pub fn join_three([r, g, b]: [V128; 3]) -> [V128; 3] {
    let [rg, br, gb] = [
        i32x4_shuffle::<0, 2, 4, 6>(r, g),
        i32x4_shuffle::<0, 2, 5, 7>(b, r),
        i32x4_shuffle::<1, 3, 5, 7>(g, b),
    ];
    [
        i32x4_shuffle::<0, 2, 4, 6>(rg, br),
        i32x4_shuffle::<0, 2, 5, 7>(gb, rg),
        i32x4_shuffle::<1, 3, 5, 7>(br, gb),
    ]
}

/// Of four pixels, one behind the other, in two rows: two pairs each, channel by channel a byte of the
/// first and one of the second pixel, of `a` and of `b` by turns.
#[inline(always)]
pub fn pair_rows<const CHANNELS: usize>(a: V128, b: V128) -> [V128; 2] {
    match CHANNELS {
        1 => [
            i8x16_shuffle::<0, 1, 16, 17, 0, 1, 16, 17, 0, 1, 16, 17, 0, 1, 16, 17>(a, b),
            i8x16_shuffle::<2, 3, 18, 19, 2, 3, 18, 19, 2, 3, 18, 19, 2, 3, 18, 19>(a, b),
        ],
        2 => [
            i8x16_shuffle::<0, 2, 16, 18, 1, 3, 17, 19, 0, 2, 16, 18, 1, 3, 17, 19>(a, b),
            i8x16_shuffle::<4, 6, 20, 22, 5, 7, 21, 23, 4, 6, 20, 22, 5, 7, 21, 23>(a, b),
        ],
        3 => [
            i8x16_shuffle::<0, 3, 16, 19, 1, 4, 17, 20, 2, 5, 18, 21, 2, 5, 18, 21>(a, b),
            i8x16_shuffle::<6, 9, 22, 25, 7, 10, 23, 26, 8, 11, 24, 27, 8, 11, 24, 27>(a, b),
        ],
        _ => [
            i8x16_shuffle::<0, 4, 16, 20, 1, 5, 17, 21, 2, 6, 18, 22, 3, 7, 19, 23>(a, b),
            i8x16_shuffle::<8, 12, 24, 28, 9, 13, 25, 29, 10, 14, 26, 30, 11, 15, 27, 31>(a, b),
        ],
    }
}

/// The same of pixels of which the third and the fourth are in the upper half.
#[inline(always)]
pub fn pair_rows_of_halves<const CHANNELS: usize>(a: V128, b: V128) -> [V128; 2] {
    let second = match CHANNELS {
        1 => i8x16_shuffle::<8, 9, 24, 25, 8, 9, 24, 25, 8, 9, 24, 25, 8, 9, 24, 25>(a, b),
        2 => i8x16_shuffle::<8, 10, 24, 26, 9, 11, 25, 27, 8, 10, 24, 26, 9, 11, 25, 27>(a, b),
        3 => i8x16_shuffle::<8, 11, 24, 27, 9, 12, 25, 28, 10, 13, 26, 29, 10, 13, 26, 29>(a, b),
        _ => pair_rows::<4>(a, b)[1],
    };
    [pair_rows::<CHANNELS>(a, b)[0], second]
}
