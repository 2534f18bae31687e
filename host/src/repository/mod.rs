//! From names to models.
//!
//! - [`folder`]: what lies in a model's folder
//! - [`plan`]: what its files and the settings say of it
//! - [`grants`]: what a model gets of what it asks for
//! - [`load`]: from plans to models, at start
//! - [`catalogue`]: all models, loading, ready or failed, in [`slots`]
//! - [`error`]: what keeps the whole server from starting

pub mod catalogue;
pub mod error;
pub mod folder;
pub mod grants;
pub mod load;
pub mod plan;
mod slots;

pub use catalogue::{Catalogue, Unready};
pub use error::StartError;
