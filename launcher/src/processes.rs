//! What is known of every VM process: it starts, it runs, or it ended and is remembered until it is forgotten.

use crate::config::Config;
use crate::process_file::{self, ProcessName};
use crate::proto::{self, ended::How, ErrorCode};
use crate::refusal::Refusal;
use crate::roots::Roots;
use crate::spawn::set_session_priority;
use crate::unregistered::process_in;
use crate::validate::VmId;
use rustix::fs::{unlinkat, AtFlags};
use rustix::process::{pidfd_open, pidfd_send_signal, setpriority_pgrp, Pid, PidfdFlags, Signal};
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// More ended processes than this push out the oldest.
const ENDED_LIMIT: usize = 4096;

/// A process that runs.
pub struct Running {
    name: ProcessName,
    pidfd: OwnedFd,
    /// Started by an earlier launcher: not a child, so only its end can be seen.
    adopted: bool,
}

impl Running {
    /// A process that this launcher started.
    pub fn child(name: ProcessName, pidfd: OwnedFd) -> Self {
        Self {
            name,
            pidfd,
            adopted: false,
        }
    }

    /// A process whose parent is not this launcher.
    pub fn adopted(name: ProcessName, pidfd: OwnedFd) -> Self {
        Self {
            name,
            pidfd,
            adopted: true,
        }
    }
}

enum Phase {
    Starting,
    Running(Running),
    Ended(ProcessName, How),
}

/// All of them, by VM.
#[derive(Default)]
pub struct Processes {
    phases: BTreeMap<VmId, Phase>,
    ended_in_order: VecDeque<VmId>,
}

impl Processes {
    /// Takes over what earlier launchers started: what still runs is watched, what does not has ended unseen.
    pub fn adopt(config: &Config, roots: &Roots) -> std::io::Result<Self> {
        let mut processes = Self::default();
        for entry in std::fs::read_dir(config.state_dir.join("vms"))? {
            let name = entry?.file_name();
            let Some(vm_id) = name.to_str().and_then(|text| VmId::parse(text).ok()) else {
                continue;
            };
            let Ok(directory) = roots.open_vm_directory(&vm_id) else {
                continue;
            };
            let directory = directory.as_fd();
            let Some(name) =
                process_file::read(directory).or_else(|| process_in(directory, &config.programs))
            else {
                continue; // no process was ever started there
            };
            match open_running(name) {
                Some(running) => drop(processes.phases.insert(vm_id, Phase::Running(running))),
                None => processes.remember(vm_id, name, How::Unknown(true)),
            }
        }
        Ok(processes)
    }

    /// Reserves the VM's name for a start.
    pub fn begin(&mut self, vm_id: &VmId) -> Result<(), Refusal> {
        if let Some(phase) = self.phases.get(vm_id) {
            let seen = match phase {
                Phase::Starting => "is being started",
                Phase::Running(_) => "runs",
                Phase::Ended(..) => "has ended and was not forgotten",
            };
            return Err(Refusal::new(
                ErrorCode::Exists,
                format!("VM {vm_id} {seen}"),
            ));
        }
        self.phases.insert(vm_id.clone(), Phase::Starting);
        Ok(())
    }

    /// How many starts are under way.
    pub fn starting_count(&self) -> usize {
        self.phases
            .values()
            .filter(|phase| matches!(phase, Phase::Starting))
            .count()
    }

    /// A start came to nothing.
    pub fn abandon(&mut self, vm_id: &VmId) {
        self.phases.remove(vm_id);
    }

    /// A start succeeded.
    pub fn started(&mut self, vm_id: VmId, running: Running) {
        self.phases.insert(vm_id, Phase::Running(running));
    }

    /// A child was reaped: the event, unless it was none of the VMs.
    pub fn child_ended(&mut self, pid: Pid, how: How) -> Option<proto::Ended> {
        let pid = pid.as_raw_nonzero().get();
        let is_it = |phase: &Phase| matches!(phase, Phase::Running(running) if !running.adopted && running.name.pid == pid);
        let vm_id = self
            .phases
            .iter()
            .find(|(_, phase)| is_it(phase))
            .map(|(vm_id, _)| vm_id.clone())?;
        self.ended(vm_id, how)
    }

    /// The pidfd of a process became readable: the event, if it is one that nobody can reap here.
    pub fn adopted_ended(&mut self, vm_id: VmId) -> Option<proto::Ended> {
        match self.phases.get(&vm_id) {
            Some(Phase::Running(running)) if running.adopted => {
                self.ended(vm_id, How::Unknown(true))
            }
            _ => None,
        }
    }

    fn ended(&mut self, vm_id: VmId, how: How) -> Option<proto::Ended> {
        let Some(Phase::Running(running)) = self.phases.remove(&vm_id) else {
            return None;
        };
        self.remember(vm_id.clone(), running.name, how);
        Some(ended_message(&vm_id, running.name, how))
    }

