//! Faces on their way through the cascade. All arithmetic is in `f32`, as in the networks' training:
//! in `f64` a box at an edge may be another pixel's.

use tms_guest::boxes::{Nms, Overlap};
use tms_guest::serde::Serialize;

/// How far a box is to be moved: left, top, right, bottom, as parts of its width and height.
pub type Correction = [f32; 4];

/// A face, or what may be one, in pixels of the picture.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(crate = "tms_guest::serde")]
pub struct Face {
    /// Left, top, right, bottom.
    #[serde(rename = "box")]
    pub sides: [f32; 4],
    /// How sure the networks are, 0 to 1.
    pub score: f32,
    /// Left eye, right eye, nose, left and right corner of the mouth, as seen in the picture:
    /// `[x, y]` each.
    pub landmarks: [[f32; 2]; 5],
}

impl Face {
    /// A box without points.
    pub fn new(sides: [f32; 4], score: f32) -> Self {
        Self { sides, score, landmarks: [[0.0; 2]; 5] }
    }

    /// The box moved as the network says. `border` is 1 where it names its last pixel.
    pub fn corrected(self, by: Correction, border: f32) -> Self {
        let [left, top, right, bottom] = self.sides;
        let (width, height) = (right - left + border, bottom - top + border);
        let sides = [
            left + by[0] * width,
            top + by[1] * height,
            right + by[2] * width,
            bottom + by[3] * height,
        ];
        Self { sides, ..self }
    }

    /// The box made square about its centre, as large as its longer side.
    pub fn square(self) -> Self {
        let [left, top, right, bottom] = self.sides;
        let (width, height) = (right - left, bottom - top);
        let side = width.max(height);
        let left = left + (width * 0.5 - side * 0.5);
        let top = top + (height * 0.5 - side * 0.5);
        Self { sides: [left, top, left + side, top + side], ..self }
    }

    /// With the points that the third network found: five times x, then y, as parts of the box.
    pub fn with_landmarks(self, relative: [f32; 10]) -> Self {
        let [left, top, right, bottom] = self.sides;
        let (width, height) = (right - left + 1.0, bottom - top + 1.0);
        let landmarks = [0, 1, 2, 3, 4].map(|point| {
            [width * relative[point] + left - 1.0, height * relative[point + 5] + top - 1.0]
        });
        Self { landmarks, ..self }
    }
}

/// Of faces that overlap by more than `threshold`, the best.
pub fn distinct(faces: &[Face], threshold: f32) -> Vec<usize> {
    keep(faces, Nms::new(threshold))
}

/// The same at the end of the cascade, where a face inside another is that other.
pub fn separate(faces: &[Face], threshold: f32) -> Vec<usize> {
    keep(faces, Nms::new(threshold).overlap(Overlap::Minimum).border(1.0))
}

fn keep(faces: &[Face], nms: Nms) -> Vec<usize> {
    let sides: Vec<_> = faces.iter().map(|face| face.sides).collect();
    let scores: Vec<_> = faces.iter().map(|face| face.score).collect();
    nms.keep(&sides, &scores)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOX: Face =
        Face { sides: [10.0, 20.0, 30.0, 60.0], score: 0.9, landmarks: [[0.0; 2]; 5] };

    #[test]
    fn corrections_are_parts_of_the_box() {
        let moved = BOX.corrected([0.1, 0.0, -0.1, 0.25], 0.0);
        assert_eq!(moved.sides, [12.0, 20.0, 28.0, 70.0]);
        let with_border = BOX.corrected([1.0, 0.0, 0.0, 1.0], 1.0);
        assert_eq!(with_border.sides, [31.0, 20.0, 30.0, 101.0]);
    }

    #[test]
    fn squares_keep_the_centre() {
        assert_eq!(BOX.square().sides, [0.0, 20.0, 40.0, 60.0]);
    }

    #[test]
    fn landmarks_are_parts_of_the_box() {
        let mut relative = [0.0; 10];
        (relative[0], relative[5], relative[4], relative[9]) = (1.0, 1.0, 0.5, 0.5);
        let face = BOX.with_landmarks(relative);
        assert_eq!((face.landmarks[0], face.landmarks[1]), ([30.0, 60.0], [9.0, 19.0]));
        assert_eq!(face.landmarks[4], [19.5, 39.5]);
    }

    #[test]
    fn a_face_inside_another_is_dropped_at_the_end_only() {
        let inside = Face::new([12.0, 22.0, 20.0, 30.0], 0.8);
        assert_eq!(distinct(&[BOX, inside], 0.7), [0, 1]);
        assert_eq!(separate(&[BOX, inside], 0.7), [0]);
    }
}
