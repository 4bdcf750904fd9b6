//! Whom files belong to: numbers for the kernel, names for people.

use std::os::fd::AsFd;

use rustix::fs::{fchown, Gid, Uid};
use rustix::io::Errno;

use crate::failure::CallResult;
use crate::process::account::{self, Account};

/// Longest name that is told, in bytes.
const MAX_NAME_BYTES: usize = 256;

/// Numbers; `None` leaves one as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// User.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
}

impl Owner {
    /// The owner that a request names. A user alone brings its own group.
    pub fn find(user: &str, group: &str) -> CallResult<Self> {
        let of_user = if user.is_empty() {
            Self::default()
        } else {
            Self::of(&Account::find(user)?)
        };
        let gid = if group.is_empty() {
            of_user.gid
        } else {
            Some(account::find_group(group)?)
        };
        Ok(Self { gid, ..of_user })
    }

    /// The owner of what a user makes.
    pub fn of(account: &Account) -> Self {
        let credentials = account.credentials.as_ref();
        Self {
            uid: Some(credentials.map_or_else(own_uid, |credentials| credentials.uid)),
            gid: Some(credentials.map_or_else(own_gid, |credentials| credentials.gid)),
        }
    }

    /// Whether nothing is named.
    pub fn is_none(self) -> bool {
        self == Self::default()
    }

    /// Gives an open file to it.
    pub fn take(self, file: impl AsFd) -> Result<(), Errno> {
        if self.is_none() {
            return Ok(());
        }
        fchown(file, self.user(), self.group())
    }

    /// For the kernel.
    pub fn user(self) -> Option<Uid> {
        self.uid.map(Uid::from_raw)
    }

    /// For the kernel.
    pub fn group(self) -> Option<Gid> {
        self.gid.map(Gid::from_raw)
    }
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn own_gid() -> u32 {
    rustix::process::getegid().as_raw()
}

/// The names of this moment.
#[derive(Debug)]
pub struct Names {
    passwd: String,
    group: String,
}

impl Names {
    /// Reads them. Without them numbers have no names.
    pub fn load() -> Self {
        Self {
            passwd: account::read_text("/etc/passwd").unwrap_or_default(),
            group: account::read_text("/etc/group").unwrap_or_default(),
        }
    }

    /// The name of a user, or nothing.
    pub fn user(&self, uid: u32) -> String {
        name_of(&self.passwd, uid)
    }

    /// The name of a group, or nothing.
    pub fn group(&self, gid: u32) -> String {
        name_of(&self.group, gid)
    }
}

/// Both files have the name first and the number third.
fn name_of(text: &str, number: u32) -> String {
    let found = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(number)).then_some(name)
    });
    found
        .filter(|name| name.len() <= MAX_NAME_BYTES)
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_the_first_name_that_is_not_too_long() {
        let text = format!(
            "root:x:0:\n{}:x:7:\nbroken\nuser:x:1000:a,b\n",
            "x".repeat(300)
        );
        assert_eq!(name_of(&text, 0), "root");
        assert_eq!(name_of(&text, 1000), "user");
        assert_eq!(name_of(&text, 7), "");
        assert_eq!(name_of(&text, 8), "");
    }
}
