# Made by generate_sync.py from _async/commands.py: change that and run it again.
"""The blocking client."""
from __future__ import annotations

import builtins
from collections.abc import Iterator, Callable, Mapping, Sequence
from io import BytesIO
from time import monotonic
from types import TracebackType

import httpx

from ..calls import Call, may_pass, segment
from ..command_events import CommandEvent, CommandExit, CommandText, DroppedOutput, End, Position, command_event
from ..events import EventDecoder
from ..exceptions import DeadlineError, NetworkError, NotFoundError
from ..records import CommandInfo
from ..results import ExecutionResult
from .transport import Transport
from .waiting import sleep

#: How long a command is waited for when the caller does not say, in seconds.
WAIT_TIMEOUT_S = 900.0
#: One request waits no longer than what stands between client and server puts up with, in seconds.
MAX_WAIT_S = 25.0
#: Beyond what the server was asked to wait, in seconds.
PATIENCE_S = 10.0
#: How long a stream may be silent, in seconds: the server says more often that it lives.
SILENCE_S = 120.0
#: How often in a row a long read may break before it has brought anything: a server that is started again is away for some
#: seconds.
MAX_BREAKS = 6
#: Before the first further try, and the most; each pause is twice as long as the one before. In seconds.
FIRST_PAUSE_S = 0.2
MAX_PAUSE_S = 2.0


class Command:
    """A program that runs, or ran, in the background of a VM. It runs on without any reader, and any number can read: a loop
    over it gives its output from the first byte that is kept, and at last its exit. Leaving `with` ends it.
    """

    def __init__(self, transport: Transport, info: CommandInfo, timeout_s: float, offset: int = 0) -> None:
        #: As it stood when it was started, or attached to.
        self.info = info
        #: Counts up from 1 in each VM.
        self.command_id = info.command_id
        self._transport = transport
        self._timeout_s = timeout_s
        self._offset = offset
        self._path = f"/v1/vms/{segment(info.vm_id)}/commands/{segment(info.command_id)}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}(command_id={self.command_id}, command={self.info.command!r})"

    def __enter__(self) -> Command:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.delete()

    def __iter__(self) -> Iterator[CommandEvent]:
        return self.output()

    def refresh(self) -> CommandInfo:
        """How it stands now."""
        return CommandInfo(self._transport.call(Call("GET", self._path, self._timeout_s)))

    def write_stdin(self, data: str | bytes, close: bool = False, timeout: float = WAIT_TIMEOUT_S) -> None:
        """Writes to its stdin, and returns when its pipe has taken all of it. Raises ConflictError when it has no stdin
        that is open. With `close` its stdin ends behind that.
        """
        content = data.encode() if isinstance(data, str) else data
        params = {"close": "true"} if close else None
        headers = {"content-type": "application/octet-stream"}

        def opens() -> BytesIO:
            return BytesIO(content)

        call = Call("POST", f"{self._path}/stdin", timeout, params=params, open_file=opens, headers=headers)
        self._transport.call(call)

    def close_stdin(self) -> None:
        """Ends its stdin."""
        self.write_stdin(b"", close=True)

    def kill(self, signal: str | int = "SIGTERM") -> CommandInfo:
        """Sends a signal to it and the processes of its group; SIGKILL ends all that it has started."""
        call = Call("POST", f"{self._path}/signal", self._timeout_s, json={"signal": signal})
        return CommandInfo(self._transport.call(call))

    def wait(self, timeout: float = WAIT_TIMEOUT_S) -> CommandInfo:
        """How it ended. Raises DeadlineError, a TimeoutError, when it runs on after `timeout` seconds."""
        deadline, breaks = monotonic() + timeout, 0
        while True:
            wait_s = min(MAX_WAIT_S, max(0.0, deadline - monotonic()))
            call = Call("GET", self._path, wait_s + PATIENCE_S, params={"wait": f"{wait_s:.3f}"})
            try:
                info = CommandInfo(self._transport.call(call))
                if not info.is_running:
                    return info
                breaks = 0
            except NetworkError as error:
                if breaks >= MAX_BREAKS or not may_pass(error):
                    raise
                sleep(min(FIRST_PAUSE_S * 2.0**breaks, MAX_PAUSE_S))
                breaks += 1
            if monotonic() >= deadline:
                raise DeadlineError(f"Command {self.command_id} still runs after {timeout:g} s; it runs on.")

    def output(
        self, offset: int | None = None, from_end: bool = False, follow: bool = True
    ) -> Iterator[CommandEvent]:
        """Its output as it comes, from byte `offset` on, and at last its exit. With `from_end` the offset counts backwards
        from the last byte: 0 is only what is new. Without `follow` only what is there now. A reader that is slow misses
        output, and is told so by DroppedOutput. A connection that breaks is made again where it broke.
        """
        at, breaks = self._offset if offset is None else offset, 0
        while True:
            response: httpx.Response | None = None
            failure = NetworkError("The stream of the command's output ended before the command did; it runs on.")
            try:
                response = self._open_output(at, from_end, follow)
                decoder: EventDecoder[CommandEvent | Position | End] = EventDecoder(command_event)
                for piece in response.iter_bytes():
                    for event in decoder.feed(piece):
                        if isinstance(event, End):
                            return
                        if isinstance(event, Position):
                            at, from_end = event.offset, False
                            if event.dropped_bytes:
                                yield DroppedOutput("dropped", event.dropped_bytes, event.offset)
                            continue
                        if isinstance(event, CommandText):
                            at, from_end, breaks = event.next_offset, False, 0
                        yield event
                        if isinstance(event, CommandExit):
                            return
            except (httpx.HTTPError, httpx.StreamError) as cause:
                failure.__cause__ = cause
            except NetworkError as error:
                # A server that is stopped says so to its readers, and the command runs on.
                is_stopping = response is not None and error.code == "unavailable"
                if not (is_stopping or response is None and may_pass(error)):
                    raise
                failure = error
            finally:
                if response is not None:
                    response.close()
            if breaks >= MAX_BREAKS:
                raise failure
            sleep(min(FIRST_PAUSE_S * 2.0**breaks, MAX_PAUSE_S))
            breaks += 1

    def _open_output(self, offset: int, from_end: bool, follow: bool) -> httpx.Response:
        params = {"offset": offset, **({"from_end": "true"} if from_end else {}), **({} if follow else {"follow": "false"})}
        headers = {"accept": "text/event-stream"}
        call = Call("GET", f"{self._path}/output", SILENCE_S, params=params, headers=headers)
        return self._transport.open(call)

    def delete(self) -> None:
        """Ends it, with all that it has started, and forgets its output."""
        try:
            self._transport.call(Call("DELETE", self._path, self._timeout_s))
        except NotFoundError:
            pass  # It is forgotten already.


