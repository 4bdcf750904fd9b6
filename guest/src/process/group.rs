//! The processes of one call or one interpreter: a cgroup in a VM, a session of processes elsewhere.

use std::collections::HashSet;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{kill_process, kill_process_group, Pid, Signal};

use super::cgroup::{Cgroup, Cgroups};
use super::proc_table;
use crate::sys::kernel;

/// How often the processes of a group are looked through before it is believed that no more are made.
const MAX_LOOKS: u32 = 20;

/// Where groups come from.
#[derive(Clone, Debug)]
pub enum Groups {
    /// In a VM.
    Cgroups(Arc<Cgroups>),
    /// Outside: what left its session escapes.
    Sessions,
}

/// Given back when it is dropped; processes in it go on.
#[derive(Debug)]
pub struct ProcessGroup {
    kind: Kind,
    /// What the group had used before.
    cpu_before: Duration,
    kills_before: u64,
}

#[derive(Debug)]
enum Kind {
    Cgroup {
        groups: Arc<Cgroups>,
        group: Option<Cgroup>,
    },
    Session {
        leader: i32,
    },
}

impl Groups {
    /// An empty group.
    pub fn take(&self) -> io::Result<ProcessGroup> {
        match self {
            Self::Cgroups(groups) => {
                let group = groups.take()?;
                let (cpu_before, kills_before) = (group.cpu(), group.out_of_memory_kills());
                let kind = Kind::Cgroup {
                    groups: groups.clone(),
                    group: Some(group),
                };
                Ok(ProcessGroup {
                    kind,
                    cpu_before,
                    kills_before,
                })
            }
            Self::Sessions => Ok(ProcessGroup {
                kind: Kind::Session { leader: 0 },
                cpu_before: Duration::ZERO,
                kills_before: 0,
            }),
        }
    }
}

impl ProcessGroup {
    /// The directory that a process is to be born in.
    pub fn directory(&self) -> Option<BorrowedFd<'_>> {
        self.cgroup().map(Cgroup::directory)
    }

    /// Names the process that leads the group's session.
    pub fn set_leader(&mut self, pid: i32) {
        if let Kind::Session { leader } = &mut self.kind {
            *leader = pid;
        }
    }

    fn cgroup(&self) -> Option<&Cgroup> {
        match &self.kind {
            Kind::Cgroup { group, .. } => group.as_ref(),
            Kind::Session { .. } => None,
        }
    }

    /// Ends every process in it.
    pub fn kill_all(&self) {
        match &self.kind {
            Kind::Cgroup {
                group: Some(group), ..
            } => group.kill_all(),
            Kind::Cgroup { group: None, .. } => {}
            Kind::Session { leader } => kill_session(*leader),
        }
    }

    /// Ends every process that started at `start_ticks` or later, except one.
    pub fn kill_since(&self, start_ticks: u64, except: i32) {
        let mut ended = HashSet::from([except]);
        if !self.kill_others(start_ticks, &mut ended) {
            return;
        }
        // Processes that make processes are faster than a look at the table, unless they are held still.
        self.set_frozen(true);
        for _ in 0..MAX_LOOKS {
            if !self.kill_others(start_ticks, &mut ended) {
                break;
            }
        }
        self.set_frozen(false);
    }

    /// Whether there was one that is not in `known`; now it is.
    fn kill_others(&self, start_ticks: u64, known: &mut HashSet<i32>) -> bool {
        let known_before = known.len();
        for pid in self.pids() {
            if !known.contains(&pid)
                && proc_table::entry(pid).is_some_and(|entry| entry.start_ticks >= start_ticks)
            {
                kill(pid);
                known.insert(pid);
            }
        }
        known.len() > known_before
    }

    fn set_frozen(&self, is_frozen: bool) {
        if let Some(group) = self.cgroup() {
            group.set_frozen(is_frozen);
        }
    }

    fn pids(&self) -> Vec<i32> {
        match &self.kind {
            Kind::Cgroup { group, .. } => group.as_ref().map(Cgroup::pids).unwrap_or_default(),
            Kind::Session { leader } => session_pids(*leader),
        }
    }

    /// CPU time since it was taken; `None` when only the reaped processes can tell.
    pub fn cpu(&self) -> Option<Duration> {
        match &self.kind {
            Kind::Cgroup { .. } => Some(self.cgroup()?.cpu().saturating_sub(self.cpu_before)),
            Kind::Session { leader: 0 } => None,
            Kind::Session { leader } => kernel::process_cpu(*leader),
        }
    }

    /// How many of its processes the kernel has ended for want of memory.
    pub fn out_of_memory_kills(&self) -> u64 {
        self.cgroup().map_or(0, |group| {
            group
                .out_of_memory_kills()
                .saturating_sub(self.kills_before)
        })
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if let Kind::Cgroup { groups, group } = &mut self.kind {
            if let Some(group) = group.take() {
                groups.give_back(group);
            }
        }
    }
}

/// Ends every process of a session.
pub fn kill_session(leader: i32) {
    // A process that is made while the table is read is found by the next look.
    for _ in 0..MAX_LOOKS {
        let living = session_pids(leader);
        if living.is_empty() {
            return;
        }
        living.into_iter().for_each(kill);
    }
}

fn session_pids(leader: i32) -> Vec<i32> {
    if leader <= 1 {
        return Vec::new();
    }
    let entries = proc_table::all_pids().filter_map(proc_table::entry);
    entries
        .filter(|entry| entry.session == leader && !entry.is_zombie)
        .map(|entry| entry.pid)
        .collect()
}

/// Sends SIGKILL; a process that is gone already is what was wanted.
pub fn kill(pid: i32) {
    signal(pid, Signal::KILL);
}

/// Sends a signal to the process group of a leader that may be gone already.
pub fn signal_all(leader: i32, signal: Signal) {
    if let Some(leader) = Pid::from_raw(leader) {
        let _ = kill_process_group(leader, signal);
    }
}

/// Sends a signal to one process that may be gone already.
pub fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}
