//! System calls, signal frames and threads: all that is `unsafe` in this library, behind functions that are not.
//!
//! What holds everywhere here, and why it is sound:
//!
//! 1. **Nothing of the C library runs.** Threads of the host program are stopped at any instruction, maybe inside of
//!    `malloc`; so no lock, no allocation, no thread-local variable is touched. (`memcpy` and `memset` are pure.)
//! 2. **One thread at a time owns the state.** Only the helper thread reads requests and forks. Other threads come here
//!    in `on_signal` alone, where each writes one slot of its own, and publishes it with a release store.
//! 3. **A parked thread's frame stays.** Its context lies on its own stack, above its stack pointer, for as long as it
//!    waits in `on_signal`; the helper takes it over into the child before it lets the thread go on. In the child the
//!    copy of that stack is nobody's but the thread's that is made on it.
//! 4. **The two stacks of the helper take turns.** The thread that forks becomes the first thread of the child and
//!    leaves its stack only when it returns into the program, so the child's helper gets the other one.

use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicI32, AtomicU32, AtomicUsize, Ordering};
use instavm_fork_protocol::{DESCRIPTORS_LIMIT, MESSAGE_LIMIT_BYTES, THREADS_LIMIT};

/// An error number of the kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

/// What the library itself says in place of the kernel.
pub const ESRCH: Errno = Errno(3);
pub const EBADF: Errno = Errno(9);
pub const EBUSY: Errno = Errno(16);
pub const EINVAL: Errno = Errno(22);
pub const ETIMEDOUT: Errno = Errno(110);

mod number {
    pub const CLOSE: usize = 3;
    pub const POLL: usize = 7;
    pub const RT_SIGACTION: usize = 13;
    pub const RT_SIGPROCMASK: usize = 14;
    pub const MADVISE: usize = 28;
    pub const NANOSLEEP: usize = 35;
    pub const GETPID: usize = 39;
    pub const SENDTO: usize = 44;
    pub const RECVMSG: usize = 47;
    pub const CLONE: usize = 56;
    pub const FCNTL: usize = 72;
    pub const FCHDIR: usize = 81;
    pub const SETSID: usize = 112;
    pub const PRCTL: usize = 157;
    pub const ARCH_PRCTL: usize = 158;
    pub const GETTID: usize = 186;
    pub const FUTEX: usize = 202;
    pub const SET_TID_ADDRESS: usize = 218;
    pub const CLOCK_GETTIME: usize = 228;
    pub const EXIT_GROUP: usize = 231;
    pub const EPOLL_CTL: usize = 233;
    pub const TGKILL: usize = 234;
    pub const ACCEPT4: usize = 288;
    pub const SIGNALFD4: usize = 289;
    pub const EVENTFD2: usize = 290;
    pub const EPOLL_CREATE1: usize = 291;
    pub const DUP3: usize = 292;
    pub const SECCOMP: usize = 317;
}

/// Signals 32 and 33 are the C library's own: `sigfillset` leaves them out, so no thread ever blocks them.
const PARK_SIGNAL: usize = 33;
const CLOEXEC: usize = 0o2_000_000;

/// Asks the kernel.
///
/// # Safety
/// The arguments must be what the system call expects; memory that they point to must be valid for it.
unsafe fn syscall(number: usize, arguments: [usize; 6]) -> Result<usize, Errno> {
    let result: isize;
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the kernel's calling convention; it changes rax, rcx and r11, and memory as the caller vouches for.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => result, in("rdi") a, in("rsi") b, in("rdx") c,
            in("r10") d, in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    answer(result)
}

fn answer(result: isize) -> Result<usize, Errno> {
    if (-4095..0).contains(&result) {
        Err(Errno(-(result as i32)))
    } else {
        Ok(result as usize)
    }
}

/// A system call that takes numbers alone.
fn plain(number: usize, a: usize, b: usize, c: usize) -> Result<usize, Errno> {
    // SAFETY: the callers below pass calls whose arguments are no addresses.
    unsafe { syscall(number, [a, b, c, 0, 0, 0]) }
}

fn fd_argument(fd: i32) -> usize {
    fd as usize
}

/// Closes a descriptor; one that is not open is no matter.
pub fn close(fd: i32) {
    let _ = plain(number::CLOSE, fd_argument(fd), 0, 0);
}

