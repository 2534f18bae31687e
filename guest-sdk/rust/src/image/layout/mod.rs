//! From a row of an image to a network's input: normalised, as planes or packed, in either order
//! of colours.
//!
//! - [`levels`]: what becomes of one pixel
//! - `rows`: the loops over a row of them

mod levels;
mod rows;

pub(super) use levels::Levels;
