//! A `Fork` as it may be acted upon: every field checked, nothing opened yet.

use crate::proto;
use crate::refusal::Refusal;
use crate::validate::{check_file_name, parse_listeners, parse_priority, ListenerPlan, VmId};

/// A fork whose fields are in order.
#[derive(Debug, PartialEq, Eq)]
pub struct ForkPlan {
    /// Whose process is copied.
    pub parent: VmId,
    /// Names the copy's directory.
    pub vm_id: VmId,
    /// Plain file names, distinct.
    pub disks: Vec<String>,
    /// Sockets on which the parent listens.
    pub listeners: Vec<ListenerPlan>,
    /// -20..=19
    pub priority: i32,
    /// Written to the copy of the parent's only connection.
    pub first_input: Vec<u8>,
}

const DISKS_LIMIT: usize = 8;
/// What a socket takes at once.
const FIRST_INPUT_LIMIT_BYTES: usize = 4096;

impl ForkPlan {
    /// Checks all that can be checked without touching anything.
    pub fn parse(fork: proto::Fork) -> Result<Self, Refusal> {
        let parent = VmId::parse(&fork.parent_vm_id)?;
        let vm_id = VmId::parse(&fork.vm_id)?;
        if parent == vm_id {
            return Err(Refusal::invalid(format!(
                "vm_id {vm_id}: expected another than its parent's"
            )));
        }
        for (index, name) in fork.disks.iter().enumerate() {
            check_file_name("disk", name)?;
            if fork.disks.iter().take(index).any(|other| other == name) {
                return Err(Refusal::invalid(format!("disk {name:?} is given twice")));
            }
        }
        let (disks, bytes) = (fork.disks.len(), fork.first_input.len());
        if disks > DISKS_LIMIT || bytes > FIRST_INPUT_LIMIT_BYTES {
            return Err(Refusal::invalid(format!(
                "{disks} disks and {bytes} bytes of first input, at most {DISKS_LIMIT} and {FIRST_INPUT_LIMIT_BYTES} are allowed"
            )));
        }
        Ok(Self {
            parent,
            vm_id,
            disks: fork.disks,
            listeners: parse_listeners(fork.listeners)?,
            priority: parse_priority(fork.priority)?,
            first_input: fork.first_input,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Fork, Listener};

    fn fork() -> Fork {
        Fork {
            parent_vm_id: "a1234567890123456789".into(),
            vm_id: "b1234567890123456789".into(),
            disks: vec!["disk.raw".into()],
            ..Fork::default()
        }
    }

    #[test]
    fn a_fork_in_order_is_accepted() {
        let plan = ForkPlan::parse(fork());
        assert_eq!(plan.map(|plan| plan.disks), Ok(vec!["disk.raw".into()]));
    }

    #[test]
    fn every_broken_field_is_named() {
        let listener = |fd: u32, name: &str| Listener {
            fd,
            name: name.into(),
        };
        type Break = fn(&mut Fork);
        let cases: [(Break, &str); 6] = [
            (|fork| fork.parent_vm_id = "../x".into(), "vm_id"),
            (
                |fork| fork.vm_id = fork.parent_vm_id.clone(),
                "expected another",
            ),
            (|fork| fork.disks.push("../mem".into()), "disk \"../mem\""),
            (|fork| fork.disks.push("disk.raw".into()), "given twice"),
            (|fork| fork.first_input = vec![0; 5000], "first input"),
            (|fork| fork.priority = 99, "priority"),
        ];
        for (break_it, sentence) in cases {
            let mut broken = fork();
            break_it(&mut broken);
            let seen = ForkPlan::parse(broken);
            assert!(
                matches!(&seen, Err(refusal) if refusal.message.contains(sentence)),
                "{sentence}: {seen:?}"
            );
        }
        for (listeners, sentence) in [
            (vec![listener(63, "a.sock")], "3 to 62"),
            (vec![listener(4, "fork.sock")], "launcher's own"),
            (
                vec![listener(4, "a.sock"), listener(4, "b.sock")],
                "given twice",
            ),
        ] {
            let seen = ForkPlan::parse(Fork {
                listeners,
                ..fork()
            });
            assert!(
                matches!(&seen, Err(refusal) if refusal.message.contains(sentence)),
                "{sentence}: {seen:?}"
            );
        }
    }
}
