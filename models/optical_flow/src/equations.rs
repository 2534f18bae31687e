//! What the polynomials of both frames say about a pixel's movement: two equations, by how the slope
//! changes where the curvature is known.

use crate::expansion::Polynomial;
use crate::flow::Flow;
use crate::plane::Plane;

/// Two linear equations for a movement, as least squares want them: they can be added up with those of
/// other pixels.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Equations {
    pub xx: f32,
    pub xy: f32,
    pub yy: f32,
    pub x: f32,
    pub y: f32,
}

/// How much a pixel counts by its distance from the edge: around the outermost, the polynomials are
/// fitted to what is not in the picture. OpenCV's numbers.
const TRUST: [f32; 5] = [0.14, 0.14, 0.4472, 0.4472, 0.4472];

/// See [`TRUST`], for both ends of a line.
pub fn trust(at: usize, length: usize) -> f32 {
    let one = |distance: usize| TRUST.get(distance).copied().unwrap_or(1.0);
    one(at) * one(length - 1 - at)
}

/// Both frames' polynomials, and how much each row and column counts.
#[derive(Debug)]
pub struct Pair {
    first: Plane<Polynomial>,
    second: Plane<Polynomial>,
    trust: Vec<f32>,
}

impl Pair {
    /// Two frames of one size.
    pub fn new(first: Plane<Polynomial>, second: Plane<Polynomial>) -> Self {
        let trust = (0..first.width()).map(|x| trust(x, first.width())).collect();
        Self { first, second, trust }
    }

    /// How many rows there are.
    pub fn height(&self) -> usize {
        self.first.height()
    }

    /// How many columns there are.
    pub fn width(&self) -> usize {
        self.first.width()
    }

    /// The equations of a row, where `flow` is what is known of the movement so far.
    pub fn equations(&self, y: usize, flow: &Flow, row: &mut [Equations]) {
        let row_trust = trust(y, self.height());
        let moved = flow.x.row(y).iter().zip(flow.y.row(y));
        let pixels = self.first.row(y).iter().zip(moved).zip(&self.trust);
        for ((x, to), ((first, (right, down)), trust)) in row.iter_mut().enumerate().zip(pixels) {
            let second = self.second(x as f32 + right, y as f32 + down);
            *to = equations(first, second, *right, *down, trust * row_trust);
        }
    }

    /// The second frame's polynomial at a place between pixels; none beyond the picture.
    #[inline]
    fn second(&self, x: f32, y: f32) -> Option<Polynomial> {
        let (left, top) = (x.floor(), y.floor());
        let last = |length: usize| (length - 1) as f32;
        let inside =
            (0.0..last(self.width())).contains(&left) && (0.0..last(self.height())).contains(&top);
        if !inside {
            return None;
        }
        let (column, row) = (left as usize, top as usize);
        let upper = self.second.row(row).get(column..column + 2)?;
        let lower = self.second.row(row + 1).get(column..column + 2)?;
        let (right, down) = (x - left, y - top);
        let weights = [
            (1.0 - right) * (1.0 - down),
            right * (1.0 - down),
            (1.0 - right) * down,
            right * down,
        ];
        let corners = [upper[0], upper[1], lower[0], lower[1]];
        let blend = |of: fn(&Polynomial) -> f32| {
            let [a, b, c, d] = corners.each_ref().map(of);
            a * weights[0] + b * weights[1] + c * weights[2] + d * weights[3]
        };
        Some(Polynomial {
            x: blend(|p| p.x),
            y: blend(|p| p.y),
            xx: blend(|p| p.xx),
            yy: blend(|p| p.yy),
            xy: blend(|p| p.xy),
        })
    }
}

/// The equations of one pixel, which has moved `right` and `down` so far.
#[inline]
fn equations(
    first: &Polynomial,
    second: Option<Polynomial>,
    right: f32,
    down: f32,
    trust: f32,
) -> Equations {
    // The curvature is the mean of both frames', and the first's where the second's is not known. Half of
    // the mixed coefficient is in each of the matrix's two places for it.
    let curved = second.unwrap_or(Polynomial { x: 0.0, y: 0.0, ..*first });
    let (xx, yy) = (0.5 * (first.xx + curved.xx), 0.5 * (first.yy + curved.yy));
    let xy = 0.25 * (first.xy + curved.xy);
    let x = 0.5 * (first.x - curved.x) + xx * right + xy * down;
    let y = 0.5 * (first.y - curved.y) + xy * right + yy * down;
    let [xx, yy, xy, x, y] = [xx, yy, xy, x, y].map(|value| value * trust);
    Equations {
        xx: xx * xx + xy * xy,
        xy: (xx + yy) * xy,
        yy: yy * yy + xy * xy,
        x: xx * x + xy * y,
        y: xy * x + yy * y,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_count_less() {
        assert_eq!(
            [trust(0, 20), trust(4, 20), trust(5, 20), trust(19, 20)],
            [0.14, 0.4472, 1.0, 0.14]
        );
        assert_eq!(trust(1, 3), 0.14 * 0.14);
    }

    #[test]
    fn the_movement_of_a_polynomial_solves_its_equations() {
        // Moved by (2, -1): the slope changes as the curvature says.
        let first = Polynomial { x: 3.0, y: -2.0, xx: 0.5, yy: 0.25, xy: -0.75 };
        let slope = |right: f32, down: f32| Polynomial {
            x: first.x - 2.0 * first.xx * right - first.xy * down,
            y: first.y - 2.0 * first.yy * down - first.xy * right,
            ..first
        };
        let Equations { xx, xy, yy, x, y } =
            equations(&first, Some(slope(2.0, -1.0)), 0.0, 0.0, 1.0);
        assert!((xx * 2.0 - xy - x).abs() < 1e-5, "{xx} {xy} {x}");
        assert!((xy * 2.0 - yy - y).abs() < 1e-5, "{xy} {yy} {y}");
    }

    #[test]
    fn movements_beyond_the_picture_and_no_numbers_have_an_end() {
        let plane = Plane::of(6, vec![Polynomial { x: 1.0, ..Polynomial::default() }; 30]);
        let pair = Pair::new(plane.clone(), plane);
        for place in [-0.5, 5.0, 1e30, f32::NAN, f32::NEG_INFINITY] {
            assert_eq!(pair.second(place, 1.0), None);
        }
        assert_eq!(pair.second(4.5, 3.5).map(|polynomial| polynomial.x), Some(1.0));
    }
}
