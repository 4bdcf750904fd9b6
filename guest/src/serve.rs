//! The agent outside a VM, on a Unix socket: the same services, without anything that belongs to a machine.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::agent::{Agent, Surroundings};
use crate::image::Image;
use crate::link::accept;
use crate::process::group::{self, Groups};
use crate::sys::kernel;

/// What `instavm-agent serve` was asked for.
#[derive(Clone, Debug, Default)]
pub struct ServeOptions {
    /// Where to listen; a file that is there already is an error.
    pub socket: PathBuf,
    /// Default working directory; `None` = the current one.
    pub workdir: Option<String>,
}

/// Removed when it is dropped.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = if self.0.is_dir() {
            fs::remove_dir_all(&self.0)
        } else {
            fs::remove_file(&self.0)
        };
    }
}

/// Serves until SIGTERM or SIGINT.
pub fn run(options: &ServeOptions) -> io::Result<()> {
    kernel::occupy_low_descriptors(
        File::options()
            .read(true)
            .write(true)
            .open("/dev/null")?
            .into(),
    )?;
    kernel::adopt_orphans()?;
    let signals = kernel::signal_descriptor(&[libc::SIGCHLD, libc::SIGTERM, libc::SIGINT])?;
    let directory = std::env::temp_dir().join(format!("instavm-agent-{}", std::process::id()));
    fs::create_dir_all(&directory)?;
    let _directory = Temporary(directory.clone());
    let workdir = match &options.workdir {
        Some(workdir) => workdir.clone(),
        None => std::env::current_dir()?.to_string_lossy().into_owned(),
    };
    let env = std::env::vars().collect();
    let image = Image {
        env,
        workdir,
        ..Image::default()
    };
    let agent = Arc::new(Agent::new(
        Surroundings::Elsewhere,
        image,
        Groups::Sessions,
        &directory,
    )?);
    crate::runtime()?.block_on(serve_until_asked(&options.socket, agent, signals))
}

async fn serve_until_asked(
    socket: &Path,
    agent: Arc<Agent>,
    signals: std::os::fd::OwnedFd,
) -> io::Result<()> {
    let serving = agent.clone();
    let result = tokio::select! {
        request = agent.starter.reaper.run(signals) => request.map(|_| ()),
        result = accept::serve_socket(socket, serving) => result,
    };
    agent
        .starter
        .reaper
        .watched()
        .into_iter()
        .for_each(group::kill_session);
    // Not when the socket was there before: then it is another's.
    if result.is_ok() {
        fs::remove_file(socket)?;
    }
    result
}
