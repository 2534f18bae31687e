//! One served model.
//!
//! - [`model`]: what it takes and gives, and what answers for it
//! - [`call`]: a call to it

pub mod call;
pub mod model;

pub use call::{Call, RunError};
pub use model::Model;
