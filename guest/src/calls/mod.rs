//! The services, one file each.

pub mod exec;
pub mod figures;
pub mod run_code;
