//! Users of the VM, from its own /etc/passwd and /etc/group. These files belong to the VM: whatever they hold, only a lookup fails.

use std::fs::File;
use std::io::{self, Read};

use crate::failure::{CallError, CallResult};
use crate::sys::spawn::Credentials;

const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;
/// The kernel takes no more.
const MAX_GROUPS: usize = 65_536;

/// A user to run as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Login name, or the number when it has none.
    pub name: String,
    /// Home directory.
    pub home: String,
    /// Login shell.
    pub shell: String,
    /// `None`: the agent's own user.
    pub credentials: Option<Credentials>,
}

impl Account {
    /// The user of a name or a number. Root needs no lookup, so that it works with a broken /etc/passwd.
    pub fn find(user: &str) -> CallResult<Self> {
        if user == "root" || user == "0" {
            return Ok(Self::root());
        }
        let read = |path: &str| read_text(path).map_err(|error| CallError::system(path, error));
        Self::find_in(
            user,
            &read("/etc/passwd")?,
            &read("/etc/group").unwrap_or_default(),
        )
    }

    /// The user that the agent runs as.
    pub fn own() -> Self {
        let variable =
            |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
        Self {
            name: variable("USER", "root"),
            home: variable("HOME", "/"),
            shell: "/bin/bash".to_owned(),
            credentials: None,
        }
    }

    fn root() -> Self {
        Self {
            name: "root".to_owned(),
            home: "/root".to_owned(),
            shell: "/bin/bash".to_owned(),
            credentials: None,
        }
    }

    fn find_in(user: &str, passwd: &str, group: &str) -> CallResult<Self> {
        let number: Option<u32> = user.parse().ok();
        let mut entries = passwd.lines().filter_map(PasswdEntry::parse);
        match entries.find(|entry| entry.name == user || Some(entry.uid) == number) {
            Some(entry) => Ok(Self {
                name: entry.name.to_owned(),
                home: entry.home.to_owned(),
                shell: entry.shell.to_owned(),
                credentials: Some(Credentials {
                    uid: entry.uid,
                    gid: entry.gid,
                    groups: groups_of(entry.name, entry.gid, group),
                }),
            }),
            None => match number {
                Some(uid) => Ok(Self {
                    name: uid.to_string(),
                    home: "/".to_owned(),
                    shell: "/bin/sh".to_owned(),
                    credentials: Some(Credentials {
                        uid,
                        gid: uid,
                        groups: vec![uid],
                    }),
                }),
                None => Err(CallError::not_found(format!(
                    "user {user:?} is not in the VM's /etc/passwd"
                ))),
            },
        }
    }
}

struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
    shell: &'a str,
}

impl<'a> PasswdEntry<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = fields.nth(1)?;
        let shell = fields
            .next()
            .filter(|shell| !shell.is_empty())
            .unwrap_or("/bin/sh");
        Some(Self {
            name,
            uid,
            gid,
            home,
            shell,
        })
    }
}

fn groups_of(name: &str, gid: u32, group: &str) -> Vec<u32> {
    let listed = group.lines().filter_map(|line| {
        let mut fields = line.split(':').skip(2);
        let id: u32 = fields.next()?.parse().ok()?;
        fields
            .next()?
            .split(',')
            .any(|member| member == name)
            .then_some(id)
    });
    let mut all: Vec<u32> = std::iter::once(gid)
        .chain(listed.filter(|&id| id != gid))
        .collect();
    all.truncate(MAX_GROUPS);
    all
}

/// The number of a group's name or number.
pub fn find_group(group: &str) -> CallResult<u32> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    let text = read_text("/etc/group").map_err(|error| CallError::system("/etc/group", error))?;
    let found = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == group).then(|| fields.nth(1)?.parse().ok())?
    });
    found.ok_or_else(|| {
        CallError::not_found(format!("group {group:?} is not in the VM's /etc/group"))
    })
}

/// The text of one of these files, bounded.
pub fn read_text(path: &str) -> io::Result<String> {
    let mut text = Vec::new();
    File::open(path)?
        .take(MAX_FILE_BYTES)
        .read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/bash\nbroken\nuser:x:1000:1000:,,,:/home/user:\n";
    const GROUP: &str = "sudo:x:27:other,user\nuser:x:1000:\nbad:x:y:user\n";

    #[test]
    fn a_user_is_found_by_name_and_by_number() {
        let account = Account::find_in("user", PASSWD, GROUP).expect("an account");
        assert_eq!(
            (account.home.as_str(), account.shell.as_str()),
            ("/home/user", "/bin/sh")
        );
        assert_eq!(
            account.credentials,
            Some(Credentials {
                uid: 1000,
                gid: 1000,
                groups: vec![1000, 27]
            })
        );
        assert_eq!(Account::find_in("1000", PASSWD, GROUP), Ok(account));
    }

    #[test]
    fn a_number_without_a_name_will_do_and_a_name_without_a_number_will_not() {
        let account = Account::find_in("4242", PASSWD, GROUP).expect("an account");
        assert_eq!(
            account.credentials,
            Some(Credentials {
                uid: 4242,
                gid: 4242,
                groups: vec![4242]
            })
        );
        assert!(Account::find_in("nobody-here", PASSWD, GROUP).is_err());
    }
}
