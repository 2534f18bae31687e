//! Means of floats.

use super::{Average, Columns, PIXEL};

macro_rules! floats {
    ($($type:ty),+) => {$(
        impl Average for $type {
            type Total = f32;
            type Room = ();

            fn most_rows(_: usize) -> usize {
                usize::MAX
            }

            #[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
            fn add_up<const COUNT: usize>(
                totals: &mut [f32],
                rows: [&[Self]; COUNT],
                first: bool,
            ) {
                if first {
                    totals.fill(0.0);
                }
                for row in rows {
                    for (total, &value) in totals.iter_mut().zip(row) {
                        *total += value as f32;
                    }
                }
            }

            fn add_ranges<const CHANNELS: usize>(
                _: &[f32],
                _: &[Columns],
                _: &mut (),
                _: &mut [[f32; PIXEL]],
            ) {
                // Any number of rows is added up at once.
            }

            fn means<const CHANNELS: usize>(
                totals: &[f32],
                columns: &[Columns],
                rows: f32,
                _: &mut (),
                line: &mut [f32],
            ) {
                means(totals, columns, rows, line.as_chunks_mut::<CHANNELS>().0);
            }
        }
    )+};
}

floats!(f32, f64);

fn means<const CHANNELS: usize>(
    totals: &[f32],
    columns: &[Columns],
    rows: f32,
    line: &mut [[f32; CHANNELS]],
) {
    let (pixels, _) = totals.as_chunks::<CHANNELS>();
    for (mean, columns) in line.iter_mut().zip(columns) {
        let mut sum = [0.0; CHANNELS];
        for pixel in pixels.get(columns.start..columns.end).unwrap_or_default() {
            for (sum, total) in sum.iter_mut().zip(pixel) {
                *sum += total;
            }
        }
        *mean = sum.map(|sum| sum / (rows * columns.count));
    }
}
