"""InstaVM: runs code in microVMs on your own machine.

from instavm import InstaVM

with InstaVM() as client:
    print(client.execute("print(6 * 7)").stdout)
"""

from ._async.api_keys import AsyncApiKeys
from ._async.client import AsyncInstaVM
from ._async.commands import AsyncCommand, AsyncCommands
from ._async.contexts import AsyncContexts
from ._async.files import AsyncFiles
from ._async.stream import AsyncExecutionStream
from ._async.vms import AsyncVms
from ._sync.api_keys import ApiKeys
from ._sync.client import InstaVM
from ._sync.commands import Command, Commands
from ._sync.contexts import Contexts
from ._sync.files import Files
from ._sync.stream import ExecutionStream
from ._sync.vms import Vms
from .command_events import CommandEvent, CommandExit, CommandText, DroppedOutput
from .events import DisplayEvent, ExecutionEvent, ExitEvent, OutputEvent
from .exceptions import (
    AuthenticationError,
    ConflictError,
    DeadlineError,
    ExecutionError,
    FileMissingError,
    ForbiddenError,
    InstaVMError,
    InvalidRequestError,
    NetworkError,
    NotFoundError,
    QuotaExceededError,
    RateLimitError,
    SessionError,
    UnsupportedOperationError,
)
from .records import (
    ApiKey,
    CommandInfo,
    Context,
    CurrentUser,
    FileInfo,
    Health,
    KilledSession,
    Record,
    Sandbox,
    Session,
    SessionStatus,
    SessionUsage,
    Task,
    Vm,
    WrittenFile,
    WrittenTree,
)
from .results import CodeError, Display, DownloadedFile, ExecutionResult, TaskResult, UploadedFile
from .version import __version__

__all__ = [
    "ApiKey",
    "ApiKeys",
    "AsyncApiKeys",
    "AsyncCommand",
    "AsyncCommands",
    "AsyncContexts",
    "AsyncExecutionStream",
    "AsyncFiles",
    "AsyncInstaVM",
    "AsyncVms",
    "AuthenticationError",
    "CodeError",
    "Command",
    "CommandEvent",
    "CommandExit",
    "CommandInfo",
    "CommandText",
    "Commands",
    "ConflictError",
    "Context",
    "Contexts",
    "CurrentUser",
    "DeadlineError",
    "Display",
    "DisplayEvent",
    "DownloadedFile",
    "DroppedOutput",
    "ExecutionError",
    "ExecutionEvent",
    "ExecutionResult",
    "ExecutionStream",
    "ExitEvent",
    "FileInfo",
    "FileMissingError",
    "Files",
    "ForbiddenError",
    "Health",
    "InstaVM",
    "InstaVMError",
    "InvalidRequestError",
    "KilledSession",
    "NetworkError",
    "NotFoundError",
    "OutputEvent",
    "QuotaExceededError",
    "RateLimitError",
    "Record",
    "Sandbox",
    "Session",
    "SessionError",
    "SessionStatus",
    "SessionUsage",
    "Task",
    "TaskResult",
    "UnsupportedOperationError",
    "UploadedFile",
    "Vm",
    "Vms",
    "WrittenFile",
    "WrittenTree",
    "__version__",
]
