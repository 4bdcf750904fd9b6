//! Stats: CPU, memory and disk of the VM.

use std::fs;

use crate::failure::{CallError, CallResult};
use crate::process::proc_table;
use crate::proto::StatsReport;

/// Milliseconds of one clock tick in /proc.
const TICK_MS: u64 = 10;

/// The figures of now.
pub fn stats() -> CallResult<StatsReport> {
    let read =
        |path: &str| fs::read_to_string(path).map_err(|error| CallError::system(path, error));
    let memory = read("/proc/meminfo")?;
    let cpu = read("/proc/stat")?;
    let disk =
        rustix::fs::statvfs("/").map_err(|error| CallError::system("statvfs of /", error))?;
    let uptime = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let ticks = cpu_ticks(&cpu);
    Ok(StatsReport {
        memory_total_bytes: memory_bytes(&memory, "MemTotal:"),
        memory_available_bytes: memory_bytes(&memory, "MemAvailable:"),
        disk_total_bytes: disk.f_blocks * disk.f_frsize,
        disk_available_bytes: disk.f_bavail * disk.f_frsize,
        cpu_user_ms: (ticks[0] + ticks[1]) * TICK_MS,
        cpu_system_ms: (ticks[2] + ticks[5] + ticks[6]) * TICK_MS,
        process_count: u32::try_from(proc_table::all_pids().count()).unwrap_or(u32::MAX),
        uptime_ms: uptime.tv_sec.unsigned_abs() * 1000 + uptime.tv_nsec.unsigned_abs() / 1_000_000,
    })
}

fn memory_bytes(text: &str, key: &str) -> u64 {
    let value = text.lines().find_map(|line| {
        line.strip_prefix(key)?
            .split_ascii_whitespace()
            .next()?
            .parse()
            .ok()
    });
    value.unwrap_or(0u64) * 1024
}

/// user, nice, system, idle, iowait, irq, softirq of all CPUs.
fn cpu_ticks(text: &str) -> [u64; 7] {
    let mut ticks = [0; 7];
    let values = text
        .lines()
        .next()
        .unwrap_or("")
        .split_ascii_whitespace()
        .skip(1);
    for (tick, value) in ticks.iter_mut().zip(values) {
        *tick = value.parse().unwrap_or(0);
    }
    ticks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_memory_disk_and_processes() {
        let stats = stats().expect("figures");
        assert!(
            stats.memory_total_bytes >= stats.memory_available_bytes
                && stats.memory_available_bytes > 0
        );
        assert!(stats.disk_total_bytes >= stats.disk_available_bytes);
        assert!(stats.process_count > 0 && stats.uptime_ms > 0);
    }

    #[test]
    fn the_first_line_counts_all_cpus() {
        assert_eq!(
            cpu_ticks("cpu  1 2 3 4 5 6 7 8\ncpu0 9"),
            [1, 2, 3, 4, 5, 6, 7]
        );
        assert_eq!(cpu_ticks(""), [0; 7]);
    }
}
