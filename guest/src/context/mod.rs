//! Interpreters that live from cell to cell. A language joins with a driver: a program that speaks `wire` on two pipes.

pub mod actor;
pub mod cell;
pub mod conversation;
pub mod interpreter;
pub mod registry;
pub mod usage;
pub mod wire;
