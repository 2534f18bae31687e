//! What the first network says about one size of the picture: a score for every place of its
//! window, and corrections.

use crate::faces::{Correction, Face, distinct};

/// From one place of the window to the next, in pixels of the level.
const STRIDE: usize = 2;
/// The window's last pixel, counted from its place.
const LAST: usize = 12;
/// What the first network must say at least.
const THRESHOLD: f32 = 0.6;
/// How far two windows of a level may overlap.
const OVERLAP: f32 = 0.5;

/// The windows with a face in them, in pixels of the picture. `scores` and each quarter of
/// `corrections` have `columns` values a row.
pub fn proposals(
    scores: &[f32],
    corrections: &[f32],
    columns: usize,
    scale: f64,
) -> Vec<(Face, Correction)> {
    let scale = scale as f32;
    let places: Vec<usize> = likely(scores);
    let faces: Vec<Face> = places
        .iter()
        .map(|&place| {
            let (y, x) = (place / columns, place % columns);
            let pixel = |at: usize, offset: usize| ((STRIDE * at + offset) as f32 / scale).floor();
            Face::new([pixel(x, 1), pixel(y, 1), pixel(x, LAST), pixel(y, LAST)], scores[place])
        })
        .collect();
    let correction = |place: usize| {
        [0, 1, 2, 3]
            .map(|side| corrections.get(side * scores.len() + place).copied().unwrap_or(0.0))
    };
    let kept = distinct(&faces, OVERLAP).into_iter();
    kept.map(|at| (faces[at], correction(places[at]))).collect()
}

/// The places of scores that reach the threshold. Few do: whole blocks are passed over.
fn likely(scores: &[f32]) -> Vec<usize> {
    const BLOCK: usize = 16;
    let mut places = Vec::new();
    for (block, scores) in scores.chunks(BLOCK).enumerate() {
        let any = scores.iter().fold(false, |any, &score| any | (score >= THRESHOLD));
        if any {
            let likely = scores.iter().enumerate().filter(|(_, score)| **score >= THRESHOLD);
            places.extend(likely.map(|(at, _)| block * BLOCK + at));
        }
    }
    places
}

/// Whether any score reaches the threshold: without one, corrections need not be read.
pub fn any_likely(scores: &[f32]) -> bool {
    scores.iter().fold(false, |any, &score| any | (score >= THRESHOLD))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_become_pixels_of_the_picture() {
        let mut scores = vec![0.0; 20];
        scores[7] = 0.6;
        let mut corrections = vec![0.0; 80];
        (corrections[7], corrections[67]) = (0.5, -0.25);
        assert!(any_likely(&scores));
        let found = proposals(&scores, &corrections, 5, 0.3);
        // Column 2 of row 1.
        let face = Face::new([16.0, 10.0, 53.0, 46.0], 0.6);
        assert_eq!(found, [(face, [0.5, 0.0, 0.0, -0.25])]);
    }

    #[test]
    fn neighbours_are_one_proposal() {
        let scores = [0.7, 0.9, 0.8, 0.1];
        let found = proposals(&scores, &[0.0; 16], 4, 1.0);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0.score, 0.9);
        assert!(!any_likely(&scores[3..]));
    }
}
