//! The first network finds faces of one size only, so the picture is shown to it at many.

/// The least size of a face in pixels, unless the caller gives another.
pub const MIN_FACE: f64 = 40.0;

/// What a caller may give at least: smaller ones are not recognised, and below [`WINDOW`] the picture
/// would have to be enlarged.
pub const SMALLEST_FACE: f64 = 20.0;
/// And at most: more than any picture has.
pub const LARGEST_FACE: f64 = 100_000.0;

/// The side of what the first network looks at.
pub const WINDOW: f64 = 12.0;

/// From one size to the next.
const FACTOR: f64 = 0.709;

/// One size of the picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// A pixel of the picture in pixels of the level.
    pub scale: f64,
    pub height: usize,
    pub width: usize,
}

/// The sizes for a picture, largest first; none where it is smaller than the smallest face.
pub fn levels(height: usize, width: usize, min_face: f64) -> Vec<Level> {
    let mut scale = WINDOW / min_face;
    let mut shorter = height.min(width) as f64 * scale;
    let mut levels = Vec::new();
    while shorter >= WINDOW {
        let side = |side: usize| (side as f64 * scale + 1.0) as usize;
        levels.push(Level { scale, height: side(height), width: side(width) });
        scale *= FACTOR;
        shorter *= FACTOR;
    }
    levels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(height: usize, width: usize) -> Vec<(usize, usize)> {
        let levels = levels(height, width, MIN_FACE);
        levels.iter().map(|level| (level.height, level.width)).collect()
    }

    #[test]
    fn sizes_are_the_references() {
        assert_eq!(sizes(512, 512), [154, 109, 78, 55, 39, 28, 20, 14].map(|side| (side, side)));
        assert_eq!(sizes(300, 451), [(91, 136), (64, 96), (46, 69), (33, 49), (23, 35), (17, 25)]);
    }

    #[test]
    fn a_small_picture_has_none() {
        assert!(sizes(39, 1000).is_empty());
        assert_eq!(sizes(40, 40).len(), 1);
    }
}