    fn remember(&mut self, vm_id: VmId, name: ProcessName, how: How) {
        self.phases.insert(vm_id.clone(), Phase::Ended(name, how));
        self.ended_in_order.push_back(vm_id);
        if self.ended_in_order.len() > ENDED_LIMIT {
            if let Some(oldest) = self.ended_in_order.pop_front() {
                self.phases.remove(&oldest);
            }
        }
    }

    /// Drops the memory of an ended process, also the one on disk.
    pub fn forget(&mut self, vm_id: &VmId, roots: &Roots) -> Result<(), Refusal> {
        match self.phases.get(vm_id) {
            Some(Phase::Ended(..)) => {}
            Some(_) => {
                return Err(Refusal::new(
                    ErrorCode::StillRunning,
                    format!("VM {vm_id} has not ended"),
                ))
            }
            None => return Err(not_found(vm_id)),
        }
        self.phases.remove(vm_id);
        self.ended_in_order.retain(|ended| ended != vm_id);
        if let Ok(directory) = roots.open_vm_directory(vm_id) {
            let _ = unlinkat(directory, process_file::NAME, AtFlags::empty());
        }
        Ok(())
    }

    fn running(&self, vm_id: &VmId) -> Result<&Running, Refusal> {
        match self.phases.get(vm_id) {
            Some(Phase::Running(running)) => Ok(running),
            _ => Err(not_found(vm_id)),
        }
    }

    /// The process that runs.
    pub fn name_of(&self, vm_id: &VmId) -> Result<ProcessName, Refusal> {
        Ok(self.running(vm_id)?.name)
    }

    /// Signals the process itself: a pidfd never means another one.
    pub fn signal(&self, vm_id: &VmId, signal: Signal) -> Result<(), Refusal> {
        let running = self.running(vm_id)?;
        pidfd_send_signal(&running.pidfd, signal)
            .map_err(|error| Refusal::os(&format!("signal to VM {vm_id}"), error))
    }

    /// Sets the nice value of every thread of the VM's process group, and of its session.
    pub fn set_priority(&self, vm_id: &VmId, priority: i32) -> Result<(), Refusal> {
        let running = self.running(vm_id)?;
        let leader = Pid::from_raw(running.name.pid).ok_or_else(|| not_found(vm_id))?;
        setpriority_pgrp(Some(leader), priority)
            .map_err(|error| Refusal::os(&format!("priority of VM {vm_id}"), error))?;
        set_session_priority(leader, priority);
        Ok(())
    }

    /// All that runs or is remembered.
    pub fn list(&self) -> proto::Processes {
        let describe = |(vm_id, phase): (&VmId, &Phase)| {
            let (name, ended) = match phase {
                Phase::Starting => return None,
                Phase::Running(running) => (running.name, None),
                Phase::Ended(name, how) => (*name, Some(ended_message(vm_id, *name, *how))),
            };
            let pid = u32::try_from(name.pid).unwrap_or(0);
            Some(proto::Process {
                vm_id: vm_id.to_string(),
                pid,
                start_time_ticks: name.start_time_ticks,
                ended,
            })
        };
        proto::Processes {
            processes: self.phases.iter().filter_map(describe).collect(),
        }
    }

    /// Whether anything starts or runs.
    pub fn are_busy(&self) -> bool {
        self.phases
            .values()
            .any(|phase| !matches!(phase, Phase::Ended(..)))
    }

    /// What runs, with the descriptor that becomes readable when it ends.
    pub fn watched(&self) -> impl Iterator<Item = (&VmId, BorrowedFd<'_>)> {
        self.phases.iter().filter_map(|(vm_id, phase)| match phase {
            Phase::Running(running) => Some((vm_id, running.pidfd.as_fd())),
            _ => None,
        })
    }
}

/// The process of that name, if it is still there. The descriptor is opened before the start time is compared,
/// so it cannot mean a later process of the same pid.
fn open_running(name: ProcessName) -> Option<Running> {
    let pidfd = pidfd_open(Pid::from_raw(name.pid)?, PidfdFlags::empty()).ok()?;
    (ProcessName::of(name.pid).ok()? == name).then_some(Running {
        name,
        pidfd,
        adopted: true,
    })
}

fn not_found(vm_id: &VmId) -> Refusal {
    Refusal::new(
        ErrorCode::NotFound,
        format!("VM {vm_id} has no process here"),
    )
}

fn ended_message(vm_id: &VmId, name: ProcessName, how: How) -> proto::Ended {
    proto::Ended {
        vm_id: vm_id.to_string(),
        pid: u32::try_from(name.pid).unwrap_or(0),
        how: Some(how),
    }
}
