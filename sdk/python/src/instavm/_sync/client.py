# Made by generate_sync.py from _async/client.py: change that and run it again.
from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator, Callable, Mapping
from os import PathLike
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Literal

import httpx

from ..calls import Call, named, segment
from ..events import text_of
from ..exceptions import ConflictError, DeadlineError, InstaVMError, SessionError
from ..local_files import Source, files_under, opener
from ..records import CurrentUser, Health, KilledSession, Sandbox, Session, SessionStatus, SessionUsage, Task
from ..results import DownloadedFile, ExecutionResult, TaskResult, UploadedFile, task_result
from ..settings import read_settings
from .api_keys import ApiKeys
from .commands import Commands
from .contexts import Contexts
from .files import TRANSFER_TIMEOUT_S, Files
from .stream import ExecutionStream
from .transport import Transport
from .vms import START_TIMEOUT_S, Vms
from .waiting import Lock, sleep

#: How long code may run when the caller does not say, in seconds.
EXECUTE_TIMEOUT_S = 60
#: What an answer may take beyond that: the code's time is kept by the server, this is for the way.
GRACE_S = 10

#: Asks for a stream of events.
EVENTS = {"accept": "text/event-stream"}

Language = Literal["python", "javascript", "bash"] | str


class InstaVM:
    """A client of one server with a session of its own, which begins with the first call that needs it.

    Use it `with`, or call `close_session()`: either ends the session, its VM and its files. All methods raise InstaVMError.

    - `api_key`, `base_url`: else INSTAVM_API_KEY and INSTAVM_BASE_URL, else the server of this machine.
    - `timeout`, `vm_lifetime_seconds`: two names for how long the session lives, 20 to 86400 seconds, by default 300.
    - `cpu_count`: 1, 2, 4, 6 or 8. `memory_mb`: 128 to 8192. `env`, `metadata`: of the session.
    - `session_id`: a session that exists; leaving `with` does not end it.
    - `max_retries`: how often a call is sent again when that does no harm.
    - `request_timeout`: seconds for the answer of a call that runs no code and moves no file.
    """

    def __init__(
        self,
        api_key: str | None = None,
        base_url: str | None = None,
        timeout: float = 300,
        max_retries: int = 2,
        *,
        cpu_count: int | None = None,
        memory_mb: int | None = None,
        env: Mapping[str, str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        vm_lifetime_seconds: float | None = None,
        session_id: str | None = None,
        request_timeout: float = 60,
    ) -> None:
        settings = read_settings(api_key, base_url)
        self.base_url = settings.base_url
        #: The session's id; None before the first call that needs it.
        self.session_id = session_id
        self._owns_session = session_id is None
        self._settings = settings
        self._max_retries = max_retries
        lifetime_s = vm_lifetime_seconds if vm_lifetime_seconds is not None else timeout
        self._wanted: dict[str, Any] = {
            "vm_lifetime_seconds": int(lifetime_s),
            "vcpu_count": cpu_count,
            "memory_mb": memory_mb,
            "env": dict(env) if env else None,
            "metadata": dict(metadata) if metadata else None,
        }
        self._request_timeout_s = request_timeout
        self._starting = Lock()
        self._transport = Transport(settings, max_retries)
        self.vms = Vms(self._transport, request_timeout)
        self.files = Files(self._transport, self._vm_id, request_timeout)
        self.commands = Commands(self._transport, self._vm_id, self.execute, request_timeout)
        self.contexts = Contexts(self._transport, self._vm_id, self.execute, request_timeout)
        self.api_keys = ApiKeys(self._transport, request_timeout)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self.base_url!r}, session_id={self.session_id!r})"

    def __enter__(self) -> InstaVM:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except InstaVMError:
            # What went wrong first is what the caller wants to see; the session ends with its lifetime.
            if error is None:
                raise

    def close(self) -> None:
        """Ends the session that this client began, and its connections. The client is not usable after that."""
        try:
            if self._owns_session:
                self.close_session()
        finally:
            self._transport.close()

    def start_session(self) -> str:
        """Starts a VM in a new session, in place of the one before, which lives on; the id of it."""
        body = {name: value for name, value in self._wanted.items() if value is not None}
        call = Call("POST", "/v1/sessions/session", START_TIMEOUT_S, json=body, headers=named())
        session = Session(self._transport.call(call))
        self.session_id, self._owns_session = session.session_id, True
        return session.session_id

    def close_session(self) -> bool:
        """Ends the session with its VM and its files. The next execute begins a new one."""
        if self.session_id is not None:
            call = Call("DELETE", f"/v1/sessions/session/{segment(self.session_id)}", self._request_timeout_s)
            try:
                self._transport.call(call)
            except SessionError:
                pass  # It has ended by itself.
            self.session_id = None
        return True

    def kill(self, session_id: str | None = None) -> KilledSession:
        """Ends a session, by default this one, with its VM and its files."""
        ended = session_id or self._session()
        call = Call("POST", "/kill", self._request_timeout_s, json={"session_id": ended})
        killed = KilledSession(self._transport.call(call))
        if ended == self.session_id:
            self.session_id = None
        return killed

    def fork(
        self,
        count: int = 1,
        *,
        name: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
        vm_lifetime_seconds: float | None = None,
    ) -> list[InstaVM]:
        """Copies this session's VM, memory, processes and files, while it goes on: `count` clients, 1 to 100, each with a
        session of its own that it ends as this one ends its own. All or none.

        `metadata` and `env` are added to those of this session. Without `vm_lifetime_seconds` the copies live as long as
        this session was to live from its beginning. Raises ConflictError, with the reason, where VMs cannot be copied so.
        """
        lifetime_s = None if vm_lifetime_seconds is None else int(vm_lifetime_seconds)
        fields = {"name": name, "metadata": metadata, "env": env, "vm_lifetime_seconds": lifetime_s}
        vms = self.vms.fork(self._vm_id(), count, **fields)
        return [self._beside(vm.session_id) for vm in vms]

    def execute(
        self,
        command: str,
        language: Language | None = None,
        timeout: float | None = None,
        context_id: str | None = None,
    ) -> ExecutionResult:
        """Runs Python, JavaScript or Bash, `timeout` seconds at the longest, 1 to 600, by default 60. What it leaves in variables and
        files is there for the next call. Without `language`: Python if it compiles, else Bash. With `context_id` it runs
        in that context, in its language.

        Code that fails is a result with its `exit_code`; `.raise_for_error()` makes an exception of it.
        """
        return ExecutionResult(
            self._transport.call(self._execute_call("/execute", command, language, timeout, context_id))
        )

    def stream(
        self,
        command: str,
        language: Language | None = None,
        timeout: float | None = None,
        context_id: str | None = None,
    ) -> ExecutionStream:
        """As `execute`, but what the code prints and displays comes as events while it runs; the last one is its exit."""

        def open_response() -> httpx.Response:
            call = self._execute_call("/execute", command, language, timeout, context_id, EVENTS)
            return self._transport.open(call)

        return ExecutionStream(open_response, (timeout or EXECUTE_TIMEOUT_S) + GRACE_S)

    def execute_streaming(
        self,
        command: str,
        on_output: Callable[[str], None] | None = None,
        language: Language | None = None,
        timeout: float | None = None,
    ) -> Iterator[str]:
        """What a terminal would show, stdout and stderr, piece by piece while the code runs."""
        with self.stream(command, language, timeout) as events:
            for event in events:
                text = text_of(event)
                if text:
                    if on_output is not None:
                        on_output(text)
                    yield text

    def execute_async(
        self,
        command: str,
        language: Language | None = None,
        timeout: float | None = None,
        context_id: str | None = None,
    ) -> Task:
        """Runs code in the background; `get_task_result(task.task_id)` waits for its end."""
        call = self._execute_call("/execute_async", command, language, timeout, context_id)
        return Task(self._transport.call(call))

    def get_task_result(self, task_id: str, poll_interval: float = 1, timeout: float = 60) -> TaskResult:
        """How code in the background ended. Raises DeadlineError, a TimeoutError, when it runs on after `timeout` seconds."""
        deadline = monotonic() + timeout
        pause_s = min(0.05, poll_interval)
        while True:
            call = Call("GET", f"/v1/executions/{segment(task_id)}", self._request_timeout_s)
            task = self._transport.call(call)
            if task["is_complete"]:
                return task_result(task)
            left_s = deadline - monotonic()
            if left_s <= 0:
                raise DeadlineError(f"Task {task_id} still runs after {timeout:g} s.", next="Ask again, or allow more.")
            sleep(min(pause_s, left_s))
            pause_s = min(pause_s * 2, poll_interval)

    def list_executions(self, session_id: str | None = None, limit: int | None = None) -> list[Task]:
        """The key's code in the background, newest first."""
        wanted = {"session_id": session_id, "limit": limit}
        params = {name: value for name, value in wanted.items() if value is not None}
        call = Call("GET", "/v1/executions", self._request_timeout_s, params=params)
        return [Task(task) for task in self._transport.call(call)]

    def upload_file(
        self, file_path: Source, remote_path: str, recursive: bool = False, timeout: float = TRANSFER_TIMEOUT_S
    ) -> UploadedFile:
        """Writes a file of this machine, or bytes, to a path in the VM; missing directories are made. With `recursive` a
        directory's files go below that path; symbolic links are left out. `timeout` seconds for each file.
        """
        if not recursive or isinstance(file_path, bytes) or not Path(file_path).is_dir():
            return self._upload(file_path, remote_path, timeout)
        size = 0
        for path, name in files_under(Path(file_path)):
            uploaded = self._upload(path, f"{remote_path.rstrip('/')}/{name}", timeout)
            size += uploaded.size
        return UploadedFile(status="success", path=remote_path, size=size)

    def download_file(
        self,
        filename: str,
        local_path: str | PathLike[str] | None = None,
        timeout: float = TRANSFER_TIMEOUT_S,
    ) -> DownloadedFile:
        """Reads a file of the VM: into `local_path`, of any size in little memory, or without it into `content`."""
        file = DownloadedFile(status="success", filename=filename)
        if local_path is not None:
            size = self.files.download(filename, local_path, timeout)
            file.update(local_path=str(local_path), size=size)
            return file
        form = {"filename": filename, "session_id": self._started()}
        answer = self._transport.call(Call("POST", "/download", timeout, form=form))
        content = b64decode(answer["content"])
        file.update(content=content, size=len(content))
        return file

    def get_session_info(self, session_id: str | None = None) -> Session:
        """A session, by default this one."""
        return Session(self._read(f"/v1/sessions/session/{segment(session_id or self._session())}"))

    def get_session_status(self, session_id: str | None = None) -> SessionStatus:
        """Whether a session, by default this one, exists and its VM runs."""
        return SessionStatus(self._read(f"/v1/sessions/status/{segment(session_id or self._session())}"))

    def is_session_active(self) -> bool:
        """Whether there is a session and its VM runs."""
        if self.session_id is None:
            return False
        status = self.get_session_status()
        return status.vm_status == "active"

    def get_usage(self, session_id: str | None = None) -> SessionUsage:
        """What a session, by default this one, has used so far."""
        return SessionUsage(self._read(f"/v1/sessions/usage/{segment(session_id or self._session())}"))

    def list_sandboxes(
        self, metadata: Mapping[str, Any] | None = None, limit: int | None = None
    ) -> list[Sandbox]:
        """The live sandboxes of the key, newest first; with `metadata` only those that have all of it."""
        wanted = {"metadata": None if metadata is None else json.dumps(metadata), "limit": limit}
        params = {name: value for name, value in wanted.items() if value is not None}
        call = Call("GET", "/v1/sessions/sandboxes", self._request_timeout_s, params=params)
        return [Sandbox(sandbox) for sandbox in self._transport.call(call)]

    def get_current_user(self) -> CurrentUser:
        """Whose key this is."""
        return CurrentUser(self._read("/v1/users/me"))

    def health(self) -> Health:
        """Whether the server works, and what runs its VMs."""
        return Health(self._read("/health"))

    def _beside(self, session_id: str) -> InstaVM:
        """A client like this one whose session is another, which it ends."""
        api_key, base_url = self._settings.api_key, self._settings.base_url
        other = InstaVM(
            api_key, base_url, max_retries=self._max_retries, session_id=session_id, request_timeout=self._request_timeout_s
        )
        other._owns_session = True
        other._wanted = self._wanted
        return other

    def _read(self, path: str) -> Any:
        return self._transport.call(Call("GET", path, self._request_timeout_s))

    def _upload(self, source: Source, remote_path: str, timeout_s: float) -> UploadedFile:
        form = {"session_id": self._started(), "remote_path": remote_path, "recursive": "false"}
        call = Call("POST", "/upload", timeout_s, form=form, open_file=opener(source))
        return UploadedFile(self._transport.call(call))

    def _execute_call(
        self,
        path: str,
        command: str,
        language: Language | None,
        timeout: float | None,
        context_id: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Call:
        wanted = {
            "command": command,
            "session_id": self._started(),
            "language": language,
            "timeout": timeout,
            "context_id": context_id,
        }
        body = {name: value for name, value in wanted.items() if value is not None}
        timeout_s = (timeout or EXECUTE_TIMEOUT_S) + GRACE_S
        return Call("POST", path, timeout_s, json=body, headers=headers)

    def _vm_id(self) -> str:
        """The session's VM of now: another one when the one before was lost."""
        session_id = self._started()
        session = self.get_session_info(session_id)
        if session.vm_id is None:
            raise ConflictError(f"Session {session_id} has no VM now.", next="Call execute(): it starts one.")
        return session.vm_id

    def _started(self) -> str:
        with self._starting:
            return self.session_id or self.start_session()

    def _session(self) -> str:
        if self.session_id is None:
            raise SessionError("There is no session yet.", next="Call execute() or start_session() first.")
        return self.session_id
