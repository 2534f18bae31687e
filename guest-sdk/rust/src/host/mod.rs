//! The host's side of tensors and graphs: handles in a component, plain memory natively.
//!
//! Both modules have the same items. Arguments have been checked by the callers in `tensor` and
//! `graph`: in a component a wrong one would trap.

#[cfg(target_arch = "wasm32")]
mod component;
#[cfg(target_arch = "wasm32")]
pub(crate) use component::*;

#[cfg(not(target_arch = "wasm32"))]
mod native;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use native::*;
