//! The loop that owns all state: clients, workers and VM processes are served by one thread.

use crate::config::Config;
use crate::connection::{Connection, Gone};
use crate::fork::plan::ForkPlan;
use crate::fork::{ended_before, Forked, Parent};
use crate::log::Log;
use crate::memory::PagesPlan;
use crate::prepare::{bound_log, Prepared};
use crate::process_file::{self, parent_of, ProcessName};
use crate::processes::{Processes, Running};
use crate::proto::{self, ended::How, request, response, Request, Response};
use crate::refusal::Refusal;
use crate::roots::Roots;
use crate::spawn::{set_session_priority, spawn};
use crate::validate::{parse_priority, parse_signal, StartPlan, VmId};
use crate::worker::{Finished, Outcome, Ready, Work, Workers};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::process::{
    geteuid, kill_process, pidfd_open, setpriority_pgrp, wait, Pid, PidfdFlags, Signal,
    WaitOptions, WaitStatus,
};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What both sides must agree on.
pub const PROTOCOL_VERSION: u32 = 1;

const CONNECTIONS_LIMIT: usize = 64;
const STARTING_LIMIT: usize = 512;
const PAGES_LIMIT: usize = 512;
/// Between looks at the sizes of logs, and at children that nobody registered.
const ROUND: Duration = Duration::from_secs(30);

/// A launcher at work.
pub struct Server {
    config: Config,
    roots: Arc<Roots>,
    listener: UnixListener,
    log: Log,
    workers: Workers,
    processes: Processes,
    /// Saves and loads of memory that workers have.
    pages_under_way: usize,
    connections: BTreeMap<u64, Connection>,
    next_connection: u64,
    idle_since: Instant,
    last_round: Instant,
}

enum Wake {
    Client,
    Outcome,
    Connection(u64),
    Process(VmId),
}

impl Server {
    /// Takes over the VMs of the state directory; the listener must be nonblocking.
    pub fn new(config: Config, listener: UnixListener, log: Log) -> io::Result<Self> {
        let roots = Arc::new(Roots::open(&config.state_dir, &config.read_roots)?);
        Ok(Self {
            processes: Processes::adopt(&config, &roots)?,
            workers: Workers::start(&roots)?,
            pages_under_way: 0,
            config,
            roots,
            listener,
            log,
            connections: BTreeMap::new(),
            next_connection: 1,
            idle_since: Instant::now(),
            last_round: Instant::now(),
        })
    }

    /// Serves until it has been idle for long enough.
    pub fn run(&mut self) -> io::Result<()> {
        let (pid, count) = (std::process::id(), self.processes.list().processes.len());
        self.log.line(format_args!(
            "launcher {} started, pid {pid}, {count} processes known",
            env!("CARGO_PKG_VERSION")
        ));
        while !self.is_over() {
            for ready in self.wait()? {
                match ready {
                    Wake::Client => self.accept(),
                    Wake::Outcome => self.finish(),
                    Wake::Connection(id) => self.serve(id),
                    Wake::Process(vm_id) => {
                        let ended = self.processes.adopted_ended(vm_id);
                        self.announce(ended);
                    }
                }
            }
            self.reap();
            self.make_round();
        }
        self.log.line("idle, exits");
        Ok(())
    }

    fn is_over(&mut self) -> bool {
        if self.processes.are_busy() || !self.connections.is_empty() {
            self.idle_since = Instant::now();
        }
        self.config
            .idle_exit
            .is_some_and(|limit| self.idle_since.elapsed() >= limit)
    }