/// Makes `to` a copy of `from`, closed on exec.
pub fn replace(from: i32, to: i32) -> Result<(), Errno> {
    plain(number::DUP3, fd_argument(from), fd_argument(to), CLOEXEC).map(drop)
}

/// A new eventfd.
pub fn eventfd(count: u64, flags: i32) -> Result<i32, Errno> {
    // The system call takes 32 bits; a larger count is written afterwards by nobody, so it is refused.
    let count = u32::try_from(count).map_err(|_| EINVAL)?;
    plain(
        number::EVENTFD2,
        count as usize,
        fd_argument(flags) | CLOEXEC,
        0,
    )
    .map(|fd| fd as i32)
}

/// A new epoll.
pub fn epoll() -> Result<i32, Errno> {
    plain(number::EPOLL_CREATE1, CLOEXEC, 0, 0).map(|fd| fd as i32)
}

#[repr(C, packed)]
struct EpollEvent {
    events: u32,
    data: u64,
}

/// Adds a file to an epoll.
pub fn epoll_add(epoll: i32, target: i32, events: u32, data: u64) -> Result<(), Errno> {
    let event = EpollEvent { events, data };
    let arguments = [
        fd_argument(epoll),
        1,
        fd_argument(target),
        &raw const event as usize,
        0,
        0,
    ];
    // SAFETY: the kernel reads `event`, which is laid out as its `struct epoll_event`.
    unsafe { syscall(number::EPOLL_CTL, arguments) }.map(drop)
}

/// A new signalfd.
pub fn signalfd(mask: u64, flags: i32) -> Result<i32, Errno> {
    let arguments = [
        usize::MAX,
        &raw const mask as usize,
        8,
        fd_argument(flags) | CLOEXEC,
        0,
        0,
    ];
    // SAFETY: the kernel reads `mask`, a signal set of 8 bytes.
    unsafe { syscall(number::SIGNALFD4, arguments) }.map(|fd| fd as i32)
}

/// Changes the working directory.
pub fn enter_directory(fd: i32) -> Result<(), Errno> {
    plain(number::FCHDIR, fd_argument(fd), 0, 0).map(drop)
}

/// A session of its own.
pub fn new_session() -> Result<(), Errno> {
    plain(number::SETSID, 0, 0, 0).map(drop)
}

/// The process's id.
pub fn process_id() -> i32 {
    plain(number::GETPID, 0, 0, 0).unwrap_or(0) as i32
}

/// The calling thread's id.
pub fn thread_id() -> i32 {
    plain(number::GETTID, 0, 0, 0).unwrap_or(0) as i32
}

/// Ends the process.
pub fn exit(code: u8) -> ! {
    loop {
        let _ = plain(number::EXIT_GROUP, code.into(), 0, 0);
    }
}

/// Waits a tenth of a second.
pub fn rest() {
    let time = [0i64, 100_000_000];
    // SAFETY: the kernel reads `time`, a `struct timespec`.
    let _ = unsafe { syscall(number::NANOSLEEP, [&raw const time as usize, 0, 0, 0, 0, 0]) };
}

/// The monotonic clock, in ns.
pub fn now_ns() -> u64 {
    let mut time = [0u64; 2];
    // SAFETY: the kernel writes `time`, a `struct timespec`.
    let _ = unsafe {
        syscall(
            number::CLOCK_GETTIME,
            [1, &raw mut time as usize, 0, 0, 0, 0],
        )
    };
    time[0] * 1_000_000_000 + time[1]
}

// ---- the launcher's connection

/// The next connection, once there is one.
pub fn accept(listener: i32) -> Result<i32, Errno> {
    plain4(number::ACCEPT4, fd_argument(listener), CLOEXEC).map(|fd| fd as i32)
}

fn plain4(number: usize, first: usize, fourth: usize) -> Result<usize, Errno> {
    // SAFETY: `accept4` with no address to write.
    unsafe { syscall(number, [first, 0, 0, fourth, 0, 0]) }
}

/// A message and the descriptors that came along.
pub struct Inbox {
    bytes: [u8; MESSAGE_LIMIT_BYTES + 1],
    length: usize,
    descriptors: [i32; DESCRIPTORS_LIMIT],
    count: usize,
}

const CONTROL_BYTES: usize = 16 + 4 * 256;

#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

