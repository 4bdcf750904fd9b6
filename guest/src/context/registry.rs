//! The contexts of this VM.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::actor::{Activation, Context};
use super::interpreter::{Driver, Place, BASH, JAVASCRIPT, PYTHON};
use crate::agent::Agent;
use crate::failure::{CallError, CallResult};
use crate::proto::{self, Language};

/// Each is a process that stays.
const MAX_CONTEXTS: usize = 32;

/// The languages that have interpreters.
pub const DRIVERS: &[&Driver] = &[&PYTHON, &JAVASCRIPT, &BASH];

/// Contexts by id.
#[derive(Debug, Default)]
pub struct Contexts {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    contexts: BTreeMap<String, Arc<Context>>,
    created: u64,
}

fn driver_of(language: Language) -> CallResult<&'static Driver> {
    let found = DRIVERS.iter().find(|driver| driver.language == language);
    found.copied().ok_or_else(|| {
        CallError::unsupported(format!(
            "this agent has no interpreter for {}",
            language.as_str_name()
        ))
    })
}

/// The id of a language's default context.
fn default_id(driver: &Driver) -> String {
    match driver.language {
        Language::Javascript => "javascript".to_owned(),
        Language::Bash => "bash".to_owned(),
        _ => "python".to_owned(),
    }
}

impl Contexts {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The context of an id, or the language's default one, which is made when it is first asked for.
    pub fn for_cell(
        &self,
        agent: &Arc<Agent>,
        id: &str,
        language: Language,
    ) -> CallResult<Arc<Context>> {
        if !id.is_empty() {
            return self.find(id);
        }
        let driver = driver_of(language)?;
        let id = default_id(driver);
        let mut state = self.state();
        let context = state.contexts.entry(id.clone());
        Ok(context
            .or_insert_with(|| Context::start(agent.clone(), driver, id, Place::default()))
            .clone())
    }

    /// An existing context; an empty id means Python's default one.
    pub fn find(&self, id: &str) -> CallResult<Arc<Context>> {
        let id = if id.is_empty() { "python" } else { id };
        let found = self.state().contexts.get(id).cloned();
        found.ok_or_else(|| CallError::not_found(format!("context {id:?} does not exist")))
    }

    /// Makes another context. Its interpreter starts at once, so that it is there when its first cell comes.
    pub fn create(
        &self,
        agent: &Arc<Agent>,
        language: Language,
        place: Place,
    ) -> CallResult<Arc<Context>> {
        let driver = driver_of(language)?;
        let mut state = self.state();
        if state.contexts.len() >= MAX_CONTEXTS {
            return Err(CallError::limit(format!(
                "{MAX_CONTEXTS} contexts exist, expected fewer"
            )));
        }
        state.created += 1;
        let id = format!("{}-{}", default_id(driver), state.created);
        let context = Context::start(agent.clone(), driver, id.clone(), place);
        context.prepare();
        state.contexts.insert(id, context.clone());
        Ok(context)
    }

    /// Ends a context.
    pub fn delete(&self, id: &str) -> CallResult<Arc<Context>> {
        let context = self.find(id)?;
        self.state().contexts.remove(&context.id);
        context.delete();
        Ok(context)
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<Context>> {
        self.state().contexts.values().cloned().collect()
    }

    /// A host has come: cells may follow.
    pub fn wake(&self) {
        for context in self.all() {
            context.wake();
        }
    }

    /// Makes every interpreter that runs an individual, before its next cell.
    pub fn activate(&self, activation: &Activation) {
        for context in self.all() {
            context.activate(activation.clone());
        }
    }
}

/// A context as the host is told of it.
pub fn describe(agent: &Agent, context: &Context) -> proto::Context {
    proto::Context {
        context_id: context.id.clone(),
        language: context.driver.language.into(),
        cwd: agent.workdir(&context.place.cwd),
        is_busy: context.is_busy(),
    }
}
