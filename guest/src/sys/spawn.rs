//! Starting a process. The child borrows the agent's memory until it runs its program, so starting one costs the same
//! however large the agent is, and it is born in its cgroup, which spares the kernel moving it there.

use std::ffi::{c_char, c_int, c_void, CString};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;

/// Whom a process runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// All further groups.
    pub groups: Vec<u32>,
}

/// What to start, and how.
pub struct Plan<'a> {
    /// Paths to try in order, as a search through PATH does.
    pub programs: Vec<CString>,
    /// The arguments, the program's name first.
    pub argv: Vec<CString>,
    /// `NAME=value` each.
    pub env: Vec<CString>,
    /// Working directory.
    pub cwd: CString,
    /// `None` keeps the agent's.
    pub credentials: Option<Credentials>,
    /// Which descriptors the process gets under which number (0 to 9); all others are close-on-exec.
    pub descriptors: Vec<(BorrowedFd<'a>, i32)>,
    /// The cgroup it is born in.
    pub cgroup: Option<BorrowedFd<'a>>,
}

/// What did not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Making the process.
    Clone,
    /// Setting up its descriptors or session.
    SetUp,
    /// Becoming its user.
    Credentials,
    /// Entering its working directory.
    WorkingDirectory,
    /// Running the program.
    Execute,
}

/// Why a process was not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpawnError {
    /// What did not work.
    pub stage: Stage,
    /// What the kernel said.
    pub errno: Errno,
}

const STACK_BYTES: usize = 64 * 1024;

#[repr(C, align(64))]
struct Stack([u8; STACK_BYTES]);

/// The stack that a child runs on until it runs its program; one child at a time is in that state.
static CHILD_STACK: Mutex<Stack> = Mutex::new(Stack([0; STACK_BYTES]));

/// Everything a child needs, ready to be used without an allocation.
struct Child<'a> {
    programs: &'a [*const c_char],
    argv: *const *const c_char,
    env: *const *const c_char,
    cwd: *const c_char,
    credentials: Option<&'a Credentials>,
    descriptors: &'a [(BorrowedFd<'a>, i32)],
    /// Where the child leaves what went wrong; the memory is shared.
    failure: Option<(Stage, i32)>,
}

/// Starts a process in a session of its own. The caller reaps it.
pub fn spawn(plan: &Plan<'_>) -> Result<i32, SpawnError> {
    let programs: Vec<_> = plan
        .programs
        .iter()
        .map(|program| program.as_ptr())
        .collect();
    let argv = pointers(&plan.argv);
    let env = pointers(&plan.env);
    let mut child = Child {
        programs: &programs,
        argv: argv.as_ptr(),
        env: env.as_ptr(),
        cwd: plan.cwd.as_ptr(),
        credentials: plan.credentials.as_ref(),
        descriptors: &plan.descriptors,
        failure: None,
    };
    let mut stack = CHILD_STACK.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: `child` and `stack` outlive the call, which returns when the child no longer uses this memory; `run_child`
    // only reads what `child` borrows, writes its `failure`, allocates nothing and ends in exec or exit.
    let pid = unsafe { clone_child(&mut stack, &mut child, plan.cgroup) }?;
    match child.failure {
        Some((stage, errno)) => Err(SpawnError {
            stage,
            errno: Errno::from_raw_os_error(errno),
        }),
        None => Ok(pid),
    }
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain([std::ptr::null()])
        .collect()
}

/// Makes the child and waits until it runs its program or has ended.
///
/// # Safety
/// `run_child` must be sound on `child` while this thread stands still.
unsafe fn clone_child(
    stack: &mut Stack,
    child: &mut Child<'_>,
    cgroup: Option<BorrowedFd<'_>>,
) -> Result<i32, SpawnError> {
    let child: *mut c_void = std::ptr::from_mut(child).cast();
    let pid = match cgroup {
        None => {
            // SAFETY: the stack's end is aligned, and with CLONE_VFORK it is in use only while this call lasts.
            let result = unsafe {
                let end = stack.0.as_mut_ptr().add(STACK_BYTES).cast();
                libc::clone(
                    run_child,
                    end,
                    libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
                    child,
                )
            };
            if result < 0 {
                Err(std::io::Error::last_os_error()
                    .raw_os_error()
                    .unwrap_or(libc::EAGAIN))
            } else {
                Ok(result)
            }
        }
        // SAFETY: as above.
        Some(cgroup) => unsafe { clone_into_cgroup(stack, child, cgroup) },
    };
    pid.map_err(|errno| SpawnError {
        stage: Stage::Clone,
        errno: Errno::from_raw_os_error(errno),
    })
}

/// The C library has no function for this system call.
///
/// # Safety
/// As for `clone_child`.
unsafe fn clone_into_cgroup(
    stack: &mut Stack,
    child: *mut c_void,
    cgroup: BorrowedFd<'_>,
) -> Result<i32, i32> {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    // SAFETY: an all-zero clone_args is a valid value of that plain C struct.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = (libc::CLONE_VM | libc::CLONE_VFORK) as u64 | CLONE_INTO_CGROUP;
    arguments.exit_signal = libc::SIGCHLD as u64;
    arguments.stack = stack.0.as_mut_ptr() as u64;
    arguments.stack_size = STACK_BYTES as u64;
    arguments.cgroup = cgroup.as_raw_fd() as u64;
    let result: i64;
    // SAFETY: the kernel resumes twice behind `syscall`. The parent goes on at once to label 2 with its registers and stack
    // untouched. The child, on the empty stack, calls `run_child`, which never returns.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r9",
            "call r8",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") &raw const arguments,
            in("rsi") size_of::<libc::clone_args>(),
            in("r8") run_child as *const (),
            in("r9") child,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    // The kernel answers with a process id or a negated error number; both fit.
    if result < 0 {
        Err(-result as i32)
    } else {
        Ok(result as i32)
    }
}

