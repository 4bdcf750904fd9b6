//! The agent inside every VM: first process, and the other end of `protocol/guest-link.md`.

pub mod agent;
pub mod calls;
pub mod code;
pub mod context;
pub mod failure;
pub mod files;
pub mod flag;
pub mod image;
pub mod init;
pub mod link;
pub mod log;
pub mod process;
pub mod proto;
pub mod scratch;
pub mod serve;
pub mod sys;

/// Work on files; more of it waits. Transfers, which may stand still for as long as the host likes, take fewer.
const MAX_BLOCKING_THREADS: usize = 48;

/// The runtime of the agent: one thread, and a few more for files.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        .build()
}
