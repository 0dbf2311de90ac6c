//! Compiles the schema in pure Rust (no `protoc`), and keeps its descriptor for reflection and for the tests that hold it closed.

use prost::Message as _;
use std::{env, error::Error, fs, path::PathBuf};

#[allow(
    clippy::disallowed_methods,
    reason = "cargo says in the environment where generated code goes; no rule runs here"
)]
fn main() -> Result<(), Box<dyn Error>> {
    let files = ["sillok/v1/record.proto", "sillok/v1/wire.proto", "sillok/v1/api.proto"];
    for file in files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .build_client(true)
        .build_server(true)
        .client_mod_attribute("sillok.v1", "#[cfg(feature = \"client\")]")
        .server_mod_attribute("sillok.v1", "#[cfg(feature = \"server\")]")
        .compile_fds(descriptors)?;
    Ok(())
}
