"""One HTTP call as data, and the rules by which a call that failed is made again."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import quote
from uuid import uuid4

from .exceptions import DeadlineError, InstaVMError, InvalidRequestError, NetworkError

#: The longest pause between two tries, in seconds.
MAX_PAUSE_S = 30.0

#: The header by which the server knows a call that it has done already, and answers it as the first time.
IDEMPOTENCY_KEY = "idempotency-key"

#: Answers that say that nothing has been done.
_NOTHING_DONE = frozenset({"rate_limited", "capacity"})
#: Answers that another try would get again: somebody has to do something first.
_LASTING = frozenset({"disk_full", "host_setup", "image_missing", "guest_failure"})
_PASSING_STATUSES = frozenset({408, 429, 502, 503, 504})


@dataclass(frozen=True)
class Call:
    """What is sent, and how long its answer may take."""

    method: str
    path: str
    timeout_s: float
    params: Mapping[str, Any] | None = None
    json: Any = None
    #: Sent as a form.
    form: Mapping[str, str] | None = None
    #: Opens the file that goes with the form, or is the body when there is none; called for each try.
    open_file: Callable[[], IO[bytes]] | None = None
    #: What is asked for in a special way.
    headers: Mapping[str, str] | None = None

    @property
    def is_repeatable(self) -> bool:
        """Sent twice it does no more than once."""
        return self.method in ("GET", "DELETE") or IDEMPOTENCY_KEY in (self.headers or {})

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def named() -> dict[str, str]:
    """The header of a call that makes something: however often it is sent, one is made."""
    return {IDEMPOTENCY_KEY: str(uuid4())}


def segment(value: object) -> str:
    """An id as one part of a path."""
    text = str(value)
    if text in ("", ".", ".."):
        raise InvalidRequestError(f"The id {text!r} is none; expected the id of something.")
    return quote(text, safe="")


def may_repeat(call: Call, error: InstaVMError) -> bool:
    """Whether another try is safe and makes sense: nothing was sent, nothing was done, or doing it twice does no harm."""
    if isinstance(error, NotSentError) or error.code in _NOTHING_DONE or error.status == 429:
        return True
    return call.is_repeatable and may_pass(error)


def may_pass(error: InstaVMError) -> bool:
    """Whether another try may go better. A deadline of the caller's own is not tried again."""
    if error.code in _LASTING or isinstance(error, DeadlineError) and error.status is None:
        return False
    return isinstance(error, NetworkError) and (error.status is None or error.status in _PASSING_STATUSES)


def pause_before(attempt: int, error: InstaVMError) -> float:
    """Seconds before the next try; `attempt` counts from 0. As long as the server asks, else longer each time."""
    if error.retry_after is not None:
        return min(error.retry_after, MAX_PAUSE_S)
    longest: float = min(0.2 * 2.0**attempt, MAX_PAUSE_S)
    return longest * random.uniform(0.5, 1.0)


class NotSentError(NetworkError):
    """No connection came about, so that the server has seen nothing of the call."""


class ClosedError(InstaVMError):
    """The client was closed."""

    default_code = "cancelled"
