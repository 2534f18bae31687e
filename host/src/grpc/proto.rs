//! Generated from proto/ by build.rs.

#![allow(missing_docs, clippy::all)]

/// The original's wire: proto/server.proto.
pub mod server {
    tonic::include_proto!("server");
}

/// The Open Inference Protocol: proto/open_inference.proto.
pub mod inference {
    tonic::include_proto!("inference");
}

/// Both, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
