//! Requests as they may be acted upon: every field checked, nothing opened yet.

use crate::proto;
use crate::refusal::Refusal;
use rustix::process::Signal;
use std::collections::HashSet;
use std::fmt;

/// 20 lower-case letters and digits, the first a letter: also a safe file name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VmId(String);

impl VmId {
    /// Refuses everything else.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let rest_is_good = text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if text.len() == 20
            && rest_is_good
            && text.starts_with(|first: char| first.is_ascii_lowercase())
        {
            return Ok(Self(text.into()));
        }
        let shown: String = text.chars().take(40).collect();
        Err(Refusal::invalid(format!(
            "vm_id {shown:?}: expected 20 lower-case letters and digits, the first a letter"
        )))
    }

    /// The id itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VmId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A `Start` whose fields are in order. Its paths are only text: `prepare` opens them below the roots.
#[derive(Debug, PartialEq, Eq)]
pub struct StartPlan {
    /// Names the directory.
    pub vm_id: VmId,
    /// One of the programs of the command line.
    pub program: String,
    /// Without NUL.
    pub args: Vec<String>,
    /// Source path and plain file name.
    pub clones: Vec<(String, String)>,
    /// Distinct numbers from 3 to 62.
    pub inherited: Vec<InheritedPlan>,
    /// -20..=19
    pub priority: i32,
    /// Sockets that it finds listening.
    pub listeners: Vec<ListenerPlan>,
    /// Whether it can be forked.
    pub forkable: bool,
}

/// A socket in the VM's directory.
#[derive(Debug, PartialEq, Eq)]
pub struct ListenerPlan {
    /// Its number in the VM process: 3 to 62.
    pub fd: i32,
    /// A plain file name.
    pub name: String,
}

/// A file that the VM process finds open.
#[derive(Debug, PartialEq, Eq)]
pub struct InheritedPlan {
    /// Its number there: 3 to 62.
    pub fd: i32,
    /// Where it is.
    pub path: String,
    /// Opened for reading and writing.
    pub writable: bool,
}

/// Numbers that a VM process may inherit. The launcher keeps all of them occupied, see `spawn`.
pub const INHERITED_FDS: std::ops::RangeInclusive<i32> = 3..=63;
/// Where the fork library of a VM process listens.
pub const FORK_FD: i32 = *INHERITED_FDS.end();

const ARGS_LIMIT: usize = 512;
const ARGS_LIMIT_BYTES: usize = 128 * 1024;
const CLONES_LIMIT: usize = 16;
/// Files in a VM's directory that are the launcher's own.
const RESERVED_NAMES: [&str; 3] = [
    crate::process_file::NAME,
    crate::prepare::LOG_NAME,
    crate::listen::FORK_SOCKET_NAME,
];

impl StartPlan {
    /// Checks all that can be checked without touching the filesystem.
    pub fn parse(start: proto::Start, programs: &[String]) -> Result<Self, Refusal> {
        let vm_id = VmId::parse(&start.vm_id)?;
        if !programs.contains(&start.program) {
            return Err(Refusal::invalid(format!(
                "program {:?}: expected one of {programs:?}",
                shortened(&start.program)
            )));
        }
        check_args(&start.args)?;
        if start.clones.len() > CLONES_LIMIT {
            return Err(Refusal::invalid(format!(
                "{} clones, at most {CLONES_LIMIT} are allowed",
                start.clones.len()
            )));
        }
        let inherited = parse_inherited(start.inherited)?;
        let listeners = parse_listeners(start.listeners)?;
        let numbers = inherited.iter().map(|file| file.fd);
        all_differ(numbers.chain(listeners.iter().map(|listener| listener.fd)))?;
        Ok(Self {
            vm_id,
            program: start.program,
            args: start.args,
            clones: start
                .clones
                .into_iter()
                .map(parse_clone)
                .collect::<Result<_, _>>()?,
            inherited,
            priority: parse_priority(start.priority)?,
            listeners,
            forkable: start.forkable,
        })
    }
}

