//! Generates the messages of `protocol/instavm/guest/v1/guest.proto`.

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let protocol = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../protocol");
    let source = protocol.join("instavm/guest/v1/guest.proto");
    println!("cargo:rerun-if-changed={}", source.display());
    let descriptors = protox::compile([source], [protocol])?;
    prost_build::Config::new()
        .btree_map(["."])
        .compile_fds(descriptors)?;
    Ok(())
}
