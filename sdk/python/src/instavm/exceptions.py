"""What calls raise: one class for each thing that a program may want to do about it, under InstaVMError."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "AuthenticationError",
    "ConflictError",
    "DeadlineError",
    "ExecutionError",
    "FileMissingError",
    "ForbiddenError",
    "InstaVMError",
    "InvalidRequestError",
    "NetworkError",
    "NotFoundError",
    "QuotaExceededError",
    "RateLimitError",
    "SessionError",
    "UnsupportedOperationError",
]


class InstaVMError(Exception):
    """Any failure of a call. The text says what was seen and what to do next; `code` never changes its meaning."""

    #: The code of a failure that no server answered.
    default_code = "bad_request"

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        status: int | None = None,
        next: str | None = None,
        request_id: str | None = None,
        errors: Sequence[Mapping[str, Any]] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail)
        #: One sentence: what was seen and what was expected.
        self.detail = detail
        #: Such as `session_not_found`; the same in every client.
        self.code = code if code is not None else self.default_code
        #: The HTTP status; None when no server answered.
        self.status = status
        #: What to do next.
        self.next = next
        #: The server's id of the request, which is also in its log.
        self.request_id = request_id
        #: One for each field that was wrong: `loc`, `msg`, `type`.
        self.errors = tuple(errors)
        #: Seconds after which another try makes sense, when the server said so.
        self.retry_after = retry_after

    def __str__(self) -> str:
        fields = "".join(f"\n  {'.'.join(str(part) for part in error['loc'])}: {error['msg']}" for error in self.errors)
        request = f" [{self.code}, request {self.request_id}]" if self.request_id else f" [{self.code}]"
        return self.detail + (f" {self.next}" if self.next else "") + request + fields


class AuthenticationError(InstaVMError):
    """There is no API key, or the server does not know it."""

    default_code = "unauthorized"


class ForbiddenError(InstaVMError):
    """The key may not do this."""

    default_code = "forbidden"


class QuotaExceededError(ForbiddenError):
    """Over a limit of the key or the server."""

    default_code = "limit_exceeded"


class RateLimitError(InstaVMError):
    """Too many calls; `retry_after` says when to come again."""

    default_code = "rate_limited"


class InvalidRequestError(InstaVMError):
    """The call itself is wrong: `errors` names the fields."""

    default_code = "invalid"


class NotFoundError(InstaVMError):
    """There is no such VM, key, task or path."""

    default_code = "not_found"


class FileMissingError(NotFoundError, FileNotFoundError):
    """There is no such file, here or in the VM."""

    default_code = "file_not_found"


class ConflictError(InstaVMError):
    """The thing is in a state that does not allow this."""

    default_code = "conflict"


class SessionError(InstaVMError):
    """The session does not exist any more, or there is none."""

    default_code = "session_not_found"


class ExecutionError(InstaVMError):
    """The code failed, and the caller had asked for an exception; `result` has its output."""

    default_code = "execution_failed"

    def __init__(self, detail: str, *, result: Mapping[str, Any], **about: Any) -> None:
        super().__init__(detail, **about)
        self.result = result


class UnsupportedOperationError(InstaVMError):
    """This server does not have it yet."""

    default_code = "not_implemented"


class NetworkError(InstaVMError):
    """The server was not reached, broke off, or failed (5xx)."""

    default_code = "unavailable"


class DeadlineError(NetworkError, TimeoutError):
    """The time that the caller allows has passed."""

    default_code = "timeout"


_CLASS_OF_CODE: Mapping[str, type[InstaVMError]] = {
    "limit_exceeded": QuotaExceededError,
    "session_not_found": SessionError,
    "file_not_found": FileMissingError,
    "cancelled": ConflictError,
    "timeout": DeadlineError,
}

_CLASS_OF_STATUS: Mapping[int, type[InstaVMError]] = {
    401: AuthenticationError,
    403: ForbiddenError,
    404: NotFoundError,
    408: DeadlineError,
    409: ConflictError,
    429: RateLimitError,
    501: UnsupportedOperationError,
}


def error_of_answer(status: int | None, body: object, retry_after: float | None = None) -> InstaVMError:
    """The exception for an answer that is no success, whoever it came from. In a stream it has no status of its own."""
    fields: Mapping[str, Any] = body if isinstance(body, dict) else {}
    code, detail = fields.get("code"), fields.get("detail")
    if not isinstance(code, str) or not isinstance(detail, str):
        return _error_of_another_server(status, detail)
    kind = _CLASS_OF_CODE.get(code) or _class_of_status(status)
    errors = fields.get("errors")
    return kind(
        detail,
        code=code,
        status=status,
        next=_text(fields.get("next")),
        request_id=_text(fields.get("request_id")),
        errors=[error for error in errors if _is_field_error(error)] if isinstance(errors, list) else (),
        retry_after=retry_after,
    )


def _class_of_status(status: int | None) -> type[InstaVMError]:
    if status is None:
        return NetworkError
    return _CLASS_OF_STATUS.get(status, NetworkError if status >= 500 else InvalidRequestError)


def _error_of_another_server(status: int | None, detail: object) -> InstaVMError:
    seen = f": {detail}" if isinstance(detail, str) else ""
    return _class_of_status(status)(
        f"The server answered {status or 'an error'} without InstaVM's error body{seen}.",
        code="bad_gateway",
        status=status,
        next="Check the base URL and what stands between client and server.",
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _is_field_error(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("loc"), list) and isinstance(value.get("msg"), str)
