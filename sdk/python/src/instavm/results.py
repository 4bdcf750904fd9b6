"""What code gave: its text, its exit code, and what it displayed, which Jupyter shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .exceptions import ExecutionError
from .notebook import html_of_output, html_of_forms
from .records import Record

__all__ = ["CodeError", "Display", "DownloadedFile", "ExecutionResult", "TaskResult", "UploadedFile"]


class CodeError(Record):
    """What code raised."""

    __slots__ = ()

    #: Such as `ZeroDivisionError`.
    name: str
    value: str
    traceback: str


class Display:
    """One thing that code displayed, in all its forms."""

    __slots__ = ("forms", "is_result")

    def __init__(self, forms: Mapping[str, str], is_result: bool) -> None:
        #: MIME type to data: text as it is; images but SVG, audio and video as base64.
        self.forms = dict(forms)
        #: It is the value of the last expression.
        self.is_result = is_result

    def __repr__(self) -> str:
        return self.forms.get("text/plain") or f"Display({', '.join(self.forms)})"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": html_of_forms(self.forms)}


class ExecutionResult(Record):
    """How one execute ended: `result.stdout` is `result["stdout"]`. A program that fails is a result like any other."""

    __slots__ = ()

    #: What the program printed, then the value of the last expression.
    stdout: str
    stderr: str
    #: The same text as `stdout`.
    output: str
    exit_code: int
    #: `exit_code` is 0.
    success: bool
    timed_out: bool
    #: Some output beyond the server's limit was dropped.
    truncated: bool
    #: The interpreter ended with its state; the next call gets a new one.
    context_lost: bool
    out_of_memory: bool
    #: Seconds, wall clock.
    execution_time: float
    #: Seconds.
    cpu_time: float
    #: python, javascript or bash.
    language: str
    session_id: str
    vm_id: str
    #: As the server lists them, one for each form: `type`, `data`, `display`, `is_result`.
    results: list[dict[str, Any]]

    @property
    def error(self) -> CodeError | None:
        """What Python or JavaScript raised."""
        raised = self.get("error")
        return CodeError(raised) if isinstance(raised, dict) else None

    @property
    def displays(self) -> list[Display]:
        """What the code displayed, in order, the value of its last expression among it."""
        return displays_of(self.get("results") or [])

    def raise_for_error(self) -> ExecutionResult:
        """Itself when the code succeeded, else raises ExecutionError."""
        if self["exit_code"] == 0:
            return self
        raise ExecutionError(_failure_of(self), result=self, code="timeout" if self.get("timed_out") else None)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/plain": self._text(), "text/html": self._html()}

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        # IPython takes this as the text of a dict, whatever the bundle says.
        printer.text(self._text())

    def _text(self) -> str:
        text: str = self["stdout"] + self["stderr"]
        return text if self["exit_code"] == 0 else f"{text}\n[exit code {self['exit_code']}]"

    def _html(self) -> str:
        shown = [display.forms for display in self.displays]
        # The server writes the text of what was displayed behind what was printed; here the things themselves are shown.
        texts = "".join(f"{forms['text/plain']}\n" for forms in shown if "text/plain" in forms)
        printed: str = self["stdout"]
        if printed.endswith(texts):
            printed = printed.removesuffix(texts)
        else:
            shown = [forms for forms in shown if forms.keys() - {"text/plain"}]
        return html_of_output(printed, self["stderr"], shown)


class TaskResult(Record):
    """How code in the background ended."""

    __slots__ = ()

    task_id: str
    #: completed: the code ended, whatever its exit code; failed: it was not run to an end; lost: its VM or the server died.
    status: str
    #: `exit_code` is 0.
    success: bool
    exit_code: int | None
    stdout: str
    stderr: str
    timed_out: bool
    truncated: bool
    execution_time: float | None
    cpu_time: float | None
    created_at: str
    ended_at: str | None
    #: Why it failed or is lost.
    detail: str | None


class UploadedFile(Record):
    """A file, or a directory of them, that is in the VM now."""

    __slots__ = ()

    status: str
    #: Absolute, inside the VM.
    path: str
    #: Bytes.
    size: int


class DownloadedFile(Record):
    """A file of the VM: `content` when no local path was given, else `local_path`."""

    __slots__ = ()

    status: str
    filename: str
    #: Bytes.
    size: int
    content: bytes
    local_path: str


def task_result(body: Mapping[str, Any]) -> TaskResult:
    """The answer of GET /v1/executions/{task_id}, with the names that a result has."""
    fields = {key: value for key, value in body.items() if not key.startswith("serialized_")}
    stdout, stderr = body.get("serialized_stdout") or "", body.get("serialized_stderr") or ""
    return TaskResult(fields, stdout=stdout, stderr=stderr, success=body.get("exit_code") == 0)


def displays_of(listed: Iterable[Mapping[str, Any]]) -> list[Display]:
    """The server lists a thing once for each of its forms: here they are together again."""
    displays: dict[object, Display] = {}
    for form in listed:
        display = displays.setdefault(form.get("display"), Display({}, bool(form.get("is_result"))))
        display.forms[str(form["type"])] = str(form["data"])
    return list(displays.values())


def _failure_of(result: ExecutionResult) -> str:
    if result.get("timed_out"):
        return "The code did not end within its time."
    error = result.error
    if error is not None:
        return f"The code raised {error.name}: {error.value}"
    last = result["stderr"].strip().rpartition("\n")[2]
    return f"The code ended with exit code {result['exit_code']}{': ' + last if last else '.'}"
