//! The host's side of each imported interface, one a file.
//!
//! - [`bindings`]: generated from wit/
//! - [`tensors`], [`graphs`], [`log`]: our own interfaces
//! - [`wasi_nn`]: wasi:nn
//! - [`grants`]: WASI, as far as the operator lets a guest reach out

pub mod bindings;
pub mod grants;
pub mod graphs;
pub mod log;
pub mod tensors;
pub mod wasi_nn;
