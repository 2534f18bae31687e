//! Boxes that a detector found, `[left, top, right, bottom]`: how far two overlap, and which of many
//! to keep.

use crate::scores::rank;
use crate::vectors::*;

/// What the common part of two boxes is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overlap {
    /// What they cover together: intersection over union.
    #[default]
    Union,
    /// The smaller of them: 1 for a box inside another.
    Minimum,
}

/// Non-maximum suppression: of boxes that overlap, the one with the highest score.
///
/// ```
/// use tms_guest::boxes::Nms;
/// let boxes = [[0.0, 0.0, 10.0, 10.0], [1.0, 0.0, 11.0, 10.0], [20.0, 0.0, 30.0, 10.0]];
/// assert_eq!(Nms::new(0.5).keep(&boxes, &[0.8, 0.9, 0.7]), [1, 2]);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Nms {
    threshold: f32,
    overlap: Overlap,
    border: f32,
}

/// Four boxes of neighbouring scores, side by side for the sake of vectors.
#[derive(Clone, Copy, Default)]
struct Four {
    left: [f32; 4],
    top: [f32; 4],
    right: [f32; 4],
    bottom: [f32; 4],
    area: [f32; 4],
    /// Not 0 for a box that a better one has suppressed.
    gone: [u32; 4],
}

impl Nms {
    /// Suppresses boxes that overlap a better one by more than `threshold`, 0 to 1.
    pub fn new(threshold: f32) -> Self {
        Self { threshold, overlap: Overlap::default(), border: 0.0 }
    }

    /// What an overlap is compared with.
    pub fn overlap(self, overlap: Overlap) -> Self {
        Self { overlap, ..self }
    }

    /// Adds so much to widths and heights: 1 where a box names its last pixel, not the one after.
    pub fn border(self, border: f32) -> Self {
        Self { border, ..self }
    }

    /// The places of the boxes to keep, best first; of equal scores the first. Boxes without area
    /// are not suppressed. Pairs: what is left over of boxes or scores is not looked at.
    pub fn keep(&self, boxes: &[[f32; 4]], scores: &[f32]) -> Vec<usize> {
        let order = best_first(&scores[..boxes.len().min(scores.len())]);
        let mut fours = self.side_by_side(boxes, &order);
        let mut kept = Vec::new();
        for (at, &place) in order.iter().enumerate() {
            if fours[at / 4].gone[at % 4] == 0 {
                kept.push(place);
                // From the box itself on: what was decided is not looked at again.
                let (best, area) = (boxes[place], fours[at / 4].area[at % 4]);
                match self.overlap {
                    Overlap::Union => self.suppress::<true>(best, area, &mut fours[at / 4..]),
                    Overlap::Minimum => self.suppress::<false>(best, area, &mut fours[at / 4..]),
                }
            }
        }
        kept
    }

    /// The boxes in this order, and empty ones to make the last four.
    fn side_by_side(&self, boxes: &[[f32; 4]], order: &[usize]) -> Vec<Four> {
        let mut fours = vec![Four::default(); order.len().div_ceil(4)];
        for (four, places) in fours.iter_mut().zip(order.chunks(4)) {
            for (at, &place) in places.iter().enumerate() {
                let [left, top, right, bottom] = boxes[place];
                (four.left[at], four.top[at]) = (left, top);
                (four.right[at], four.bottom[at]) = (right, bottom);
                four.area[at] = (right - left + self.border) * (bottom - top + self.border);
            }
        }
        fours
    }

    /// Marks the boxes that overlap `best`, of `area`, too much.
    #[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
    fn suppress<const UNION: bool>(&self, best: [f32; 4], area: f32, fours: &mut [Four]) {
        let best = [
            f32x4_splat(best[0]),
            f32x4_splat(best[1]),
            f32x4_splat(best[2]),
            f32x4_splat(best[3]),
            f32x4_splat(area),
        ];
        let (border, threshold) = (f32x4_splat(self.border), f32x4_splat(self.threshold));
        let (turns, last) = fours.as_chunks_mut::<4>();
        for [a, b, c, d] in turns {
            // Four times four in a turn of the loop: in the sandbox a turn costs a check of the clock,
            // and a store and a load of every vector that outlives it.
            a.suppress::<UNION>(best, border, threshold);
            b.suppress::<UNION>(best, border, threshold);
            c.suppress::<UNION>(best, border, threshold);
            d.suppress::<UNION>(best, border, threshold);
        }
        for four in last {
            four.suppress::<UNION>(best, border, threshold);
        }
    }
}

impl Four {
    /// Marks those that overlap the box `best`, the fifth of which is its area, too much.
    #[inline(always)]
    fn suppress<const UNION: bool>(&mut self, best: [V128; 5], border: V128, threshold: V128) {
        let [left, top, right, bottom, area] = best;
        let first = f32x4_pmax(load(&self.left), left);
        let width = f32x4_sub(f32x4_pmin(load(&self.right), right), first);
        let first = f32x4_pmax(load(&self.top), top);
        let height = f32x4_sub(f32x4_pmin(load(&self.bottom), bottom), first);
        let width = f32x4_pmax(zero(), f32x4_add(width, border));
        let height = f32x4_pmax(zero(), f32x4_add(height, border));
        let both = f32x4_mul(width, height);
        let whole = match UNION {
            true => f32x4_sub(f32x4_add(area, load(&self.area)), both),
            false => f32x4_pmin(load(&self.area), area),
        };
        let too_much = f32x4_gt(f32x4_div(both, whole), threshold);
        let gone = v128_or(load(&self.gone), too_much);
        store(&mut self.gone, gone);
    }
}

/// The places of scores, best first; of equal ones the first.
fn best_first(scores: &[f32]) -> Vec<usize> {
    // The larger the rank the smaller the upper half, and the place below: plain numbers are sorted
    // faster than places of what is looked up.
    let key = |(place, &score): (usize, &f32)| {
        let descending = !(rank(score) as u32 ^ 1 << 31);
        u64::from(descending) << 32 | place as u64
    };
    let mut keys: Vec<u64> = scores.iter().enumerate().map(key).collect();
    keys.sort_unstable();
    keys.into_iter().map(|key| key as u32 as usize).collect()
}
