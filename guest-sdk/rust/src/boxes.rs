//! Boxes that a detector found, `[left, top, right, bottom]`: how far two overlap, and which of many
//! to keep.

use std::array::from_fn;

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

/// So many boxes are compared at once.
const LANES: usize = 8;

/// The boxes in the order of their scores, side by side for the sake of vectors.
#[derive(Clone, Copy)]
struct Block {
    left: [f32; LANES],
    top: [f32; LANES],
    right: [f32; LANES],
    bottom: [f32; LANES],
    area: [f32; LANES],
    /// 1 for a box that a better one has suppressed.
    gone: [u32; LANES],
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
    #[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
    pub fn keep(&self, boxes: &[[f32; 4]], scores: &[f32]) -> Vec<usize> {
        let count = boxes.len().min(scores.len());
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        let mut blocks: Vec<Block> = order
            .chunks(LANES)
            .map(|places| {
                let value = |side: usize| {
                    let mut values = [0.0; LANES];
                    for (value, &place) in values.iter_mut().zip(places) {
                        *value = boxes[place][side];
                    }
                    values
                };
                let (left, top, right, bottom) = (value(0), value(1), value(2), value(3));
                let mut area = [0.0; LANES];
                for i in 0..LANES {
                    area[i] =
                        (right[i] - left[i] + self.border) * (bottom[i] - top[i] + self.border);
                }
                Block { left, top, right, bottom, area, gone: [0; LANES] }
            })
            .collect();
        let mut kept = Vec::new();
        for (at, &place) in order.iter().enumerate() {
            let (first, lane) = (at / LANES, at % LANES);
            if blocks[first].gone[lane] != 0 {
                continue;
            }
            kept.push(place);
            let area = blocks[first].area[lane];
            match self.overlap {
                Overlap::Union => {
                    self.suppress(&boxes[place], &mut blocks[first..], |other, both| {
                        area + other - both
                    })
                }
                Overlap::Minimum => {
                    self.suppress(&boxes[place], &mut blocks[first..], |other, _| {
                        lesser(area, other)
                    })
                }
            }
        }
        kept
    }

    /// Marks the boxes that overlap `best` too much: those before it, which no longer matter, too.
    #[inline(always)]
    fn suppress(&self, best: &[f32; 4], blocks: &mut [Block], whole: impl Fn(f32, f32) -> f32) {
        let [left, top, right, bottom] = *best;
        for block in blocks {
            let both: [f32; LANES] = from_fn(|i| {
                let width = lesser(right, block.right[i]) - greater(left, block.left[i]);
                let height = lesser(bottom, block.bottom[i]) - greater(top, block.top[i]);
                greater(width + self.border, 0.0) * greater(height + self.border, 0.0)
            });
            let overlap: [f32; LANES] = from_fn(|i| both[i] / whole(block.area[i], both[i]));
            let gone: [u32; LANES] = from_fn(|i| u32::from(overlap[i] > self.threshold));
            block.gone = from_fn(|i| block.gone[i] | gone[i]);
        }
    }
}

/// The smaller, as one instruction: `f32::min` has more to say about NaN.
#[inline(always)]
fn lesser(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

#[inline(always)]
fn greater(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}
