//! The host's side of each imported interface, one a file.
//!
//! - [`tensors`], [`graphs`], [`log`], [`context`], [`responses`], [`models`]: our own interfaces
//! - [`v0_1`]: the same in their version before
//! - [`wasi_nn`]: the interface of that name
//! - [`name_lookup`]: what we put in front of a WASI interface; the rest of WASI is wasmtime-wasi's
//!
//! What they share:
//! - [`bindings`]: generated from wit/
//! - [`resources`]: what guests hold handles on
//! - [`dtypes`]: types of elements, in both interfaces
//! - [`grants`]: what the operator lets a guest reach through WASI
//! - [`lines`]: a model's lines in the log, its stdout and stderr among them

pub mod bindings;
mod context;
mod dtypes;
pub mod grants;
mod graphs;
pub mod lines;
mod log;
mod models;
mod name_lookup;
pub mod resources;
mod responses;
mod tensors;
mod v0_1;
mod wasi_nn;

use wasmtime::{
    Engine, Result,
    component::{HasSelf, Linker},
};

use super::store::StoreData;

/// All that components may import.
pub fn linker(engine: &Engine) -> Result<Linker<StoreData>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    bindings::ConnectedModel::add_to_linker::<_, HasSelf<_>>(&mut linker, |data| data)?;
    v0_1::add_to_linker(&mut linker)?;
    // In place of functions that are there already.
    linker.allow_shadowing(true);
    name_lookup::restrict(&mut linker)?;
    tensors::lend_bytes(&mut linker)?;
    wasi_nn::lend_bytes(&mut linker)?;
    linker.allow_shadowing(false);
    Ok(linker)
}
