//! Neighbouring pixels in pairs, four rows side by side: what the pass along the rows adds up.

use super::four::{Four, Pairs};
use crate::vectors::*;

/// How values become pairs.
pub trait Pair: Sized {
    /// How weighted sums of them are computed.
    type Arithmetic: Four;

    /// Pairs of all the pixels of four rows of one length, from the first on; a pixel's neighbour
    /// behind the end is nothing.
    fn pair<const CHANNELS: usize>(rows: [&[Self]; 4], pairs: &mut [Pairs<Self::Arithmetic>]);

    /// A pair for each of `lefts`: that pixel and the next one.
    fn gather<const CHANNELS: usize>(
        rows: [&[Self]; 4],
        lefts: &[usize],
        pairs: &mut [Pairs<Self::Arithmetic>],
    );
}

impl Pair for u8 {
    type Arithmetic = u8;

    fn pair<const CHANNELS: usize>(rows: [&[u8]; 4], pairs: &mut [Pairs<u8>]) {
        pair_bytes::<CHANNELS>(rows, pairs);
    }

    fn gather<const CHANNELS: usize>(rows: [&[u8]; 4], lefts: &[usize], pairs: &mut [Pairs<u8>]) {
        gather_bytes::<CHANNELS>(rows, lefts, pairs);
    }
}

macro_rules! floats {
    ($($type:ty),+) => {$(
        impl Pair for $type {
            type Arithmetic = f32;

            fn pair<const CHANNELS: usize>(rows: [&[Self]; 4], pairs: &mut [Pairs<f32>]) {
                for (at, pair) in pairs.iter_mut().enumerate() {
                    pair_floats::<_, CHANNELS>(rows, 2 * at, pair, |value| value as f32);
                }
            }

            fn gather<const CHANNELS: usize>(
                rows: [&[Self]; 4],
                lefts: &[usize],
                pairs: &mut [Pairs<f32>],
            ) {
                for (pair, &left) in pairs.iter_mut().zip(lefts) {
                    pair_floats::<_, CHANNELS>(rows, left, pair, |value| value as f32);
                }
            }
        }
    )+};
}

floats!(f32, f64);

#[inline(never)]
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
fn pair_bytes<const CHANNELS: usize>(rows: [&[u8]; 4], pairs: &mut [Pairs<u8>]) {
    /// So many pairs a turn of the loop, and a turn's most bytes.
    const TURN: usize = 8;
    const MOST: usize = 2 * TURN * 4;
    /// What is left of the rows, with zeros behind it.
    #[cold]
    fn last<const CHANNELS: usize>(rows: [&[u8]; 4], at: usize) -> [Pairs<u8>; TURN] {
        let mut copies = [[0; MOST]; 4];
        for (copy, row) in copies.iter_mut().zip(rows) {
            let row = row.get(at..).unwrap_or_default();
            let length = row.len().min(MOST);
            copy[..length].copy_from_slice(&row[..length]);
        }
        let [a, b, c, d] = &copies;
        let mut pairs = [[[0; 8]; 4]; TURN];
        turn::<CHANNELS>([a, b, c, d], &mut pairs);
        pairs
    }
    #[inline(always)]
    fn turn<const CHANNELS: usize>(rows: [&[u8]; 4], pairs: &mut [Pairs<u8>; TURN]) {
        // No loop: the compiler unrolls none here.
        four_pixels::<CHANNELS, 0>(rows, pairs);
        four_pixels::<CHANNELS, 1>(rows, pairs);
        four_pixels::<CHANNELS, 2>(rows, pairs);
        four_pixels::<CHANNELS, 3>(rows, pairs);
    }
    /// Pairs `2 * AT` and `2 * AT + 1` of a turn. Four pixels are read as sixteen bytes.
    #[inline(always)]
    fn four_pixels<const CHANNELS: usize, const AT: usize>(
        [a, b, c, d]: [&[u8]; 4],
        pairs: &mut [Pairs<u8>; TURN],
    ) {
        #[inline(always)]
        fn from<const CHANNELS: usize>(row: &[u8], at: usize) -> Option<V128> {
            let bytes: &[u8; 16] = row.get(at * 4 * CHANNELS..)?.first_chunk()?;
            Some(load(bytes))
        }
        if let (Some(a), Some(b), Some(c), Some(d)) = (
            from::<CHANNELS>(a, AT),
            from::<CHANNELS>(b, AT),
            from::<CHANNELS>(c, AT),
            from::<CHANNELS>(d, AT),
        ) {
            let (ab, cd) = (pair_rows::<CHANNELS>(a, b), pair_rows::<CHANNELS>(c, d));
            put(&mut pairs[2 * AT], ab[0], cd[0]);
            put(&mut pairs[2 * AT + 1], ab[1], cd[1]);
        }
    }
    let width = rows[0].len();
    // Of one length, so that one check does for all.
    let rows = rows.map(|row| row.get(..width).unwrap_or_default());
    let [a, b, c, d] = rows;
    let length = 3 * 4 * CHANNELS + 16;
    let mut at = 0;
    let (turns, rest) = pairs.as_chunks_mut::<TURN>();
    for pairs in turns {
        let part = at..at + length;
        match (a.get(part.clone()), b.get(part.clone()), c.get(part.clone()), d.get(part)) {
            (Some(a), Some(b), Some(c), Some(d)) => turn::<CHANNELS>([a, b, c, d], pairs),
            _ => *pairs = last::<CHANNELS>(rows, at),
        }
        at += 2 * TURN * CHANNELS;
    }
    if !rest.is_empty() {
        rest.copy_from_slice(&last::<CHANNELS>(rows, at)[..rest.len()]);
    }
}

