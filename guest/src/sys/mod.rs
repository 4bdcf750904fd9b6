//! The system calls that need `unsafe`, each behind a function that does not.

pub mod kernel;
pub mod readiness;
pub mod spawn;
