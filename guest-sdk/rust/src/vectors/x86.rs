//! SSE2, as WebAssembly's vectors.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

pub use std::arch::x86_64::__m128i as V128;

/// Functions of one expression.
macro_rules! instructions {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) -> $out:ty = $value:expr;)+) => {$(
        $(#[$doc])*
        #[inline(always)]
        pub fn $name($($arg: $type),*) -> $out {
            // SAFETY: they are unsafe for processors without SSE2, and every x86-64 has it.
            unsafe { $value }
        }
    )+};
}

/// The same on floats, which are another type here.
macro_rules! float_instructions {
    ($($name:ident = $instruction:ident;)+) => {
        instructions! {$(
            $name(a: V128, b: V128) -> V128 =
                _mm_castps_si128($instruction(_mm_castsi128_ps(a), _mm_castsi128_ps(b)));
        )+}
    };
}

instructions! {
    i32x4_splat(value: i32) -> V128 = _mm_set1_epi32(value);
    u64x2_splat(value: u64) -> V128 = _mm_set1_epi64x(value as i64);
    f32x4_splat(value: f32) -> V128 = _mm_castps_si128(_mm_set1_ps(value));
    /// A number with zeros above it.
    from_u64(low: u64) -> V128 = _mm_cvtsi64_si128(low as i64);
    i16x8_add(a: V128, b: V128) -> V128 = _mm_add_epi16(a, b);
    i32x4_add(a: V128, b: V128) -> V128 = _mm_add_epi32(a, b);
    i32x4_sub(a: V128, b: V128) -> V128 = _mm_sub_epi32(a, b);
    i32x4_shl(v: V128, bits: u32) -> V128 = _mm_sll_epi32(v, _mm_cvtsi32_si128(bits as i32));
    i32x4_shr(v: V128, bits: u32) -> V128 = _mm_sra_epi32(v, _mm_cvtsi32_si128(bits as i32));
    u32x4_shr(v: V128, bits: u32) -> V128 = _mm_srl_epi32(v, _mm_cvtsi32_si128(bits as i32));
    i32x4_gt(a: V128, b: V128) -> V128 = _mm_cmpgt_epi32(a, b);
    i32x4_bitmask(v: V128) -> u8 = _mm_movemask_ps(_mm_castsi128_ps(v)) as u8;
    v128_or(a: V128, b: V128) -> V128 = _mm_or_si128(a, b);
    v128_xor(a: V128, b: V128) -> V128 = _mm_xor_si128(a, b);
    v128_andnot(a: V128, b: V128) -> V128 = _mm_andnot_si128(b, a);
    i32x4_dot_i16x8(a: V128, b: V128) -> V128 = _mm_madd_epi16(a, b);
    i16x8_narrow_i32x4(a: V128, b: V128) -> V128 = _mm_packs_epi32(a, b);
    u16x8_extend_low_u8x16(v: V128) -> V128 = _mm_unpacklo_epi8(v, _mm_setzero_si128());
    u16x8_extend_high_u8x16(v: V128) -> V128 = _mm_unpackhi_epi8(v, _mm_setzero_si128());
    u32x4_extend_low_u16x8(v: V128) -> V128 = _mm_unpacklo_epi16(v, _mm_setzero_si128());
    u32x4_extend_high_u16x8(v: V128) -> V128 = _mm_unpackhi_epi16(v, _mm_setzero_si128());
    f32x4_convert_i32x4(v: V128) -> V128 = _mm_castps_si128(_mm_cvtepi32_ps(v));
    /// The lower half.
    lower_half(v: V128) -> u64 = _mm_cvtsi128_si64(v) as u64;
    /// The 32-bit numbers of the lower halves by turns.
    zip_low_32(a: V128, b: V128) -> V128 = _mm_unpacklo_epi32(a, b);
    /// The 32-bit numbers of the upper halves by turns.
    zip_high_32(a: V128, b: V128) -> V128 = _mm_unpackhi_epi32(a, b);
    /// The lower halves.
    zip_64(a: V128, b: V128) -> V128 = _mm_unpacklo_epi64(a, b);
}