#[inline(never)]
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
fn gather_bytes<const CHANNELS: usize>(rows: [&[u8]; 4], lefts: &[usize], pairs: &mut [Pairs<u8>]) {
    /// Two pixels, as eight bytes, with zeros behind the end.
    #[inline(always)]
    fn pixels(row: &[u8], at: usize) -> V128 {
        #[cold]
        fn at_the_end(row: &[u8], at: usize) -> [u8; 8] {
            std::array::from_fn(|offset| row.get(at + offset).copied().unwrap_or_default())
        }
        match row.get(at..at + 8).and_then(<[u8]>::first_chunk::<8>) {
            Some(bytes) => load_half(bytes),
            None => load_half(&at_the_end(row, at)),
        }
    }
    #[inline(always)]
    fn two<const CHANNELS: usize>(
        [a, b, c, d]: [&[u8]; 4],
        lefts: [usize; 2],
        pairs: &mut [Pairs<u8>; 2],
    ) {
        #[inline(always)]
        fn from<const CHANNELS: usize>(row: &[u8], [first, second]: [usize; 2]) -> V128 {
            zip_64(pixels(row, first * CHANNELS), pixels(row, second * CHANNELS))
        }
        let (a, b) = (from::<CHANNELS>(a, lefts), from::<CHANNELS>(b, lefts));
        let (c, d) = (from::<CHANNELS>(c, lefts), from::<CHANNELS>(d, lefts));
        let ab = pair_rows_of_halves::<CHANNELS>(a, b);
        let cd = pair_rows_of_halves::<CHANNELS>(c, d);
        put(&mut pairs[0], ab[0], cd[0]);
        put(&mut pairs[1], ab[1], cd[1]);
    }
    let width = rows[0].len();
    let rows = rows.map(|row| row.get(..width).unwrap_or_default());
    let (turns, last) = pairs.as_chunks_mut::<4>();
    let (left_turns, last_left) = lefts.as_chunks::<4>();
    for (pairs, &[a, b, c, d]) in turns.iter_mut().zip(left_turns) {
        if let [first, second] = pairs.as_chunks_mut().0 {
            two::<CHANNELS>(rows, [a, b], first);
            two::<CHANNELS>(rows, [c, d], second);
        }
    }
    for (pair, &left) in last.iter_mut().zip(last_left) {
        let mut both = [*pair; 2];
        two::<CHANNELS>(rows, [left; 2], &mut both);
        *pair = both[0];
    }
}

/// Two rows' pairs and two rows' pairs, side by side.
#[inline(always)]
fn put(pairs: &mut Pairs<u8>, ab: V128, cd: V128) {
    if let [first, last] = pairs.as_chunks_mut::<2>().0 {
        store(first, zip_low_32(ab, cd));
        store(last, zip_high_32(ab, cd));
    }
}

/// The pair of floats that begins at pixel `left`.
#[inline(always)]
fn pair_floats<T: Copy + Default, const CHANNELS: usize>(
    rows: [&[T]; 4],
    left: usize,
    pairs: &mut Pairs<f32>,
    to_f32: impl Fn(T) -> f32,
) {
    for (row, values) in rows.into_iter().enumerate() {
        let (pixels, _) = values.as_chunks::<CHANNELS>();
        for side in 0..2 {
            let pixel = pixels.get(left + side).copied().unwrap_or([T::default(); CHANNELS]);
            for (pair, value) in pairs.iter_mut().zip(pixel) {
                pair[side][row] = to_f32(value);
            }
        }
    }
}
