//! Generates the gRPC code from proto/ with protox: no `protoc` needed.

use std::{env, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let proto = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../proto");
    let files = ["server.proto", "open_inference.proto", "xds/service/orca/v3/orca.proto"];
    println!("cargo:rerun-if-changed=../proto");
    println!("cargo:rerun-if-changed=../wit");

    let descriptors = protox::compile(files, [&proto])?;
    // Reflection serves the same descriptors that the code was generated from.
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), protox::prost::Message::encode_to_vec(&descriptors))?;
    tonic_prost_build::configure()
        // `bytes` fields stay slices of the received message: an image is not copied by decoding.
        .bytes(".")
        .codec_path("crate::grpc::codec::Codec")
        .compile_fds(descriptors)?;
    Ok(())
}
