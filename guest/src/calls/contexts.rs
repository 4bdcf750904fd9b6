//! Making, listing, restarting and ending contexts.

use std::path::Path;
use std::sync::Arc;

use crate::agent::Agent;
use crate::context::interpreter::Place;
use crate::context::registry::describe;
use crate::failure::{CallError, CallResult};
use crate::process::environment;
use crate::proto::{self, ContextList, CreateContext};

/// Makes one.
pub fn create(agent: &Arc<Agent>, request: CreateContext) -> CallResult<proto::Context> {
    let cwd = agent.workdir(&request.cwd);
    if !cwd.starts_with('/') {
        return Err(CallError::invalid(format!(
            "working directory {cwd:?}, expected an absolute path"
        )));
    }
    if !Path::new(&cwd).is_dir() {
        return Err(CallError::invalid(format!(
            "working directory {cwd:?} is not there, expected a directory in the VM"
        )));
    }
    let language = request.language();
    let place = Place {
        cwd: request.cwd,
        env: request.env.into_iter().collect(),
    };
    environment::check(&place.env)?;
    let context = agent.contexts.create(agent, language, place)?;
    Ok(describe(agent, &context))
}

/// Ends its interpreter; the next cell gets another.
pub async fn restart(agent: &Agent, id: &str) -> CallResult<proto::Context> {
    let context = agent.contexts.find(id)?;
    context.restart().await;
    Ok(describe(agent, &context))
}

/// Interrupts the cell that runs.
pub fn interrupt(agent: &Agent, id: &str) -> CallResult<proto::Context> {
    let context = agent.contexts.find(id)?;
    context.interrupt();
    Ok(describe(agent, &context))
}

/// Ends it.
pub fn delete(agent: &Agent, id: &str) -> CallResult<proto::Context> {
    let context = agent.contexts.delete(id)?;
    Ok(describe(agent, &context))
}

/// All that exist.
pub fn list(agent: &Agent) -> ContextList {
    ContextList {
        contexts: agent
            .contexts
            .all()
            .iter()
            .map(|context| describe(agent, context))
            .collect(),
    }
}
