//! The environment of programs: the image's, then what the host installed, then the call's own.

use std::collections::BTreeMap;
use std::ffi::CString;

use super::account::Account;
use crate::failure::{CallError, CallResult};

/// Names to values.
pub type Variables = BTreeMap<String, String>;

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Names and values together; the kernel refuses more than about that.
const MAX_BYTES: usize = 1024 * 1024;

/// Refuses what no environment can hold.
pub fn check(variables: &Variables) -> CallResult<()> {
    for (name, value) in variables {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(CallError::invalid(format!("environment variable {name:?} cannot be set: a name is not empty and holds no '=', and neither holds a NUL byte")));
        }
    }
    let bytes: usize = variables
        .iter()
        .map(|(name, value)| name.len() + value.len() + 2)
        .sum();
    if bytes > MAX_BYTES {
        return Err(CallError::limit(format!(
            "{bytes} bytes of environment, expected at most {MAX_BYTES}"
        )));
    }
    Ok(())
}

/// The environment of one program, as `NAME=value`, and the PATH in it.
pub fn of_program(
    account: &Account,
    base: &Variables,
    own: &Variables,
) -> CallResult<(Vec<CString>, String)> {
    let mut all: BTreeMap<&str, &str> =
        BTreeMap::from([("PATH", DEFAULT_PATH), ("LANG", "C.UTF-8")]);
    all.extend(
        base.iter()
            .map(|(name, value)| (name.as_str(), value.as_str())),
    );
    all.insert("HOME", &account.home);
    all.insert("USER", &account.name);
    all.insert("LOGNAME", &account.name);
    all.insert("SHELL", &account.shell);
    all.extend(
        own.iter()
            .map(|(name, value)| (name.as_str(), value.as_str())),
    );
    let path = all.get("PATH").copied().unwrap_or(DEFAULT_PATH).to_owned();
    let strings = all
        .iter()
        .map(|(name, value)| CString::new(format!("{name}={value}")))
        .collect::<Result<_, _>>();
    strings
        .map(|strings| (strings, path))
        .map_err(|_| CallError::invalid("an environment variable holds a NUL byte"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn the_call_goes_before_the_account_and_the_account_before_the_image() {
        let base = variables(&[("HOME", "/image"), ("A", "1"), ("PATH", "/image/bin")]);
        let own = variables(&[("A", "2"), ("USER", "me")]);
        let (strings, path) =
            of_program(&Account::find("root").expect("root"), &base, &own).expect("strings");
        let text: Vec<_> = strings
            .iter()
            .map(|string| string.to_str().expect("text"))
            .collect();
        assert_eq!(
            text,
            [
                "A=2",
                "HOME=/root",
                "LANG=C.UTF-8",
                "LOGNAME=root",
                "PATH=/image/bin",
                "SHELL=/bin/bash",
                "USER=me"
            ]
        );
        assert_eq!(path, "/image/bin");
    }

    #[test]
    fn what_no_environment_can_hold_is_refused() {
        for (name, value) in [("", "x"), ("A=B", "x"), ("A\0", "x"), ("A", "x\0")] {
            assert!(check(&variables(&[(name, value)])).is_err());
        }
        assert!(check(&variables(&[("A", &"x".repeat(MAX_BYTES))])).is_err());
    }
}
