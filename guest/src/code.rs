//! Code on its way to an interpreter. It arrives in pieces and is held in memory until it runs, so all of it together is bounded.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{fchown, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::Arc;

use crate::agent::Agent;
use crate::failure::{CallError, CallResult};
use crate::link::stream::Call;
use crate::process::account::Account;

/// Longest code of one call, in bytes.
pub const MAX_CODE_BYTES: usize = 32 * 1024 * 1024;
/// Longer scripts do not fit into one argument.
const MAX_INLINE_BYTES: usize = 100 * 1024;

/// Bytes of code that all calls may hold.
#[derive(Debug)]
pub struct CodeBudget {
    left: AtomicUsize,
}

impl CodeBudget {
    /// An eighth of the memory.
    pub fn for_this_machine() -> Self {
        let total = rustix::system::sysinfo();
        let bytes = usize::try_from(total.totalram * u64::from(total.mem_unit) / 8)
            .unwrap_or(MAX_CODE_BYTES);
        Self {
            left: AtomicUsize::new(bytes),
        }
    }

    fn take(&self, bytes: usize) -> bool {
        self.left
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| {
                left.checked_sub(bytes)
            })
            .is_ok()
    }
}

/// Code that counts against the budget while it exists.
#[derive(Debug)]
pub struct Code {
    bytes: Vec<u8>,
    budget: Arc<CodeBudget>,
    counted: usize,
}

impl Code {
    /// The first piece, and the rest from the call's input when it follows.
    pub async fn gather(
        agent: &Agent,
        call: &Call,
        first: Vec<u8>,
        follows: bool,
    ) -> CallResult<Self> {
        let mut code = Self {
            bytes: Vec::new(),
            budget: agent.code_budget.clone(),
            counted: 0,
        };
        code.append(first)?;
        if !follows {
            return Ok(code);
        }
        loop {
            tokio::select! {
                biased;
                () = call.cancelled().wait() => return Err(CallError::cancelled()),
                piece = call.next_data() => match piece {
                    Some(piece) => code.append(piece)?,
                    None => return Ok(code),
                },
            }
        }
    }

    fn append(&mut self, piece: Vec<u8>) -> CallResult<()> {
        let total = self.bytes.len() + piece.len();
        if total > MAX_CODE_BYTES {
            return Err(CallError::limit(format!(
                "more than {MAX_CODE_BYTES} bytes of code"
            )));
        }
        if !self.budget.take(piece.len()) {
            return Err(CallError::limit(format!(
                "no memory for {total} bytes of code beside that of other calls"
            )));
        }
        self.counted += piece.len();
        if self.bytes.is_empty() {
            self.bytes = piece;
        } else {
            self.bytes.extend_from_slice(&piece);
        }
        Ok(())
    }

    /// The code as it came.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The code as text.
    pub fn text(&self) -> CallResult<&str> {
        std::str::from_utf8(&self.bytes)
            .map_err(|error| CallError::invalid(format!("the code is not UTF-8: {error}")))
    }

    /// The arguments that make Bash run it as a user, and the file that they name.
    pub fn for_bash(
        &self,
        agent: &Agent,
        account: &Account,
    ) -> CallResult<(Vec<String>, Option<ScriptFile>)> {
        let text = self.text()?;
        if text.len() <= MAX_INLINE_BYTES {
            return Ok((
                vec!["bash".to_owned(), "-c".to_owned(), text.to_owned()],
                None,
            ));
        }
        let file = ScriptFile::create(agent, account, &self.bytes)
            .map_err(|error| CallError::system("a file for the script", error))?;
        Ok((
            vec!["bash".to_owned(), file.path.to_string_lossy().into_owned()],
            Some(file),
        ))
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        self.budget.left.fetch_add(self.counted, Ordering::AcqRel);
    }
}

/// A script in a file in memory, gone when it is dropped. The code that it was made of is kept as long, so that it counts.
#[derive(Debug)]
pub struct ScriptFile {
    path: PathBuf,
}

impl ScriptFile {
    fn create(agent: &Agent, account: &Account, bytes: &[u8]) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let path = agent
            .directory
            .join(format!("script-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        let script = Self { path };
        if let Some(credentials) = &account.credentials {
            fchown(&file, Some(credentials.uid), Some(credentials.gid))?;
        }
        file.write_all(bytes)?;
        Ok(script)
    }
}

impl Drop for ScriptFile {
    fn drop(&mut self) {
        // A program may have removed it.
        let _ = fs::remove_file(&self.path);
    }
}
