//! Threads that prepare starts, make forks, and save and load memory, so that a slow copy holds up nobody else.

use crate::fork::plan::ForkPlan;
use crate::fork::{FirstAnswer, Forked, Parent};
use crate::memory::{self, PagesPlan};
use crate::prepare::Prepared;
use crate::process_file::ProcessName;
use crate::proto::{response::Response, Done};
use crate::refusal::Refusal;
use crate::roots::Roots;
use crate::validate::{StartPlan, VmId};
use rustix::event::{eventfd, EventfdFlags};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;

const WORKERS: usize = 4;

/// What a worker is given to do.
pub enum Work {
    /// Files for a start.
    Start(StartPlan),
    /// A copy of a process.
    Fork(ForkPlan, Parent),
    /// A file of what a process's memory has changed.
    SavePages(PagesPlan, ProcessName),
    /// The way back.
    LoadPages(PagesPlan, ProcessName),
}

impl Work {
    fn run(self, roots: &Roots) -> Finished {
        match self {
            Self::Start(plan) => {
                let vm_id = plan.vm_id.clone();
                let ready = Prepared::make(plan, roots).map(Ready::Start);
                Finished::Launch(vm_id, ready)
            }
            Self::Fork(plan, parent) => {
                let vm_id = plan.vm_id.clone();
                let ready = Forked::make(plan, parent, roots).map(Ready::Fork);
                Finished::Launch(vm_id, ready)
            }
            Self::SavePages(plan, name) => {
                Finished::Answer(memory::save(&plan, name, roots).map(Response::PagesSaved))
            }
            Self::LoadPages(plan, name) => {
                Finished::Answer(memory::load(&plan, name, roots).map(|()| Response::Done(Done {})))
            }
        }
    }
}

/// What work came to.
pub enum Finished {
    /// Of a VM whose name is reserved until it runs or came to nothing.
    Launch(VmId, Result<Ready, Refusal>),
    /// There is nothing left to do but to say so.
    Answer(Result<Response, Refusal>),
}

/// A process that can begin.
pub enum Ready {
    /// To be spawned.
    Start(Prepared),
    /// To be registered and let go.
    Fork(Forked),
}

enum Job {
    Begin {
        connection: u64,
        request: u64,
        work: Work,
    },
    Await(FirstAnswer),
}

/// Work that was done or refused, and who waits for it.
pub struct Outcome {
    /// The client's connection.
    pub connection: u64,
    /// The id of its request.
    pub request: u64,
    /// What the loop goes on with.
    pub finished: Finished,
}

/// The threads and the two queues between them and the loop.
pub struct Workers {
    jobs: Sender<Job>,
    outcomes: Receiver<Outcome>,
    wake: Arc<OwnedFd>,
}

impl Workers {
    /// Starts the threads; they last as long as the process.
    pub fn start(roots: &Arc<Roots>) -> io::Result<Self> {
        let (jobs, queue) = channel();
        let (results, outcomes) = channel();
        let queue = Arc::new(Mutex::new(queue));
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        for _ in 0..WORKERS {
            let (queue, results) = (Arc::clone(&queue), results.clone());
            let (roots, wake) = (Arc::clone(roots), Arc::clone(&wake));
            let work = move || {
                while let Some(job) = next(&queue) {
                    let Job::Begin {
                        connection,
                        request,
                        work,
                    } = job
                    else {
                        job.finish();
                        continue;
                    };
                    let finished = work.run(&roots);
                    let outcome = Outcome {
                        connection,
                        request,
                        finished,
                    };
                    if results.send(outcome).is_err() {
                        return;
                    }
                    // Only a counter at its maximum refuses, and then the loop is awake anyway.
                    let _ = rustix::io::write(&*wake, &1u64.to_ne_bytes());
                }
            };
            thread::Builder::new()
                .name("prepare".into())
                .stack_size(256 * 1024)
                .spawn(work)?;
        }
        Ok(Self {
            jobs,
            outcomes,
            wake,
        })
    }

    /// Queues work. The caller bounds how much.
    pub fn begin(&self, connection: u64, request: u64, work: Work) {
        // The workers hold the other end for as long as this process lives.
        let _ = self.jobs.send(Job::Begin {
            connection,
            request,
            work,
        });
    }

    /// Keeps a connection open until it was answered.
    pub fn await_answer(&self, answer: FirstAnswer) {
        let _ = self.jobs.send(Job::Await(answer));
    }

    /// Readable when there are outcomes.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// What is ready now.
    pub fn finished(&self) -> Vec<Outcome> {
        let _ = rustix::io::read(&self.wake, &mut [0u8; 8]);
        self.outcomes.try_iter().collect()
    }
}

impl Job {
    fn finish(self) {
        if let Self::Await(answer) = self {
            answer.wait();
        }
    }
}

fn next(queue: &Mutex<Receiver<Job>>) -> Option<Job> {
    queue.lock().ok()?.recv().ok()
}
