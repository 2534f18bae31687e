//! A row's values as levels: a block of pixels in a turn of the loop, then fours, then one by one.

use super::levels::Levels;
use crate::image::four::BLOCK;
use crate::vectors::*;

/// So many times four pixels are a block.
const FOURS: usize = BLOCK / 4;

impl Levels {
    /// A row of pixels of `line.len() / rows[0].len()` values, each channel to a row of its own.
    pub(in crate::image) fn planes(&self, line: &[f32], rows: [&mut [f32]; 3]) {
        match line.len() / rows[0].len().max(1) {
            1 => planes::<1>(line, self, rows),
            2 => planes::<2>(line, self, rows),
            3 => planes::<3>(line, self, rows),
            _ => planes::<4>(line, self, rows),
        }
    }

    /// The same, all three channels pixel by pixel.
    pub(in crate::image) fn packed(&self, line: &[f32], row: &mut [f32]) {
        match line.len() / (row.len() / 3).max(1) {
            1 => packed::<1>(line, self, row),
            2 => packed::<2>(line, self, row),
            3 if !self.bgr => as_it_is(line, self, row),
            3 => packed::<3>(line, self, row),
            _ => packed::<4>(line, self, row),
        }
    }
}

/// See [`Levels::planes`].
#[inline(never)]
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
fn planes<const STORED: usize>(line: &[f32], levels: &Levels, rows: [&mut [f32]; 3]) {
    #[inline(always)]
    fn four<const STORED: usize>(
        pixels: &[[f32; STORED]; 4],
        levels: &Levels,
        first: &mut [f32; 4],
        second: &mut [f32; 4],
        third: &mut [f32; 4],
    ) {
        let [a, b, c] = channels(pixels, levels);
        store(first, a);
        store(second, b);
        store(third, c);
    }
    let (pixels, last_pixels) = line.as_chunks::<STORED>().0.as_chunks::<4>();
    let [first, second, third] = rows.map(|row| row.as_chunks_mut::<4>());
    let (blocks, fours) = pixels.as_chunks::<FOURS>();
    let (first_blocks, first_fours) = first.0.as_chunks_mut::<FOURS>();
    let (second_blocks, second_fours) = second.0.as_chunks_mut::<FOURS>();
    let (third_blocks, third_fours) = third.0.as_chunks_mut::<FOURS>();
    let rows = first_blocks.iter_mut().zip(second_blocks).zip(third_blocks);
    for (p, ((a, b), c)) in blocks.iter().zip(rows) {
        // No loop: the compiler unrolls none here.
        four(&p[0], levels, &mut a[0], &mut b[0], &mut c[0]);
        four(&p[1], levels, &mut a[1], &mut b[1], &mut c[1]);
        four(&p[2], levels, &mut a[2], &mut b[2], &mut c[2]);
        four(&p[3], levels, &mut a[3], &mut b[3], &mut c[3]);
    }
    let rows = first_fours.iter_mut().zip(second_fours).zip(third_fours);
    for (pixels, ((a, b), c)) in fours.iter().zip(rows) {
        four(pixels, levels, a, b, c);
    }
    let rows = first.1.iter_mut().zip(second.1).zip(third.1);
    for (&pixel, ((a, b), c)) in last_pixels.iter().zip(rows) {
        [*a, *b, *c] = levels.pixel(pixel);
    }
}

/// See [`Levels::packed`].
#[inline(never)]
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
fn packed<const STORED: usize>(line: &[f32], levels: &Levels, row: &mut [f32]) {
    #[inline(always)]
    fn four<const STORED: usize>(
        pixels: &[[f32; STORED]; 4],
        levels: &Levels,
        row: &mut [f32; 12],
    ) {
        let [a, b, c] = join_three(channels(pixels, levels));
        let (row, _) = row.as_chunks_mut::<4>();
        store(&mut row[0], a);
        store(&mut row[1], b);
        store(&mut row[2], c);
    }
    let (pixels, last_pixels) = line.as_chunks::<STORED>().0.as_chunks::<4>();
    let (row, last) = row.as_chunks_mut::<12>();
    let (blocks, fours) = pixels.as_chunks::<FOURS>();
    let (row_blocks, row_fours) = row.as_chunks_mut::<FOURS>();
    for (row, pixels) in row_blocks.iter_mut().zip(blocks) {
        // No loop: the compiler unrolls none here.
        four(&pixels[0], levels, &mut row[0]);
        four(&pixels[1], levels, &mut row[1]);
        four(&pixels[2], levels, &mut row[2]);
        four(&pixels[3], levels, &mut row[3]);
    }
    for (row, pixels) in row_fours.iter_mut().zip(fours) {
        four(pixels, levels, row);
    }
    for (row, &pixel) in last.as_chunks_mut::<3>().0.iter_mut().zip(last_pixels) {
        *row = levels.pixel(pixel);
    }
}

