//! The file systems of the VM: describing, walking, changing.
//!
//! Below a directory everything goes through descriptors, never through a path twice: a program that swaps a directory for a
//! link meanwhile leads nowhere else. Depth, names and pages are bounded, whatever a program has made.

pub mod archive;
pub mod copy;
pub mod describe;
pub mod draft;
pub mod list;
pub mod make;
pub mod owner;
pub mod remove;
pub mod tar;
pub mod unpack;
pub mod watch;
pub mod work;
