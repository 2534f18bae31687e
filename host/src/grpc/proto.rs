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

/// ORCA's load reports: proto/xds/. The modules are nested as the packages are, since the one names the other.
pub mod xds {
    pub mod data {
        pub mod orca {
            pub mod v3 {
                tonic::include_proto!("xds.data.orca.v3");
            }
        }
    }
    pub mod service {
        pub mod orca {
            pub mod v3 {
                tonic::include_proto!("xds.service.orca.v3");
            }
        }
    }
}

/// All of them, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
