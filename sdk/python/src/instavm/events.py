"""What a stream of an execute brings: server-sent events, and what they mean."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from .exceptions import NetworkError, error_of_answer
from .results import Display, ExecutionResult

__all__ = ["DisplayEvent", "ExecutionEvent", "ExitEvent", "OutputEvent"]


@dataclass(frozen=True)
class OutputEvent:
    """Some text that the code printed, as it came."""

    type: Literal["stdout", "stderr"]
    text: str


@dataclass(frozen=True)
class DisplayEvent:
    """One form of one thing that the code displayed. A thing of several forms comes as one event for each, in a row."""

    type: Literal["result"]
    #: Such as `text/plain`, `text/html`, `image/png`.
    media_type: str
    #: Text as it is; images but SVG, audio and video as base64.
    data: str
    #: Counts the things from 0; the same for all forms of one.
    index: int
    #: It is the value of the last expression.
    is_result: bool

    @property
    def display(self) -> Display:
        """The thing in this form, which Jupyter shows."""
        return Display({self.media_type: self.data}, self.is_result)


@dataclass(frozen=True)
class ExitEvent:
    """The code has ended; nothing comes after this. Its `result` holds no output: that has come before."""

    type: Literal["exit"]
    result: ExecutionResult


ExecutionEvent = OutputEvent | DisplayEvent | ExitEvent


def text_of(event: ExecutionEvent) -> str:
    """What a terminal would show of an event."""
    if isinstance(event, OutputEvent):
        return event.text
    return f"{event.data}\n" if isinstance(event, DisplayEvent) and event.media_type == "text/plain" else ""


Event = TypeVar("Event")


class EventDecoder(Generic[Event]):
    """Takes a stream's bytes in any pieces and gives what the events mean that are whole.

    `meaning` takes an event's name and its data; None is no event of this client.
    """

    def __init__(self, meaning: Callable[[str, Any], Event | None]) -> None:
        self._meaning = meaning
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._rest = ""
        self._name = ""
        self._data: list[str] = []

    def feed(self, piece: bytes) -> Iterator[Event]:
        """The events that end in this piece. Raises what the server says went wrong."""
        *lines, self._rest = (self._rest + self._decode(piece)).split("\n")
        for line in lines:
            event = self._take(line.removesuffix("\r"))
            if event is not None:
                yield event

    def _take(self, line: str) -> Event | None:
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "event":
                self._name = value
            elif name == "data":
                self._data.append(value)
            return None
        name, data = self._name, self._data
        self._name, self._data = "", []
        return self._event(name, "\n".join(data)) if data else None

    def _event(self, name: str, data: str) -> Event | None:
        try:
            body = json.loads(data)
            if name != "error":
                return self._meaning(name, body)
        except (ValueError, KeyError, TypeError) as cause:
            raise NetworkError(f"The stream has a broken {name} event.", code="bad_gateway") from cause
        raise error_of_answer(None, body)


def execution_event(name: str, body: Any) -> ExecutionEvent | None:
    """What an event of running code means. Heartbeats, and what newer servers send, mean nothing."""
    if name == "stdout":
        return OutputEvent("stdout", body["text"])
    if name == "stderr":
        return OutputEvent("stderr", body["text"])
    if name == "result":
        return DisplayEvent("result", body["type"], body["data"], body["display"], body["is_result"])
    if name == "exit":
        return ExitEvent("exit", ExecutionResult({"stdout": "", "stderr": "", "output": "", "results": [], **body}))
    return None
