//! The movement that fits the pixels around each one best: they are taken to move alike, so their
//! equations are added up.

use crate::equations::{Equations, Pair};
use crate::flow::Flow;

/// Keeps movements small where next to nothing is known of them. OpenCV's number.
const LEAST_DETERMINANT: f64 = 1e-3;

/// Sums of equations: `f64`, as what is added is taken off again many pixels later.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    xx: f64,
    xy: f64,
    yy: f64,
    x: f64,
    y: f64,
}

impl Sum {
    #[inline]
    fn add(&mut self, other: Sum, times: f64) {
        self.xx += other.xx * times;
        self.xy += other.xy * times;
        self.yy += other.yy * times;
        self.x += other.x * times;
        self.y += other.y * times;
    }

    /// One comes in and another goes out.
    #[inline]
    fn exchange(&mut self, new: Sum, old: Sum) {
        self.xx += new.xx - old.xx;
        self.xy += new.xy - old.xy;
        self.yy += new.yy - old.yy;
        self.x += new.x - old.x;
        self.y += new.y - old.y;
    }
}

impl From<Equations> for Sum {
    #[inline]
    fn from(of: Equations) -> Self {
        let Equations { xx, xy, yy, x, y } = of;
        Self { xx: xx.into(), xy: xy.into(), yy: yy.into(), x: x.into(), y: y.into() }
    }
}

/// Makes movements more exact. The pixels of a square of side `window` count for each.
pub fn improve(pair: &Pair, flow: &mut Flow, window: usize) {
    let (radius, last) = (window / 2, pair.height() - 1);
    // A window of an even number has the pixel in its middle all the same.
    let part = 1.0 / (window * window) as f64;
    let mut rows = Rows::new(pair, radius);
    let mut columns = vec![Sum::default(); pair.width()];
    for y in 0..=radius {
        // What is above the picture counts as its first row, as often.
        let times = if y == 0 { radius + 1 } else { 1 };
        let row = rows.get(y.min(last), flow);
        for (sum, equations) in columns.iter_mut().zip(row) {
            sum.add((*equations).into(), times as f64);
        }
    }
    for y in 0..=last {
        solve_row(&columns, radius, part, flow, y);
        if y < last {
            // No row below y is solved yet, so its equations are of the movements from before.
            rows.get((y + 1 + radius).min(last), flow);
            let new = rows.kept((y + 1 + radius).min(last)).iter();
            let old = rows.kept(y.saturating_sub(radius));
            for (sum, (new, old)) in columns.iter_mut().zip(new.zip(old)) {
                sum.exchange((*new).into(), (*old).into());
            }
        }
    }
}

/// The movements of a row, from the sums down the columns around it.
fn solve_row(columns: &[Sum], radius: usize, part: f64, flow: &mut Flow, y: usize) {
    let last = columns.len() - 1;
    let mut sum = Sum::default();
    sum.add(columns[0], radius as f64 + 1.0);
    for x in 1..=radius {
        sum.add(columns[x.min(last)], 1.0);
    }
    let row = flow.x.row_mut(y).iter_mut().zip(flow.y.row_mut(y));
    for (x, (right, down)) in row.enumerate() {
        Movement { right: *right, down: *down } = solve(sum, part);
        sum.exchange(columns[(x + 1 + radius).min(last)], columns[x.saturating_sub(radius)]);
    }
}

/// How far a pixel has moved.
struct Movement {
    right: f32,
    down: f32,
}

/// The movement that fits best. `part` makes means of the sums.
#[inline]
fn solve(sum: Sum, part: f64) -> Movement {
    let Sum { xx, xy, yy, x, y } = sum;
    let [xx, xy, yy, x, y] = [xx, xy, yy, x, y].map(|value| value * part);
    let inverse = 1.0 / (xx * yy - xy * xy + LEAST_DETERMINANT);
    Movement {
        right: ((yy * x - xy * y) * inverse) as f32,
        down: ((xx * y - xy * x) * inverse) as f32,
    }
}

/// The equations of the rows that a window reaches, each computed once.
struct Rows<'a> {
    pair: &'a Pair,
    /// Row y is at y modulo their number.
    kept: Vec<Vec<Equations>>,
    next: usize,
}

impl<'a> Rows<'a> {
    fn new(pair: &'a Pair, radius: usize) -> Self {
        // One row more than a window has: one comes in before another goes out.
        let count = (2 * radius + 2).min(pair.height());
        Self { pair, kept: vec![vec![Equations::default(); pair.width()]; count], next: 0 }
    }

    /// A row, which is computed if it is the next one; others must be kept still.
    fn get(&mut self, y: usize, flow: &Flow) -> &[Equations] {
        let count = self.kept.len();
        if y == self.next {
            self.pair.equations(y, flow, &mut self.kept[y % count]);
            self.next += 1;
        }
        self.kept(y)
    }

    fn kept(&self, y: usize) -> &[Equations] {
        &self.kept[y % self.kept.len()]
    }
}
