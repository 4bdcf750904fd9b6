# Made by generate_sync.py from _async/contexts.py: change that and run it again.
"""The blocking client."""
from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping

from ..calls import Call, segment
from ..records import Context, Record
from ..results import ExecutionResult
from .transport import Transport


class Contexts:
    """The interpreters of the VM of a client's session, each with its own variables: `client.contexts`. They end with the VM.
    The ones that code without a context runs in are `python` and `javascript`.
    """

    def __init__(
        self,
        transport: Transport,
        vm_id: Callable[[], str],
        execute: Callable[[str, str | None, float | None, str], ExecutionResult],
        timeout_s: float,
    ) -> None:
        self._transport = transport
        self._vm_id = vm_id
        self._execute = execute
        self._timeout_s = timeout_s

    def create(
        self, language: str = "python", cwd: str | None = None, env: Mapping[str, str] | None = None
    ) -> Context:
        """Makes one: python, javascript or bash. `cwd`: absolute, else the working directory; `env`: on top of the session's."""
        wanted = {"language": language, "cwd": cwd, "env": dict(env) if env else None}
        body = {name: value for name, value in wanted.items() if value is not None}
        return Context(self._transport.call(Call("POST", self._path(), self._timeout_s, json=body)))

    def list(self) -> builtins.list[Context]:
        """All contexts of the VM."""
        contexts = self._transport.call(Call("GET", self._path(), self._timeout_s))
        return [Context(context) for context in contexts]

    def get(self, context_id: str) -> Context:
        """How a context stands."""
        return Context(self._transport.call(Call("GET", self._path(context_id), self._timeout_s)))

    def run(self, context_id: str, code: str, timeout: float | None = None) -> ExecutionResult:
        """Runs code in a context, as `execute` does."""
        return self._execute(code, None, timeout, context_id)

    def restart(self, context_id: str) -> Context:
        """Ends the interpreter with its variables and the code that runs in it; the next code gets a new one."""
        path = f"{self._path(context_id)}/restart"
        return Context(self._transport.call(Call("POST", path, self._timeout_s)))

    def interrupt(self, context_id: str) -> Context:
        """Interrupts the code that runs in a context; its variables stay."""
        path = f"{self._path(context_id)}/interrupt"
        return Context(self._transport.call(Call("POST", path, self._timeout_s)))

    def delete(self, context_id: str) -> Record:
        """Ends a context with the code that runs in it."""
        return Record(self._transport.call(Call("DELETE", self._path(context_id), self._timeout_s)))

    def _path(self, context_id: str | None = None) -> str:
        one = "" if context_id is None else f"/{segment(context_id)}"
        return f"/v1/vms/{segment(self._vm_id())}/contexts{one}"
