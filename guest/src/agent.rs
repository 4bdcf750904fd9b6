//! What all calls share, and which service a call goes to.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

use crate::calls::pieces::MAX_TRANSFERS;
use crate::calls::watch::MAX_WATCHES;
use crate::calls::{
    background, contexts, directory, exec, figures, files, identity, run_code, tree, watch,
};
use crate::code::CodeBudget;
use crate::context::interpreter::Driver;
use crate::context::registry::Contexts;
use crate::failure::{CallError, CallResult};
use crate::image::Image;
use crate::link::stream::Call;
use crate::process::account::Account;
use crate::process::background::Processes;
use crate::process::command::Starter;
use crate::process::environment::Variables;
use crate::process::group::Groups;
use crate::process::reaper::Reaper;
use crate::proto::{open, outcome, Activate, Pong};

/// Longest payload of a Ping, in bytes.
const MAX_PING_BYTES: usize = 4096;

/// Where the agent runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surroundings {
    /// PID 1 of a VM: owns the clock, the hostname, the entropy.
    Vm,
    /// A process among others, for tests.
    Elsewhere,
}

/// The agent's state.
#[derive(Debug)]
pub struct Agent {
    /// PID 1, or not.
    pub surroundings: Surroundings,
    /// The image's defaults.
    pub image: Image,
    /// Starts processes.
    pub starter: Starter,
    /// A directory of the agent's own, for files that live as long as a call.
    pub directory: PathBuf,
    /// The interpreters.
    pub contexts: Contexts,
    /// Bounds the code that is held in memory.
    pub code_budget: Arc<CodeBudget>,
    /// Bounds the calls that move bytes between files and the host.
    pub transfers: Semaphore,
    /// Bounds the watches.
    pub watches: Semaphore,
    /// Processes that outlive their calls.
    pub processes: Arc<Processes>,
    installed: Mutex<Variables>,
    boot_id: [u8; 16],
}

impl Agent {
    /// An agent that keeps its files in `directory`, which exists.
    pub fn new(
        surroundings: Surroundings,
        image: Image,
        groups: Groups,
        directory: &Path,
    ) -> io::Result<Self> {
        let mut boot_id = [0; 16];
        File::open("/dev/urandom")?.read_exact(&mut boot_id)?;
        Ok(Self {
            surroundings,
            image,
            starter: Starter {
                reaper: Reaper::default(),
                groups,
                null: File::open("/dev/null")?.into(),
            },
            directory: directory.to_owned(),
            contexts: Contexts::default(),
            code_budget: Arc::new(CodeBudget::for_this_machine()),
            transfers: Semaphore::new(MAX_TRANSFERS),
            watches: Semaphore::new(MAX_WATCHES),
            processes: Arc::default(),
            installed: Mutex::default(),
            boot_id,
        })
    }

    /// Writes a driver's file anew, since a program may have removed it, and gives its path.
    pub fn write_driver(&self, driver: &Driver) -> io::Result<PathBuf> {
        let path = self.directory.join(driver.file);
        fs::create_dir_all(&self.directory)?;
        fs::write(&path, driver.source)?;
        Ok(path)
    }

    /// Random per start; tells the host one boot from another.
    pub fn boot_id(&self) -> &[u8; 16] {
        &self.boot_id
    }

    /// The environment of every program: the image's and what the host installed.
    pub fn base_env(&self) -> Variables {
        let mut env = self.image.env.clone();
        env.extend(
            self.installed
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        );
        env
    }

    /// Adds to the environment of later programs.
    pub fn install_env(&self, env: Variables) {
        self.installed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(env);
    }

    /// The user of a call; the image's when it names none.
    pub fn account(&self, user: &str) -> Result<Account, CallError> {
        match (user, self.surroundings) {
            ("", Surroundings::Elsewhere) => Ok(Account::own()),
            ("", Surroundings::Vm) => Account::find(&self.image.user),
            (user, _) => Account::find(user),
        }
    }

    /// The directory of a call; the image's when it names none.
    pub fn workdir(&self, cwd: &str) -> String {
        if cwd.is_empty() {
            self.image.workdir.clone()
        } else {
            cwd.to_owned()
        }
    }

