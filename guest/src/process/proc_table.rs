//! What /proc says about processes.

use std::fs;

/// One process, from /proc/<pid>/stat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessEntry {
    /// Process id.
    pub pid: i32,
    /// Session id.
    pub session: i32,
    /// Clock ticks between boot and its start.
    pub start_ticks: u64,
    /// It has ended and is not reaped.
    pub is_zombie: bool,
}

/// Clock ticks per second, the unit of `start_ticks`; fixed by the kernel's interface on this platform.
const TICKS_PER_SECOND: u64 = 100;

/// Now, as a process that starts now would carry it.
pub fn now_ticks() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let nanoseconds_per_tick = 1_000_000_000 / TICKS_PER_SECOND;
    now.tv_sec.unsigned_abs() * TICKS_PER_SECOND + now.tv_nsec.unsigned_abs() / nanoseconds_per_tick
}

/// A process that exists.
pub fn entry(pid: i32) -> Option<ProcessEntry> {
    parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse(pid: i32, stat: &str) -> Option<ProcessEntry> {
    // The name in parentheses may hold anything; the fields after it start with the third.
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    Some(ProcessEntry {
        pid,
        session: fields.get(3)?.parse().ok()?,
        start_ticks: fields.get(19)?.parse().ok()?,
        is_zombie: *fields.first()? == "Z",
    })
}

/// The ids of all processes.
pub fn all_pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_is_passed_over() {
        let stat = "42 (a ) b) S 1 40 39 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 0 0";
        let expected = ProcessEntry {
            pid: 42,
            session: 39,
            start_ticks: 12345,
            is_zombie: false,
        };
        assert_eq!(parse(42, stat), Some(expected));
        assert_eq!(parse(42, "42 (short) S 1"), None);
    }

    #[test]
    fn this_process_is_found_and_did_not_start_in_the_future() {
        let pid = i32::try_from(std::process::id()).expect("a pid");
        assert!(all_pids().any(|other| other == pid));
        assert!(entry(pid).expect("an entry").start_ticks <= now_ticks());
    }
}
