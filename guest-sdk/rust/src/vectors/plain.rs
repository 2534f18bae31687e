//! WebAssembly's vectors number by number: for processors that have no file of their own here, and
//! to test those that have.

use std::array::from_fn;

use bytemuck::cast;

pub type V128 = [u8; 16];

/// Functions of one expression: number `i` of the result.
macro_rules! instructions {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $numbers:ty),+) -> $out:ty = |$i:ident| $value:expr;)+) => {$(
        $(#[$doc])*
        pub fn $name($($arg: V128),+) -> V128 {
            $(let $arg: $numbers = cast($arg);)+
            let out: $out = from_fn(|$i| $value);
            cast(out)
        }
    )+};
}

instructions! {
    i16x8_add(a: [u16; 8], b: [u16; 8]) -> [u16; 8] = |i| a[i].wrapping_add(b[i]);
    i32x4_add(a: [u32; 4], b: [u32; 4]) -> [u32; 4] = |i| a[i].wrapping_add(b[i]);
    i32x4_sub(a: [u32; 4], b: [u32; 4]) -> [u32; 4] = |i| a[i].wrapping_sub(b[i]);
    i32x4_dot_i16x8(a: [i16; 8], b: [i16; 8]) -> [i32; 4] = |i| {
        let product = |i: usize| i32::from(a[i]) * i32::from(b[i]);
        product(2 * i).wrapping_add(product(2 * i + 1))
    };
    i16x8_narrow_i32x4(a: [i32; 4], b: [i32; 4]) -> [i16; 8] = |i| {
        let wide = if i < 4 { a[i] } else { b[i - 4] };
        wide.clamp(i16::MIN.into(), i16::MAX.into()) as i16
    };
    u16x8_extend_low_u8x16(v: [u8; 16]) -> [u16; 8] = |i| v[i].into();
    u16x8_extend_high_u8x16(v: [u8; 16]) -> [u16; 8] = |i| v[i + 8].into();
    u32x4_extend_low_u16x8(v: [u16; 8]) -> [u32; 4] = |i| v[i].into();
    u32x4_extend_high_u16x8(v: [u16; 8]) -> [u32; 4] = |i| v[i + 4].into();
    f32x4_convert_i32x4(v: [i32; 4]) -> [f32; 4] = |i| v[i] as f32;
    f32x4_add(a: [f32; 4], b: [f32; 4]) -> [f32; 4] = |i| a[i] + b[i];
    f32x4_sub(a: [f32; 4], b: [f32; 4]) -> [f32; 4] = |i| a[i] - b[i];
    f32x4_mul(a: [f32; 4], b: [f32; 4]) -> [f32; 4] = |i| a[i] * b[i];
    f32x4_div(a: [f32; 4], b: [f32; 4]) -> [f32; 4] = |i| a[i] / b[i];
    f32x4_gt(a: [f32; 4], b: [f32; 4]) -> [i32; 4] = |i| -i32::from(a[i] > b[i]);
    f32x4_pmax(a: [f32; 4], b: [f32; 4]) -> [f32; 4] = |i| if a[i] < b[i] { b[i] } else { a[i] };
    f32x4_pmin(a: [f32; 4], b: [f32; 4]) -> [f32; 4] = |i| if b[i] < a[i] { b[i] } else { a[i] };
    i32x4_gt(a: [i32; 4], b: [i32; 4]) -> [i32; 4] = |i| -i32::from(a[i] > b[i]);
    v128_or(a: [u64; 2], b: [u64; 2]) -> [u64; 2] = |i| a[i] | b[i];
    v128_xor(a: [u64; 2], b: [u64; 2]) -> [u64; 2] = |i| a[i] ^ b[i];
    v128_andnot(a: [u64; 2], b: [u64; 2]) -> [u64; 2] = |i| a[i] & !b[i];
    /// The 32-bit numbers of the lower halves by turns.
    zip_low_32(a: [u32; 4], b: [u32; 4]) -> [u32; 4] = |i| [a, b][i % 2][i / 2];
    /// The 32-bit numbers of the upper halves by turns.
    zip_high_32(a: [u32; 4], b: [u32; 4]) -> [u32; 4] = |i| [a, b][i % 2][i / 2 + 2];
    /// The lower halves.
    zip_64(a: [u64; 2], b: [u64; 2]) -> [u64; 2] = |i| [a, b][i][0];
    /// The 32-bit numbers in even places.
    evens(a: [u32; 4], b: [u32; 4]) -> [u32; 4] = |i| [a, b][i / 2][i % 2 * 2];
    /// The 32-bit numbers in odd places.
    odds(a: [u32; 4], b: [u32; 4]) -> [u32; 4] = |i| [a, b][i / 2][i % 2 * 2 + 1];
}

pub fn i32x4_splat(value: i32) -> V128 {
    cast([value; 4])
}

pub fn u64x2_splat(value: u64) -> V128 {
    cast([value; 2])
}

pub fn f32x4_splat(value: f32) -> V128 {
    cast([value; 4])
}

/// A number with zeros above it.
pub fn from_u64(low: u64) -> V128 {
    cast([low, 0])
}

pub fn i32x4_shl(v: V128, bits: u32) -> V128 {
    let v: [u32; 4] = cast(v);
    cast(v.map(|v| v << bits))
}

pub fn i32x4_shr(v: V128, bits: u32) -> V128 {
    let v: [i32; 4] = cast(v);
    cast(v.map(|v| v >> bits))
}

pub fn u32x4_shr(v: V128, bits: u32) -> V128 {
    let v: [u32; 4] = cast(v);
    cast(v.map(|v| v >> bits))
}

pub fn i32x4_bitmask(v: V128) -> u8 {
    let v: [i32; 4] = cast(v);
    v.iter().enumerate().map(|(i, &v)| u8::from(v < 0) << i).sum()
}

/// The lower half.
pub fn lower_half(v: V128) -> u64 {
    let [low, _]: [u64; 2] = cast(v);
    low
}

/// The 32-bit numbers of four pixels of three channels, channel by channel.
pub fn split_three(pixels: [V128; 3]) -> [V128; 3] {
    let numbers: [u32; 12] = cast(pixels);
    from_fn(|channel| cast::<[u32; 4], _>(from_fn(|pixel| numbers[3 * pixel + channel])))
}

/// The other way.
pub fn join_three(channels: [V128; 3]) -> [V128; 3] {
    let channels: [[u32; 4]; 3] = cast(channels);
    cast::<[u32; 12], _>(from_fn(|at| channels[at % 3][at / 3]))
}

/// Of four pixels, one behind the other, in two rows: two pairs each, channel by channel a byte of the
/// first and one of the second pixel, of `a` and of `b` by turns.
pub fn pair_rows<const CHANNELS: usize>(a: V128, b: V128) -> [V128; 2] {
    [0, 2 * CHANNELS].map(|first| pair_rows_at::<CHANNELS>(a, b, first))
}

/// The same of pixels of which the third and the fourth are in the upper half.
pub fn pair_rows_of_halves<const CHANNELS: usize>(a: V128, b: V128) -> [V128; 2] {
    [0, 8].map(|first| pair_rows_at::<CHANNELS>(a, b, first))
}

/// One pair each, the first pixel of which is at this byte.
fn pair_rows_at<const CHANNELS: usize>(a: V128, b: V128, first: usize) -> V128 {
    from_fn(|at| {
        // Channels beyond those that there are come from whatever is there.
        let channel = (at / 4).min(CHANNELS - 1);
        [a, b][at / 2 % 2][first + at % 2 * CHANNELS + channel]
    })
}
