//! The first process of a VM: from the initial RAM disk to a root of its own, then the agent.

mod disks;
mod limits;
mod modules;
mod mounts;
mod port;

use std::fmt;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::system::{reboot, RebootCommand};

use crate::agent::{Agent, Surroundings};
use crate::image::Image;
use crate::link::accept;
use crate::log;
use crate::process::cgroup::{Cgroups, Limits};
use crate::process::group::Groups;
use crate::sys::kernel;

/// The agent's own files, in memory.
const DIRECTORY: &str = "/run/instavm";

/// What went wrong while the VM started, and at which step.
#[derive(Debug)]
pub struct BootError {
    step: String,
    cause: std::io::Error,
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.step, self.cause)
    }
}

/// Names the step that an error belongs to.
trait Step<T> {
    fn step(self, step: impl fmt::Display) -> Result<T, BootError>;
}

impl<T, E: Into<std::io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: impl fmt::Display) -> Result<T, BootError> {
        self.map_err(|cause| BootError {
            step: step.to_string(),
            cause: cause.into(),
        })
    }
}

/// Runs the VM for as long as it lives. When it cannot start, it is powered off: a VM that is off is noticed, one that hangs is not.
pub fn run() -> ! {
    match boot_and_serve() {
        Ok(()) => log::info(format_args!("asked to end")),
        Err(error) => log::error(format_args!("the VM cannot go on: {error}")),
    }
    rustix::fs::sync();
    // Where the machine cannot be powered off, it is reset, which ends a VM too.
    for command in [RebootCommand::PowerOff, RebootCommand::Restart] {
        if let Err(error) = reboot(command) {
            log::warn(format_args!("{command:?}: {error}"));
        }
    }
    // The kernel panics when its first process ends.
    std::process::exit(1);
}

fn boot_and_serve() -> Result<(), BootError> {
    let port = boot()?;
    let signals = kernel::signal_descriptor(&[libc::SIGCHLD, libc::SIGTERM, libc::SIGINT])
        .step("receive signals")?;
    let memory = rustix::system::sysinfo();
    let limits = Limits::for_memory(memory.totalram * u64::from(memory.mem_unit));
    let cgroups = Cgroups::create(Path::new("/sys/fs/cgroup"), limits).step("set cgroups up")?;
    let image = Image::load(Path::new("/etc/instavm/image.json"));
    std::fs::create_dir_all(&image.workdir).step("make the image's workdir")?;
    std::fs::create_dir_all(DIRECTORY).step("make the agent's directory")?;
    let groups = Groups::Cgroups(Arc::new(cgroups));
    let agent = Agent::new(Surroundings::Vm, image, groups, Path::new(DIRECTORY))
        .step("set the agent up")?;
    let runtime = crate::runtime().step("set the runtime up")?;
    // Last, so that whatever starts slowly does not hold the machine.
    if let Err(error) = kernel::go_before_others() {
        log::warn(format_args!("programs may starve the agent: {error}"));
    }
    runtime
        .block_on(serve(port, Arc::new(agent), signals))
        .step("serve the host")
}

async fn serve(port: OwnedFd, agent: Arc<Agent>, signals: OwnedFd) -> std::io::Result<()> {
    let serving = agent.clone();
    tokio::select! {
        request = agent.starter.reaper.run(signals) => request.map(|_| ()),
        result = accept::serve_port(port, serving) => result,
    }
}

/// Everything up to a running system; gives the port to the host.
fn boot() -> Result<OwnedFd, BootError> {
    mounts::early()?;
    kernel::occupy_low_descriptors(null()?).step("occupy descriptors 0 to 9")?;
    if let Ok(kmsg) = File::options().write(true).open("/dev/kmsg") {
        log::use_kernel_log(kmsg);
    }
    modules::load(Path::new("/modules"))?;
    disks::assemble_root()?;
    mounts::system()?;
    limits::apply();
    if let Err(error) = kernel::bring_up("lo") {
        log::warn(format_args!("bring lo up: {error}"));
    }
    set_hostname();
    port::open("instavm.agent")
}

fn null() -> Result<OwnedFd, BootError> {
    let file = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .step("open /dev/null")?;
    Ok(file.into())
}

fn set_hostname() {
    let name = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let name = if name.trim().is_empty() {
        "instavm"
    } else {
        name.trim()
    };
    if let Err(error) = rustix::system::sethostname(name.as_bytes()) {
        log::warn(format_args!("set the hostname {name:?}: {error}"));
    }
}