fn check_args(args: &[String]) -> Result<(), Refusal> {
    let bytes: usize = args.iter().map(|arg| arg.len() + 1).sum();
    if args.len() > ARGS_LIMIT || bytes > ARGS_LIMIT_BYTES {
        let seen = format!("{} arguments of {bytes} bytes", args.len());
        return Err(Refusal::invalid(format!(
            "{seen}, at most {ARGS_LIMIT} of {ARGS_LIMIT_BYTES} bytes are allowed"
        )));
    }
    if args.iter().any(|arg| arg.contains('\0')) {
        return Err(Refusal::invalid("an argument holds a NUL byte"));
    }
    Ok(())
}

fn parse_clone(clone: proto::FileClone) -> Result<(String, String), Refusal> {
    check_file_name("to_name", &clone.to_name)?;
    Ok((clone.from, clone.to_name))
}

/// Refuses what is not a plain name, and the launcher's own files.
pub fn check_file_name(field: &str, name: &str) -> Result<(), Refusal> {
    let letters_are_good = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    if !(1..=64).contains(&name.len()) || !letters_are_good || name.starts_with('.') {
        let name = shortened(name);
        return Err(Refusal::invalid(format!(
            "{field} {name:?}: expected 1 to 64 of A-Z a-z 0-9 . _ -, the first not a dot"
        )));
    }
    if RESERVED_NAMES.contains(&name) {
        return Err(Refusal::invalid(format!(
            "{field} {name:?} is the launcher's own file"
        )));
    }
    Ok(())
}

fn parse_inherited(files: Vec<proto::InheritedFile>) -> Result<Vec<InheritedPlan>, Refusal> {
    let plan = |file: proto::InheritedFile| {
        Ok(InheritedPlan {
            fd: inherited_number(file.fd)?,
            path: file.path,
            writable: file.writable,
        })
    };
    files.into_iter().map(plan).collect()
}

/// Sockets of a start or a fork, each with a number of its own.
pub fn parse_listeners(listeners: Vec<proto::Listener>) -> Result<Vec<ListenerPlan>, Refusal> {
    let plan = |listener: proto::Listener| {
        check_file_name("listener", &listener.name)?;
        Ok(ListenerPlan {
            fd: inherited_number(listener.fd)?,
            name: listener.name,
        })
    };
    let plans: Vec<_> = listeners.into_iter().map(plan).collect::<Result<_, _>>()?;
    all_differ(plans.iter().map(|listener| listener.fd))?;
    Ok(plans)
}

fn inherited_number(fd: u32) -> Result<i32, Refusal> {
    i32::try_from(fd)
        .ok()
        .filter(|fd| INHERITED_FDS.contains(fd) && *fd != FORK_FD)
        .ok_or_else(|| Refusal::invalid(format!("inherited fd {fd}: expected 3 to 62")))
}

fn all_differ(mut numbers: impl Iterator<Item = i32>) -> Result<(), Refusal> {
    let mut taken = HashSet::new();
    match numbers.find(|fd| !taken.insert(*fd)) {
        Some(fd) => Err(Refusal::invalid(format!(
            "inherited fd {fd} is given twice"
        ))),
        None => Ok(()),
    }
}

/// A nice value.
pub fn parse_priority(priority: i32) -> Result<i32, Refusal> {
    if (-20..=19).contains(&priority) {
        return Ok(priority);
    }
    Err(Refusal::invalid(format!(
        "priority {priority}: expected -20 to 19"
    )))
}

/// One of the four signals that a host has a use for.
pub fn parse_signal(number: u32) -> Result<Signal, Refusal> {
    match number {
        9 => Ok(Signal::KILL),
        15 => Ok(Signal::TERM),
        18 => Ok(Signal::CONT),
        19 => Ok(Signal::STOP),
        _ => Err(Refusal::invalid(format!(
            "signal {number}: expected 9, 15, 18 or 19"
        ))),
    }
}

/// As much of a client's text as a sentence may hold.
pub fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}

