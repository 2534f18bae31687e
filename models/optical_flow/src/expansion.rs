//! The polynomial of second degree that fits the grey levels around each pixel best.
//!
//! Neighbours count by a Gaussian of their distance, in rows and in columns, with the sum 1. So the
//! fit's equations fall apart: with the moments m2 and m4 of the Gaussian, and the sums of the levels
//! times 1, x, x², y, y² and xy, each coefficient is one or two of the sums times a number.

use crate::plane::Plane;

/// A polynomial's coefficients, without the constant one: nobody asks for it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Polynomial {
    pub x: f32,
    pub y: f32,
    pub xx: f32,
    pub yy: f32,
    pub xy: f32,
}

/// How much a neighbour counts at a distance, times the distance to the power of 0, 1 and 2. What is
/// on the other side counts the same, but for the first power: there it is taken off.
#[derive(Debug, Clone, Copy)]
struct Neighbour {
    even: f32,
    odd: f32,
    square: f32,
}

/// How the polynomials are fitted.
#[derive(Debug)]
pub struct Expansion {
    /// The weight of the pixel itself.
    middle: f32,
    /// At the distance 1 and so on.
    neighbours: Vec<Neighbour>,
    /// From a sum to a coefficient.
    linear: f32,
    square: f32,
    mixed: f32,
    /// How much of the sum itself is taken off the sum of squares.
    level: f32,
}

impl Expansion {
    /// Neighbours reach to the distance `reach`.
    pub fn new(reach: usize, sigma: f64) -> Self {
        let height =
            |distance: usize| (-((distance * distance) as f64) / (2.0 * sigma * sigma)).exp();
        let sum = 1.0 + 2.0 * (1..=reach).map(height).sum::<f64>();
        let moment = |power: i32| {
            let terms = (1..=reach).map(|at| height(at) * (at as f64).powi(power));
            2.0 * terms.sum::<f64>() / sum
        };
        let (m2, m4) = (moment(2), moment(4));
        let neighbour = |at: usize| {
            let (weight, distance) = (height(at) / sum, at as f64);
            Neighbour {
                even: weight as f32,
                odd: (weight * distance) as f32,
                square: (weight * distance * distance) as f32,
            }
        };
        Self {
            middle: (1.0 / sum) as f32,
            neighbours: (1..=reach).map(neighbour).collect(),
            linear: (1.0 / m2) as f32,
            square: (1.0 / (m4 - m2 * m2)) as f32,
            mixed: (1.0 / (m2 * m2)) as f32,
            level: m2 as f32,
        }
    }

    /// The polynomials around all pixels. Beyond the edges there is more of the edge.
    pub fn polynomials(&self, levels: &Plane<f32>) -> Plane<Polynomial> {
        let mut polynomials = Plane::new(levels.height(), levels.width());
        let mut columns = Sums::new(levels.width(), self.neighbours.len());
        for (y, row) in polynomials.rows_mut().enumerate() {
            self.down(levels, y, &mut columns);
            self.along(&columns, row);
        }
        polynomials
    }

    /// The sums down the columns around row `y`.
    fn down(&self, levels: &Plane<f32>, y: usize, sums: &mut Sums) {
        let [even, odd, square] = sums.inner();
        for (((even, odd), square), level) in
            even.iter_mut().zip(odd).zip(square).zip(levels.row(y))
        {
            (*even, *odd, *square) = (level * self.middle, 0.0, 0.0);
        }
        let last = levels.height() - 1;
        for (distance, by) in (1..).zip(&self.neighbours) {
            let above = levels.row(y.saturating_sub(distance));
            let below = levels.row((y + distance).min(last));
            let [even, odd, square] = sums.inner();
            let sums = even.iter_mut().zip(odd).zip(square);
            for (((even, odd), square), (above, below)) in sums.zip(above.iter().zip(below)) {
                let both = above + below;
                *even += by.even * both;
                *odd += by.odd * (below - above);
                *square += by.square * both;
            }
        }
        sums.extend();
    }

    /// From the sums down the columns to the polynomials of a row.
    fn along(&self, columns: &Sums, row: &mut [Polynomial]) {
        let reach = self.neighbours.len();
        let Sums { even, odd, square, .. } = columns;
        for (x, polynomial) in row.iter_mut().enumerate() {
            let at = x + reach;
            let mut level = even[at] * self.middle;
            let (mut by_x, mut by_xx, mut by_xy) = (0.0, 0.0, 0.0);
            let mut by_y = odd[at] * self.middle;
            let mut by_yy = square[at] * self.middle;
            for (distance, by) in (1..).zip(&self.neighbours) {
                let (left, right) = (at - distance, at + distance);
                let both = even[left] + even[right];
                level += by.even * both;
                by_x += by.odd * (even[right] - even[left]);
                by_xx += by.square * both;
                by_y += by.even * (odd[left] + odd[right]);
                by_xy += by.odd * (odd[right] - odd[left]);
                by_yy += by.even * (square[left] + square[right]);
            }
            *polynomial = Polynomial {
                x: by_x * self.linear,
                y: by_y * self.linear,
                xx: (by_xx - self.level * level) * self.square,
                yy: (by_yy - self.level * level) * self.square,
                xy: by_xy * self.mixed,
            };
        }
    }
}

/// Sums down the columns around a row: of levels, of levels times y, and times y². Each line goes
/// on at both ends, so that every pixel of the row has neighbours.
struct Sums {
    even: Vec<f32>,
    odd: Vec<f32>,
    square: Vec<f32>,
    reach: usize,
}

impl Sums {
    fn new(width: usize, reach: usize) -> Self {
        let line = vec![0.0; width + 2 * reach];
        Self { even: line.clone(), odd: line.clone(), square: line, reach }
    }

    /// The row itself.
    fn inner(&mut self) -> [&mut [f32]; 3] {
        let inner = self.reach..self.even.len() - self.reach;
        [&mut self.even, &mut self.odd, &mut self.square].map(|line| &mut line[inner.clone()])
    }

    /// Fills what goes on beyond the row.
    fn extend(&mut self) {
        let (first, end) = (self.reach, self.even.len() - self.reach);
        for line in [&mut self.even, &mut self.odd, &mut self.square] {
            let (left, right) = (line[first], line[end - 1]);
            line[..first].fill(left);
            line[end..].fill(right);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_polynomial_is_found_again() {
        let (width, height) = (23, 19);
        let level = |at: usize| {
            let (x, y) = ((at % width) as f32 - 11.0, (at / width) as f32 - 9.0);
            90.0 + 3.0 * x - 2.0 * y + 0.5 * x * x + 0.25 * y * y - 0.75 * x * y
        };
        let levels = Plane::of(width, (0..width * height).map(level).collect());
        for (reach, sigma) in [(5, 1.2), (7, 1.5), (2, 0.4)] {
            let polynomials = Expansion::new(reach, sigma).polynomials(&levels);
            let Polynomial { x, y, xx, yy, xy } = polynomials.row(9)[11];
            let close = |a: f32, b: f32| (a - b).abs() < 2e-3;
            assert!(close(x, 3.0) && close(y, -2.0), "{x} {y}");
            assert!(close(xx, 0.5) && close(yy, 0.25) && close(xy, -0.75), "{xx} {yy} {xy}");
        }
    }

    #[test]
    fn an_even_picture_is_even_at_its_edges() {
        let polynomials = Expansion::new(5, 1.2).polynomials(&Plane::of(3, vec![80.0; 6]));
        for Polynomial { x, y, xx, yy, xy } in polynomials.values() {
            assert!([x, y, xx, yy, xy].iter().all(|value| value.abs() < 1e-4));
        }
    }
}
