//! The transport ring: gRPC in and out. The only folder that names tonic.
//!
//! - [`proto`]: generated from proto/
//! - [`codec`]: messages in buffers that fit
//! - [`listen`]: addresses, connections and their home workers
//! - [`serve`]: all services on one port, until told to stop
//! - [`app`]: what the services share
//! - [`server`]: the nine calls of the original Tiny Model Server
//! - [`inference`]: the Open Inference Protocol's six
//! - [`images`], [`tensors`]: their data as tensors, and back
//! - [`status`]: errors as gRPC statuses
//! - [`too_large`]: says which setting a message was too large for

pub mod app;
pub mod codec;
mod images;
mod inference;
pub mod listen;
pub mod proto;
pub mod serve;
mod server;
mod status;
mod tensors;
mod too_large;