    /// Answers a call that needs neither time nor a stream.
    pub fn answer_at_once(&self, call: &open::Call) -> Option<outcome::Outcome> {
        let outcome = match call {
            open::Call::Ping(ping) if ping.payload.len() > MAX_PING_BYTES => {
                Err(CallError::invalid(format!(
                    "a ping of {} bytes, expected at most {MAX_PING_BYTES}",
                    ping.payload.len()
                )))
            }
            open::Call::Ping(ping) => Ok(outcome::Outcome::Pong(Pong {
                payload: ping.payload.clone(),
                agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            })),
            open::Call::Stats(_) => figures::stats().map(outcome::Outcome::Stats),
            open::Call::SetClock(request) => {
                identity::set_clock(self, *request).map(outcome::Outcome::ClockSet)
            }
            open::Call::ListContexts(_) => Ok(outcome::Outcome::Contexts(contexts::list(self))),
            _ => return None,
        };
        Some(outcome.unwrap_or_else(|error| outcome::Outcome::Failure(error.into())))
    }

    /// Serves any other call.
    pub async fn run(self: Arc<Self>, request: open::Call, call: Call) {
        if let open::Call::Activate(request) = request {
            return self.activate(request, &call);
        }
        let call = Arc::new(call);
        let outcome = self.serve(request, &call).await;
        call.end(outcome);
    }

    /// Answers as soon as the kernel is no twin any more. The names are written behind the answer and before the next
    /// call is read: one thread runs everything, and an answer is longer on its way than what is ready to run.
    fn activate(&self, request: Activate, call: &Call) {
        match identity::activate(self, request) {
            Ok((activated, names)) => {
                call.end(Ok(outcome::Outcome::Activated(activated)));
                if let Some(names) = names {
                    tokio::spawn(async move { identity::take_names(&names) });
                }
            }
            Err(error) => call.end(Err(error)),
        }
    }

    async fn serve(
        self: &Arc<Self>,
        request: open::Call,
        call: &Arc<Call>,
    ) -> CallResult<outcome::Outcome> {
        use outcome::Outcome;
        Ok(match request {
            open::Call::Exec(request) => Outcome::ExecEnded(exec::exec(self, call, request).await?),
            open::Call::RunCode(request) => {
                Outcome::CodeEnded(run_code::run_code(self, call, request).await?)
            }
            open::Call::CreateContext(request) => {
                Outcome::Context(contexts::create(self, request)?)
            }
            open::Call::RestartContext(request) => {
                Outcome::Context(contexts::restart(self, &request.context_id).await?)
            }
            open::Call::InterruptContext(request) => {
                Outcome::Context(contexts::interrupt(self, &request.context_id)?)
            }
            open::Call::DeleteContext(request) => {
                Outcome::Context(contexts::delete(self, &request.context_id)?)
            }
            open::Call::ReadFile(request) => {
                Outcome::FileRead(files::read(self, call, request).await?)
            }
            open::Call::WriteFile(request) => {
                Outcome::FileWritten(files::write(self, call, request).await?)
            }
            open::Call::ListDirectory(request) => {
                Outcome::DirectoryListed(directory::list(self, call, request).await?)
            }
            open::Call::StatFile(request) => {
                Outcome::Entry(directory::stat(self, call, request).await?)
            }
            open::Call::MakeDirectory(request) => {
                Outcome::Entry(directory::make(self, call, request).await?)
            }
            open::Call::MoveFile(request) => {
                Outcome::Entry(directory::rename(self, call, request).await?)
            }
            open::Call::RemoveFile(request) => {
                Outcome::FileRemoved(directory::remove(self, call, request).await?)
            }
            open::Call::ChangeFile(request) => {
                Outcome::Entry(directory::change(self, call, request).await?)
            }
            open::Call::StartProcess(request) => {
                Outcome::Process(background::start(self, call, request).await?)
            }
            open::Call::ListProcesses(_) => Outcome::Processes(self.processes.list()),
            open::Call::AttachProcess(request) => {
                Outcome::Process(background::attach(self, call, request).await?)
            }
            open::Call::WriteStdin(request) => {
                Outcome::StdinWritten(background::write_stdin(self, call, request).await?)
            }
            open::Call::SignalProcess(request) => {
                Outcome::Process(background::signal(self, request)?)
            }
            open::Call::WaitProcess(request) => {
                Outcome::Process(background::wait(self, call, request).await?)
            }
            open::Call::ForgetProcess(request) => {
                Outcome::Process(background::forget(self, call, request).await?)
            }
            open::Call::ReadTree(request) => {
                Outcome::TreeRead(tree::read(self, call, request).await?)
            }
            open::Call::WriteTree(request) => {
                Outcome::TreeWritten(tree::write(self, call, request).await?)
            }
            open::Call::WatchFiles(request) => {
                Outcome::WatchEnded(watch::watch(self, call, request).await?)
            }
            open::Call::Activate(_)
            | open::Call::Ping(_)
            | open::Call::SetClock(_)
            | open::Call::Stats(_)
            | open::Call::ListContexts(_) => {
                return Err(CallError::internal(
                    "a call that is answered elsewhere was not",
                ));
            }
        })
    }
}