float_instructions! {
    f32x4_add = _mm_add_ps;
    f32x4_sub = _mm_sub_ps;
    f32x4_mul = _mm_mul_ps;
    f32x4_div = _mm_div_ps;
    f32x4_gt = _mm_cmpgt_ps;
    greater_or_second = _mm_max_ps;
    lesser_or_second = _mm_min_ps;
}

/// The larger; `a` where that cannot be said.
#[inline(always)]
pub fn f32x4_pmax(a: V128, b: V128) -> V128 {
    greater_or_second(b, a)
}

/// The smaller; `a` where that cannot be said.
#[inline(always)]
pub fn f32x4_pmin(a: V128, b: V128) -> V128 {
    lesser_or_second(b, a)
}

/// The 32-bit numbers in even places.
#[inline(always)]
pub fn evens(a: V128, b: V128) -> V128 {
    pick::<0b10_00_10_00>(a, b)
}

/// The 32-bit numbers in odd places.
#[inline(always)]
pub fn odds(a: V128, b: V128) -> V128 {
    pick::<0b11_01_11_01>(a, b)
}

/// Two 32-bit numbers of `a`, then two of `b`: their places, two bits each, from the lowest on.
#[inline(always)]
fn pick<const PLACES: i32>(a: V128, b: V128) -> V128 {
    // SAFETY: it is unsafe for processors without SSE2, and every x86-64 has it.
    unsafe {
        let (a, b) = (_mm_castsi128_ps(a), _mm_castsi128_ps(b));
        _mm_castps_si128(_mm_shuffle_ps::<PLACES>(a, b))
    }
}

/// The 32-bit numbers of four pixels of three channels, channel by channel.
#[inline(always)]
pub fn split_three([a, b, c]: [V128; 3]) -> [V128; 3] {
    let late = pick::<0b01_01_10_10>(b, c);
    let middle = pick::<0b10_10_11_11>(b, c);
    let early = pick::<0b00_00_01_01>(a, b);
    let early_last = pick::<0b01_01_10_10>(a, b);
    [
        pick::<0b10_00_11_00>(a, late),
        pick::<0b10_00_10_00>(early, middle),
        pick::<0b11_00_10_00>(early_last, c),
    ]
}

/// The other way.
#[inline(always)]
pub fn join_three([r, g, b]: [V128; 3]) -> [V128; 3] {
    let (rg, gb) = (evens(r, g), odds(g, b));
    let br = pick::<0b11_01_10_00>(b, r);
    [evens(rg, br), pick::<0b11_01_10_00>(gb, rg), odds(br, gb)]
}

/// Of four pixels, one behind the other, in two rows: two pairs each, channel by channel a byte of the
/// first and one of the second pixel, of `a` and of `b` by turns.
#[inline(always)]
pub fn pair_rows<const CHANNELS: usize>(a: V128, b: V128) -> [V128; 2] {
    match CHANNELS {
        1 => pair_rows_at::<1, 2, 3>(a, b),
        2 => pair_rows_at::<2, 4, 6>(a, b),
        3 => pair_rows_at::<3, 6, 9>(a, b),
        _ => pair_rows_at::<4, 8, 12>(a, b),
    }
}

/// The same of pixels of which the third and the fourth are in the upper half.
#[inline(always)]
pub fn pair_rows_of_halves<const CHANNELS: usize>(a: V128, b: V128) -> [V128; 2] {
    match CHANNELS {
        1 => pair_rows_at::<1, 8, 9>(a, b),
        2 => pair_rows_at::<2, 8, 10>(a, b),
        3 => pair_rows_at::<3, 8, 11>(a, b),
        _ => pair_rows_at::<4, 8, 12>(a, b),
    }
}

/// With the second, third and fourth pixel at these bytes.
#[inline(always)]
fn pair_rows_at<const SECOND: i32, const THIRD: i32, const FOURTH: i32>(
    a: V128,
    b: V128,
) -> [V128; 2] {
    // SAFETY: they are unsafe for processors without SSE2, and every x86-64 has it.
    unsafe {
        let first = |v| _mm_unpacklo_epi8(v, _mm_srli_si128::<SECOND>(v));
        let second = |v| _mm_unpacklo_epi8(_mm_srli_si128::<THIRD>(v), _mm_srli_si128::<FOURTH>(v));
        [_mm_unpacklo_epi16(first(a), first(b)), _mm_unpacklo_epi16(second(a), second(b))]
    }
}
