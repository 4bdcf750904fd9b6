//! The one step that makes a process, and the only module with `unsafe`.

use crate::prepare::Prepared;
use crate::refusal::Refusal;
use crate::validate::{FORK_FD, INHERITED_FDS};
use instavm_fork_protocol::LISTENER_VARIABLE;
use rustix::process::{fchdir, setpriority_process, setsid, Pid};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// The launcher's own descriptors start here.
pub const FIRST_OWN_FD: i32 = *INHERITED_FDS.end() + 1;

/// VM processes are the first to go when memory runs out: a sandbox can be made anew, a service less so.
const OOM_SCORE_ADJ: &str = "500";

/// Closes what the launcher inherited, then occupies the numbers that VM processes may inherit, so that no
/// descriptor of the launcher (nor the pipe that the standard library reports a failed exec through) is ever in the way of `dup2`.
pub fn own_the_descriptors() -> io::Result<()> {
    // SAFETY: runs first in `main`, when no object owns a descriptor of 3 or more.
    if unsafe { libc::close_range(3, libc::c_uint::MAX, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    loop {
        let placeholder = File::open("/dev/null")?;
        if placeholder.as_raw_fd() >= FIRST_OWN_FD {
            return Ok(());
        }
        let _occupied_for_good = placeholder.into_raw_fd();
    }
}

/// Starts the process of a prepared VM: own session, null stdin, an environment
/// that holds at most the fork library, nothing open but what it is given.
pub fn spawn(prepared: &mut Prepared, fork_library: Option<&Path>) -> Result<Pid, Refusal> {
    let plan = &prepared.plan;
    let failed = |error| Refusal::os(&format!("start of {}", plan.program), error);
    let log = |log: &OwnedFd| log.try_clone().map_err(failed);
    let directory = prepared
        .made
        .directory()
        .try_clone_to_owned()
        .map_err(failed)?;
    let inherited = std::mem::take(&mut prepared.inherited);
    let priority = plan.priority;
    let mut command = Command::new(&plan.program);
    command.args(&plan.args).env_clear().stdin(Stdio::null());
    if let Some(library) = fork_library.filter(|_| plan.forkable) {
        command.env("LD_PRELOAD", library);
        command.env(LISTENER_VARIABLE, FORK_FD.to_string());
    }
    command
        .stdout(log(&prepared.log)?)
        .stderr(log(&prepared.log)?);
    let enter = move || {
        setsid()?;
        fchdir(&directory)?;
        setpriority_process(None, priority)?;
        reset_signals()?;
        inherited
            .iter()
            .try_for_each(|(number, file)| inherit(file, *number))
    };
    // SAFETY: `enter` runs between fork and exec and makes only system calls on values made before the fork;
    // it allocates nothing and takes no lock.
    let child = unsafe { command.pre_exec(enter) }.spawn().map_err(failed)?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| failed(io::Error::other("the kernel gave no pid")))?;
    settle(pid, priority);
    Ok(pid)
}

/// Puts an open file under the number that the program expects; without close-on-exec.
fn inherit(file: &OwnedFd, number: i32) -> io::Result<()> {
    // SAFETY: `number` is from 3 to 63, where only placeholders are (`own_the_descriptors`).
    let copy = unsafe { libc::dup2(file.as_raw_fd(), number) };
    if copy == number {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// No signal blocked, none ignored, whatever the launcher inherited from who started it. Asks the kernel itself:
/// the C library keeps signals 32 and 33 from its callers, and those can have been ignored too.
fn reset_signals() -> io::Result<()> {
    let default_action = [0u64; 4];
    let set_bytes: libc::c_long = 8;
    for number in 1..=libc::c_long::from(libc::SIGRTMAX()) {
        // SAFETY: the kernel only reads `default_action`, a `struct sigaction` of 32 bytes: SIG_DFL, no flags. It
        // refuses SIGKILL and SIGSTOP, which always have their default.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                number,
                default_action.as_ptr(),
                std::ptr::null::<u64>(),
                set_bytes,
            )
        };
    }
    let none = 0u64;
    let how = libc::c_long::from(libc::SIG_SETMASK);
    // SAFETY: the kernel only reads `none`, a signal set of 8 bytes.
    let done = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            how,
            &raw const none,
            std::ptr::null::<u64>(),
            set_bytes,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// What the kernel takes for a process from outside. It has not been reaped, so the pid is its own.
fn settle(pid: Pid, priority: i32) {
    // Best effort: a host without these files still runs the VM.
    let _ = fs::write(
        format!("/proc/{}/oom_score_adj", pid.as_raw_nonzero()),
        OOM_SCORE_ADJ,
    );
    set_session_priority(pid, priority);
}

/// Each session is one party when the kernel's autogroups share out the cores, and then a nice value counts only
/// inside it: the session needs the value too. Absent where the kernel has no autogroups.
pub fn set_session_priority(leader: Pid, priority: i32) {
    let _ = fs::write(
        format!("/proc/{}/autogroup", leader.as_raw_nonzero()),
        priority.to_string(),
    );
}
