//! Write models for Tiny Model Server in Rust: implement [`Model`], add [`export!`], and the crate
//! compiles to a component that `tms` serves.
//!
//! ```
//! use tms_guest::prelude::*;
//!
//! struct Shout;
//!
//! impl Model for Shout {
//!     fn init() -> Result<Self> {
//!         Ok(Shout)
//!     }
//!
//!     fn describe(&self) -> Description {
//!         Description::text()
//!     }
//!
//!     fn run(&mut self, input: Input, _args: &Args) -> Result<Output> {
//!         Output::json(&input.text()?.to_uppercase())
//!     }
//! }
//!
//! tms_guest::export!(Shout);
//! ```
//!
//! # Layout
//! - [`model`]: the trait, and what a model says about itself.
//! - [`data`]: what a request carries and what a model answers; [`args`]: the caller's arguments.
//! - [`tensor`], [`element`]: tensors, which live in the host, and their way to `ndarray` and back;
//!   [`tensor_info`]: what is known of one before there is one.
//! - [`responses`]: parts of a result before its end; [`context`]: what is known of the call;
//!   [`models`]: other models, called from this one.
//! - [`graph`]: the networks beside the component, run natively by the host.
//! - [`image`]: pixels: resize, crop, normalise; [`scores`]: softmax and the best classes;
//!   [`boxes`]: non-maximum suppression.
//! - `vectors`: the instructions that the loops over pixels, scores and boxes are made of.
//! - [`error`]: errors say whose fault they are.
//! - `allocator`: zeroed memory at once, for components.
//! - `export` and `host`: the glue to the component's interface; `host` has a native twin, so that
//!   a model's own unit tests run with plain `cargo test`.

#![deny(missing_docs, unsafe_code)]

#[cfg(target_endian = "big")]
compile_error!("tensors are little-endian and passed as they are in memory");

#[cfg(all(target_arch = "wasm32", feature = "allocator"))]
mod allocator;
pub mod args;
#[cfg(target_arch = "wasm32")]
#[allow(missing_docs, unsafe_code, clippy::all)]
pub mod bindings;
pub mod boxes;
pub mod context;
pub mod data;
pub mod element;
pub mod error;
#[doc(hidden)]
pub mod export;
pub mod graph;
mod host;
pub mod image;
pub mod model;
pub mod models;
pub mod responses;
pub mod scores;
pub mod tensor;
pub mod tensor_info;
mod vectors;

pub use args::Args;
pub use data::{Encoded, Input, Output, Tensors};
pub use element::{DType, Element};
pub use error::{Error, Fault, Result};
pub use graph::Graph;
pub use image::Image;
pub use model::{Description, Model};
pub use responses::emit;
pub use tensor::Tensor;
pub use tensor_info::TensorInfo;

// The crates that appear in our signatures, so that an author's versions cannot differ from ours.
pub use {half, log, ndarray, serde, serde_json};

/// Everything that a model's source usually names.
pub mod prelude {
    pub use crate::image::Transform;
    pub use crate::{
        Args, DType, Description, Encoded, Error, Graph, Image, Input, Model, Output, Result,
        Tensor, TensorInfo, Tensors, bail_caller, boxes, context, emit, models, scores,
    };
    pub use log::{debug, error, info, trace, warn};
}
