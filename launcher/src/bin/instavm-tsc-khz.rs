//! Prints the frequency of this host's time stamp counter in kHz, measured against the system's clock.
//!
//! An emulated guest sees the host's counter, and has to be told its rate: measuring it in the guest hangs when
//! the host is busy. A JavaScript program cannot read the counter, and `/proc/cpuinfo` shows the core's present
//! frequency, which is another thing.
#![warn(missing_docs)]

use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Long enough for an error of a few parts in a million.
const SPAN: Duration = Duration::from_millis(100);
/// Of so many readings the one with the narrowest gap around it counts: nothing came between.
const READINGS: u32 = 64;
/// Slower than any x86-64 CPU, faster than any: outside lies a broken clock.
const PLAUSIBLE_KHZ: std::ops::RangeInclusive<u64> = 100_000..=20_000_000;

/// One moment on both clocks.
struct Moment {
    time: Instant,
    ticks: u64,
}

fn main() -> ExitCode {
    let start = read_both();
    sleep(SPAN);
    let end = read_both();
    match frequency_khz(&start, &end) {
        Some(khz) if PLAUSIBLE_KHZ.contains(&khz) => {
            println!("{khz}");
            ExitCode::SUCCESS
        }
        measured => {
            eprintln!("time stamp counter: measured {measured:?} kHz, expected {PLAUSIBLE_KHZ:?}");
            ExitCode::FAILURE
        }
    }
}

fn frequency_khz(start: &Moment, end: &Moment) -> Option<u64> {
    let ticks = u128::from(end.ticks.checked_sub(start.ticks)?);
    let nanos = end.time.duration_since(start.time).as_nanos();
    u64::try_from((ticks * 1_000_000).checked_div(nanos)?).ok()
}

fn read_both() -> Moment {
    let mut best = read_once();
    for _ in 1..READINGS {
        let next = read_once();
        if next.1 < best.1 {
            best = next;
        }
    }
    best.0
}

/// A moment and how many ticks passed around the reading of the clock.
fn read_once() -> (Moment, u64) {
    let before = counter::read();
    let time = Instant::now();
    let gap = counter::read().saturating_sub(before);
    (
        Moment {
            time,
            ticks: before + gap / 2,
        },
        gap,
    )
}

mod counter {
    /// The time stamp counter of the core that runs this.
    #[allow(unused_unsafe)] // newer compilers call the intrinsic safe
    pub fn read() -> u64 {
        // SAFETY: every x86-64 CPU has the instruction, and it only reads a register.
        unsafe { std::arch::x86_64::_rdtsc() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_over_time_is_the_frequency() {
        let time = Instant::now();
        let start = Moment { time, ticks: 5_000 };
        let end = Moment {
            time: time + Duration::from_millis(100),
            ticks: 5_000 + 244_540_400,
        };
        assert_eq!(frequency_khz(&start, &end), Some(2_445_404));
    }

    #[test]
    fn a_counter_that_went_backwards_has_none() {
        let time = Instant::now();
        let start = Moment { time, ticks: 10 };
        let end = Moment {
            time: time + SPAN,
            ticks: 5,
        };
        assert_eq!(frequency_khz(&start, &end), None);
    }

    #[test]
    fn two_measurements_agree() {
        let measure = || {
            let start = read_both();
            sleep(SPAN);
            frequency_khz(&start, &read_both()).unwrap_or_default()
        };
        let (first, second) = (measure(), measure());
        assert!(
            first.abs_diff(second) < first / 1_000,
            "{first} and {second} kHz"
        );
    }
}
