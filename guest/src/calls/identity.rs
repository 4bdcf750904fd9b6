//! Activate and SetClock: what makes a clone an individual, and keeps it in time.

use std::fs::{self, File};
use std::io::{Read, Write};

use rustix::time::{clock_gettime, clock_settime, ClockId, Timespec};

use crate::agent::{Agent, Surroundings};
use crate::context::actor::Activation;
use crate::failure::{CallError, CallResult};
use crate::log;
use crate::process::environment;
use crate::proto::{Activate, Activated, ClockSet, FailureCode, SetClock};
use crate::sys::kernel;

const ENTROPY_BYTES: std::ops::RangeInclusive<usize> = 32..=256;
const SEED_BYTES: usize = 32;
/// 2001-09-09; a clock before that is a mistake of the host's.
const EARLIEST_TIME_NS: u64 = 1_000_000_000_000_000_000;

/// What of an activation is left to do once it was answered.
#[derive(Debug)]
pub struct Names {
    hostname: String,
    machine_id: String,
}

/// Makes this VM an individual; nothing of it is done when the request is wrong. The kernel is one when this returns; an
/// interpreter becomes one before its next cell, and the names are written by whoever answers.
pub fn activate(agent: &Agent, request: Activate) -> CallResult<(Activated, Option<Names>)> {
    check(&request)?;
    let mut activation = Activation {
        seed: Vec::new(),
        env: request.env,
    };
    if !request.keep_identity {
        activation.seed = take_entropy(agent, &request.entropy)?;
    }
    let clock_step_ns = match request.unix_time_ns {
        0 => 0,
        time_ns => step_clock(agent, time_ns)?,
    };
    agent.install_env(activation.env.clone());
    if !activation.seed.is_empty() || !activation.env.is_empty() {
        agent.contexts.activate(&activation);
    }
    let owns_names = !request.keep_identity && agent.surroundings == Surroundings::Vm;
    let names = owns_names.then_some(Names {
        hostname: request.hostname,
        machine_id: request.machine_id,
    });
    Ok((Activated { clock_step_ns }, names))
}

/// Steps the clock to the host's.
pub fn set_clock(agent: &Agent, request: SetClock) -> CallResult<ClockSet> {
    check_time(request.unix_time_ns)?;
    Ok(ClockSet {
        clock_step_ns: step_clock(agent, request.unix_time_ns)?,
    })
}

fn check(request: &Activate) -> CallResult<()> {
    if !request.keep_identity && !ENTROPY_BYTES.contains(&request.entropy.len()) {
        return Err(CallError::invalid(format!(
            "{} bytes of entropy, expected {ENTROPY_BYTES:?}",
            request.entropy.len()
        )));
    }
    if request.unix_time_ns != 0 {
        check_time(request.unix_time_ns)?;
    }
    if !is_hostname(&request.hostname) {
        return Err(CallError::invalid(format!(
            "hostname {:?}, expected letters, digits, '-' and '.', at most 64",
            request.hostname
        )));
    }
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if !request.machine_id.is_empty()
        && (request.machine_id.len() != 32 || !request.machine_id.bytes().all(is_hex))
    {
        return Err(CallError::invalid(format!(
            "machine id {:?}, expected 32 lower-case hex digits",
            request.machine_id
        )));
    }
    environment::check(&request.env)
}

fn check_time(unix_time_ns: u64) -> CallResult<()> {
    if unix_time_ns < EARLIEST_TIME_NS || i64::try_from(unix_time_ns).is_err() {
        return Err(CallError::invalid(format!(
            "the time {unix_time_ns} ns since 1970, expected the host's wall clock"
        )));
    }
    Ok(())
}

fn is_hostname(name: &str) -> bool {
    name.len() <= 64
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.')
}

/// Reseeds the kernel's generator from the host's entropy and draws the interpreters' seed from it.
fn take_entropy(agent: &Agent, entropy: &[u8]) -> CallResult<Vec<u8>> {
    let fail = |error: std::io::Error| {
        CallError::new(
            FailureCode::NoEntropy,
            format!("reseed the kernel's random generator: {error}"),
        )
    };
    let mut random = File::open("/dev/urandom").map_err(fail)?;
    if agent.surroundings == Surroundings::Vm {
        kernel::reseed(&random, entropy).map_err(fail)?;
    }
    let mut seed = vec![0; SEED_BYTES];
    random.read_exact(&mut seed).map_err(fail)?;
    Ok(seed)
}

