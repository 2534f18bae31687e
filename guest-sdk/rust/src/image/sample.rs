//! The types of a pixel's value.

use super::area::Average;
use super::pairs::Pair;
use crate::Element;
use crate::vectors::*;

/// The type of a pixel's value: `u8`, `f32` or `f64`.
pub trait Sample: Element + Copy + Default + Pair + Average {
    /// The value as it is.
    fn to_f32(self) -> f32;

    /// Values as they are.
    #[doc(hidden)]
    fn convert(from: &[Self], to: &mut [f32]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = from.to_f32();
        }
    }
}

impl Sample for u8 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self.into()
    }

    fn convert(from: &[u8], to: &mut [f32]) {
        convert(from, to);
    }
}

impl Sample for f32 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }

    fn convert(from: &[f32], to: &mut [f32]) {
        let length = from.len().min(to.len());
        to[..length].copy_from_slice(&from[..length]);
    }
}

impl Sample for f64 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self as f32
    }
}

/// Bytes as floats: a block in a turn of the loop, then sixteens, then one by one.
#[inline(never)]
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
fn convert(from: &[u8], to: &mut [f32]) {
    #[inline(always)]
    fn sixteen(from: &[u8; 16], to: &mut [f32; 16]) {
        let values = load(from);
        let (low, high) = (u16x8_extend_low_u8x16(values), u16x8_extend_high_u8x16(values));
        let (to, _) = to.as_chunks_mut::<4>();
        store(&mut to[0], f32x4_convert_i32x4(u32x4_extend_low_u16x8(low)));
        store(&mut to[1], f32x4_convert_i32x4(u32x4_extend_high_u16x8(low)));
        store(&mut to[2], f32x4_convert_i32x4(u32x4_extend_low_u16x8(high)));
        store(&mut to[3], f32x4_convert_i32x4(u32x4_extend_high_u16x8(high)));
    }
    let ((from, from_last), (to, to_last)) = (from.as_chunks(), to.as_chunks_mut());
    let ((blocks, rest), (to_blocks, to_rest)) = (from.as_chunks::<4>(), to.as_chunks_mut::<4>());
    for (to, from) in to_blocks.iter_mut().zip(blocks) {
        // No loop: the compiler unrolls none here.
        sixteen(&from[0], &mut to[0]);
        sixteen(&from[1], &mut to[1]);
        sixteen(&from[2], &mut to[2]);
        sixteen(&from[3], &mut to[3]);
    }
    for (to, from) in to_rest.iter_mut().zip(rest) {
        sixteen(from, to);
    }
    for (to, &from) in to_last.iter_mut().zip(from_last) {
        *to = from.into();
    }
}
