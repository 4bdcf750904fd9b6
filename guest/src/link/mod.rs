//! The agent's end of `protocol/guest-link.md`: one byte stream, a session on it, frames in the session.

pub mod accept;
pub mod frame;
pub mod handshake;
pub mod line;
pub mod outbox;
pub mod read_buffer;
pub mod session;
pub mod stream;
