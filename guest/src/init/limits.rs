//! What the agent and its programs may open.

use std::fs;

use rustix::process::{setrlimit, Resource, Rlimit};

use crate::log;

const OPEN_FILES: Rlimit = Rlimit {
    current: Some(65_536),
    maximum: Some(1_048_576),
};

/// Sets the limits that programs inherit, and spares the agent from the out-of-memory killer.
pub fn apply() {
    if let Err(error) = setrlimit(Resource::Nofile, OPEN_FILES) {
        log::warn(format_args!("set the limit of open files: {error}"));
    }
    if let Err(error) = fs::write("/proc/self/oom_score_adj", "-1000") {
        log::warn(format_args!("/proc/self/oom_score_adj: {error}"));
    }
}
