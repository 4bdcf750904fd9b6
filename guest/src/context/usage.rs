//! What a cell has used. Reading a cgroup's figures costs more than a short cell does, so they are read only behind
//! a long one, or one that did not compute itself for most of its time: others start no programs and run out of no
//! memory. (In a fresh clone under emulation the simplest cell is long, since its code is translated.)

use std::time::Duration;

use crate::process::group::ProcessGroup;
use crate::sys::kernel::{process_cpu, Reaped};

const SHORT: Duration = Duration::from_millis(20);
const SHORT_WHEN_BUSY: Duration = Duration::from_millis(80);

/// What an interpreter's group had used when it was last looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    group_cpu: Duration,
    own_cpu: Duration,
    kills: u64,
}

/// CPU time of the interpreter's own process when a cell started.
#[derive(Clone, Copy, Debug)]
pub struct CellStart(Duration);

/// The figures of one cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellUsage {
    /// CPU time of the interpreter and of what it started; for a long cell also of what earlier cells left running.
    pub cpu: Duration,
    /// The kernel ended a process for want of memory.
    pub out_of_memory: bool,
}

impl Usage {
    /// Before a cell.
    pub fn start_cell(&self, pid: i32) -> CellStart {
        CellStart(process_cpu(pid).unwrap_or(self.own_cpu))
    }

    /// Behind a cell that took `wall`; `reaped` when the interpreter is gone.
    pub fn end_cell(
        &mut self,
        start: CellStart,
        group: &ProcessGroup,
        pid: i32,
        wall: Duration,
        reaped: Option<Reaped>,
    ) -> CellUsage {
        let own_cpu = if reaped.is_none() {
            process_cpu(pid)
        } else {
            None
        };
        if let Some(own_cpu) = own_cpu {
            let cpu = own_cpu.saturating_sub(start.0);
            if wall < SHORT || (wall < SHORT_WHEN_BUSY && 2 * cpu > wall) {
                return CellUsage {
                    cpu,
                    out_of_memory: false,
                };
            }
        }
        let group_cpu = group
            .cpu()
            .or(reaped.map(|reaped| reaped.cpu))
            .unwrap_or(self.group_cpu);
        let since_last_look = group_cpu.saturating_sub(self.group_cpu);
        let before_the_cell = start.0.saturating_sub(self.own_cpu);
        let kills = group.out_of_memory_kills();
        let out_of_memory = kills > self.kills;
        *self = Self {
            group_cpu,
            own_cpu: own_cpu.unwrap_or(start.0),
            kills,
        };
        CellUsage {
            cpu: since_last_look.saturating_sub(before_the_cell),
            out_of_memory,
        }
    }
}
