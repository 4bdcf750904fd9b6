//! Processes that outlive the call that started them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::command::Running;
use super::drain;
use super::group::ProcessGroup;
use super::output::OutputFlow;
use super::output_log::{LogMemory, OutputLog};
use super::pipe::{OutputPipe, PipeWriter};
use super::supervise::{cpu_of, KILL_GRACE};
use crate::failure::{CallError, CallResult};
use crate::flag::Flag;
use crate::log;
use crate::proto::{ExecEnded, Process, ProcessList};
use crate::sys::kernel::{self, Ending, Reaped};

/// Processes that may run at once.
const MAX_RUNNING: usize = 128;
/// Processes that have ended and are remembered.
const MAX_ENDED: usize = 64;

/// What a client says about a process.
#[derive(Debug)]
pub struct Label {
    /// Free text.
    pub tag: String,
    /// For people.
    pub command: String,
}

/// One process.
#[derive(Debug)]
pub struct Background {
    id: u32,
    pid: i32,
    label: Label,
    started_unix_ms: u64,
    /// What it prints.
    pub log: OutputLog,
    /// Set when it has ended and all its output is in the log.
    pub has_ended: Flag,
    stdin: tokio::sync::Mutex<Option<PipeWriter>>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    stdin_is_open: bool,
    /// Until it has ended.
    group: Option<ProcessGroup>,
    ended: Option<(ExecEnded, u64)>,
}

impl Background {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As the host is told of it.
    pub fn describe(&self) -> Process {
        let (start, end) = self.log.extent();
        let state = self.state();
        Process {
            process_id: self.id,
            pid: self.pid.unsigned_abs(),
            tag: self.label.tag.clone(),
            command: self.label.command.clone(),
            started_unix_ms: self.started_unix_ms,
            stdin_is_open: state.stdin_is_open,
            output_bytes: end,
            output_start: start,
            ended: state.ended.map(|(ended, _)| ended),
            ended_unix_ms: state.ended.map_or(0, |(_, at)| at),
        }
    }

    /// Sends a signal to its process group; SIGKILL to everything it has started. Does nothing when it has ended.
    pub fn signal(&self, number: u32) {
        let state = self.state();
        let Some(group) = &state.group else { return };
        if number == libc::SIGKILL.unsigned_abs() {
            group.kill_all();
        } else {
            // The group may have ended already, and a number that is no signal does nothing.
            let _ = kernel::signal_group(self.pid, number);
        }
    }

    /// Its stdin, for one writer at a time.
    pub async fn stdin(&self) -> Stdin<'_> {
        Stdin {
            process: self,
            pipe: self.stdin.lock().await,
        }
    }

    async fn watch(&self, watched: Watched, time: Option<Duration>) {
        let Watched {
            ended,
            stdout,
            stderr,
            started_at,
        } = watched;
        let finish = Flag::default();
        let mut flow = OutputFlow::into_log(&self.log, &stdout, &stderr);
        let waiting = async {
            let ending = self.wait_for_end(ended, time).await;
            finish.set();
            ending
        };
        let ((reaped, timed_out), passed_on) = tokio::join!(waiting, flow.pass_on_until(&finish));
        if let Err(error) = passed_on {
            log::warn(format_args!("the output of process {}: {error}", self.id));
        }
        let wall = started_at.elapsed();
        let passed = flow.passed();
        drain::release(stdout, passed.stdout_has_ended);
        drain::release(stderr, passed.stderr_has_ended);
        let ending = reaped.map_or(Ending::Signalled(libc::SIGKILL), |reaped| reaped.ending);
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.log.close();
        {
            let mut state = self.state();
            let group = state.group.take();
            let out_of_memory = group
                .as_ref()
                .is_some_and(|group| group.out_of_memory_kills() > 0);
            let cpu = group.map_or(Duration::ZERO, |group| cpu_of(&group, reaped));
            let ended = ExecEnded {
                exit_code: if timed_out { 124 } else { ending.exit_code() },
                signal: ending.signal(),
                timed_out,
                truncated: self.log.extent().0 > 0,
                stdout_bytes: passed.stdout_bytes,
                stderr_bytes: passed.stderr_bytes,
                cpu_us: micros(cpu),
                wall_us: micros(wall),
                out_of_memory,
            };
            state.stdin_is_open = false;
            state.ended = Some((ended, now_unix_ms()));
        }
        self.has_ended.set();
        *self.stdin.lock().await = None;
    }

    async fn wait_for_end(
        &self,
        mut ended: oneshot::Receiver<Reaped>,
        time: Option<Duration>,
    ) -> (Option<Reaped>, bool) {
        let limit = async {
            match time {
                Some(time) => sleep(time).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            reaped = &mut ended => (reaped.ok(), false),
            () = limit => {
                self.signal(libc::SIGKILL.unsigned_abs());
                let reaped = timeout(KILL_GRACE, ended).await;
                (reaped.ok().and_then(Result::ok), true)
            }
        }
    }
}