#[repr(C)]
struct MessageHeader {
    name: usize,
    name_length: usize,
    parts: *const [usize; 2],
    part_count: usize,
    control: *mut Control,
    control_length: usize,
    flags: usize,
}

impl Inbox {
    /// Empty.
    pub const fn new() -> Self {
        Self {
            bytes: [0; MESSAGE_LIMIT_BYTES + 1],
            length: 0,
            descriptors: [-1; DESCRIPTORS_LIMIT],
            count: 0,
        }
    }

    /// What came.
    pub fn message(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&[])
    }

    /// The descriptors that came along; `None` beyond the last.
    pub fn descriptor(&self, position: u32) -> Option<i32> {
        self.descriptors
            .get(..self.count)?
            .get(position as usize)
            .copied()
    }

    /// Closes what came along.
    pub fn close_descriptors(&mut self) {
        for fd in self.descriptors.iter().take(self.count) {
            close(*fd);
        }
        self.count = 0;
    }

    /// Waits for the next message; `None` at the connection's end, when it is silent for too long, and for a message that came
    /// in pieces. The descriptors of the last one must have been closed.
    pub fn receive(&mut self, connection: i32, timeout_ms: i32) -> Option<()> {
        if !wait_readable(connection, timeout_ms) {
            return None;
        }
        let mut control = Control([0; CONTROL_BYTES]);
        let parts = [self.bytes.as_mut_ptr() as usize, self.bytes.len()];
        let mut header = MessageHeader {
            name: 0,
            name_length: 0,
            parts: &raw const parts,
            part_count: 1,
            control: &raw mut control,
            control_length: CONTROL_BYTES,
            flags: 0,
        };
        const MSG_CMSG_CLOEXEC: usize = 0x4000_0000;
        let arguments = [
            fd_argument(connection),
            &raw mut header as usize,
            MSG_CMSG_CLOEXEC,
            0,
            0,
            0,
        ];
        // SAFETY: the kernel writes `header`, a `struct msghdr`, and no more than the lengths in it say.
        let length = unsafe { syscall(number::RECVMSG, arguments) }.ok()?;
        self.take_descriptors(&control, header.control_length);
        let is_whole =
            header.flags & (MSG_TRUNC | MSG_CTRUNC) == 0 && length <= MESSAGE_LIMIT_BYTES;
        if length == 0 || !is_whole {
            self.close_descriptors();
            return None;
        }
        self.length = length;
        Some(())
    }

    fn take_descriptors(&mut self, control: &Control, length: usize) {
        self.count = 0;
        let Some((length_bytes, _)) = control.0.split_first_chunk::<8>() else {
            return;
        };
        // `cmsg_len`: without what the kernel pads it with.
        let used = usize::from_le_bytes(*length_bytes).min(length);
        let Some((head, rest)) = control
            .0
            .get(..used)
            .unwrap_or(&[])
            .split_first_chunk::<16>()
        else {
            return;
        };
        // SOL_SOCKET and SCM_RIGHTS: the only message that such a socket brings.
        if head.get(8..16) != Some(&[1, 0, 0, 0, 1, 0, 0, 0]) {
            return;
        }
        for bytes in rest.chunks_exact(4) {
            let Some((number, _)) = bytes.split_first_chunk::<4>() else {
                return;
            };
            let fd = i32::from_le_bytes(*number);
            match self.descriptors.get_mut(self.count) {
                Some(slot) => {
                    *slot = fd;
                    self.count += 1;
                }
                None => close(fd),
            }
        }
    }
}

const MSG_TRUNC: usize = 0x20;
const MSG_CTRUNC: usize = 0x8;

fn wait_readable(fd: i32, timeout_ms: i32) -> bool {
    #[repr(C)]
    struct PollFd {
        fd: i32,
        events: i16,
        seen: i16,
    }
    let mut poll = PollFd {
        fd,
        events: 1,
        seen: 0,
    };
    let arguments = [&raw mut poll as usize, 1, timeout_ms as usize, 0, 0, 0];
    // SAFETY: the kernel reads and writes `poll`, a `struct pollfd`.
    matches!(unsafe { syscall(number::POLL, arguments) }, Ok(ready) if ready > 0)
}