/// The names are for programs to read; that a program made a file unwritable is no reason to fail.
pub fn take_names(
    Names {
        hostname,
        machine_id,
    }: &Names,
) {
    let report = |what: &str, result: std::io::Result<()>| {
        if let Err(error) = result {
            log::warn(format_args!("{what}: {error}"));
        }
    };
    if !hostname.is_empty() {
        report(
            "set the hostname",
            rustix::system::sethostname(hostname.as_bytes()).map_err(Into::into),
        );
        report(
            "/etc/hostname",
            overwrite("/etc/hostname", &format!("{hostname}\n")),
        );
        let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
        report(
            "/etc/hosts",
            overwrite("/etc/hosts", &hosts_with(&hosts, hostname)),
        );
    }
    if !machine_id.is_empty() {
        report(
            "/etc/machine-id",
            overwrite("/etc/machine-id", &format!("{machine_id}\n")),
        );
    }
}

/// Replaces a file's text without giving up its blocks first: text as long as the old one needs no change of the disk's
/// layout, which in a fresh clone under emulation takes 50 ms.
fn overwrite(path: &str, text: &str) -> std::io::Result<()> {
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    let bytes = text.len() as u64;
    if file.metadata()?.len() != bytes {
        file.set_len(bytes)?;
    }
    Ok(())
}

/// The file with our own line, the one for 127.0.1.1, naming this host.
fn hosts_with(hosts: &str, hostname: &str) -> String {
    let others = hosts
        .lines()
        .filter(|line| line.split_ascii_whitespace().next() != Some("127.0.1.1"));
    let mut text: String = others.flat_map(|line| [line, "\n"]).collect();
    if !text.contains("localhost") {
        text.insert_str(0, "127.0.0.1 localhost\n::1 localhost\n");
    }
    text.push_str(&format!("127.0.1.1 {hostname}\n"));
    text
}

/// Returns the clock's error, in ns. Outside a VM the clock is not ours.
fn step_clock(agent: &Agent, unix_time_ns: u64) -> CallResult<i64> {
    const NS_PER_S: i64 = 1_000_000_000;
    let now = clock_gettime(ClockId::Realtime);
    let now_ns = now
        .tv_sec
        .saturating_mul(NS_PER_S)
        .saturating_add(now.tv_nsec);
    let time_ns = i64::try_from(unix_time_ns).unwrap_or(i64::MAX);
    if agent.surroundings == Surroundings::Vm {
        let time = Timespec {
            tv_sec: time_ns / NS_PER_S,
            tv_nsec: time_ns % NS_PER_S,
        };
        clock_settime(ClockId::Realtime, time)
            .map_err(|error| CallError::system("set the clock", error))?;
    }
    Ok(time_ns.saturating_sub(now_ns))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::environment::Variables;

    fn request() -> Activate {
        Activate {
            entropy: vec![7; 32],
            hostname: "vm-1".to_owned(),
            machine_id: "0".repeat(32),
            ..Activate::default()
        }
    }

    #[test]
    fn a_wrong_field_is_refused_before_anything_is_done() {
        assert_eq!(check(&request()), Ok(()));
        assert_eq!(
            check(&Activate {
                keep_identity: true,
                ..Activate::default()
            }),
            Ok(())
        );
        let wrong = [
            Activate {
                entropy: vec![7; 31],
                ..request()
            },
            Activate {
                entropy: vec![7; 257],
                ..request()
            },
            Activate {
                unix_time_ns: 5,
                ..request()
            },
            Activate {
                unix_time_ns: u64::MAX,
                ..request()
            },
            Activate {
                hostname: "a b".to_owned(),
                ..request()
            },
            Activate {
                hostname: "a".repeat(65),
                ..request()
            },
            Activate {
                machine_id: "F".repeat(32),
                ..request()
            },
            Activate {
                env: Variables::from([("A=".to_owned(), String::new())]),
                ..request()
            },
        ];
        for request in wrong {
            assert_eq!(
                check(&request).map_err(|error| error.code),
                Err(FailureCode::Invalid)
            );
        }
    }

    #[test]
    fn the_hosts_file_keeps_what_others_wrote() {
        let text = hosts_with(
            "127.0.0.1 localhost\n127.0.1.1 old\n10.0.0.1 db # mine\n",
            "vm-1",
        );
        assert_eq!(
            text,
            "127.0.0.1 localhost\n10.0.0.1 db # mine\n127.0.1.1 vm-1\n"
        );
        assert_eq!(
            hosts_with("", "a"),
            "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 a\n"
        );
    }
}