/// Runs in the child, on the agent's memory: nothing here may allocate, lock or panic. The C library's functions for user
/// ids reach for all threads, hence the bare system calls.
extern "C" fn run_child(child: *mut c_void) -> c_int {
    let child: *mut Child<'_> = child.cast();
    // SAFETY: the parent passes a live `Child` and stands still until this process has left its memory.
    let child = unsafe { &mut *child };
    let stage = prepare(child).err().unwrap_or_else(|| execute(child));
    // SAFETY: the C library keeps the error number of the calling thread, whose memory this is.
    child.failure = Some((stage, unsafe { *libc::__errno_location() }));
    // SAFETY: ends this process without running anything of the parent's.
    unsafe { libc::_exit(127) }
}

fn prepare(child: &Child<'_>) -> Result<(), Stage> {
    let check = |stage: Stage, result: i64| if result < 0 { Err(stage) } else { Ok(()) };
    // SAFETY: plain system calls on numbers and on C strings that the parent keeps alive.
    unsafe {
        check(Stage::SetUp, libc::setsid().into())?;
        // The agent ignores this one, and what is ignored stays so in a program.
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        let nothing_blocked = 0u64;
        let set_mask = libc::SYS_rt_sigprocmask;
        check(
            Stage::SetUp,
            libc::syscall(
                set_mask,
                libc::SIG_SETMASK,
                &raw const nothing_blocked,
                0usize,
                8usize,
            ),
        )?;
        become_killable();
        for (from, to) in child.descriptors {
            check(Stage::SetUp, libc::dup2(from.as_raw_fd(), *to).into())?;
        }
        if let Some(credentials) = child.credentials {
            let groups = &credentials.groups;
            check(
                Stage::Credentials,
                libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()),
            )?;
            let gid = credentials.gid;
            check(
                Stage::Credentials,
                libc::syscall(libc::SYS_setresgid, gid, gid, gid),
            )?;
            let uid = credentials.uid;
            check(
                Stage::Credentials,
                libc::syscall(libc::SYS_setresuid, uid, uid, uid),
            )?;
        }
        check(Stage::WorkingDirectory, libc::chdir(child.cwd).into())
    }
}

/// The agent itself is exempt from the out-of-memory killer; programs are not. Outside a VM there may be no right to
/// change it and no need.
unsafe fn become_killable() {
    // SAFETY: plain system calls on constant strings.
    unsafe {
        let fd = libc::open(
            c"/proc/self/oom_score_adj".as_ptr(),
            libc::O_WRONLY | libc::O_CLOEXEC,
        );
        if fd >= 0 {
            libc::write(fd, c"0".as_ptr().cast(), 1);
            libc::close(fd);
        }
    }
}

/// Returns only when no program could be run, with `errno` set.
fn execute(child: &Child<'_>) -> Stage {
    let mut denied = false;
    for &program in child.programs {
        // SAFETY: the parent keeps these C strings and null-terminated arrays alive.
        let errno = unsafe {
            libc::execve(program, child.argv, child.env);
            *libc::__errno_location()
        };
        match errno {
            libc::ENOENT | libc::ENOTDIR => {}
            libc::EACCES => denied = true,
            _ => return Stage::Execute,
        }
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = if denied { libc::EACCES } else { libc::ENOENT } };
    Stage::Execute
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::sys::kernel::Ending;

    fn c(text: &str) -> CString {
        CString::new(text).expect("no NUL")
    }

    fn plan<'a>(program: &str, descriptors: Vec<(BorrowedFd<'a>, i32)>) -> Plan<'a> {
        Plan {
            programs: vec![c("/nowhere/sh"), c(program)],
            argv: vec![c("sh"), c("-c"), c("echo $$ $PWD $X; exit 7")],
            env: vec![c("X=y"), c("PATH=/usr/bin:/bin")],
            cwd: c("/tmp"),
            credentials: None,
            descriptors,
            cgroup: None,
        }
    }

    fn wait(pid: i32) -> Ending {
        let mut status = 0;
        // SAFETY: `status` is a live local.
        assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
        if libc::WIFSIGNALED(status) {
            Ending::Signalled(libc::WTERMSIG(status))
        } else {
            Ending::Exited(libc::WEXITSTATUS(status))
        }
    }

    #[test]
    fn a_program_runs_with_its_arguments_directory_and_descriptors() {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let pid = spawn(&plan("/bin/sh", vec![(writer.as_fd(), 1)])).expect("a process");
        drop(writer);
        assert_eq!(
            std::io::read_to_string(reader).expect("text"),
            format!("{pid} /tmp y\n")
        );
        assert_eq!(wait(pid), Ending::Exited(7));
    }

    #[test]
    fn what_did_not_work_is_said() {
        let missing = spawn(&plan("/nowhere/at/all", vec![]));
        assert_eq!(
            missing,
            Err(SpawnError {
                stage: Stage::Execute,
                errno: Errno::NOENT
            })
        );
        let denied = spawn(&plan("/etc/passwd", vec![]));
        assert_eq!(
            denied,
            Err(SpawnError {
                stage: Stage::Execute,
                errno: Errno::ACCESS
            })
        );
        let elsewhere = spawn(&Plan {
            cwd: c("/nowhere"),
            ..plan("/bin/sh", vec![])
        });
        assert_eq!(
            elsewhere,
            Err(SpawnError {
                stage: Stage::WorkingDirectory,
                errno: Errno::NOENT
            })
        );
    }
}