/// Sends a message whole; false when nobody is there.
pub fn send(connection: i32, message: &[u8]) -> bool {
    const MSG_NOSIGNAL: usize = 0x4000;
    let arguments = [
        fd_argument(connection),
        message.as_ptr() as usize,
        message.len(),
        MSG_NOSIGNAL,
        0,
        0,
    ];
    // SAFETY: the kernel reads `message`.
    let sent = unsafe { syscall(number::SENDTO, arguments) };
    sent == Ok(message.len())
}

// ---- threads that stand

/// One that stands: who it is, where its context lies, and its thread pointer.
struct Slot {
    tid: AtomicI32,
    context: AtomicUsize,
    fs: AtomicUsize,
    is_filled: AtomicU32,
}

static SLOTS: [Slot; THREADS_LIMIT] = [const {
    Slot {
        tid: AtomicI32::new(0),
        context: AtomicUsize::new(0),
        fs: AtomicUsize::new(0),
        is_filled: AtomicU32::new(0),
    }
}; THREADS_LIMIT];
static CLAIMED: AtomicUsize = AtomicUsize::new(0);
static FILLED: AtomicU32 = AtomicU32::new(0);
/// Odd while threads are to stand; each pause has its own number.
static PAUSE: AtomicU32 = AtomicU32::new(0);

/// A thread that stands, as the helper takes it over into a child.
#[derive(Clone, Copy)]
pub struct Standing {
    /// In the parent.
    pub tid: i32,
    context: usize,
    fs: usize,
}

extern "C" fn on_signal(_signal: i32, _info: usize, context: usize) {
    let pause = PAUSE.load(Ordering::Acquire);
    if pause & 1 == 0 {
        return; // it came late: that pause is over
    }
    let Some(slot) = SLOTS.get(CLAIMED.fetch_add(1, Ordering::AcqRel)) else {
        return; // the helper sees that it does not stand
    };
    slot.context.store(context, Ordering::Relaxed);
    slot.fs.store(thread_pointer(), Ordering::Relaxed);
    slot.tid.store(thread_id(), Ordering::Relaxed);
    slot.is_filled.store(1, Ordering::Release);
    FILLED.fetch_add(1, Ordering::AcqRel);
    futex_wake(&FILLED);
    while PAUSE.load(Ordering::Acquire) == pause {
        futex_wait(&PAUSE, pause, None);
    }
}

fn thread_pointer() -> usize {
    const ARCH_GET_FS: usize = 0x1003;
    let mut fs = 0usize;
    // SAFETY: the kernel writes one word.
    let _ = unsafe {
        syscall(
            number::ARCH_PRCTL,
            [ARCH_GET_FS, &raw mut fs as usize, 0, 0, 0, 0],
        )
    };
    fs
}

fn futex_wait(word: &AtomicU32, seen: u32, timeout_ns: Option<u64>) {
    let time = timeout_ns.map(|ns| [ns / 1_000_000_000, ns % 1_000_000_000]);
    let time = time.as_ref().map_or(0, |time| time.as_ptr() as usize);
    // SAFETY: FUTEX_WAIT_PRIVATE on a word that lives for ever; the kernel reads `time` when it is not null.
    let _ = unsafe {
        syscall(
            number::FUTEX,
            [word.as_ptr() as usize, 128, seen as usize, time, 0, 0],
        )
    };
}

fn futex_wake(word: &AtomicU32) {
    // SAFETY: FUTEX_WAKE_PRIVATE on a word that lives for ever.
    let _ = unsafe {
        syscall(
            number::FUTEX,
            [word.as_ptr() as usize, 129, i32::MAX as usize, 0, 0, 0],
        )
    };
}

// What a signal handler returns through; the kernel wants to be told (SA_RESTORER).
global_asm!(
    ".pushsection .text",
    ".hidden instavm_fork_return",
    ".globl instavm_fork_return",
    ".type instavm_fork_return, @function",
    "instavm_fork_return:",
    "mov eax, 15",
    "syscall",
    "ud2",
    ".popsection",
);
extern "C" {
    fn instavm_fork_return();
}

