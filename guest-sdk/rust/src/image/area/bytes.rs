//! Means of bytes. Sums are exact: rows are added up in 16 bits, and along the line the sums of all
//! pixels before each one are taken, so that a range of any length is the difference of two.

use super::{Average, Columns, PIXEL};
use crate::vectors::*;

impl Average for u8 {
    type Total = u16;
    /// The sums of all pixels before each one.
    type Room = Vec<[u32; PIXEL]>;

    fn most_rows(columns: usize) -> usize {
        // 257 times 255 is the most of a `u16`, and no sum of a range may reach the sign of an `i32`.
        (i32::MAX as usize / 255 / columns.max(1)).clamp(1, 257)
    }

    fn add_up<const COUNT: usize>(totals: &mut [u16], rows: [&[u8]; COUNT], first: bool) {
        match first {
            true => add_up::<COUNT, true>(totals, rows),
            false => add_up::<COUNT, false>(totals, rows),
        }
    }

    fn add_ranges<const CHANNELS: usize>(
        totals: &[u16],
        columns: &[Columns],
        before: &mut Vec<[u32; PIXEL]>,
        sums: &mut [[f32; PIXEL]],
    ) {
        run::<CHANNELS>(totals, before);
        for (sum, columns) in sums.iter_mut().zip(columns) {
            let (from, to) = (before[columns.start], before[columns.end]);
            for (channel, sum) in sum.iter_mut().enumerate() {
                *sum += to[channel].wrapping_sub(from[channel]) as f32;
            }
        }
    }

    fn means<const CHANNELS: usize>(
        totals: &[u16],
        columns: &[Columns],
        rows: f32,
        before: &mut Vec<[u32; PIXEL]>,
        line: &mut [f32],
    ) {
        run::<CHANNELS>(totals, before);
        means::<CHANNELS>(before, columns, rows, line);
    }
}

/// So many values are added up in a turn of a loop.
const TURN: usize = 64;

/// Adds rows to totals, or makes the totals of the `FIRST` ones. A function of its own: in a large one
/// the compiler of the guest is short of registers, and pointers are loaded again and again.
#[inline(never)]
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
fn add_up<const COUNT: usize, const FIRST: bool>(totals: &mut [u16], rows: [&[u8]; COUNT]) {
    // Of one length, so that one check does for all.
    let length = rows.iter().fold(totals.len(), |length, row| length.min(row.len()));
    let totals = &mut totals[..length];
    let rows = rows.map(|row| &row[..length]);
    let Some(last_at) = length.checked_sub(TURN) else {
        for (at, total) in totals.iter_mut().enumerate() {
            let before = if FIRST { 0 } else { *total };
            *total = rows.iter().fold(before, |sum, row| sum.wrapping_add(row[at].into()));
        }
        return;
    };
    // The last turn may overlap the one before it: it is made of what was there before.
    let mut last = [0; TURN];
    last.copy_from_slice(&totals[last_at..]);
    add_turn::<COUNT, FIRST>(&mut last, rows, last_at);
    for (at, totals) in totals.as_chunks_mut::<TURN>().0.iter_mut().enumerate() {
        add_turn::<COUNT, FIRST>(totals, rows, at * TURN);
    }
    totals[last_at..].copy_from_slice(&last);
}

/// Adds the values of the rows from `at` on.
#[inline(always)]
fn add_turn<const COUNT: usize, const FIRST: bool>(
    totals: &mut [u16; TURN],
    rows: [&[u8]; COUNT],
    at: usize,
) {
    /// Values `8 * AT` to `8 * AT + 7` of a turn.
    #[inline(always)]
    fn eight<const COUNT: usize, const FIRST: bool, const AT: usize>(
        totals: &mut [u16; TURN],
        rows: &[&[u8]; COUNT],
    ) {
        let totals = &mut totals.as_chunks_mut::<8>().0[AT];
        let mut sum = if FIRST { zero() } else { load(totals) };
        for row in rows {
            let values = &row.as_chunks::<8>().0[AT];
            sum = i16x8_add(sum, u16x8_extend_low_u8x16(load_half(values)));
        }
        store(totals, sum);
    }
    let rows = rows.map(|row| &row[at..at + TURN]);
    // No loop: the compiler unrolls none here.
    eight::<COUNT, FIRST, 0>(totals, &rows);
    eight::<COUNT, FIRST, 1>(totals, &rows);
    eight::<COUNT, FIRST, 2>(totals, &rows);
    eight::<COUNT, FIRST, 3>(totals, &rows);
    eight::<COUNT, FIRST, 4>(totals, &rows);
    eight::<COUNT, FIRST, 5>(totals, &rows);
    eight::<COUNT, FIRST, 6>(totals, &rows);
    eight::<COUNT, FIRST, 7>(totals, &rows);
}

