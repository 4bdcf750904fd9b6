//! Processes inside the VM: starting, grouping, watching and ending them.

pub mod account;
pub mod background;
pub mod cgroup;
pub mod command;
pub mod drain;
pub mod environment;
pub mod group;
pub mod output;
pub mod output_log;
pub mod pipe;
pub mod proc_table;
pub mod reaper;
pub mod supervise;