/// Begins a pause: from now on a thread that is signalled stands. The handler is set each time, because the C library
/// puts its own there with a program's first thread.
pub fn begin_pause() -> Result<(), Errno> {
    #[repr(C)]
    struct Action {
        handler: usize,
        flags: usize,
        restorer: usize,
        mask: u64,
    }
    const SIGINFO_RESTART_RESTORER: usize = 0x4 | 0x1000_0000 | 0x0400_0000;
    let action = Action {
        handler: on_signal as *const () as usize,
        flags: SIGINFO_RESTART_RESTORER,
        restorer: instavm_fork_return as *const () as usize,
        mask: u64::MAX,
    };
    let arguments = [PARK_SIGNAL, &raw const action as usize, 0, 8, 0, 0];
    // SAFETY: the kernel reads `action`, a `struct sigaction`; the handler is sound on any thread (see above).
    unsafe { syscall(number::RT_SIGACTION, arguments) }?;
    forget_standing();
    PAUSE.fetch_add(1, Ordering::AcqRel);
    Ok(())
}

/// Empties the slots. Threads of the last pause have left them: they only wait for its number to pass.
fn forget_standing() {
    for slot in &SLOTS {
        slot.is_filled.store(0, Ordering::Relaxed);
    }
    CLAIMED.store(0, Ordering::Relaxed);
    FILLED.store(0, Ordering::Release);
}

/// Lets all threads go on.
pub fn end_pause() {
    PAUSE.fetch_add(1, Ordering::AcqRel);
    futex_wake(&PAUSE);
}

/// In the child nobody waits: there are no threads yet.
pub fn end_pause_in_child() {
    PAUSE.fetch_add(1, Ordering::AcqRel);
}

/// Asks a thread to stand; false when it has ended.
pub fn signal_thread(process: i32, tid: i32) -> bool {
    plain(
        number::TGKILL,
        fd_argument(process),
        fd_argument(tid),
        PARK_SIGNAL,
    )
    .is_ok()
}

/// Whether there is such a thread.
pub fn thread_exists(process: i32, tid: i32) -> bool {
    plain(number::TGKILL, fd_argument(process), fd_argument(tid), 0).is_ok()
}

/// Who stands.
pub fn standing() -> impl Iterator<Item = Standing> {
    SLOTS
        .iter()
        .filter(|slot| slot.is_filled.load(Ordering::Acquire) == 1)
        .map(|slot| Standing {
            tid: slot.tid.load(Ordering::Relaxed),
            context: slot.context.load(Ordering::Relaxed),
            fs: slot.fs.load(Ordering::Relaxed),
        })
}

/// How many stand.
pub fn standing_count() -> u32 {
    FILLED.load(Ordering::Acquire)
}

/// Waits until more stand than `seen`, at most so long.
pub fn wait_for_more(seen: u32, timeout_ns: u64) {
    futex_wait(&FILLED, seen, Some(timeout_ns));
}

// ---- processes and threads that are made

/// Makes a copy of this process with this thread alone, a child of this process's own parent. 0 in the copy.
pub fn fork() -> Result<i32, Errno> {
    const CLONE_PARENT_AND_SIGCHLD: usize = 0x8000 | 17;
    // SAFETY: without a new stack both copies go on here, each with its own memory.
    unsafe { syscall(number::CLONE, [CLONE_PARENT_AND_SIGCHLD, 0, 0, 0, 0, 0]) }
        .map(|pid| pid as i32)
}

/// CLONE_VM, FS, FILES, SIGHAND, THREAD, SYSVSEM, SETTLS
const THREAD_FLAGS: usize = 0x100 | 0x200 | 0x400 | 0x800 | 0x1_0000 | 0x4_0000 | 0x8_0000;
const CLONE_CHILD_CLEARTID: usize = 0x20_0000;

/// Where a thread's id is, seen from its thread pointer. The C library looks for it there, and waits there for the thread's end.
static ID_OFFSET: AtomicUsize = AtomicUsize::new(0);

/// Asks the kernel where the C library keeps the id of the calling thread. Refused by a kernel that cannot tell.
pub fn find_id_offset() -> Result<(), Errno> {
    const PR_GET_TID_ADDRESS: usize = 40;
    let mut address = 0usize;
    // SAFETY: the kernel writes one word.
    unsafe {
        syscall(
            number::PRCTL,
            [PR_GET_TID_ADDRESS, &raw mut address as usize, 0, 0, 0, 0],
        )
    }?;
    let offset = address
        .checked_sub(thread_pointer())
        .filter(|offset| (1..4096).contains(offset))
        .ok_or(EINVAL)?;
    ID_OFFSET.store(offset, Ordering::Release);
    Ok(())
}

/// Whether threads can be made again.
pub fn knows_id_offset() -> bool {
    ID_OFFSET.load(Ordering::Acquire) != 0
}

