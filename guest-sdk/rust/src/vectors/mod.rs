//! The few vector instructions that pixels, scores and boxes are worked on with, under WebAssembly's names:
//! WebAssembly's own in a component, SSE2's natively, so that one code serves both and is the same
//! to the bit; for other processors they are spelled out.
//!
//! Why not leave it to the compiler: it does not find the product of two 16-bit vectors that adds
//! neighbours, and takes many of the other loops for WebAssembly apart into single values.

use bytemuck::{Pod, bytes_of, bytes_of_mut, pod_read_unaligned};

#[cfg(any(test, not(any(target_arch = "wasm32", target_arch = "x86_64"))))]
// Those that are one number's work are not compared.
#[cfg_attr(any(target_arch = "wasm32", target_arch = "x86_64"), allow(dead_code))]
mod plain;
#[cfg(target_arch = "wasm32")]
mod wasm;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(not(any(target_arch = "wasm32", target_arch = "x86_64")))]
pub(crate) use plain::*;
#[cfg(target_arch = "wasm32")]
pub(crate) use wasm::*;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::*;

/// Sixteen bytes of memory as a vector.
#[inline(always)]
pub(crate) fn load<T: Pod>(from: &T) -> V128 {
    const { assert!(size_of::<T>() == size_of::<V128>()) }
    pod_read_unaligned(bytes_of(from))
}

/// Eight bytes of memory as the lower half of a vector; the upper half is zero.
#[inline(always)]
pub(crate) fn load_half<T: Pod>(from: &T) -> V128 {
    const { assert!(size_of::<T>() == 8) }
    from_u64(pod_read_unaligned(bytes_of(from)))
}

/// A vector as sixteen bytes of memory.
#[inline(always)]
pub(crate) fn store<T: Pod>(to: &mut T, v: V128) {
    const { assert!(size_of::<T>() == size_of::<V128>()) }
    bytes_of_mut(to).copy_from_slice(bytes_of(&v));
}

/// Zeros of any kind.
#[inline(always)]
pub(crate) fn zero() -> V128 {
    i32x4_splat(0)
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::{plain, x86};

    /// The channels that there are of all pairs of two rows.
    fn some<T: bytemuck::Pod>(pairs: [T; 2], channels: usize) -> Vec<u8> {
        pairs.iter().flat_map(|pair| bytemuck::bytes_of(pair)[..4 * channels].to_vec()).collect()
    }

    #[test]
    fn pairs() {
        let (a, b) = (std::array::from_fn(|at| at as u8), std::array::from_fn(|at| 50 + at as u8));
        let (x, y) = (bytemuck::cast(a), bytemuck::cast(b));
        macro_rules! same {
            ($($channels:literal)+) => {$(
                let plain = some(plain::pair_rows::<$channels>(a, b), $channels);
                assert_eq!(some(x86::pair_rows::<$channels>(x, y), $channels), plain);
                let plain = some(plain::pair_rows_of_halves::<$channels>(a, b), $channels);
                assert_eq!(some(x86::pair_rows_of_halves::<$channels>(x, y), $channels), plain);
            )+};
        }
        same!(1 2 3 4);
    }

    #[test]
    fn threes() {
        let bytes: [u8; 48] = std::array::from_fn(|at| at as u8);
        let (plain, x86) = (bytemuck::cast(bytes), bytemuck::cast(bytes));
        let split = plain::split_three(plain);
        assert_eq!(bytemuck::bytes_of(&split), bytemuck::bytes_of(&x86::split_three(x86)));
        let joined = plain::join_three(plain);
        assert_eq!(bytemuck::bytes_of(&joined), bytemuck::bytes_of(&x86::join_three(x86)));
        assert_eq!(plain::join_three(split), plain);
    }

    /// Whether both kinds give the same for vectors of all sorts of bytes.
    macro_rules! same {
        ($($name:ident($($arg:ident),+))+) => {$(
            #[test]
            fn $name() {
                let mut state = 7u32;
                let mut next = || -> [u8; 16] {
                    std::array::from_fn(|_| {
                        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        (state >> 24) as u8
                    })
                };
                for _ in 0..100 {
                    $(let $arg = next();)+
                    let plain = plain::$name($($arg),+);
                    $(let $arg = bytemuck::cast($arg);)+
                    let x86 = x86::$name($($arg),+);
                    assert_eq!(bytemuck::bytes_of(&plain), bytemuck::bytes_of(&x86));
                }
            }
        )+};
    }

    same! {
        i32x4_add(a, b) i32x4_sub(a, b) i16x8_add(a, b) i32x4_dot_i16x8(a, b)
        i16x8_narrow_i32x4(a, b) u16x8_extend_low_u8x16(a) u16x8_extend_high_u8x16(a)
        u32x4_extend_low_u16x8(a) u32x4_extend_high_u16x8(a) f32x4_convert_i32x4(a)
        f32x4_gt(a, b) f32x4_pmax(a, b) f32x4_pmin(a, b) i32x4_gt(a, b) i32x4_bitmask(a)
        v128_andnot(a, b) v128_or(a, b) v128_xor(a, b)
        lower_half(a) zip_low_32(a, b) zip_high_32(a, b)
        zip_64(a, b) evens(a, b) odds(a, b)
    }
}
