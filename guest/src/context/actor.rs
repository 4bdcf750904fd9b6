//! One context: a queue of cells and the interpreter that runs them, one after the other.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{mpsc, oneshot, Notify};

use super::cell::{self, Cell, CellEnd, Verdict};
use super::interpreter::{Driver, Interpreter, Place};
use crate::agent::Agent;
use crate::failure::{CallError, CallResult};
use crate::log;
use crate::process::environment::Variables;

/// Cells that may wait in one context.
pub const MAX_WAITING_CELLS: usize = 64;

/// A cell and who waits for its verdict.
#[derive(Debug)]
struct Request {
    cell: Cell,
    /// Whoever sets it first decides: the actor, that the cell runs, or who waits, that it no longer will.
    is_decided: AtomicBool,
    verdict: Mutex<Option<oneshot::Sender<CallResult<Verdict>>>>,
}

impl Request {
    /// Whether the caller is the one who decides.
    fn decide(&self) -> bool {
        !self.is_decided.swap(true, Ordering::AcqRel)
    }

    fn answer(&self, verdict: CallResult<Verdict>) {
        if let Some(sender) = self
            .verdict
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            // Whoever waited may be gone with its session.
            let _ = sender.send(verdict);
        }
    }
}

/// A new individual's seed and environment, on their way to an interpreter.
#[derive(Clone, Debug)]
pub struct Activation {
    /// For the generators; empty leaves them alone.
    pub seed: Vec<u8>,
    /// On top of the environment.
    pub env: Variables,
}

#[derive(Debug, Default)]
struct Wishes {
    activations: Vec<Activation>,
    restarts: Vec<oneshot::Sender<()>>,
    is_interrupted: bool,
    is_woken: bool,
    is_wanted: bool,
    is_deleted: bool,
    is_busy: bool,
}

/// What others ask of a context while it may be in the middle of a cell.
#[derive(Debug, Default)]
pub struct Control {
    wishes: Mutex<Wishes>,
    changed: Notify,
}

impl Control {
    fn wishes(&self) -> MutexGuard<'_, Wishes> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when a running cell is to be interrupted (`false`) or its interpreter ended (`true`).
    pub async fn disturbance(&self) -> bool {
        loop {
            {
                let mut wishes = self.wishes();
                if wishes.is_deleted || !wishes.restarts.is_empty() {
                    return true;
                }
                if std::mem::take(&mut wishes.is_interrupted) {
                    return false;
                }
            }
            self.changed.notified().await;
        }
    }

    fn wish(&self, change: impl FnOnce(&mut Wishes)) {
        change(&mut self.wishes());
        self.changed.notify_one();
    }
}

/// A context as others see it.
#[derive(Debug)]
pub struct Context {
    /// Its name.
    pub id: String,
    /// What runs its cells.
    pub driver: &'static Driver,
    /// Where its interpreter starts.
    pub place: Place,
    control: Arc<Control>,
    cells: mpsc::Sender<Arc<Request>>,
}

impl Context {
    /// A context; its interpreter starts with its first cell.
    pub fn start(
        agent: Arc<Agent>,
        driver: &'static Driver,
        id: String,
        place: Place,
    ) -> Arc<Self> {
        let (cells, queue) = mpsc::channel(MAX_WAITING_CELLS);
        let control = Arc::new(Control::default());
        let actor = Actor {
            agent,
            driver,
            place: place.clone(),
            control: control.clone(),
            slot: Slot::Empty,
            due: Vec::new(),
            note: None,
            next_cell_id: 1,
        };
        tokio::spawn(actor.run(queue));
        Arc::new(Self {
            id,
            driver,
            place,
            control,
            cells,
        })
    }