/// Makes a thread that goes on where the parent's stood. The C library's own number for it stays that of the parent's thread
/// (no PARENT_SETTID): a recursive mutex that it holds names its owner by that number.
pub fn continue_thread(thread: Standing) -> Result<(), Errno> {
    let result: isize;
    let id_address = thread.fs + ID_OFFSET.load(Ordering::Acquire);
    // SAFETY: the new thread's stack pointer is just above the signal frame that the kernel made for it, and the first
    // thing it does is to return from that signal, which restores all registers, the mask and the extended state.
    unsafe {
        asm!("syscall", "test rax, rax", "jnz 2f", "mov eax, 15", "syscall", "ud2", "2:",
            inlateout("rax") number::CLONE as isize => result, in("rdi") THREAD_FLAGS | CLONE_CHILD_CLEARTID,
            in("rsi") thread.context, in("rdx") 0usize, in("r10") id_address, in("r8") thread.fs,
            lateout("rcx") _, lateout("r11") _);
    }
    answer(result).map(drop)
}

/// The calling thread becomes the one that stood: it goes on there and never returns here.
pub fn become_thread(thread: Standing) -> ! {
    const ARCH_SET_FS: usize = 0x1002;
    let id_address = thread.fs + ID_OFFSET.load(Ordering::Acquire);
    // SAFETY: as in `continue_thread`; nothing of this thread's own stack is needed any more.
    unsafe {
        let _ = syscall(number::ARCH_PRCTL, [ARCH_SET_FS, thread.fs, 0, 0, 0, 0]);
        let _ = syscall(number::SET_TID_ADDRESS, [id_address, 0, 0, 0, 0, 0]);
        asm!("mov rsp, {}", "mov eax, 15", "syscall", "ud2", in(reg) thread.context, options(noreturn));
    }
}

const STACK_BYTES: usize = 64 * 1024;

#[repr(C, align(64))]
struct Stack(UnsafeCell<[u8; STACK_BYTES]>);

// SAFETY: each is used by one thread at a time (4 above).
unsafe impl Sync for Stack {}

static STACKS: [Stack; 2] = [const { Stack(UnsafeCell::new([0; STACK_BYTES])) }; 2];
static NEXT_STACK: AtomicUsize = AtomicUsize::new(0);

/// Starts the helper: the thread that runs `crate::serving::serve` with all signals blocked, as its maker has them. It uses
/// no thread-local variable; its thread pointer is the maker's only so that it is a valid one.
pub fn start_helper(maker: Option<Standing>) -> Result<(), Errno> {
    let fs = maker.map_or_else(thread_pointer, |thread| thread.fs);
    let stack = &STACKS[NEXT_STACK.fetch_xor(1, Ordering::AcqRel) & 1];
    // A call leaves the stack 8 off a multiple of 16, as a function expects it.
    let top = stack.0.get() as usize + STACK_BYTES - 64;
    let result: isize;
    // SAFETY: the stack is free (4 above) and the thread never leaves `enter_helper`.
    unsafe {
        asm!("syscall", "test rax, rax", "jnz 2f", "xor ebp, ebp", "call {entry}", "ud2", "2:",
            entry = sym enter_helper,
            inlateout("rax") number::CLONE as isize => result, in("rdi") THREAD_FLAGS, in("rsi") top,
            in("rdx") 0usize, in("r10") 0usize, in("r8") fs, lateout("rcx") _, lateout("r11") _);
    }
    answer(result).map(drop)
}

extern "C" fn enter_helper() -> ! {
    crate::serving::serve()
}

/// Runs `work` with all signals blocked.
pub fn without_signals(work: impl FnOnce()) {
    const SIG_SETMASK: usize = 2;
    let all = u64::MAX;
    let mut before = 0u64;
    // SAFETY: the kernel reads one set of 8 bytes and writes another.
    unsafe {
        let _ = syscall(
            number::RT_SIGPROCMASK,
            [
                SIG_SETMASK,
                &raw const all as usize,
                &raw mut before as usize,
                8,
                0,
                0,
            ],
        );
    }
    work();
    // SAFETY: as above.
    unsafe {
        let _ = syscall(
            number::RT_SIGPROCMASK,
            [SIG_SETMASK, &raw const before as usize, 0, 8, 0, 0],
        );
    }
}

// ---- the program's start

