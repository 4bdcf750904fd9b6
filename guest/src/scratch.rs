//! One large buffer per thread, for bytes that are read and passed on at once.

use std::cell::RefCell;

/// Bytes of the buffer: one piece of output.
pub const SCRATCH_BYTES: usize = 65_536;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH_BYTES]);
}

/// Lends the buffer.
pub fn with<T>(act: impl FnOnce(&mut [u8]) -> T) -> T {
    SCRATCH.with_borrow_mut(|buffer| act(buffer))
}
