//! Signals, waiting, scheduling, entropy: thin and safe.

use std::fmt;
use std::fs::File;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With this exit code.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
}

impl Ending {
    /// As a shell says it: the code, or 128 + the signal.
    pub fn exit_code(self) -> i32 {
        match self {
            Self::Exited(code) => code,
            Self::Signalled(signal) => 128 + signal,
        }
    }

    /// The signal, or 0.
    pub fn signal(self) -> u32 {
        match self {
            Self::Exited(_) => 0,
            Self::Signalled(signal) => signal.unsigned_abs(),
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "ended with code {code}"),
            Self::Signalled(signal) => write!(f, "was ended by signal {signal}"),
        }
    }
}

/// A child that was reaped.
#[derive(Clone, Copy, Debug)]
pub struct Reaped {
    /// Its process id.
    pub pid: i32,
    /// How it ended.
    pub ending: Ending,
    /// CPU time of it and of the children it waited for.
    pub cpu: Duration,
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

/// Reaps one ended child; `None` when there is none for now.
pub fn reap() -> Option<Reaped> {
    loop {
        let mut status = 0;
        // SAFETY: an all-zero rusage is a valid value of that plain C struct.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: both pointers are to live, writable locals of the right types.
        let pid = unsafe { libc::wait4(-1, &mut status, libc::WNOHANG, &mut usage) };
        if pid <= 0 {
            if pid < 0 && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return None;
        }
        let ending = if libc::WIFSIGNALED(status) {
            Ending::Signalled(libc::WTERMSIG(status))
        } else {
            Ending::Exited(libc::WEXITSTATUS(status))
        };
        return Some(Reaped {
            pid,
            ending,
            cpu: duration(usage.ru_utime) + duration(usage.ru_stime),
        });
    }
}

fn duration(time: libc::timeval) -> Duration {
    Duration::from_micros(u64::try_from(time.tv_sec * 1_000_000 + time.tv_usec).unwrap_or(0))
}

/// Blocks these signals in this thread (and those it starts) and returns a non-blocking descriptor that reads them.
pub fn signal_descriptor(signals: &[libc::c_int]) -> io::Result<OwnedFd> {
    // SAFETY: an all-zero sigset is a valid value of that plain C struct, and sigemptyset initialises it anyway.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is a live local.
    check(unsafe { libc::sigemptyset(&mut set) })?;
    for &signal in signals {
        // SAFETY: `set` is a live local; a wrong number is an error.
        check(unsafe { libc::sigaddset(&mut set, signal) })?;
    }
    // SAFETY: `set` is initialised; the old mask is not asked for.
    check(unsafe { libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) })?;
    // SAFETY: `set` is initialised; -1 asks for a new descriptor.
    let fd = check(unsafe { libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) })?;
    // SAFETY: the kernel just made this descriptor and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The number of the next signal that waits in a descriptor of `signal_descriptor`; `None` when none does.
pub fn next_signal(descriptor: &OwnedFd) -> io::Result<Option<u32>> {
    let mut record = [0u8; size_of::<libc::signalfd_siginfo>()];
    match rustix::io::read(descriptor, &mut record) {
        // The signal's number is the first field.
        Ok(_) => Ok(record.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))),
        Err(rustix::io::Errno::AGAIN) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// This thread goes before all ordinary ones; what it starts is ordinary again.
pub fn go_before_others() -> io::Result<()> {
    // SAFETY: an all-zero sched_param is a valid value of that plain C struct.
    let mut parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    parameters.sched_priority = 1;
    // SAFETY: `parameters` is a live local; 0 is this thread.
    check(unsafe {
        libc::sched_setscheduler(0, libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, &parameters)
    })?;
    Ok(())
}

/// Orphans below this process become its children, as they would those of PID 1.
pub fn adopt_orphans() -> io::Result<()> {
    let (on, unused): (libc::c_ulong, libc::c_ulong) = (1, 0);
    // SAFETY: this option takes a number and no pointer.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, on, unused, unused, unused) })?;
    Ok(())
}

/// Mixes `bytes` into the kernel's entropy pool, counts them as entropy, and reseeds the generator from it.
pub fn reseed(random: &File, bytes: &[u8]) -> io::Result<()> {
    const ADD_ENTROPY: libc::Ioctl = 0x4008_5203;
    const RESEED: libc::Ioctl = 0x5207;
    // struct rand_pool_info { int entropy_count; int buf_size; __u32 buf[]; }, in words so that it is aligned.
    let mut info = vec![bytes.len() as u32 * 8, bytes.len() as u32];
    info.extend(bytes.chunks(4).map(|chunk| {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        u32::from_ne_bytes(word)
    }));
    // SAFETY: `info` holds the two counts and at least `buf_size` bytes behind them.
    check(unsafe { libc::ioctl(random.as_raw_fd(), ADD_ENTROPY, info.as_ptr()) })?;
    // SAFETY: this request takes no argument.
    check(unsafe { libc::ioctl(random.as_raw_fd(), RESEED) })?;
    Ok(())
}

/// CPU time that a process has used; without its children.
pub fn process_cpu(pid: i32) -> Option<Duration> {
    // The kernel's encoding of another process's CPU clock.
    let clock: libc::clockid_t = (!pid << 3) | 2;
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a live local; a wrong clock is an error.
    check(unsafe { libc::clock_gettime(clock, &mut time) }).ok()?;
    Some(Duration::new(
        u64::try_from(time.tv_sec).ok()?,
        u32::try_from(time.tv_nsec).ok()?,
    ))
}

/// Sends a signal to a process group.
pub fn signal_group(leader: i32, signal: u32) -> io::Result<()> {
    let signal = i32::try_from(signal).map_err(|_| io::ErrorKind::InvalidInput)?;
    if leader <= 1 || signal == 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: takes numbers only; the group is not this process's own, nor every process.
    check(unsafe { libc::kill(-leader, signal) })?;
    Ok(())
}

/// Brings a network interface up.
pub fn bring_up(interface: &str) -> io::Result<()> {
    // SAFETY: plain call; the result is checked.
    let fd =
        check(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the kernel just made this descriptor and nobody else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: an all-zero ifreq is a valid value of that plain C struct.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request
        .ifr_name
        .iter_mut()
        .take(libc::IFNAMSIZ - 1)
        .zip(interface.bytes())
    {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: `request` is a live local of the type that this request reads.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request) })?;
    Ok(())
}

/// Occupies descriptors 0 to 9 with /dev/null where they are free, so that no other descriptor of this process has a
/// number that a child is to get.
pub fn occupy_low_descriptors(null: OwnedFd) -> io::Result<()> {
    let first: RawFd = null.as_raw_fd();
    let mut next = first;
    while next < 10 {
        // SAFETY: plain call on a live descriptor.
        next = check(unsafe { libc::fcntl(first, libc::F_DUPFD_CLOEXEC, 0) })?;
    }
    // The last one is above; it and none of the low ones is closed.
    if next >= 10 && next != first {
        // SAFETY: `next` was made above and nobody else knows it.
        drop(unsafe { OwnedFd::from_raw_fd(next) });
    }
    if first < 10 {
        std::mem::forget(null);
    }
    Ok(())
}
