"""What a command in the background prints, and how it ends, as events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from .records import CommandInfo

__all__ = ["CommandEvent", "CommandExit", "CommandText", "DroppedOutput"]


@dataclass(frozen=True)
class CommandText:
    """Some text that the command printed."""

    type: Literal["stdout", "stderr"]
    text: str
    #: Of its first byte.
    offset: int
    #: To go on behind it.
    next_offset: int


@dataclass(frozen=True)
class DroppedOutput:
    """So many bytes before `offset` are gone: a command is never stopped for a reader."""

    type: Literal["dropped"]
    bytes: int
    offset: int


@dataclass(frozen=True)
class CommandExit:
    """The command has ended, and all its output has come."""

    type: Literal["exit"]
    info: CommandInfo


CommandEvent = CommandText | DroppedOutput | CommandExit


@dataclass(frozen=True)
class Position:
    """Where the text that follows begins."""

    offset: int
    dropped_bytes: int


@dataclass(frozen=True)
class End:
    """No more is there now."""


def command_event(name: str, body: Any) -> CommandEvent | Position | End | None:
    """What an event of a command's output means. What newer servers send means nothing."""
    if name == "stdout":
        return CommandText("stdout", body["text"], body["offset"], body["next_offset"])
    if name == "stderr":
        return CommandText("stderr", body["text"], body["offset"], body["next_offset"])
    if name == "position":
        return Position(body["offset"], body["dropped_bytes"])
    if name == "exit":
        return CommandExit("exit", CommandInfo(body))
    return End() if name == "more" else None
