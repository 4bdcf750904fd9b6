//! The messages of `protocol/instavm/launcher/v1/launcher.proto`, as generated.
#![allow(missing_docs)]

include!(concat!(env!("OUT_DIR"), "/instavm.launcher.v1.rs"));
