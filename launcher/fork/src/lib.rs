//! Loaded into a VM process (`LD_PRELOAD`), this library lets the launcher fork it while it runs.
//!
//! One dormant thread waits on a socket. On request it stops every other thread with a signal, so that the kernel
//! saves where each of them is; makes a copy of the process, in which only that one thread exists; and lets the parent
//! go on. In the copy it gives the process its own descriptors, waits for the launcher's *go*, and makes the other
//! threads anew, each on its saved context. See docs/decisions/009 and `launcher/src/fork`.
//!
//! It uses nothing of the C library but pure functions, and no Rust runtime: the threads that it stops may hold any
//! lock. All that is `unsafe` stands in `raw`, with what makes it sound.

#![cfg_attr(not(test), no_std)]

mod child;
mod park;
mod raw;
mod serving;

use core::ffi::{c_int, c_uint, c_void};
use instavm_fork_protocol::LISTENER_VARIABLE;

#[cfg(not(test))]
#[panic_handler]
fn on_panic(_: &core::panic::PanicInfo<'_>) -> ! {
    raw::exit(120)
}

#[used]
#[link_section = ".init_array"]
static AT_START: extern "C" fn(c_int, *const *const u8, *const *const u8) = at_start;

/// Runs before the program's `main`, when there is one thread. A process that is not told a listener is left alone.
extern "C" fn at_start(_count: c_int, _arguments: *const *const u8, environment: *const *const u8) {
    // SAFETY: the dynamic linker hands the program's environment to each constructor.
    let Some(listener) =
        (unsafe { raw::number_in_environment(environment, LISTENER_VARIABLE.as_bytes()) })
    else {
        return;
    };
    // What fails here is seen by the launcher: nobody answers on the socket, and no fork is made.
    let is_ready = raw::own_descriptor(listener)
        .and_then(|()| raw::find_id_offset())
        .and_then(|()| raw::forbid_programs());
    if is_ready.is_ok() {
        serving::listen_on(listener);
        raw::without_signals(|| {
            let _ = raw::start_helper(None);
        });
    }
}

/// QEMU keeps guest memory out of forks; a forked VM needs it.
///
/// # Safety
/// As the C library's function of that name.
#[no_mangle]
pub unsafe extern "C" fn madvise(address: *mut c_void, length: usize, advice: c_int) -> c_int {
    const DONTFORK: c_int = 10;
    if advice == DONTFORK {
        return 0;
    }
    extern "C" {
        fn __errno_location() -> *mut c_int;
    }
    // SAFETY: the caller's.
    match unsafe { raw::advise(address as usize, length, advice) } {
        Ok(()) => 0,
        Err(raw::Errno(errno)) => {
            // SAFETY: the C library's `errno` of this thread.
            unsafe { *__errno_location() = errno };
            -1
        }
    }
}

const NOT_HERE: c_int = -38;

/// A ring cannot be forked, so QEMU is told that there is none.
#[no_mangle]
pub extern "C" fn io_uring_queue_init(
    _entries: c_uint,
    _ring: *mut c_void,
    _flags: c_uint,
) -> c_int {
    NOT_HERE
}

/// See `io_uring_queue_init`.
#[no_mangle]
pub extern "C" fn io_uring_queue_init_params(
    _entries: c_uint,
    _ring: *mut c_void,
    _params: *mut c_void,
) -> c_int {
    NOT_HERE
}
