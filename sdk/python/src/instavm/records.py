"""Answers of the server: attributes for people, a dict for everything else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = [
    "ApiKey",
    "CommandInfo",
    "Context",
    "CurrentUser",
    "FileInfo",
    "Health",
    "KilledSession",
    "Record",
    "Sandbox",
    "Session",
    "SessionStatus",
    "SessionUsage",
    "Task",
    "Vm",
    "WrittenFile",
    "WrittenTree",
]


class Record(dict[str, Any]):
    """One object that the server answered: `record.name` is `record["name"]`. Fields of newer servers are there too."""

    __slots__ = ()

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            try:
                return self[name]
            except KeyError:
                raise AttributeError(f"{type(self).__name__} has no field {name!r}; it has {', '.join(self)}") from None

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({dict(self)!r})"


class Session(Record):
    """A session as it was created or read. Times are UTC texts, `2026-01-02T03:04:05Z`."""

    __slots__ = ()

    session_id: str
    vm_id: str | None
    #: active, suspended, killed or expired.
    status: str
    created_at: str
    expires_at: str


class SessionStatus(Record):
    """Whether a session can be used, and whether its VM runs."""

    __slots__ = ()

    exists: bool
    session_id: str
    vm_assigned: bool
    vm_alive: bool
    vm_id: str | None
    #: active, suspended, killed, or None.
    vm_status: str | None
    uptime_seconds: int
    expires_in_seconds: int
    created_at: str | None


class SessionUsage(Record):
    """What a session has used so far, over all VMs that it had."""

    __slots__ = ()

    session_id: str
    cpu_seconds: float
    wall_seconds: float
    memory_gib_seconds: float
    egress_bytes: int
    executions: int


class Sandbox(Record):
    """One live sandbox in a list."""

    __slots__ = ()

    sandbox_id: str | None
    vm_id: str | None
    session_id: str
    name: str | None
    metadata: dict[str, Any]
    status: str
    started_at: str
    end_at: str


class KilledSession(Record):
    """A session that has ended with its VM and its files."""

    __slots__ = ()

    message: str
    session_id: str
    vm_id: str | None
    status: str


class Vm(Record):
    """A VM as its owner sees it; up means `active`."""

    __slots__ = ()

    vm_id: str
    session_id: str
    name: str | None
    #: creating, active, suspending, suspended, resuming, terminated or failed.
    status: str
    created_at: str
    expires_at: str
    ended_at: str | None
    end_reason: str | None
    memory_mb: int
    vcpu_count: int
    vm_lifetime_seconds: int
    metadata: dict[str, Any]


class Task(Record):
    """Code in the background, in a list or just started: without its output."""

    __slots__ = ()

    task_id: str
    session_id: str
    vm_id: str | None
    #: running, completed, failed or lost.
    status: str
    is_complete: bool
    exit_code: int | None
    created_at: str
    ended_at: str | None


class Context(Record):
    """One interpreter in a VM, with variables and a working directory of its own."""

    __slots__ = ()

    context_id: str
    vm_id: str
    #: python, javascript or bash.
    language: str
    #: Where its interpreter starts.
    cwd: str
    #: Code runs in it.
    is_busy: bool


class CommandInfo(Record):
    """A program in the background of a VM, as it stood when it was asked for."""

    __slots__ = ()

    #: Counts up from 1 in each VM.
    command_id: int
    vm_id: str
    tag: str | None
    #: For people: its script or its arguments, cut.
    command: str
    #: In the VM; also its process group.
    pid: int
    is_running: bool
    stdin_is_open: bool
    started_at: str
    ended_at: str | None
    #: All that it has printed: the offset of the next byte.
    output_bytes: int
    #: The offset of the first byte that is kept.
    output_start: int
    #: Output before `output_start` is gone.
    truncated: bool
    #: 128 + n when signal n ended it; 124 at its timeout. None while it runs.
    exit_code: int | None
    #: The signal that ended it.
    signal: int | None
    timed_out: bool
    out_of_memory: bool
    execution_time: float | None
    cpu_time: float | None


class ApiKey(Record):
    """What is known of a key. `key`, the key itself, is there only in the answer that made it."""

    __slots__ = ()

    id: int
    key: str
    description: str
    #: admin or user.
    role: str
    created_at: str
    last_used_at: str | None
    revoked_at: str | None
    is_active: bool
    is_current: bool


class CurrentUser(Record):
    """Whose key this is."""

    __slots__ = ()

    id: int
    name: str
    email: str | None
    is_verified: bool
    role: str


class FileInfo(Record):
    """What is known of one file of a VM."""

    __slots__ = ()

    #: Without its directory; U+FFFD stands for what is not UTF-8.
    name: str
    #: The name's bytes as base64, when they are not UTF-8.
    raw_name: str | None
    #: file, directory, symlink or other.
    type: str
    #: Bytes.
    size: int
    #: Octal digits, such as "0644".
    mode: str
    uid: int
    gid: int
    user: str | None
    group: str | None
    modified_at: str
    link_target: str | None


class WrittenFile(Record):
    """A file that is in the VM now."""

    __slots__ = ()

    #: Absolute, inside the VM.
    path: str
    #: Bytes.
    size: int


class WrittenTree(Record):
    """What was copied of a directory."""

    __slots__ = ()

    #: Bytes of files' content.
    size: int
    #: Files, directories and links.
    entries: int
    #: What was left out.
    skipped: int


class Health(Record):
    """Whether the server works, and what runs its VMs."""

    __slots__ = ()

    status: str
    version: str
    engine: str
    engine_version: str
    accelerator: str
    accelerator_reason: str
