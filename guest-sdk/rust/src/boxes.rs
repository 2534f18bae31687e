//! Boxes that a detector found, `[left, top, right, bottom]`: how far two overlap, and which of many
//! to keep.

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

/// The boxes in the order of their scores, side by side for the sake of vectors.
struct Sorted {
    left: Vec<f32>,
    top: Vec<f32>,
    right: Vec<f32>,
    bottom: Vec<f32>,
    area: Vec<f32>,
    /// 1 for a box that a better one has suppressed.
    gone: Vec<u32>,
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
        let side = |side: usize| order.iter().map(|&place| boxes[place][side]).collect();
        let area = |&place: &usize| {
            let [left, top, right, bottom] = boxes[place];
            (right - left + self.border) * (bottom - top + self.border)
        };
        let mut sorted = Sorted {
            left: side(0),
            top: side(1),
            right: side(2),
            bottom: side(3),
            area: order.iter().map(area).collect(),
            gone: vec![0; count],
        };
        let mut kept = Vec::new();
        for (at, &place) in order.iter().enumerate() {
            if sorted.gone[at] != 0 {
                continue;
            }
            kept.push(place);
            let area = sorted.area[at];
            match self.overlap {
                Overlap::Union => {
                    self.suppress(&boxes[place], at + 1, &mut sorted, |other, both| {
                        area + other - both
                    });
                }
                Overlap::Minimum => {
                    self.suppress(&boxes[place], at + 1, &mut sorted, |other, _| {
                        lesser(area, other)
                    });
                }
            }
        }
        kept
    }

    /// Marks the boxes from `first` on that overlap `best` too much.
    #[inline(always)]
    fn suppress(
        &self,
        best: &[f32; 4],
        first: usize,
        sorted: &mut Sorted,
        whole: impl Fn(f32, f32) -> f32,
    ) {
        let [left, top, right, bottom] = *best;
        // Slices of one length, so that the loop has no checks and becomes vectors.
        let gone = &mut sorted.gone[first..];
        let count = gone.len();
        let (lefts, tops) = (&sorted.left[first..][..count], &sorted.top[first..][..count]);
        let (rights, bottoms) = (&sorted.right[first..][..count], &sorted.bottom[first..][..count]);
        let areas = &sorted.area[first..][..count];
        // Six slices side by side: an index says it more plainly than five zips.
        #[allow(clippy::needless_range_loop)]
        for i in 0..count {
            let width = lesser(right, rights[i]) - greater(left, lefts[i]) + self.border;
            let height = lesser(bottom, bottoms[i]) - greater(top, tops[i]) + self.border;
            let both = greater(width, 0.0) * greater(height, 0.0);
            gone[i] |= u32::from(both / whole(areas[i], both) > self.threshold);
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
