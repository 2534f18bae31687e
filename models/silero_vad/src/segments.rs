//! From when to when somebody speaks.

use tms_guest::serde::Serialize;

use crate::recording::CHUNK;

/// Speech begins with a chunk that is as likely as this, and ends before one that is less likely than
/// the other: in between it goes on, so that a doubtful chunk does not cut it in two.
const BEGINS: f32 = 0.5;
const GOES_ON: f32 = 0.35;

/// A stretch of speech, in seconds from the start.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(crate = "tms_guest::serde")]
pub struct Segment {
    pub start: f64,
    pub end: f64,
}

/// The stretches of speech by the probabilities of all chunks.
pub fn segments(probabilities: &[f32]) -> Vec<Segment> {
    let mut segments = Vec::new();
    let mut start = None;
    for (chunk, &probability) in probabilities.iter().enumerate() {
        match start {
            None if probability >= BEGINS => start = Some(chunk),
            Some(first) if probability < GOES_ON => {
                segments.push(Segment { start: seconds(first), end: seconds(chunk) });
                start = None;
            }
            _ => {}
        }
    }
    // It may go on to the end.
    let end = seconds(probabilities.len());
    segments.extend(start.map(|first| Segment { start: seconds(first), end }));
    segments
}

/// When a chunk begins.
fn seconds(chunk: usize) -> f64 {
    /// Milliseconds of a chunk, at 16 samples a millisecond.
    const LENGTH: usize = CHUNK / 16;
    (chunk * LENGTH) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(probabilities: &[f32]) -> Vec<(f64, f64)> {
        segments(probabilities).iter().map(|segment| (segment.start, segment.end)).collect()
    }

    #[test]
    fn a_doubtful_chunk_neither_begins_nor_ends_speech() {
        assert_eq!(times(&[]), []);
        assert_eq!(times(&[0.1, 0.49, 0.4]), []);
        assert_eq!(times(&[0.1, 0.5, 0.4, 0.36, 0.34, 0.4, 0.1]), [(0.032, 0.128)]);
        assert_eq!(times(&[0.9, 0.1, 0.9]), [(0.0, 0.032), (0.064, 0.096)]);
    }
}