    /// Runs a cell when its turn comes, unless its time runs out or it is cancelled before.
    pub async fn run(&self, cell: Cell) -> CallResult<Verdict> {
        let (sender, mut verdict) = oneshot::channel();
        let request = Arc::new(Request {
            cell,
            is_decided: AtomicBool::new(false),
            verdict: Mutex::new(Some(sender)),
        });
        self.cells
            .try_send(request.clone())
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => CallError::limit(format!(
                    "{MAX_WAITING_CELLS} cells wait in this context, expected fewer"
                )),
                mpsc::error::TrySendError::Closed(_) => deleted(),
            })?;
        let asked_at = Instant::now();
        tokio::select! {
            biased;
            answer = &mut verdict => return answer.unwrap_or_else(|_| Err(deleted())),
            () = request.cell.deadline() => if request.decide() {
                return Ok(Verdict::Ended(cell::never_run(self.driver.language, asked_at.elapsed())));
            },
            () = request.cell.call.cancelled().wait() => if request.decide() {
                return Err(CallError::cancelled());
            },
        }
        verdict.await.unwrap_or_else(|_| Err(deleted()))
    }

    /// Whether a cell runs.
    pub fn is_busy(&self) -> bool {
        self.control.wishes().is_busy
    }

    /// Interrupts the cell that runs, if one does.
    pub fn interrupt(&self) {
        self.control
            .wish(|wishes| wishes.is_interrupted = wishes.is_busy);
    }

    /// Lets the interpreter get ready for a cell that may come soon.
    pub fn wake(&self) {
        self.control
            .wish(|wishes| wishes.is_woken = !wishes.is_busy);
    }

    /// Starts the interpreter, if there is none.
    pub fn prepare(&self) {
        self.control.wish(|wishes| wishes.is_wanted = true);
    }

    /// Ends the interpreter; returns when it is gone.
    pub async fn restart(&self) {
        let (sender, receiver) = oneshot::channel();
        self.control.wish(|wishes| wishes.restarts.push(sender));
        // An actor that has ended has ended its interpreter.
        let _ = receiver.await;
    }

    /// Ends the interpreter and the context.
    pub fn delete(&self) {
        self.control.wish(|wishes| wishes.is_deleted = true);
    }

    /// Makes the interpreter an individual before its next cell.
    pub fn activate(&self, activation: Activation) {
        self.control
            .wish(|wishes| wishes.activations.push(activation));
    }
}

/// The interpreter of a context.
enum Slot {
    Empty,
    Starting(Pin<Box<dyn Future<Output = CallResult<Interpreter>> + Send>>),
    Ready(Box<Interpreter>),
}

struct Actor {
    agent: Arc<Agent>,
    driver: &'static Driver,
    place: Place,
    control: Arc<Control>,
    slot: Slot,
    /// For the interpreter that starts.
    due: Vec<Activation>,
    /// What the next cell is to be told.
    note: Option<String>,
    next_cell_id: u32,
}

impl Actor {
    async fn run(mut self, mut queue: mpsc::Receiver<Arc<Request>>) {
        loop {
            if !self.grant_wishes().await {
                break;
            }
            let control = self.control.clone();
            tokio::select! {
                biased;
                () = control.changed.notified() => {}
                () = self.idle() => {}
                request = queue.recv() => match request {
                    Some(request) => self.serve(&request).await,
                    None => break,
                },
            }
        }
        self.slot = Slot::Empty;
        queue.close();
        while let Ok(request) = queue.try_recv() {
            request.answer(Err(deleted()));
        }
    }

    /// Looks after the interpreter until something about it changes. May be given up while it waits.
    async fn idle(&mut self) {
        match &mut self.slot {
            Slot::Empty => std::future::pending().await,
            Slot::Starting(_) => {
                if let Err(error) = self.started().await {
                    log::warn(format_args!("{error}"));
                }
            }
            Slot::Ready(interpreter) => {
                let how = interpreter.idle().await;
                self.note = Some(note_of_end(&how));
                self.slot = Slot::Empty;
            }
        }
    }

