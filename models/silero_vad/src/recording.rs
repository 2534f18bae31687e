//! What is left of a recording's samples from one call to the next: the network hears chunks, and each
//! with the last samples before it.

/// The samples of a chunk: 32 ms.
pub const CHUNK: usize = 512;
/// The samples before a chunk that are heard with it.
const BEFORE: usize = 64;
/// The samples that the network takes at once.
pub const WINDOW: usize = BEFORE + CHUNK;

/// The end of a recording, or all that was added since the last chunks were forgotten.
#[derive(Clone)]
pub struct Recording {
    /// The samples before the next chunk, and behind them those that wait for theirs to be whole.
    samples: Vec<f32>,
}

impl Default for Recording {
    /// Before the first sample there is silence.
    fn default() -> Self {
        Self { samples: vec![0.0; BEFORE] }
    }
}

impl Recording {
    /// Adds samples at the end.
    pub fn add(&mut self, samples: &[f32]) {
        self.samples.extend_from_slice(samples);
    }

    /// The whole chunks, each behind the samples before it: [`WINDOW`] samples.
    pub fn windows(&self) -> impl Iterator<Item = &[f32]> {
        self.samples.windows(WINDOW).step_by(CHUNK)
    }

    /// Forgets the whole chunks.
    pub fn forget(&mut self) {
        let waiting = (self.samples.len() - BEFORE) % CHUNK;
        self.samples.drain(..self.samples.len() - BEFORE - waiting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The windows of samples that come in pieces of these lengths: 1, 2, 3...
    fn windows(pieces: &[usize]) -> Vec<Vec<f32>> {
        let mut recording = Recording::default();
        let mut windows = Vec::new();
        let mut last = 0;
        for &length in pieces {
            let samples: Vec<f32> = (last + 1..=last + length).map(|at| at as f32).collect();
            last += length;
            recording.add(&samples);
            windows.extend(recording.windows().map(<[f32]>::to_vec));
            recording.forget();
            assert!(recording.samples.len() < WINDOW);
        }
        windows
    }

    #[test]
    fn chunks_are_the_same_however_they_come() {
        let whole = windows(&[2000]);
        assert_eq!(whole.len(), 3);
        assert!(whole[0][..64].iter().all(|&sample| sample == 0.0));
        assert_eq!((whole[0][64], whole[0][575]), (1.0, 512.0));
        assert_eq!((whole[1][0], whole[1][64], whole[1][575]), (449.0, 513.0, 1024.0));
        assert_eq!((whole[2][0], whole[2][575]), (961.0, 1536.0));
        assert_eq!(windows(&[512, 512, 512, 464]), whole);
        assert_eq!(windows(&[1, 510, 0, 1, 1025, 463]), whole);
        assert_eq!(windows(&[7; 285]), whole);
        assert!(windows(&[0, 511]).is_empty());
    }
}
