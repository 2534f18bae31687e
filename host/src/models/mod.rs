//! One served model.
//!
//! - [`model`]: what it takes, and what answers for it
//! - [`accepts`]: whether a request fits that
//! - [`call`]: a call to it, and how one can fail
//! - [`component`]: answers with an instance of a component
//! - [`sequences`]: calls that meet the same instance
//! - [`others`]: models that call other models
//! - [`bare_graph`]: answers with a graph that has no component
//! - [`outcome`]: what became of the call

mod accepts;
pub mod bare_graph;
pub mod call;
pub mod component;
pub mod model;
pub mod others;
pub mod outcome;
pub mod sequences;

pub use call::{Call, RunError};
pub use model::{Body, Model, Session};