    fn wait(&self) -> io::Result<Vec<Wake>> {
        let mut fds = vec![
            (Wake::Client, PollFd::new(&self.listener, PollFlags::IN)),
            (
                Wake::Outcome,
                PollFd::from_borrowed_fd(self.workers.as_fd(), PollFlags::IN),
            ),
        ];
        for (id, connection) in &self.connections {
            let write = if connection.wants_to_write() {
                PollFlags::OUT
            } else {
                PollFlags::empty()
            };
            fds.push((
                Wake::Connection(*id),
                PollFd::from_borrowed_fd(connection.as_fd(), PollFlags::IN | write),
            ));
        }
        for (vm_id, pidfd) in self.processes.watched() {
            fds.push((
                Wake::Process(vm_id.clone()),
                PollFd::from_borrowed_fd(pidfd, PollFlags::IN),
            ));
        }
        let (names, mut fds): (Vec<Wake>, Vec<PollFd<'_>>) = fds.into_iter().unzip();
        let timeout = self.config.idle_exit.map_or(ROUND, |limit| {
            // A millisecond more, or the last wait would end a moment too early again and again.
            ROUND.min(limit.saturating_sub(self.idle_since.elapsed()) + Duration::from_millis(1))
        });
        match poll(&mut fds, Timespec::try_from(timeout).ok().as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let is_ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        Ok(names
            .into_iter()
            .zip(&fds)
            .filter(|(_, fd)| is_ready(fd))
            .map(|(name, _)| name)
            .collect())
    }

    fn accept(&mut self) {
        match self.listener.accept() {
            Ok((stream, _)) => {
                let peer = socket_peercred(&stream).map(|peer| peer.uid.as_raw());
                let is_allowed = peer.is_ok_and(|uid| may_connect(uid, geteuid().as_raw()));
                if !is_allowed
                    || self.connections.len() >= CONNECTIONS_LIMIT
                    || stream.set_nonblocking(true).is_err()
                {
                    self.log.line(format_args!(
                        "client of user {peer:?} refused, {} are connected",
                        self.connections.len()
                    ));
                    return;
                }
                self.connections
                    .insert(self.next_connection, Connection::new(stream));
                self.next_connection += 1;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                self.log.line(format_args!("accept: {error}"));
                // Out of descriptors the listener stays readable: not a reason to spin.
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    fn serve(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let received = connection.flush().and_then(|()| connection.receive());
        let served = received.and_then(|requests| {
            requests
                .into_iter()
                .try_for_each(|request| self.answer(id, request))
        });
        if let Err(Gone(why)) = served {
            self.disconnect(id, &why);
        }
    }

    fn disconnect(&mut self, id: u64, why: &str) {
        self.connections.remove(&id);
        self.log
            .line(format_args!("client {id} disconnected: {why:?}"));
    }

    fn answer(&mut self, connection_id: u64, request: Request) -> Result<(), Gone> {
        let id = request.id;
        let is_greeted = self
            .connections
            .get(&connection_id)
            .is_some_and(|connection| connection.greeted);
        // None: a worker has it, and `finish` answers.
        let answer = match request.request {
            Some(request::Request::Hello(hello)) => self.greet(connection_id, &hello).map(Some),
            _ if !is_greeted => return Err(Gone("its first request was no Hello".into())),
            Some(request::Request::Start(start)) => {
                self.begin_start(connection_id, id, start).map(|()| None)
            }
            Some(request::Request::Fork(fork)) => {
                self.begin_fork(connection_id, id, fork).map(|()| None)
            }
            Some(request::Request::SavePages(save)) => PagesPlan::of_save(save)
                .and_then(|plan| self.begin_pages(connection_id, id, plan, Work::SavePages))
                .map(|()| None),
            Some(request::Request::LoadPages(load)) => PagesPlan::of_load(load)
                .and_then(|plan| self.begin_pages(connection_id, id, plan, Work::LoadPages))
                .map(|()| None),
            Some(request::Request::Signal(signal)) => parse_signal(signal.signal)
                .and_then(|number| self.processes.signal(&VmId::parse(&signal.vm_id)?, number))
                .map(|()| Some(done())),
            Some(request::Request::SetPriority(set)) => parse_priority(set.priority)
                .and_then(|priority| {
                    self.processes
                        .set_priority(&VmId::parse(&set.vm_id)?, priority)
                })
                .map(|()| Some(done())),
            Some(request::Request::Forget(forget)) => VmId::parse(&forget.vm_id)
                .and_then(|vm_id| self.processes.forget(&vm_id, &self.roots))
                .map(|()| Some(done())),
            Some(request::Request::List(_)) => {
                Ok(Some(response::Response::Processes(self.processes.list())))
            }
            None => Err(Refusal::invalid(
                "a request of no kind that this launcher knows",
            )),
        };
        match answer.transpose() {
            Some(answer) => self.respond(connection_id, id, answer),
            None => Ok(()),
        }
    }

    fn respond(
        &mut self,
        connection_id: u64,
        id: u64,
        answer: Result<response::Response, Refusal>,
    ) -> Result<(), Gone> {
        let Some(connection) = self.connections.get_mut(&connection_id) else {
            return Ok(());
        };
        let answer = answer.unwrap_or_else(|refusal| response::Response::Error(refusal.into()));
        connection.send(&Response {
            id,
            response: Some(answer),
        })
    }

    fn greet(
        &mut self,
        connection_id: u64,
        hello: &proto::Hello,
    ) -> Result<response::Response, Refusal> {
        if hello.protocol_version != PROTOCOL_VERSION {
            let seen = hello.protocol_version;
            return Err(Refusal::invalid(format!(
                "protocol version {seen}: this launcher speaks {PROTOCOL_VERSION}"
            )));
        }
        if let Some(connection) = self.connections.get_mut(&connection_id) {
            connection.greeted = true;
        }
        Ok(response::Response::Hello(proto::HelloReply {
            protocol_version: PROTOCOL_VERSION,
            launcher_version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            programs: self.config.programs.clone(),
            read_roots: (self.config.read_roots.iter())
                .map(|root| root.to_string_lossy().into_owned())
                .collect(),
            fork_library: (self.config.fork_library.as_deref())
                .map_or_else(String::new, |path| path.to_string_lossy().into_owned()),
        }))
    }

    fn begin_start(
        &mut self,
        connection: u64,
        request: u64,
        start: proto::Start,
    ) -> Result<(), Refusal> {
        let plan = StartPlan::parse(start, &self.config.programs)?;
        if plan.forkable && self.config.fork_library.is_none() {
            return Err(Refusal::invalid(
                "forkable: this launcher has no fork library",
            ));
        }
        self.reserve(&plan.vm_id)?;
        self.workers.begin(connection, request, Work::Start(plan));
        Ok(())
    }

    fn begin_fork(
        &mut self,
        connection: u64,
        request: u64,
        fork: proto::Fork,
    ) -> Result<(), Refusal> {
        let plan = ForkPlan::parse(fork)?;
        let parent = Parent {
            name: self.processes.name_of(&plan.parent)?,
        };
        self.reserve(&plan.vm_id)?;
        self.workers
            .begin(connection, request, Work::Fork(plan, parent));
        Ok(())
    }

    fn begin_pages(
        &mut self,
        connection: u64,
        request: u64,
        plan: PagesPlan,
        work: fn(PagesPlan, ProcessName) -> Work,
    ) -> Result<(), Refusal> {
        if self.pages_under_way >= PAGES_LIMIT {
            return Err(Refusal::new(
                proto::ErrorCode::Os,
                format!("{PAGES_LIMIT} VMs are being saved or loaded already"),
            ));
        }
        let name = self.processes.name_of(&plan.vm_id)?;
        self.pages_under_way += 1;
        self.workers.begin(connection, request, work(plan, name));
        Ok(())
    }

    fn reserve(&mut self, vm_id: &VmId) -> Result<(), Refusal> {
        if self.processes.starting_count() >= STARTING_LIMIT {
            return Err(Refusal::new(
                proto::ErrorCode::Os,
                format!("{STARTING_LIMIT} starts are under way already"),
            ));
        }
        self.processes.begin(vm_id)
    }

    fn finish(&mut self) {
        for Outcome {
            connection,
            request,
            finished,
        } in self.workers.finished()
        {
            let answer = match finished {
                Finished::Answer(answer) => {
                    self.pages_under_way -= 1;
                    answer
                }
                Finished::Launch(vm_id, _) if !self.connections.contains_key(&connection) => {
                    self.processes.abandon(&vm_id);
                    self.log.line(format_args!(
                        "start of VM {vm_id} given up: nobody waits for it"
                    ));
                    continue;
                }
                Finished::Launch(vm_id, ready) => self.begin_life(ready, &vm_id),
            };
            if let Err(Gone(why)) = self.respond(connection, request, answer) {
                self.disconnect(connection, &why);
            }
        }
    }

    fn begin_life(
        &mut self,
        ready: Result<Ready, Refusal>,
        vm_id: &VmId,
    ) -> Result<response::Response, Refusal> {
        ready
            .and_then(|ready| self.launch(ready, vm_id))
            .map(response::Response::Started)
            .inspect_err(|refusal| {
                self.processes.abandon(vm_id);
                self.log
                    .line(format_args!("start of VM {vm_id} failed: {refusal}"));
            })
    }

    /// From ready to running.
    fn launch(&mut self, ready: Ready, vm_id: &VmId) -> Result<proto::Started, Refusal> {
        let (name, running, pause) = match ready {
            Ready::Start(mut prepared) => {
                let (name, running) = spawn_and_register(&mut prepared, &self.config)?;
                (name, running, Duration::ZERO)
            }
            Ready::Fork(forked) => {
                let pause = forked.pause;
                let (name, running) = register_fork(&forked)?;
                if let Some(answer) = forked.go()? {
                    self.workers.await_answer(answer);
                }
                (name, running, pause)
            }
        };
        self.processes.started(vm_id.clone(), running);
        Ok(proto::Started {
            pid: u32::try_from(name.pid).unwrap_or(0),
            start_time_ticks: name.start_time_ticks,
            pause_us: u64::try_from(pause.as_micros()).unwrap_or(u64::MAX),
        })
    }

    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let Some(how) = how(status) else { continue };
            let ended = self.processes.child_ended(pid, how);
            if ended.is_none() {
                // A fork that was given up, or is not registered yet.
                let pid = pid.as_raw_nonzero();
                self.log.line(format_args!("process {pid} ended: {how:?}"));
            }
            self.announce(ended);
        }
    }

    fn announce(&mut self, ended: Option<proto::Ended>) {
        let Some(ended) = ended else {
            return;
        };
        self.log.line(format_args!(
            "VM {} ended, pid {}: {:?}",
            ended.vm_id, ended.pid, ended.how
        ));
        let event = Response {
            id: 0,
            response: Some(response::Response::Ended(ended)),
        };
        let greeted = self
            .connections
            .iter_mut()
            .filter(|(_, connection)| connection.greeted);
        let gone: Vec<_> = greeted
            .filter_map(|(id, connection)| Some((*id, connection.send(&event).err()?)))
            .collect();
        for (id, Gone(why)) in gone {
            self.disconnect(id, &why);
        }
    }

    fn make_round(&mut self) {
        if self.last_round.elapsed() < ROUND {
            return;
        }
        self.last_round = Instant::now();
        for (vm_id, _) in self.processes.watched() {
            // A VM directory that was removed under a process that still ends: nothing to bound.
            let _ = self
                .roots
                .open_vm_directory(vm_id)
                .map(|directory| bound_log(directory.as_fd()));
        }
    }
}

/// The socket's mode says the same; this holds when somebody changed it.
fn may_connect(peer_uid: u32, own_uid: u32) -> bool {
    peer_uid == 0 || peer_uid == own_uid
}

fn done() -> response::Response {
    response::Response::Done(proto::Done {})
}

/// From prepared to running, known on disk. A process that cannot be registered does not stay.
fn spawn_and_register(
    prepared: &mut Prepared,
    config: &Config,
) -> Result<(ProcessName, Running), Refusal> {
    let pid = spawn(prepared, config.fork_library.as_deref())?;
    let registered = register(pid, prepared.made.directory(), &prepared.plan.program);
    let (name, pidfd) = registered.inspect_err(|_| {
        // Not reaped yet, so the pid is still its own.
        let _ = kill_process(pid, Signal::KILL);
    })?;
    prepared.made.keep();
    Ok((name, Running::child(name, pidfd)))
}

/// A copy that is known on disk may go. Its parent's parent is its own: another launcher's child when that one made the parent.
fn register_fork(forked: &Forked) -> Result<(ProcessName, Running), Refusal> {
    let named = || Refusal::invalid(format!("the fork's pid is {}", forked.pid));
    let pid = Pid::from_raw(forked.pid)
        .filter(|pid| !pid.is_init())
        .ok_or_else(named)?;
    let is_own = parent_of(forked.pid) == Some(std::process::id());
    let registered = register(pid, forked.made.directory(), FORKED_PROGRAM);
    let (name, pidfd) = registered.map_err(|refusal| match ProcessName::of(forked.pid) {
        Ok(_) => refusal,
        Err(_) => ended_before("it was registered"),
    })?;
    let _ = setpriority_pgrp(Some(pid), forked.priority);
    if forked.priority != 0 {
        set_session_priority(pid, forked.priority);
    }
    Ok((
        name,
        if is_own {
            Running::child(name, pidfd)
        } else {
            Running::adopted(name, pidfd)
        },
    ))
}

/// In `process.json`, where a started process has its program.
const FORKED_PROGRAM: &str = "fork";

fn register(
    pid: Pid,
    directory: BorrowedFd<'_>,
    program: &str,
) -> Result<(ProcessName, OwnedFd), Refusal> {
    let failed = |error: io::Error| Refusal::os("the new process could not be registered", error);
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| failed(error.into()))?;
    let name = ProcessName::of(pid.as_raw_nonzero().get()).map_err(failed)?;
    process_file::write(directory, name, program).map_err(failed)?;
    Ok((name, pidfd))
}

fn how(status: WaitStatus) -> Option<How> {
    let code = status
        .exit_status()
        .and_then(|code| u32::try_from(code).ok())
        .map(How::ExitCode);
    code.or_else(|| {
        status
            .terminating_signal()
            .and_then(|signal| u32::try_from(signal).ok())
            .map(How::Signal)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_and_the_launchers_own_user_may_connect() {
        assert!(may_connect(0, 1000) && may_connect(1000, 1000) && may_connect(0, 0));
        assert!(!may_connect(1001, 1000) && !may_connect(1000, 0));
    }
}
