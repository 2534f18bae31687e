//! The sizes at which the frames are looked at. A movement of many pixels is one of few in a small
//! picture: it is found there, and made more exact in the larger ones.

/// Smaller pictures show nothing.
const LEAST: f64 = 32.0;

/// One of the sizes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    pub height: usize,
    pub width: usize,
    /// How blurred the frame must be before it is shrunk: finer things would show as false ones.
    pub sigma: f64,
}

/// The levels of frames of `height` and `width`, smallest first; the last has the frames' own size.
pub fn levels(height: usize, width: usize, scale: f64, most: usize) -> Vec<Level> {
    let shorter = height.min(width) as f64;
    let scales = std::iter::successors(Some(1.0), |size| Some(size * scale));
    let scales = scales.enumerate().take(most + 1);
    // The frames' own size is a level, however small.
    let scales = scales.take_while(|(at, size)| *at == 0 || shorter * size >= LEAST);
    let mut levels: Vec<Level> = scales.map(|(_, size)| level(height, width, size)).collect();
    levels.reverse();
    levels
}

fn level(height: usize, width: usize, size: f64) -> Level {
    let rounded = |length: usize| (length as f64 * size).round_ties_even() as usize;
    Level { height: rounded(height), width: rounded(width), sigma: (1.0 / size - 1.0) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_end_where_they_would_be_too_small() {
        let sizes = |height, width, scale, most| -> Vec<_> {
            let levels = levels(height, width, scale, most).into_iter();
            levels.map(|level| (level.height, level.width)).collect()
        };
        assert_eq!(sizes(480, 640, 0.5, 3), [(60, 80), (120, 160), (240, 320), (480, 640)]);
        assert_eq!(sizes(480, 640, 0.5, 0), [(480, 640)]);
        assert_eq!(sizes(100, 64, 0.5, 9), [(50, 32), (100, 64)]);
        assert_eq!(sizes(1, 1, 0.5, 3), [(1, 1)]);
    }

    #[test]
    fn smaller_levels_are_blurred_more() {
        let levels = levels(480, 640, 0.5, 2);
        assert_eq!(levels.iter().map(|level| level.sigma).collect::<Vec<_>>(), [1.5, 0.5, 0.0]);
    }
}