/// The value of an environment variable, read from what the kernel gave the program.
///
/// # Safety
/// `environment` must be the program's, as it is handed to a constructor.
pub unsafe fn number_in_environment(environment: *const *const u8, name: &[u8]) -> Option<i32> {
    let mut at = environment;
    loop {
        // SAFETY: the list ends with a null pointer, its strings with a zero byte.
        let entry = unsafe { *at };
        if entry.is_null() {
            return None;
        }
        // SAFETY: as above.
        let text = unsafe { core::ffi::CStr::from_ptr(entry.cast()) }.to_bytes();
        if let Some(value) = text
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix(b"="))
        {
            return core::str::from_utf8(value).ok()?.parse().ok();
        }
        // SAFETY: the list goes on: this was not its end.
        at = unsafe { at.add(1) };
    }
}

/// Whether a descriptor is open; it is closed on exec from now on.
pub fn own_descriptor(fd: i32) -> Result<(), Errno> {
    const F_SETFD_CLOEXEC: (usize, usize) = (2, 1);
    plain(
        number::FCNTL,
        fd_argument(fd),
        F_SETFD_CLOEXEC.0,
        F_SETFD_CLOEXEC.1,
    )
    .map(drop)
}

/// Advises the kernel on memory of the program.
///
/// # Safety
/// As the C library's function of that name.
pub unsafe fn advise(address: usize, length: usize, advice: i32) -> Result<(), Errno> {
    // SAFETY: the caller's.
    unsafe { syscall(number::MADVISE, [address, length, advice as usize, 0, 0, 0]) }.map(drop)
}

/// From now on nothing that this process or a child of it is made to do starts another program, or traces a process.
/// (A VM process that is to be forked cannot have QEMU's own `spawn=deny`, which forbids the fork too.)
pub fn forbid_programs() -> Result<(), Errno> {
    const PR_SET_NO_NEW_PRIVS: usize = 38;
    const SET_MODE_FILTER: usize = 1;
    const THREADS_TOO: usize = 1;
    const LOAD: u16 = 0x20;
    const EQUAL: u16 = 0x15;
    const AT_LEAST: u16 = 0x35;
    const RETURN: u16 = 0x06;
    const REFUSE_EPERM: u32 = 0x0005_0000 | 1;
    const REFUSE_ENOSYS: u32 = 0x0005_0000 | 38;
    const ALLOW: u32 = 0x7fff_0000;
    const X86_64: u32 = 0xc000_003e;
    /// code, jump if true, jump if false, operand
    #[repr(C)]
    struct Instruction(u16, u8, u8, u32);
    let program = [
        Instruction(LOAD, 0, 0, 4), // the architecture
        Instruction(EQUAL, 0, 11, X86_64),
        Instruction(LOAD, 0, 0, 0),               // the number
        Instruction(AT_LEAST, 9, 0, 0x4000_0000), // those of the x32 interface
        Instruction(EQUAL, 8, 0, 57),             // fork
        Instruction(EQUAL, 7, 0, 58),             // vfork
        Instruction(EQUAL, 6, 0, 59),             // execve
        Instruction(EQUAL, 5, 0, 322),            // execveat
        Instruction(EQUAL, 4, 0, 101),            // ptrace
        Instruction(EQUAL, 3, 0, 310),            // process_vm_readv
        Instruction(EQUAL, 2, 0, 311),            // process_vm_writev
        // Its flags lie in memory, where no filter sees them; the C library then takes `clone`.
        Instruction(EQUAL, 2, 0, 435), // clone3
        Instruction(RETURN, 0, 0, ALLOW),
        Instruction(RETURN, 0, 0, REFUSE_EPERM),
        Instruction(RETURN, 0, 0, REFUSE_ENOSYS),
    ];
    #[repr(C)]
    struct Program {
        length: u16,
        instructions: *const Instruction,
    }
    let filter = Program {
        length: program.len() as u16,
        instructions: program.as_ptr(),
    };
    plain(number::PRCTL, PR_SET_NO_NEW_PRIVS, 1, 0)?;
    // SAFETY: the kernel reads the filter and its instructions.
    unsafe {
        syscall(
            number::SECCOMP,
            [
                SET_MODE_FILTER,
                THREADS_TOO,
                &raw const filter as usize,
                0,
                0,
                0,
            ],
        )
    }
    .map(drop)
}