/// For each pixel, the sums of all pixels before it, channel by channel. They may wrap.
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
fn run<const CHANNELS: usize>(totals: &[u16], before: &mut Vec<[u32; PIXEL]>) {
    /// So many pixels a turn of the loop.
    const TURN: usize = 16;
    /// The sum with the pixel at `at` added.
    #[inline(always)]
    fn step(before: &mut [u32; PIXEL], sum: V128, totals: &[u16], at: usize) -> V128 {
        store(before, sum);
        match totals.get(at..).and_then(<[u16]>::first_chunk::<PIXEL>) {
            Some(pixel) => i32x4_add(sum, u32x4_extend_low_u16x8(load_half(pixel))),
            None => sum,
        }
    }
    before.resize(totals.len().saturating_sub(PIXEL) / CHANNELS + 1, [0; PIXEL]);
    let mut sum = zero();
    let (turns, last) = before.as_chunks_mut::<TURN>();
    let done = turns.len() * TURN;
    for (turn, before) in turns.iter_mut().enumerate() {
        let start = turn * TURN * CHANNELS;
        let end = start + (TURN - 1) * CHANNELS + PIXEL;
        let Some(totals) = totals.get(start..end) else { break };
        for (at, before) in before.iter_mut().enumerate() {
            sum = step(before, sum, totals, at * CHANNELS);
        }
    }
    for (at, before) in last.iter_mut().enumerate() {
        sum = step(before, sum, totals, (done + at) * CHANNELS);
    }
}

/// The means of each range. As `add_up` a function of its own.
#[inline(never)]
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
fn means<const CHANNELS: usize>(
    before: &[[u32; PIXEL]],
    columns: &[Columns],
    rows: f32,
    line: &mut [f32],
) {
    /// So many columns a turn of the loop.
    const TURN: usize = 8;
    #[inline(always)]
    fn mean(before: &[[u32; PIXEL]], columns: &Columns, rows: f32) -> [f32; PIXEL] {
        let range = i32x4_sub(load(&before[columns.end]), load(&before[columns.start]));
        let count = f32x4_splat(rows * columns.count);
        let mut mean = [0.0; PIXEL];
        store(&mut mean, f32x4_div(f32x4_convert_i32x4(range), count));
        mean
    }
    let (turns, last) = columns.as_chunks::<TURN>();
    for (turn, columns) in turns.iter().enumerate() {
        let start = turn * TURN * CHANNELS;
        let end = start + (TURN - 1) * CHANNELS + PIXEL;
        let Some(pixels) = line.get_mut(start..end) else { break };
        // No loop: the compiler unrolls none here. What a vector has beyond its pixel is overwritten
        // by the next one.
        pixels[..PIXEL].copy_from_slice(&mean(before, &columns[0], rows));
        pixels[CHANNELS..][..PIXEL].copy_from_slice(&mean(before, &columns[1], rows));
        pixels[2 * CHANNELS..][..PIXEL].copy_from_slice(&mean(before, &columns[2], rows));
        pixels[3 * CHANNELS..][..PIXEL].copy_from_slice(&mean(before, &columns[3], rows));
        pixels[4 * CHANNELS..][..PIXEL].copy_from_slice(&mean(before, &columns[4], rows));
        pixels[5 * CHANNELS..][..PIXEL].copy_from_slice(&mean(before, &columns[5], rows));
        pixels[6 * CHANNELS..][..PIXEL].copy_from_slice(&mean(before, &columns[6], rows));
        pixels[7 * CHANNELS..][..PIXEL].copy_from_slice(&mean(before, &columns[7], rows));
    }
    let (pixels, _) = line.as_chunks_mut::<CHANNELS>();
    let done = turns.len() * TURN;
    for (pixel, columns) in pixels.iter_mut().skip(done).zip(last) {
        pixel.copy_from_slice(&mean(before, columns, rows)[..CHANNELS]);
    }
}
