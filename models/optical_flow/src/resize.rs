//! Values of all pixels at another size.

use crate::plane::Plane;
use crate::taps::{Tap, taps};

/// Blurred by `kernel` first, which must have an odd length; `[1.0]` does not blur.
pub fn resized(plane: &Plane<f32>, height: usize, width: usize, kernel: &[f64]) -> Plane<f32> {
    let rows = taps(plane.height(), height, kernel);
    let columns = taps(plane.width(), width, kernel);
    let mut to = Plane::new(height, width);
    let mut line = vec![0.0; plane.width()];
    for (row, tap) in to.rows_mut().zip(&rows) {
        // Down the columns first: whole rows are added up at once.
        line.fill(0.0);
        for (y, weight) in (tap.first..).zip(&tap.weights) {
            add(plane.row(y), *weight, &mut line);
        }
        gather(&line, &columns, row);
    }
    to
}

fn add(row: &[f32], weight: f32, line: &mut [f32]) {
    for (sum, value) in line.iter_mut().zip(row) {
        *sum += weight * value;
    }
}

fn gather(line: &[f32], columns: &[Tap], row: &mut [f32]) {
    for (value, tap) in row.iter_mut().zip(columns) {
        let values = line[tap.first..].iter().zip(&tap.weights);
        *value = values.map(|(value, weight)| value * weight).sum();
    }
}

/// How much each neighbour counts in a blur: a Gaussian, cut where OpenCV cuts it.
pub fn gaussian(sigma: f64) -> Vec<f64> {
    if sigma <= 0.0 {
        // Frames are blurred a little at their own size too.
        return vec![0.25, 0.5, 0.25];
    }
    let radius = ((5.0 * sigma).round_ties_even() as i32 / 2).max(1);
    let heights = (-radius..=radius).map(|at| (-f64::from(at * at) / (2.0 * sigma * sigma)).exp());
    let sum: f64 = heights.clone().sum();
    heights.map(|height| height / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_picture_stays_so() {
        let plane = Plane::of(50, vec![7.0; 50 * 40]);
        for (height, width) in [(20, 25), (40, 50), (33, 71)] {
            let resized = resized(&plane, height, width, &gaussian(0.5));
            assert_eq!((resized.height(), resized.width()), (height, width));
            assert!(resized.values().iter().all(|value| (value - 7.0).abs() < 1e-5));
        }
    }

    #[test]
    fn a_slope_is_the_same_at_half_the_size() {
        let values = (0..16 * 20).map(|at| (at % 20 + 3 * (at / 20)) as f32).collect();
        let resized = resized(&Plane::of(20, values), 8, 10, &[1.0]);
        for y in 0..8 {
            for (x, value) in resized.row(y).iter().enumerate() {
                assert_eq!(*value, 2.0 * (x as f32 + 3.0 * y as f32) + 2.0);
            }
        }
    }

    #[test]
    fn blurs_reach_as_far_as_they_must() {
        let lengths = [0.0, 0.5, 1.5, 3.5, 7.5].map(|sigma| gaussian(sigma).len());
        assert_eq!(lengths, [3, 3, 9, 19, 39]);
    }
}