    /// Returns when the interpreter is ready; starts one when there is none. May be given up while it waits: the
    /// interpreter goes on starting.
    async fn started(&mut self) -> CallResult<()> {
        if matches!(self.slot, Slot::Empty) {
            self.start();
        }
        if let Slot::Starting(start) = &mut self.slot {
            match start.await {
                Ok(mut interpreter) => {
                    if let Some(note) = self.note.take() {
                        interpreter.leave_note(&note);
                    }
                    self.slot = Slot::Ready(Box::new(interpreter));
                }
                Err(error) => {
                    self.slot = Slot::Empty;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Gives a started interpreter what came while it started. Not to be given up.
    async fn catch_up(&mut self) {
        if matches!(self.slot, Slot::Ready(_)) {
            for activation in std::mem::take(&mut self.due) {
                self.activate(activation).await;
            }
        }
    }

    fn start(&mut self) {
        let (agent, driver, place) = (self.agent.clone(), self.driver, self.place.clone());
        self.due.clear();
        self.slot = Slot::Starting(Box::pin(async move {
            Interpreter::start(&agent, driver, &place).await
        }));
    }

    /// Does what was asked for while no cell runs; `false` when the context is to end.
    async fn grant_wishes(&mut self) -> bool {
        self.catch_up().await;
        loop {
            let (activations, restarts, is_wanted) = {
                let mut wishes = self.control.wishes();
                if wishes.is_deleted {
                    return false;
                }
                if std::mem::take(&mut wishes.is_woken) {
                    if let Slot::Ready(interpreter) = &self.slot {
                        interpreter.wake();
                    }
                }
                (
                    std::mem::take(&mut wishes.activations),
                    std::mem::take(&mut wishes.restarts),
                    std::mem::take(&mut wishes.is_wanted),
                )
            };
            if is_wanted && matches!(self.slot, Slot::Empty) {
                self.start();
            }
            if activations.is_empty() && restarts.is_empty() {
                return true;
            }
            if !restarts.is_empty() && !matches!(self.slot, Slot::Empty) {
                self.start();
            }
            for activation in activations {
                self.activate(activation).await;
            }
            for answer in restarts {
                let _ = answer.send(());
            }
        }
    }

    /// An interpreter that does not take its new identity would be its siblings' twin: it is ended.
    async fn activate(&mut self, activation: Activation) {
        match &mut self.slot {
            // It will start with all of it.
            Slot::Empty => {}
            Slot::Starting(_) => self.due.push(activation),
            Slot::Ready(interpreter) => {
                if let Err(error) = interpreter
                    .activate(&activation.seed, &activation.env)
                    .await
                {
                    log::warn(format_args!("{error}; it is ended"));
                    self.slot = Slot::Empty;
                }
            }
        }
    }

    async fn serve(&mut self, request: &Request) {
        if !request.decide() {
            return;
        }
        self.set_busy(true);
        let verdict = self.execute(&request.cell).await;
        self.set_busy(false);
        request.answer(verdict);
    }

    fn set_busy(&self, is_busy: bool) {
        let mut wishes = self.control.wishes();
        wishes.is_busy = is_busy;
        wishes.is_interrupted = false;
    }

    async fn execute(&mut self, cell: &Cell) -> CallResult<Verdict> {
        let asked_at = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = cell.call.cancelled().wait() => return Err(CallError::cancelled()),
                started = self.started() => started?,
                () = cell.deadline() => {
                    return Ok(Verdict::Ended(cell::never_run(self.driver.language, asked_at.elapsed())));
                }
            }
            self.catch_up().await;
            // An interpreter that could not be activated is gone again.
            if let Slot::Ready(interpreter) = &mut self.slot {
                let cell_id = self.next_cell_id;
                self.next_cell_id = self.next_cell_id.wrapping_add(1);
                match cell::run(interpreter, cell, cell_id, &self.control).await {
                    CellEnd::Over { verdict, is_usable } => {
                        if !is_usable {
                            // At once, so that the next cell need not wait for it.
                            self.start();
                        }
                        return verdict;
                    }
                    CellEnd::NeverRead(how) => {
                        self.note = Some(note_of_end(&how));
                        self.start();
                    }
                }
            }
        }
    }
}

fn note_of_end(how: &str) -> String {
    format!("The interpreter {how} while no cell ran; its variables are lost.")
}

fn deleted() -> CallError {
    CallError::not_found("the context was deleted")
}