class Commands:
    """Programs in the VM of a client's session: `client.commands`. Those in the background end with the VM."""

    def __init__(
        self,
        transport: Transport,
        vm_id: Callable[[], str],
        execute: Callable[[str, str | None, float | None], ExecutionResult],
        timeout_s: float,
    ) -> None:
        self._transport = transport
        self._vm_id = vm_id
        self._execute = execute
        self._timeout_s = timeout_s

    def run(self, line: str, timeout: float | None = None) -> ExecutionResult:
        """Runs a line of Bash in a fresh shell: what it printed and its exit code, whatever that is."""
        return self._execute(line, "bash", timeout)

    def start(
        self,
        command: str | Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        tag: str | None = None,
        stdin: bool = False,
        timeout: float | None = None,
    ) -> Command:
        """Starts a line of Bash, or a program with its arguments, in the background.

        - `cwd`: absolute; else the working directory. `env`: on top of the session's. `user`: whom it runs as, else root.
        - `tag`: text to find it by. `stdin`: it can be written to. `timeout`: seconds after which it is killed.
        """
        program = {"command": command} if isinstance(command, str) else {"argv": list(command)}
        wanted = {"cwd": cwd, "env": dict(env) if env else None, "user": user, "tag": tag, "timeout": timeout}
        body = {**program, "stdin": stdin, **{name: value for name, value in wanted.items() if value is not None}}
        call = Call("POST", self._path(), self._timeout_s, json=body)
        return Command(self._transport, CommandInfo(self._transport.call(call)), self._timeout_s)

    def attach(self, command_id: int, offset: int = 0) -> Command:
        """A command that was started before, here or elsewhere. A loop over it begins at `offset`."""
        return Command(self._transport, self.get(command_id), self._timeout_s, offset)

    def get(self, command_id: int) -> CommandInfo:
        """How a command stands."""
        call = Call("GET", f"{self._path()}/{segment(command_id)}", self._timeout_s)
        return CommandInfo(self._transport.call(call))

    def list(self, tag: str | None = None) -> builtins.list[CommandInfo]:
        """Those that run and the last ones that ended, oldest first; with `tag` only those that have exactly this one."""
        params = None if tag is None else {"tag": tag}
        commands = self._transport.call(Call("GET", self._path(), self._timeout_s, params=params))
        return [CommandInfo(command) for command in commands]

    def _path(self) -> str:
        return f"/v1/vms/{segment(self._vm_id())}/commands"
