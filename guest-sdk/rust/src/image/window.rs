//! What resizing is asked for, and where its rows go.

/// The size of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) height: usize,
    pub(super) width: usize,
}

/// The wanted part of the resized image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) top: usize,
    pub(super) left: usize,
    pub(super) height: usize,
    pub(super) width: usize,
}

impl Window {
    /// All of an image of this size.
    pub(super) fn whole(size: Size) -> Self {
        Self { top: 0, left: 0, height: size.height, width: size.width }
    }
}

/// What is done with each row of the result: its number and its values.
pub(super) type Sink<'a> = &'a mut dyn FnMut(usize, &[f32]);