/// What a fuzzer feeds: every request through the checks that it would meet.
#[cfg(test)]
pub fn fuzz_target(request: proto::Request) -> Result<(), Refusal> {
    use proto::request::Request;
    match request.request {
        Some(Request::Start(start)) => StartPlan::parse(start, &["/bin/sh".into()]).map(drop),
        Some(Request::Signal(signal)) => VmId::parse(&signal.vm_id)
            .and(parse_signal(signal.signal))
            .map(drop),
        Some(Request::SetPriority(set)) => VmId::parse(&set.vm_id)
            .and(parse_priority(set.priority))
            .map(drop),
        Some(Request::Forget(forget)) => VmId::parse(&forget.vm_id).map(drop),
        Some(Request::Fork(fork)) => crate::fork::plan::ForkPlan::parse(fork).map(drop),
        Some(Request::SavePages(save)) => crate::memory::PagesPlan::of_save(save).map(drop),
        Some(Request::LoadPages(load)) => crate::memory::PagesPlan::of_load(load).map(drop),
        Some(Request::Hello(_) | Request::List(_)) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{FileClone, InheritedFile, Start};

    fn start() -> Start {
        Start {
            vm_id: "a1234567890123456789".into(),
            program: "/bin/sh".into(),
            ..Start::default()
        }
    }

    fn refused(start: Start, sentence: &str) {
        let seen = StartPlan::parse(start, &["/bin/sh".into()]);
        assert!(
            matches!(&seen, Err(refusal) if refusal.message.contains(sentence)),
            "{sentence}: {seen:?}"
        );
    }

    #[test]
    fn a_start_in_order_is_accepted() {
        let plan = StartPlan::parse(start(), &["/bin/sh".into()]);
        assert_eq!(
            plan.map(|plan| plan.vm_id.to_string()),
            Ok("a1234567890123456789".into())
        );
    }

    #[test]
    fn only_the_pattern_of_a_vm_id_is_accepted() {
        for text in [
            "",
            "a123",
            "1aaaaaaaaaaaaaaaaaaa",
            "aaaaaaaaaa/../aaaaaa",
            "Aaaaaaaaaaaaaaaaaaaa",
            "aaaaaaaaaaaaaaaaaaaaa",
        ] {
            assert!(VmId::parse(text).is_err(), "{text}");
        }
        assert!(VmId::parse("zz345678901234567890").is_ok());
    }

    #[test]
    fn every_broken_field_is_named() {
        refused(
            Start {
                program: "/bin/bash".into(),
                ..start()
            },
            "expected one of [\"/bin/sh\"]",
        );
        refused(
            Start {
                args: vec![String::new(); 513],
                ..start()
            },
            "513 arguments",
        );
        refused(
            Start {
                args: vec!["x".repeat(200_000)],
                ..start()
            },
            "at most 512 of 131072 bytes",
        );
        refused(
            Start {
                args: vec!["a\0b".into()],
                ..start()
            },
            "NUL",
        );
        refused(
            Start {
                priority: 20,
                ..start()
            },
            "priority 20",
        );
        let file = |fd| InheritedFile {
            fd,
            path: "/x".into(),
            writable: false,
        };
        refused(
            Start {
                inherited: vec![file(2)],
                ..start()
            },
            "fd 2: expected 3 to 62",
        );
        refused(
            Start {
                inherited: vec![file(64)],
                ..start()
            },
            "fd 64: expected 3 to 62",
        );
        refused(
            Start {
                inherited: vec![file(u32::MAX)],
                ..start()
            },
            "expected 3 to 62",
        );
        refused(
            Start {
                inherited: vec![file(5), file(5)],
                ..start()
            },
            "fd 5 is given twice",
        );
    }

    #[test]
    fn a_clone_goes_to_a_plain_file_name_only() {
        for name in [
            "",
            ".",
            "..",
            ".hidden",
            "a/b",
            "/etc/passwd",
            "../x",
            "a b",
            "a\0",
            &"x".repeat(65),
        ] {
            let clones = vec![FileClone {
                from: "/x".into(),
                to_name: (*name).into(),
            }];
            refused(Start { clones, ..start() }, "the first not a dot");
        }
        for name in ["process.json", "vm.log"] {
            let clones = vec![FileClone {
                from: "/x".into(),
                to_name: name.into(),
            }];
            refused(Start { clones, ..start() }, "the launcher's own file");
        }
        let many = vec![
            FileClone {
                from: "/x".into(),
                to_name: "disk".into()
            };
            17
        ];
        refused(
            Start {
                clones: many,
                ..start()
            },
            "17 clones",
        );
    }

    #[test]
    fn four_signals_are_known() {
        let known: Vec<u32> = (0..100)
            .filter(|number| parse_signal(*number).is_ok())
            .collect();
        assert_eq!(known, [9, 15, 18, 19]);
    }
}