/// The same where the channels are in the right order already.
#[inline(never)]
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
fn as_it_is(line: &[f32], levels: &Levels, row: &mut [f32]) {
    /// Three vectors, in which the factors take turns.
    #[inline(always)]
    fn four(values: &[f32; 12], factors: &[V128; 3], lesses: &[V128; 3], row: &mut [f32; 12]) {
        let ((values, _), (row, _)) = (values.as_chunks::<4>(), row.as_chunks_mut::<4>());
        for at in 0..3 {
            store(&mut row[at], f32x4_sub(f32x4_mul(load(&values[at]), factors[at]), lesses[at]));
        }
    }
    let turns = |[r, g, b]: [f32; 3]| join_three([f32x4_splat(r), f32x4_splat(g), f32x4_splat(b)]);
    let (factors, lesses) = (turns(levels.factor), turns(levels.less));
    let ((values, last_values), (row, last)) = (line.as_chunks::<12>(), row.as_chunks_mut::<12>());
    let (blocks, fours) = values.as_chunks::<{ 2 * FOURS }>();
    let (row_blocks, row_fours) = row.as_chunks_mut::<{ 2 * FOURS }>();
    for (row, values) in row_blocks.iter_mut().zip(blocks) {
        // No loop: the compiler unrolls none here.
        four(&values[0], &factors, &lesses, &mut row[0]);
        four(&values[1], &factors, &lesses, &mut row[1]);
        four(&values[2], &factors, &lesses, &mut row[2]);
        four(&values[3], &factors, &lesses, &mut row[3]);
        four(&values[4], &factors, &lesses, &mut row[4]);
        four(&values[5], &factors, &lesses, &mut row[5]);
        four(&values[6], &factors, &lesses, &mut row[6]);
        four(&values[7], &factors, &lesses, &mut row[7]);
    }
    for (row, values) in row_fours.iter_mut().zip(fours) {
        four(values, &factors, &lesses, row);
    }
    let pixels = last_values.as_chunks::<3>().0;
    for (row, &pixel) in last.as_chunks_mut::<3>().0.iter_mut().zip(pixels) {
        *row = levels.pixel(pixel);
    }
}

/// Four pixels' channels, in the order that comes out.
#[inline(always)]
fn channels<const STORED: usize>(pixels: &[[f32; STORED]; 4], levels: &Levels) -> [V128; 3] {
    // Slices of vectors that are there: places beyond are of other numbers of channels.
    let (fours, _) = pixels.as_flattened().as_chunks::<4>();
    let vector = |at: usize| fours.get(at).map_or(zero(), load);
    let [r, g, b] = match STORED {
        // Grey (with or without alpha) is red, green and blue.
        1 => [vector(0); 3],
        2 => [evens(vector(0), vector(1)); 3],
        3 => split_three([vector(0), vector(1), vector(2)]),
        _ => {
            let (a, b, c, d) = (vector(0), vector(1), vector(2), vector(3));
            let (ac, bd) = (zip_low_32(a, c), zip_low_32(b, d));
            let blue = zip_low_32(zip_high_32(a, c), zip_high_32(b, d));
            [zip_low_32(ac, bd), zip_high_32(ac, bd), blue]
        }
    };
    let [r, b] = if levels.bgr { [b, r] } else { [r, b] };
    [level(r, levels, 0), level(g, levels, 1), level(b, levels, 2)]
}

#[inline(always)]
fn level(values: V128, levels: &Levels, channel: usize) -> V128 {
    let (factor, less) = (f32x4_splat(levels.factor[channel]), f32x4_splat(levels.less[channel]));
    f32x4_sub(f32x4_mul(values, factor), less)
}
