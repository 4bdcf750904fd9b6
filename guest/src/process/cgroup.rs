//! Cgroups (version 2), one for each call and each interpreter. Making one is slow, so an empty one is used again.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::{openat, Mode, OFlags, CWD};

/// Empty ones that are kept.
const MAX_SPARE: usize = 8;
/// More text than any of the files read here has.
const MAX_TEXT_BYTES: usize = 4096;

/// What the processes of one group may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory of all groups together, in bytes.
    pub memory_bytes: u64,
    /// Processes and threads of all groups together.
    pub processes: u64,
}

impl Limits {
    /// What a VM of so much memory leaves to its programs: the rest keeps the kernel and the agent alive.
    pub fn for_memory(total_bytes: u64) -> Self {
        const MIB: u64 = 1024 * 1024;
        let reserve = (total_bytes / 10).max((48 * MIB).min(total_bytes / 2));
        Self {
            memory_bytes: total_bytes - reserve,
            processes: (total_bytes / MIB * 2).clamp(256, 16_384),
        }
    }

    /// One group alone leaves room for the next call.
    fn processes_of_one_group(&self) -> u64 {
        self.processes / 4 * 3
    }
}

/// The parent of all groups.
#[derive(Debug)]
pub struct Cgroups {
    parent: PathBuf,
    limits: Limits,
    next_number: AtomicU64,
    spare: Mutex<Vec<Cgroup>>,
    /// Groups whose call has ended and in which processes go on.
    lingering: Mutex<Vec<Cgroup>>,
}

/// One group. Its files stay open: nothing on a call's way looks a path up.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    directory: OwnedFd,
    kill: OwnedFd,
    state: OwnedFd,
    cpu: OwnedFd,
    memory_events: OwnedFd,
}

fn locked(groups: &Mutex<Vec<Cgroup>>) -> MutexGuard<'_, Vec<Cgroup>> {
    groups.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cgroups {
    /// Sets the parent up inside a cgroup file system. It must be free of processes.
    pub fn create(file_system: &Path, limits: Limits) -> io::Result<Self> {
        const CONTROLLERS: &str = "+cpu +memory +pids";
        fs::write(file_system.join("cgroup.subtree_control"), CONTROLLERS)?;
        let parent = file_system.join("user");
        fs::create_dir_all(&parent)?;
        fs::write(parent.join("cgroup.subtree_control"), CONTROLLERS)?;
        fs::write(parent.join("memory.max"), limits.memory_bytes.to_string())?;
        fs::write(parent.join("pids.max"), limits.processes.to_string())?;
        let groups = Self {
            parent,
            limits,
            next_number: AtomicU64::new(1),
            spare: Mutex::default(),
            lingering: Mutex::default(),
        };
        let first = groups.make()?;
        locked(&groups.spare).push(first);
        Ok(groups)
    }

    /// An empty group.
    pub fn take(&self) -> io::Result<Cgroup> {
        self.collect();
        // A program with the rights to do so may have removed one.
        while let Some(group) = locked(&self.spare).pop() {
            if group.is_intact() {
                return Ok(group);
            }
        }
        self.make()
    }

    /// Takes a group back, with or without processes in it.
    pub fn give_back(&self, group: Cgroup) {
        if group.is_populated() {
            locked(&self.lingering).push(group);
        } else {
            self.keep_or_remove(group);
        }
    }

    /// Ends every process of every group that was given back.
    pub fn kill_lingering(&self) {
        for group in locked(&self.lingering).iter() {
            group.kill_all();
        }
    }

    fn collect(&self) {
        let mut lingering = locked(&self.lingering);
        let mut at = 0;
        while at < lingering.len() {
            if lingering[at].is_populated() {
                at += 1;
            } else {
                self.keep_or_remove(lingering.swap_remove(at));
            }
        }
    }

    fn keep_or_remove(&self, group: Cgroup) {
        let mut spare = locked(&self.spare);
        if spare.len() < MAX_SPARE && group.is_intact() {
            spare.push(group);
        } else {
            // A program with the rights to do so may have removed it or put groups of its own inside.
            let _ = fs::remove_dir(&group.path);
        }
    }

    fn make(&self) -> io::Result<Cgroup> {
        let path = self.parent.join(format!(
            "group-{}",
            self.next_number.fetch_add(1, Ordering::Relaxed)
        ));
        fs::create_dir(&path)?;
        fs::write(
            path.join("pids.max"),
            self.limits.processes_of_one_group().to_string(),
        )?;
        let directory = openat(
            CWD,
            &path,
            OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let open = |name: &str, flags: OFlags| {
            openat(&directory, name, flags | OFlags::CLOEXEC, Mode::empty())
        };
        Ok(Cgroup {
            kill: open("cgroup.kill", OFlags::WRONLY)?,
            state: open("cgroup.events", OFlags::RDONLY)?,
            cpu: open("cpu.stat", OFlags::RDONLY)?,
            memory_events: open("memory.events", OFlags::RDONLY)?,
            path,
            directory,
        })
    }
}

impl Cgroup {
    /// The directory, for a process to be born in.
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Ends every process in it, also those that are just being made.
    pub fn kill_all(&self) {
        // Fails only when the group is gone, and its processes with it.
        let _ = rustix::io::pwrite(&self.kill, b"1", 0);
    }

    /// Stops all its processes where they are, or lets them go on; those that are killed end in either case.
    pub fn set_frozen(&self, is_frozen: bool) {
        // Fails only when the group is gone, and its processes with it.
        let _ = fs::write(
            self.path.join("cgroup.freeze"),
            if is_frozen { "1" } else { "0" },
        );
    }

    /// Whether a process is in it.
    pub fn is_populated(&self) -> bool {
        number_of(&self.state, "populated").unwrap_or(0) != 0
    }

    /// CPU time that its processes have used.
    pub fn cpu(&self) -> Duration {
        Duration::from_micros(number_of(&self.cpu, "usage_usec").unwrap_or(0))
    }

    /// How many of its processes the kernel has ended for want of memory.
    pub fn out_of_memory_kills(&self) -> u64 {
        number_of(&self.memory_events, "oom_kill").unwrap_or(0)
    }

    /// The processes in it.
    pub fn pids(&self) -> Vec<i32> {
        let text = fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    fn is_intact(&self) -> bool {
        number_of(&self.cpu, "usage_usec").is_some()
    }
}

fn number_of(file: &OwnedFd, key: &str) -> Option<u64> {
    let mut text = [0; MAX_TEXT_BYTES];
    let count = rustix::io::pread(file, &mut text, 0).ok()?;
    find_number(std::str::from_utf8(&text[..count]).ok()?, key)
}

fn find_number(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_by_its_whole_name() {
        let text = "oom 3\noom_kill 2\noom_group_kill 1\n";
        assert_eq!(find_number(text, "oom_kill"), Some(2));
        assert_eq!(find_number(text, "oom"), Some(3));
        assert_eq!(find_number(text, "max"), None);
    }

    #[test]
    fn limits_leave_room_for_the_kernel_and_the_agent() {
        const MIB: u64 = 1024 * 1024;
        assert_eq!(
            Limits::for_memory(100 * MIB),
            Limits {
                memory_bytes: 52 * MIB,
                processes: 256
            }
        );
        assert_eq!(Limits::for_memory(480 * MIB).memory_bytes, 432 * MIB);
        let large = Limits::for_memory(8000 * MIB);
        assert_eq!(
            large,
            Limits {
                memory_bytes: 7200 * MIB,
                processes: 16_000
            }
        );
        assert!(large.processes_of_one_group() < large.processes);
    }
}
