//! Generates the launcher's protocol from its .proto, without protoc.
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let root = "../protocol";
    let file = "instavm/launcher/v1/launcher.proto";
    println!("cargo:rerun-if-changed={root}/{file}");
    let descriptors = protox::compile([file], [root])?;
    prost_build::Config::new().compile_fds(descriptors)?;
    Ok(())
}
