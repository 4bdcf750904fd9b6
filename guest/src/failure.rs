//! Why a call failed, as the host is told.

use std::fmt;

use crate::proto::{Failure, FailureCode};

const MAX_MESSAGE_BYTES: usize = 4096;

/// A code of the protocol and a sentence for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallError {
    /// The kind of failure.
    pub code: FailureCode,
    /// What was seen and what was expected.
    pub message: String,
}

/// What a service answers with.
pub type CallResult<T> = Result<T, CallError>;

impl CallError {
    /// An error of any code.
    pub fn new(code: FailureCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// The request itself is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(FailureCode::Invalid, message)
    }

    /// What the request names is not there.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(FailureCode::NotFound, message)
    }

    /// A bound of the agent or of the request is reached.
    pub fn limit(message: impl Into<String>) -> Self {
        Self::new(FailureCode::Limit, message)
    }

    /// What is there is in the way.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(FailureCode::Conflict, message)
    }

    /// The agent or the VM is at fault.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(FailureCode::Internal, message)
    }

    /// This agent cannot do that.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(FailureCode::Unsupported, message)
    }

    /// The host cancelled the call.
    pub fn cancelled() -> Self {
        Self::new(FailureCode::Cancelled, "the call was cancelled")
    }

    /// An error of the system, with what was tried.
    pub fn system(subject: impl fmt::Display, error: impl Into<std::io::Error>) -> Self {
        let error = error.into();
        let code = match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
                FailureCode::NotFound
            }
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                FailureCode::Permission
            }
            std::io::ErrorKind::IsADirectory => FailureCode::IsDirectory,
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                FailureCode::NoSpace
            }
            std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidFilename => {
                FailureCode::Invalid
            }
            std::io::ErrorKind::AlreadyExists
            | std::io::ErrorKind::DirectoryNotEmpty
            | std::io::ErrorKind::ResourceBusy => FailureCode::Conflict,
            // Links that lead in a circle.
            _ if error.raw_os_error() == Some(libc::ELOOP) => FailureCode::Invalid,
            _ => FailureCode::Internal,
        };
        Self::new(code, format!("{subject}: {error}"))
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CallError {}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        Self {
            code: error.code.into(),
            message: shortened(error.message, MAX_MESSAGE_BYTES),
        }
    }
}

/// The text, cut at a character so that it has at most `max_bytes`.
pub fn shortened(mut text: String, max_bytes: usize) -> String {
    if text.len() > max_bytes {
        let end = (0..=max_bytes)
            .rev()
            .find(|&at| text.is_char_boundary(at))
            .unwrap_or(0);
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let failure: Failure = CallError::invalid("é".repeat(3000)).into();
        assert_eq!(failure.message.len(), 4096);
        assert_eq!(shortened("aé".to_owned(), 2), "a");
    }
}
