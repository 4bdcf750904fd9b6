//! What the agent says about trouble: to the kernel's log, which reaches the console, or to stderr outside a VM.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::sync::OnceLock;

static KERNEL_LOG: OnceLock<File> = OnceLock::new();

/// From now on speaks through the kernel's log, as the first process of a VM does.
pub fn use_kernel_log(log: File) {
    // A second log would be the same device.
    let _ = KERNEL_LOG.set(log);
}

/// The agent cannot go on. Seen on the console of a quiet kernel too.
pub fn error(message: fmt::Arguments<'_>) {
    write('3', message);
}

/// Something is wrong and the agent goes on.
pub fn warn(message: fmt::Arguments<'_>) {
    write('4', message);
}

/// Something worth a line.
pub fn info(message: fmt::Arguments<'_>) {
    write('6', message);
}

fn write(level: char, message: fmt::Arguments<'_>) {
    // One write call per line, so that lines never mix. There is nowhere to report that a log cannot be written.
    let _ = match KERNEL_LOG.get() {
        Some(mut log) => log.write_all(format!("<{level}>instavm-agent: {message}\n").as_bytes()),
        None => std::io::stderr().write_all(format!("instavm-agent: {message}\n").as_bytes()),
    };
}
