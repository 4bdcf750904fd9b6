//! The services, one file each.

pub mod background;
pub mod contexts;
pub mod directory;
pub mod exec;
pub mod figures;
pub mod files;
pub mod identity;
pub mod pieces;
pub mod run_code;
pub mod tree;
pub mod watch;
