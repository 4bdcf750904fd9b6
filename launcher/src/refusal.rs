//! Why a request was not done.

use crate::proto::{Error, ErrorCode};
use rustix::io::Errno;
use std::fmt;
use std::io;

/// A code of the protocol and one sentence: what was seen and what was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Decides what the host does about it.
    pub code: ErrorCode,
    /// For a person.
    pub message: String,
}

impl Refusal {
    /// The request broke a rule.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self {
            code: ErrorCode::Invalid,
            message: message.into(),
        }
    }

    /// Any other code.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// The kernel said no while doing `what`.
    pub fn os(what: &str, error: impl Into<io::Error>) -> Self {
        let error = error.into();
        let code = match Errno::from_io_error(&error) {
            Some(Errno::NOSPC | Errno::DQUOT) => ErrorCode::NoSpace,
            Some(Errno::NOENT) => ErrorCode::NotFound,
            Some(Errno::EXIST) => ErrorCode::Exists,
            _ => ErrorCode::Os,
        };
        Self {
            code,
            message: format!("{what}: {error}"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self {
            code: refusal.code.into(),
            message: refusal.message,
        }
    }
}
