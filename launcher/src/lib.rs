//! The launcher: one small process per state directory, parent of every VM process of it. It starts, signals,
//! reaps and reports, on request of the host over a Unix socket; it outlives the server, and its VMs outlive it.
//!
//! One thread owns all state and polls (`server`); a few workers make the copies of files, which can take long
//! (`prepare`), talk to processes that are to be forked (`fork`) and save and load memory (`memory`). Requests become checked values (`validate`) before anything acts on them.

pub mod clone_file;
pub mod config;
pub mod connection;
pub mod detach;
pub mod fork;
pub mod listen;
pub mod lock;
pub mod log;
pub mod made_files;
pub mod memory;
pub mod prepare;
pub mod process_file;
pub mod processes;
pub mod proto;
pub mod refusal;
pub mod roots;
pub mod server;
pub mod spawn;
pub mod unregistered;
pub mod validate;
pub mod wire;
pub mod worker;
