//! Processes of this very program that do what may crash, hang or take memory.
//!
//! - [`confine`](mod@confine): what a child may do

pub mod confine;
