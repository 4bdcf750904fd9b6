"""The asynchronous client."""
from __future__ import annotations

import builtins
from collections.abc import Awaitable, Callable, Mapping

from ..calls import Call, segment
from ..records import Context, Record
from ..results import ExecutionResult
from .transport import AsyncTransport


class AsyncContexts:
    """The interpreters of the VM of a client's session, each with its own variables: `client.contexts`. They end with the VM.
    The ones that code without a context runs in are `python` and `javascript`.
    """

    def __init__(
        self,
        transport: AsyncTransport,
        vm_id: Callable[[], Awaitable[str]],
        execute: Callable[[str, str | None, float | None, str], Awaitable[ExecutionResult]],
        timeout_s: float,
    ) -> None:
        self._transport = transport
        self._vm_id = vm_id
        self._execute = execute
        self._timeout_s = timeout_s

    async def create(
        self, language: str = "python", cwd: str | None = None, env: Mapping[str, str] | None = None
    ) -> Context:
        """Makes one: python, javascript or bash. `cwd`: absolute, else the working directory; `env`: on top of the session's."""
        wanted = {"language": language, "cwd": cwd, "env": dict(env) if env else None}
        body = {name: value for name, value in wanted.items() if value is not None}
        return Context(await self._transport.call(Call("POST", await self._path(), self._timeout_s, json=body)))

    async def list(self) -> builtins.list[Context]:
        """All contexts of the VM."""
        contexts = await self._transport.call(Call("GET", await self._path(), self._timeout_s))
        return [Context(context) for context in contexts]

    async def get(self, context_id: str) -> Context:
        """How a context stands."""
        return Context(await self._transport.call(Call("GET", await self._path(context_id), self._timeout_s)))

    async def run(self, context_id: str, code: str, timeout: float | None = None) -> ExecutionResult:
        """Runs code in a context, as `execute` does."""
        return await self._execute(code, None, timeout, context_id)

    async def restart(self, context_id: str) -> Context:
        """Ends the interpreter with its variables and the code that runs in it; the next code gets a new one."""
        path = f"{await self._path(context_id)}/restart"
        return Context(await self._transport.call(Call("POST", path, self._timeout_s)))

    async def interrupt(self, context_id: str) -> Context:
        """Interrupts the code that runs in a context; its variables stay."""
        path = f"{await self._path(context_id)}/interrupt"
        return Context(await self._transport.call(Call("POST", path, self._timeout_s)))

    async def delete(self, context_id: str) -> Record:
        """Ends a context with the code that runs in it."""
        return Record(await self._transport.call(Call("DELETE", await self._path(context_id), self._timeout_s)))

    async def _path(self, context_id: str | None = None) -> str:
        one = "" if context_id is None else f"/{segment(context_id)}"
        return f"/v1/vms/{segment(await self._vm_id())}/contexts{one}"