/// What only the watcher of a process needs.
struct Watched {
    ended: oneshot::Receiver<Reaped>,
    stdout: OutputPipe,
    stderr: OutputPipe,
    started_at: std::time::Instant,
}

/// The stdin of a process, held by one writer.
#[derive(Debug)]
pub struct Stdin<'a> {
    process: &'a Background,
    pipe: tokio::sync::MutexGuard<'a, Option<PipeWriter>>,
}

impl Stdin<'_> {
    /// Writes everything, however long the process takes to read it.
    pub async fn write(&mut self, data: &[u8]) -> CallResult<()> {
        let Some(pipe) = self.pipe.as_ref() else {
            return Err(self.is_closed());
        };
        let written = tokio::select! {
            biased;
            () = self.process.has_ended.wait() => return Err(self.is_closed()),
            written = pipe.write_all(data) => written,
        };
        // Nobody reads it any more.
        written.map_err(|_| {
            self.close();
            self.is_closed()
        })
    }

    /// Fails when nobody can write to it.
    pub fn check(&self) -> CallResult<()> {
        if self.pipe.is_none() || self.process.has_ended.is_set() {
            return Err(self.is_closed());
        }
        Ok(())
    }

    /// The process reads the end.
    pub fn close(&mut self) {
        *self.pipe = None;
        self.process.state().stdin_is_open = false;
    }

    fn is_closed(&self) -> CallError {
        CallError::conflict(format!(
            "the stdin of process {} is closed",
            self.process.id
        ))
    }
}

/// The processes of this VM: those that run, and the last ones that ended.
#[derive(Debug)]
pub struct Processes {
    memory: Arc<LogMemory>,
    state: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    last_id: u32,
    all: BTreeMap<u32, Arc<Background>>,
    /// In the order of their ends.
    ended: VecDeque<u32>,
}

impl Default for Processes {
    fn default() -> Self {
        Self {
            memory: Arc::new(LogMemory::for_this_machine()),
            state: Mutex::default(),
        }
    }
}

impl Processes {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process of an id.
    pub fn find(&self, id: u32) -> CallResult<Arc<Background>> {
        let found = self.known().all.get(&id).cloned();
        found.ok_or_else(|| {
            CallError::not_found(format!(
                "process {id} does not exist, or it is forgotten: the last {MAX_ENDED} that ended are remembered"
            ))
        })
    }

    /// All that are known, oldest first.
    pub fn list(&self) -> ProcessList {
        ProcessList {
            processes: self
                .known()
                .all
                .values()
                .map(|process| process.describe())
                .collect(),
        }
    }

    /// A place for one more process: fails when there is none.
    pub fn reserve(&self) -> CallResult<OutputLog> {
        let mut known = self.known();
        let running = known.all.len() - known.ended.len();
        if running >= MAX_RUNNING {
            return Err(CallError::limit(format!(
                "{running} background processes run, expected fewer than {MAX_RUNNING}"
            )));
        }
        loop {
            if let Some(log) = OutputLog::new(&self.memory) {
                return Ok(log);
            }
            if !known.forget_oldest() {
                return Err(CallError::limit(format!(
                    "no memory for the output of a further background process beside {running} others"
                )));
            }
        }
    }

    /// Watches a process that was started. `keep` is dropped at its end.
    pub fn adopt(
        self: &Arc<Self>,
        running: Running,
        (log, label): (OutputLog, Label),
        (time, keep): (Option<Duration>, impl Send + 'static),
    ) -> Arc<Background> {
        let Running {
            pid,
            ended,
            group,
            stdin,
            stdout,
            stderr,
            started_at,
        } = running;
        let mut known = self.known();
        known.last_id += 1;
        let process = Arc::new(Background {
            id: known.last_id,
            pid,
            label,
            started_unix_ms: now_unix_ms(),
            log,
            has_ended: Flag::default(),
            state: Mutex::new(State {
                stdin_is_open: stdin.is_some(),
                group: Some(group),
                ended: None,
            }),
            stdin: tokio::sync::Mutex::new(stdin),
        });
        known.all.insert(process.id, process.clone());
        drop(known);
        let watched = Watched {
            ended,
            stdout,
            stderr,
            started_at,
        };
        let (processes, watching) = (self.clone(), process.clone());
        tokio::spawn(async move {
            watching.watch(watched, time).await;
            drop(keep);
            processes.note_end(watching.id);
        });
        process
    }

    /// Forgets one that has ended.
    pub fn forget(&self, id: u32) {
        let mut known = self.known();
        known.all.remove(&id);
        known.ended.retain(|&other| other != id);
    }

    fn note_end(&self, id: u32) {
        let mut known = self.known();
        // It may be forgotten already.
        if !known.all.contains_key(&id) {
            return;
        }
        known.ended.push_back(id);
        while known.ended.len() > MAX_ENDED {
            known.forget_oldest();
        }
    }
}

impl Known {
    fn forget_oldest(&mut self) -> bool {
        let Some(id) = self.ended.pop_front() else {
            return false;
        };
        self.all.remove(&id);
        true
    }
}

fn now_unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
