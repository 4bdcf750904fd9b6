from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from sys import maxsize
from time import monotonic
from typing import IO, Any, TypeVar

import httpx

from ..calls import Call, ClosedError, NotSentError, may_repeat, pause_before
from ..exceptions import DeadlineError, InstaVMError, NetworkError, error_of_answer
from ..settings import Settings
from ..version import __version__
from .waiting import sleep

#: How long a connection may take to come about, in seconds.
CONNECT_TIMEOUT_S = 10.0
#: What is kept of an answer that is an error, in bytes.
MAX_ERROR_BYTES = 1024 * 1024
#: What is read of a file at once, in bytes.
PIECE_BYTES = 256 * 1024

Answer = TypeVar("Answer")


class AsyncTransport:
    """Sends calls and turns their answers, or the lack of one, into values and exceptions."""

    def __init__(self, settings: Settings, max_retries: int) -> None:
        self._settings = settings
        self._max_retries = max_retries
        self._http = httpx.AsyncClient(
            headers={
                "accept": "application/json",
                "user-agent": f"instavm-python/{__version__}",
                "x-api-key": settings.api_key,
            },
            trust_env=not settings.is_local,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=30),
        )

    async def call(self, call: Call) -> Any:
        """The JSON of the answer. Raises InstaVMError."""
        return await self._repeatedly(call, lambda deadline: self._answer(call, deadline))

    async def open(self, call: Call) -> httpx.Response:
        """The answer, a success, with its body unread; the caller closes it."""
        return await self._repeatedly(call, lambda deadline: self._opened(call, deadline))

    async def pieces(self, call: Call) -> AsyncIterator[bytes]:
        """The bytes of the answer as they come."""
        deadline = monotonic() + call.timeout_s
        response = await self.open(call)
        try:
            async for piece in response.aiter_bytes():
                yield piece
                if monotonic() > deadline:
                    raise self._too_late(call)
        except httpx.HTTPError as cause:
            raise self._failure(call, cause) from cause
        finally:
            await response.aclose()

    async def aclose(self) -> None:
        """Ends all connections."""
        await self._http.aclose()

    async def _repeatedly(self, call: Call, attempt: Callable[[float], Awaitable[Answer]]) -> Answer:
        deadline = monotonic() + call.timeout_s
        failures = 0
        while True:
            try:
                return await attempt(deadline)
            except InstaVMError as error:
                pause = pause_before(failures, error)
                is_last = failures >= self._max_retries or monotonic() + pause >= deadline
                if is_last or not may_repeat(call, error):
                    raise
            failures += 1
            await sleep(pause)

    async def _answer(self, call: Call, deadline: float) -> Any:
        response = await self._opened(call, deadline)
        try:
            body = await self._read(response, call, deadline)
        finally:
            await response.aclose()
        try:
            return json.loads(body)
        except ValueError as cause:
            raise NetworkError(
                f"{call} at {self._settings.base_url} answered something that is not JSON.",
                code="bad_gateway",
                status=response.status_code,
                next="Check the base URL and what stands between client and server.",
            ) from cause

    async def _opened(self, call: Call, deadline: float) -> httpx.Response:
        response = await self._send(call, deadline)
        if response.is_success:
            return response
        try:
            raise await self._error_of(response, call, deadline)
        finally:
            await response.aclose()

    async def _send(self, call: Call, deadline: float) -> httpx.Response:
        if self._http.is_closed:
            raise ClosedError(f"The client is closed; {call} was not sent.", next="Make a new client.")
        left_s = max(deadline - monotonic(), 0.001)
        # Anything else than the file of this try would be at its end in the next one.
        opened = call.open_file() if call.open_file is not None else None
        try:
            request = self._http.build_request(
                call.method,
                self._settings.base_url + call.path,
                params=call.params,
                json=call.json,
                data=call.form,
                files={"file": ("file", opened)} if opened is not None and call.form is not None else None,
                content=pieces_of(opened) if opened is not None and call.form is None else None,
                headers=call.headers,
                timeout=httpx.Timeout(left_s, connect=min(left_s, CONNECT_TIMEOUT_S)),
            )
            return await self._http.send(request, stream=True)
        except httpx.HTTPError as cause:
            raise self._failure(call, cause) from cause
        finally:
            if opened is not None:
                opened.close()

    async def _read(self, response: httpx.Response, call: Call, deadline: float, limit: int = maxsize) -> bytearray:
        body = bytearray()
        try:
            async for piece in response.aiter_bytes():
                body += piece[: limit - len(body)]
                if monotonic() > deadline:
                    raise self._too_late(call)
        except httpx.HTTPError as cause:
            raise self._failure(call, cause) from cause
        return body

    async def _error_of(self, response: httpx.Response, call: Call, deadline: float) -> InstaVMError:
        body = await self._read(response, call, deadline, MAX_ERROR_BYTES)
        try:
            fields: object = json.loads(body)
        except ValueError:
            fields = None
        return error_of_answer(response.status_code, fields, _seconds(response.headers.get("retry-after")))

    def _failure(self, call: Call, cause: httpx.HTTPError) -> NetworkError:
        if isinstance(cause, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)):
            return NotSentError(
                f"The server at {self._settings.base_url} cannot be reached: {cause or type(cause).__name__}.",
                next="Start it with `instavm server`, or correct the base URL.",
            )
        if isinstance(cause, httpx.TimeoutException):
            return self._too_late(call)
        return NetworkError(
            f"The connection to {self._settings.base_url} broke during {call}: {cause or type(cause).__name__}.",
            next="Whether the server has done it is not known: look before you call again.",
        )

    def _too_late(self, call: Call) -> DeadlineError:
        return DeadlineError(f"{self._settings.base_url} did not answer {call} within {call.timeout_s:g} s.")


async def pieces_of(file: IO[bytes]) -> AsyncIterator[bytes]:
    """A file's bytes, so many at a time."""
    while piece := file.read(PIECE_BYTES):
        yield piece


def _seconds(header: str | None) -> float | None:
    try:
        return max(0.0, float(header)) if header is not None else None
    except ValueError:
        return None
