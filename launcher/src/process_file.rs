//! `process.json` in a VM's directory: by what a later launcher knows the VM's process again.

use rustix::fs::{fstat, openat, renameat, Mode, OFlags};
use rustix::process::geteuid;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

/// Its name.
pub const NAME: &str = "process.json";
const DRAFT_NAME: &str = ".process.json.draft";
const LIMIT_BYTES: u64 = 8 * 1024;

/// Names one process for as long as the machine runs: pids come back, the pair does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessName {
    /// As the host sees it.
    pub pid: i32,
    /// Field 22 of /proc/<pid>/stat.
    pub start_time_ticks: u64,
}

impl ProcessName {
    /// Asks the kernel; an error when there is no such process.
    pub fn of(pid: i32) -> io::Result<Self> {
        let field = stat_field(pid, 22)?;
        match field {
            Some(start_time_ticks) => Ok(Self {
                pid,
                start_time_ticks,
            }),
            None => Err(io::Error::other(format!(
                "/proc/{pid}/stat has no start time"
            ))),
        }
    }
}

/// The process's parent; `None` when there is no such process.
pub fn parent_of(pid: i32) -> Option<u32> {
    stat_field(pid, 4).ok()??.try_into().ok()
}

/// A number of /proc/<pid>/stat, counted as in proc(5), after the second.
fn stat_field(pid: i32, number: usize) -> io::Result<Option<u64>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field, the program's name, is the only one that can hold spaces and brackets.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let field = after_name.split_ascii_whitespace().nth(number - 3);
    Ok(field.and_then(|field| field.parse().ok()))
}

/// Which boot of the machine this is: pids and start times count from there.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_or_else(|_| "unknown".into(), |text| text.trim().into())
}

/// Writes the file whole or not at all. `program` needs no escapes (see `config`).
pub fn write(directory: BorrowedFd<'_>, name: ProcessName, program: &str) -> io::Result<()> {
    let flags =
        OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(openat(
        directory,
        DRAFT_NAME,
        flags,
        Mode::RUSR | Mode::WUSR,
    )?);
    file.write_all(format(name, program, &boot_id()).as_bytes())?;
    Ok(renameat(directory, DRAFT_NAME, directory, NAME)?)
}

/// The process that the file names, if this user's launcher wrote it in this boot of the machine.
pub fn read(directory: BorrowedFd<'_>) -> Option<ProcessName> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat(directory, NAME, flags, Mode::empty()).ok()?);
    // Whoever else may write in this directory must not have the launcher signal a process of their choice.
    if fstat(file.as_fd()).ok()?.st_uid != geteuid().as_raw() {
        return None;
    }
    let mut text = String::new();
    file.take(LIMIT_BYTES).read_to_string(&mut text).ok()?;
    parse(&text, &boot_id())
}

fn format(name: ProcessName, program: &str, boot_id: &str) -> String {
    let ProcessName {
        pid,
        start_time_ticks,
    } = name;
    format!("{{\"pid\":{pid},\"start_time_ticks\":{start_time_ticks},\"boot_id\":\"{boot_id}\",\"program\":\"{program}\"}}\n")
}

/// Reads what `format` writes and nothing else.
fn parse(text: &str, boot_id: &str) -> Option<ProcessName> {
    let (pid, rest) = text
        .strip_prefix("{\"pid\":")?
        .split_once(",\"start_time_ticks\":")?;
    let (ticks, rest) = rest.split_once(",\"boot_id\":\"")?;
    let (seen_boot_id, rest) = rest.split_once("\",\"program\":\"")?;
    rest.strip_suffix("\"}\n")?;
    let pid = pid.parse().ok().filter(|pid| *pid > 1)?;
    (seen_boot_id == boot_id).then_some(ProcessName {
        pid,
        start_time_ticks: ticks.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMED: ProcessName = ProcessName {
        pid: 4711,
        start_time_ticks: 987_654_321,
    };

    #[test]
    fn what_is_written_is_read_again() {
        assert_eq!(
            parse(&format(NAMED, "/usr/bin/qemu", "b-1"), "b-1"),
            Some(NAMED)
        );
    }

    #[test]
    fn a_file_of_another_boot_names_nothing() {
        assert_eq!(parse(&format(NAMED, "/usr/bin/qemu", "b-1"), "b-2"), None);
    }

    #[test]
    fn a_damaged_file_names_nothing() {
        let whole = format(NAMED, "/usr/bin/qemu", "b-1");
        for end in 0..whole.len() {
            assert_eq!(parse(&whole[..end], "b-1"), None, "{end}");
        }
        for pid in ["0", "1", "-1", "x", "99999999999"] {
            assert_eq!(parse(&whole.replace("4711", pid), "b-1"), None, "{pid}");
        }
    }

    #[test]
    fn a_process_is_named_by_the_kernel() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(ProcessName::of(own).unwrap().start_time_ticks > 0);
        assert_eq!(ProcessName::of(own).unwrap(), ProcessName::of(own).unwrap());
        assert!(ProcessName::of(i32::MAX).is_err());
    }
}
