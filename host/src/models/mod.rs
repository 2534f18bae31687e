//! Models: what is served under a name.
//!
//! - [`folder`]: what lies in a model's folder
//! - [`plan`]: what its files and the settings say of it
//! - [`load`]: from plans to models, at start
//! - [`catalogue`]: all models, loading, ready or failed, in [`slots`]
//! - [`grants`]: what a model gets of what it asks for
//! - [`model`]: one model
//! - [`call`]: a call to it

pub mod call;
pub mod catalogue;
pub mod folder;
pub mod grants;
pub mod load;
pub mod model;
pub mod plan;
mod slots;

pub use call::{Call, RunError};
pub use catalogue::{Catalogue, Unready};
pub use model::Model;
