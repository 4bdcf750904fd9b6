"""The persistent Python interpreter of a sandbox: runs cells that arrive on a pipe, in one namespace.

How it is started (by the agent, cwd = the image's workdir):

    python3 -I -S -X utf8 driver.py [private-directory]

with fd 0 = /dev/null, fds 1 and 2 = pipes that the agent reads, fd 3 = requests in, fd 4 = replies out. `-I -S` keep
PYTHON* variables, sitecustomize and the current directory out until everything below is imported; the driver then sets
`sys.path` up as a prompt would have it. The private directory (default `/opt/instavm/python`) holds IPython and
`instavm_shell.py`; without it there are no magics, and `!cmd` is handled here. Needs Python 3.8 or later.

Messages, both ways: u32 length of what follows, u8 type, body; little-endian. A string is u32 length + UTF-8.

    in   X  execute   u32 cell id, u8 mode (0 Python, 1 detect), the rest: code
    in   A  activate  u32 length, seed; u32 n, n * (string key, string value)
    in   E  environment of the next cell: u32 n, n * (string key, string value). Never answered
    in   W  wake      empty; a cell may come soon. Never answered
    out  R  ready     empty; once
    out  D  done      u32 cell id, u8 status (0 ok, 1 exception, 2 exit), i32 exit code, strings: error name, value, traceback
    out  N  not Python: u32 cell id; nothing was executed
    out  V  display   u32 cell id, u8 is_result, u32 n, n * (string MIME type, u32 length, data)
    out  K  activated empty

SIGINT raises KeyboardInterrupt in the cell and is ignored between cells. After status 2 the process ends by itself.
A process that a cell forked never answers: it ends where the cell ends.
"""

from __future__ import annotations

import builtins

# Functions below keep these builtins whatever a cell does to the real ones.
__builtins__ = dict(vars(builtins))

import _ast
import _signal
import atexit
import codecs
import fcntl
import gc
import io
import linecache
import os
import re
import signal
import struct
import sys
import threading
import traceback
import types
import warnings

try:
    import faulthandler
except ImportError:
    faulthandler = None

PRIVATE_DIRECTORY = "/opt/instavm/python"
MAX_REQUEST_BYTES = 256 << 20
MAX_TEXT_BYTES = 1 << 20
MAX_RICH_BYTES = 16 << 20
MAX_ERROR_VALUE_BYTES = 64 << 10
MAX_TRACEBACK_BYTES = 256 << 10
MAX_FRAMES = 1000
MAX_KEPT_SOURCE_BYTES = 32 << 20
LOWEST_RECURSION_LIMIT = 200

ONLY_AST = 0x400
ALLOW_TOP_LEVEL_AWAIT = 0x2000
CO_COROUTINE = 0x80

READY, DONE, NOT_PYTHON, DISPLAY, ACTIVATED = b"RDNVK"
EXECUTE, ACTIVATE, ENVIRONMENT, WAKE = b"XAEW"
LAST_OF_CELL = (DONE, NOT_PYTHON)
STATUS_OK, STATUS_EXCEPTION, STATUS_EXIT = 0, 1, 2
MODE_DETECT = 1

# Loaded before the template is saved, so that a cell's `import` of them is free. What people use first.
WARM_MODULES = (
    "asyncio", "base64", "bisect", "collections", "concurrent.futures", "contextlib", "copy", "csv", "dataclasses",
    "datetime", "decimal", "enum", "functools", "getpass", "glob", "gzip", "hashlib", "heapq", "html", "http.client",
    "inspect", "itertools", "json", "keyword", "logging", "math", "operator", "pathlib", "pickle", "platform", "pprint",
    "queue", "random", "secrets", "shlex", "shutil", "socket", "statistics", "string", "subprocess", "tempfile",
    "textwrap", "time", "typing", "unicodedata", "urllib.parse", "urllib.request", "uuid", "zipfile",
)  # fmt: skip

# Private modules that a user's packages bring in a version of their own: forgotten after start-up, so that `import`
# finds the user's first. IPython keeps what it already holds.
FORGOTTEN_MODULES = ("asttokens", "decorator", "executing", "pexpect", "ptyprocess", "pure_eval", "pygments", "stack_data", "typing_extensions", "wcwidth")


# What Bash knows without a program, as far as Python does not know it too: `cd /tmp` is also a division.
SHELL_BUILTINS = frozenset((
    "alias", "bg", "bind", "builtin", "caller", "cd", "command", "compgen", "complete", "declare", "dirs", "disown",
    "enable", "export", "fc", "fg", "getopts", "hash", "history", "jobs", "let", "local", "logout", "mapfile", "popd",
    "pushd", "readarray", "readonly", "shift", "shopt", "source", "suspend", "times", "trap", "typeset", "ulimit",
    "umask", "unalias", "unset", "wait",
))  # fmt: skip


class Wire:
    """Whole messages over two pipes. Safe in threads, across a fork and under a signal."""

    def __init__(self, request_fd, reply_fd):
        self._requests = self._hide(request_fd)
        self._replies = self._hide(reply_fd)
        self._lock = threading.Lock()
        self._read, self._write, self._close = os.read, os.write, os.close
        self.is_open = True
        self._cell_is_open = False
        self.deferred_interrupt = False

    @staticmethod
    def _hide(fd):
        """Moves a descriptor out of the reach of programs that count up from 3."""
        hidden = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 200)
        os.close(fd)
        return hidden

    def receive(self):
        """The next message as (type, body); None at the end."""
        head = self._read_exactly(5)
        if head is None:
            return None
        length, kind = struct.unpack("<IB", head)
        if not 1 <= length <= MAX_REQUEST_BYTES:
            return None
        body = self._read_exactly(length - 1)
        return None if body is None else (kind, body)

    def _read_exactly(self, length):
        parts = []
        while length > 0:
            part = self._read(self._requests, min(length, 1 << 20))
            if not part:
                return None
            parts.append(part)
            length -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def open_cell(self):
        """From here on displays may be sent, until the cell's last message."""
        self._cell_is_open = True

    def send(self, kind, body=b""):
        """An interrupt waits until the message is whole: see `Interrupts`."""
        message = memoryview(struct.pack("<IB", len(body) + 1, kind) + body)
        with self._lock:
            if kind == DISPLAY and not self._cell_is_open:
                return  # a thread of an earlier cell
            if kind in LAST_OF_CELL:
                self._cell_is_open = False
            while self.is_open and message:
                message = message[self._write(self._replies, message) :]
        if self.deferred_interrupt:
            self.deferred_interrupt = False
            os.kill(os.getpid(), signal.SIGINT)

    def leave(self):
        """In a forked child: nobody hears it any more, and the agent must see the parent's end as the end."""
        self.is_open = False
        self._lock = threading.Lock()
        for fd in (self._requests, self._replies):
            try:
                self._close(fd)
            except OSError:
                pass


def in_cell(function, *arguments):
    """Calls what belongs to the user; an interrupt is raised only below this frame."""
    return function(*arguments)


class Interrupts:
    """Turns SIGINT into KeyboardInterrupt in a cell's own code, never in the driver's."""

    def __init__(self, wire):
        self._wire = wire
        self.cell_is_due = False
        self._came_early = False
        # Not those of `signal`: they are Python code, which a cell can break.
        self._install, self._installed = _signal.signal, _signal.getsignal
        self._handler = self._handle
        self.arm()

    def arm(self):
        """Also takes the signal back from a cell that kept it."""
        if self._installed(signal.SIGINT) is not self._handler:
            self._install(signal.SIGINT, self._handler)

    def _handle(self, _signum, frame):
        while frame is not None:
            if frame.f_code is Wire.send.__code__:
                self._wire.deferred_interrupt = True
                return
            if frame.f_code is in_cell.__code__:
                raise KeyboardInterrupt
            frame = frame.f_back
        self._came_early = self.cell_is_due

    def start_cell(self):
        """Runs inside `in_cell`: from here on an interrupt is raised where it strikes."""
        self.cell_is_due = False
        if self._came_early:
            self._came_early = False
            raise KeyboardInterrupt


def _replace_undecodable(error):
    """Bytes that came in undecodable go out as they were; anything else that UTF-8 cannot carry is escaped."""
    if isinstance(error, UnicodeEncodeError):
        if all(0xDC80 <= ord(character) <= 0xDCFF for character in error.object[error.start : error.end]):
            return codecs.lookup_error("surrogateescape")(error)
        if 0xDC80 <= ord(error.object[error.start]) <= 0xDCFF:
            return bytes([ord(error.object[error.start]) - 0xDC00]), error.start + 1
        character = error.object[error.start]
        return character.encode("ascii", "backslashreplace"), error.start + 1
    return codecs.lookup_error("surrogateescape")(error)


class Streams:
    """stdout and stderr as a cell sees them; mended when a cell broke them."""

    def __init__(self):
        codecs.register_error("instavm", _replace_undecodable)
        self._spares = {fd: fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 200) for fd in (1, 2)}
        self._fstat, self._dup2, self._close = os.fstat, os.dup2, os.close
        self.stdout = self.stderr = None
        self.mend()

    def reopen(self):
        """Gives descriptors 1 and 2 back to an interpreter whose cell closed them, before they become something else."""
        for fd, spare in self._spares.items():
            try:
                self._fstat(fd)
            except OSError:
                try:
                    self._dup2(spare, fd)
                except OSError:
                    pass  # A cell closed that one too.

    def leave(self):
        """In a forked child: what the agent reads ends with descriptors 1 and 2."""
        for spare in self._spares.values():
            try:
                self._close(spare)
            except OSError:
                pass
        self._spares = {}

    @staticmethod
    def _open(fd, name):
        raw = io.FileIO(fd, "w", closefd=False)
        raw.name = name
        return io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8", errors="instavm", line_buffering=True)

    def mend(self):
        if self.stdout is None or self.stdout.closed:
            self.stdout = sys.stdout = sys.__stdout__ = self._open(1, "<stdout>")
        if self.stderr is None or self.stderr.closed:
            self.stderr = sys.stderr = sys.__stderr__ = self._open(2, "<stderr>")
        for name, own in (("stdout", self.stdout), ("stderr", self.stderr)):
            current = getattr(sys, name, None)
            if current is None or not hasattr(current, "write") or getattr(current, "closed", False):
                setattr(sys, name, own)

    def flush(self):
        """Never raises but KeyboardInterrupt; a stream that cannot be flushed is replaced."""
        streams = [self.stdout, self.stderr]
        current = getattr(sys, "stdout", None), getattr(sys, "stderr", None)
        streams.extend(stream for stream in current if stream is not self.stdout and stream is not self.stderr)
        is_broken = False
        for stream in streams:
            try:
                stream.flush()
                is_broken = is_broken or stream.closed
            except KeyboardInterrupt:
                raise
            except BaseException:
                is_broken = True
        if is_broken:
            self._replace_unusable()

    def _replace_unusable(self):
        for name in ("stdout", "stderr"):
            stream = getattr(self, name)
            try:
                stream.flush()
            except BaseException:
                try:
                    stream.detach()
                except BaseException:
                    pass
                if getattr(sys, name, None) is stream:
                    setattr(sys, name, None)
                setattr(self, name, None)
        self.mend()

    def complain(self, text):
        """Writes to the real stderr, wherever `sys.stderr` points."""
        try:
            self.stderr.write(text)
            self.stderr.flush()
        except Exception:
            self._replace_unusable()


class ExitCall:
    """`exit` and `quit`: as `site` has them, but without closing stdin."""

    def __init__(self, name):
        self._name = name

    def __repr__(self):
        return "Use %s() to end the interpreter" % self._name

    def __call__(self, code=None):
        raise SystemExit(code)


# -- Text ---------------------------------------------------------------------------------------------------------------


def bounded(text, limit):
    """UTF-8 of a text, its middle cut out when it is longer than `limit` bytes."""
    if len(text) > limit:
        head, tail = text[: limit // 2], text[len(text) - limit // 4 :]
        text = "%s\n... %d characters left out ...\n%s" % (head, len(text) - len(head) - len(tail), tail)
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= 2 * limit:
        return data
    return data[:limit].decode("utf-8", "ignore").encode("utf-8")


def packed(data):
    return struct.pack("<I", len(data)) + data


def describe_value(error):
    try:
        return str(error)
    except BaseException:
        return "<the exception's str() failed>"


def type_name(error):
    try:
        return str(type(error).__name__)
    except BaseException:
        return "Exception"


def format_exception(error, hidden):
    """The traceback as plain text, without the frames of the files named in `hidden` (prefixes)."""
    try:
        summary = traceback.TracebackException(type(error), error, error.__traceback__, limit=-MAX_FRAMES)
        _strip(summary, hidden, set())
        return "".join(summary.format())
    except BaseException:
        return "%s: %s\n" % (type_name(error), describe_value(error))


def _strip(summary, hidden, seen):
    if summary is None or id(summary) in seen:
        return
    seen.add(id(summary))
    if summary.stack is not None:
        kept = [frame for frame in summary.stack if not frame.filename.startswith(hidden)]
        summary.stack = traceback.StackSummary.from_list(kept) if kept else None
    _strip(summary.__cause__, hidden, seen)
    _strip(summary.__context__, hidden, seen)
    for inner in getattr(summary, "exceptions", None) or ():
        _strip(inner, hidden, seen)


# -- Compiling ----------------------------------------------------------------------------------------------------------

# What can only be IPython's: `!cmd`, `%magic`, `x = !cmd`, `name?`, pasted prompts, an indented first line.
_MAYBE_MAGIC = re.compile(r"^[ \t]*(?:[!%]|>>>|In \[)|=[ \t]*[!%]|\?[ \t]*$|\A[ \t]*\n*[ \t]+\S", re.MULTILINE)
_BANG_LINE = re.compile(r"^([ \t]*)!(.*)$", re.MULTILINE)


# One line that starts with a call, as `print(6 * 7)`.
_ONE_CALL = re.compile(r"\A[^\W\d][\w.]*\([^\n]*\)\s*\Z")


class Cell:
    """A compiled cell: statements, then the last expression when there is one."""

    __slots__ = ("body", "tail", "future_flags")

    def __init__(self, source, filename, flags, tree=None):
        if tree is None and _ONE_CALL.match(source):
            # Straight to byte code: the way over a tree of objects takes 10 ms in a fresh clone under emulation.
            try:
                self.tail = compile(source, filename, "eval", flags, True)
                self.body, self.future_flags = None, 0
                return
            except SyntaxError:
                pass
        if tree is None:
            tree = compile(source, filename, "exec", flags | ONLY_AST, True)
        tail = None
        if tree.body and isinstance(tree.body[-1], _ast.Expr) and not source.rstrip().endswith(";"):
            tail = _ast.Expression(tree.body.pop().value)
        self.body = compile(tree, filename, "exec", flags, True) if tree.body else None
        self.tail = None if tail is None else compile(tail, filename, "eval", flags, True)
        self.future_flags = 0 if self.body is None else self.body.co_flags & ALL_FUTURE_FLAGS


def _all_future_flags():
    import __future__

    flags = 0
    for name in __future__.all_feature_names:
        flags |= getattr(__future__, name).compiler_flag
    return flags & ~0x10  # nested_scopes shares its bit with CO_NESTED


ALL_FUTURE_FLAGS = _all_future_flags()


def first_bare_name(tree):
    """The name that the cell's first statement would look up first, when that statement can be a shell command."""
    if not tree.body or not isinstance(tree.body[0], _ast.Expr):
        return None
    node = tree.body[0].value
    while True:
        if isinstance(node, _ast.Name):
            return node.id
        if isinstance(node, _ast.BinOp):
            node = node.left
        elif isinstance(node, _ast.Compare):
            node = node.left
        else:
            return None


def is_program(name):
    for directory in os.environ.get("PATH", os.defpath).split(":"):
        path = os.path.join(directory or ".", name)
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return True
    return False


class PlainShell:
    """What stands in for IPython where there is none: `!cmd` and nothing else."""

    hidden_directory = None

    def __init__(self, driver):
        self._driver = driver

    def translate(self, source):
        return _BANG_LINE.sub(lambda match: "%s__instavm_system__(%r)" % match.groups(), source)

    def bundle(self, _value):
        return None

    def before_cell(self):
        pass

    def after_cell(self):
        pass


class Driver:
    """One namespace, one cell at a time."""

    def __init__(self, wire, private_directory):
        self._wire = wire
        self._private_directory = private_directory
        self._interrupts = Interrupts(wire)
        self.streams = Streams()
        self.main = types.ModuleType("__main__")
        self.namespace = self.main.__dict__
        self.namespace["__builtins__"] = builtins
        self._hidden = (__file__,)
        self._shell = PlainShell(self)
        self._cell_id = 0
        self._future_flags = 0
        self._sources = []
        self._source_bytes = 0
        self._loop = None
        self._is_child = False
        self._cell_environment = []
        # Set by a magic that showed a traceback by itself (%run, %%time).
        self.reported_error = None

    # -- Start ------------------------------------------------------------------------------------------------------

    def prepare(self):
        sys.modules["instavm_driver"] = sys.modules["__main__"]
        sys.modules["__main__"] = self.main
        sys.argv = [""]
        if faulthandler is not None:
            faulthandler.enable(file=2)
        os.register_at_fork(after_in_child=self._forked)
        self._load_shell()
        self._warm()
        self._set_path()
        builtins.__instavm_system__ = self.system
        builtins.exit, builtins.quit = ExitCall("exit"), ExitCall("quit")
        # What lies in the template stays shared: the collector must not write to it in each clone.
        gc.collect()
        gc.freeze()

    def _load_shell(self):
        if not os.path.isfile(os.path.join(self._private_directory, "instavm_shell.py")):
            return
        sys.path.insert(0, self._private_directory)
        try:
            import instavm_shell

            self._shell = instavm_shell.start(self)
            self._hidden += (os.path.join(self._private_directory, "IPython") + "/", instavm_shell.__file__)
        except Exception as error:
            self.streams.complain("IPython does not start; magics are off: %s: %s\n" % (type_name(error), describe_value(error)))
        finally:
            sys.path.remove(self._private_directory)

    def _warm(self):
        for name in WARM_MODULES:
            try:
                __import__(name)
            except Exception:
                continue
        inside = self._private_directory + "/"
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] in FORGOTTEN_MODULES and str(getattr(module, "__file__", "")).startswith(inside):
                del sys.modules[name]

    def _set_path(self):
        """As `python3` at a prompt would have it, but for sitecustomize and usercustomize; the private directory comes last."""
        import site

        site.ENABLE_USER_SITE = True
        site.execsitecustomize = site.execusercustomize = site.enablerlcompleter = lambda: None
        try:
            site.main()
        except BaseException as error:
            self.streams.complain("site: %s: %s\n" % (type_name(error), describe_value(error)))
        sys.path.insert(0, "")
        self._add_python_path(os.environ.get("PYTHONPATH", ""))
        if os.path.isdir(self._private_directory):
            sys.path.append(self._private_directory)

    @staticmethod
    def _add_python_path(value):
        entries = [entry for entry in value.split(":") if entry and entry not in sys.path]
        sys.path[1:1] = entries

    def _forked(self):
        self._is_child = True
        self._wire.leave()
        self.streams.leave()

    # -- Requests ---------------------------------------------------------------------------------------------------

    def serve(self):
        self._wire.send(READY)
        while True:
            message = self._wire.receive()
            if message is None:
                return
            kind, body = message
            if kind == EXECUTE:
                self._execute(*struct.unpack_from("<IB", body), body[5:])
            elif kind == ACTIVATE:
                self._activate(body)
                self._wire.send(ACTIVATED)
            elif kind == ENVIRONMENT:
                self._cell_environment = self._take_pairs(body, 0)
            elif kind == WAKE:
                self._rehearse()
            else:
                return

    def _rehearse(self):
        """Goes the way of a short cell without a trace: an emulator translates code when it first runs, and a clone's
        other vCPU has time for that while it is greeted."""
        try:
            cell = Cell("print(6*7)", "<ready>", 0)
            in_cell(eval, cell.tail, {"__builtins__": builtins, "print": str})
            self._flush()
            struct.pack("<IBi", 0, STATUS_OK, 0) + packed(b"")
        except BaseException:
            pass  # What a cell broke, the next one is told of.

    def _activate(self, body):
        (seed_length,) = struct.unpack_from("<I", body)
        seed = body[4 : 4 + seed_length]
        self._set_environment(self._take_pairs(body, 4 + seed_length))
        self._add_python_path(os.environ.get("PYTHONPATH", ""))
        if seed:
            self._reseed(seed)

    @staticmethod
    def _take_pairs(body, offset):
        """Names and values, without those that no environment can hold."""
        strings = []
        (count,) = struct.unpack_from("<I", body, offset)
        offset += 4
        for _ in range(2 * count):
            (length,) = struct.unpack_from("<I", body, offset)
            strings.append(body[offset + 4 : offset + 4 + length])
            offset += 4 + length
        pairs = zip(strings[::2], strings[1::2])
        return [(name, value) for name, value in pairs if name and b"=" not in name and b"\0" not in name + value]

    @staticmethod
    def _set_environment(pairs):
        """Gives what the pairs replace, as pairs; a value of None takes a variable away."""
        replaced = []
        for name, value in pairs:
            replaced.append((name, os.environb.get(name)))
            if value is None:
                os.environb.pop(name, None)
            else:
                os.environb[name] = value
        if any(name == b"TZ" for name, _ in pairs):
            sys.modules["time"].tzset()
        return replaced[::-1]

    @staticmethod
    def _reseed(seed):
        """Every generator in this process whose state a twin would share."""
        modules = sys.modules
        if "random" in modules:
            # Of a number: of bytes it would hash first.
            modules["random"].seed(int.from_bytes(seed, "little"))
        if "tempfile" in modules:
            modules["tempfile"]._name_sequence = None
        if "ssl" in modules:
            modules["ssl"].RAND_add(seed, float(len(seed)))
        if "numpy.random" in modules:
            padded = seed + b"\0" * (-len(seed) % 4)
            modules["numpy.random"].seed(struct.unpack("<%dI" % (len(padded) // 4), padded))

    def _execute(self, cell_id, mode, code):
        self._cell_id = cell_id
        self.reported_error = None
        self._wire.open_cell()
        self._interrupts.cell_is_due = True
        replaced, self._cell_environment = self._set_environment(self._cell_environment), []
        try:
            outcome = in_cell(self._compile_and_run, code, mode)
        except KeyboardInterrupt as error:
            outcome = self._failed(error)
        if replaced:
            self._set_environment(replaced)
        if outcome is None:
            self._interrupts.cell_is_due = False
            self._wire.send(NOT_PYTHON, struct.pack("<I", cell_id))
            return
        self._restore()
        if self._is_child:
            self._end_child(outcome)
        self._finish(cell_id, outcome)

    def _finish(self, cell_id, outcome):
        status, exit_code, name, value, text = outcome
        if status == STATUS_EXIT:
            self._run_exit_handlers()
        self._flush()
        body = struct.pack("<IBi", cell_id, status, exit_code)
        self._wire.send(DONE, body + packed(name) + packed(value) + packed(text))
        if status == STATUS_EXIT:
            os._exit(exit_code & 0xFF)

    def _flush(self):
        try:
            in_cell(self.streams.flush)
        except KeyboardInterrupt:
            self.streams.mend()

    def _run_exit_handlers(self):
        """What Python does at its end: waits for threads, then calls `atexit` handlers."""
        for step in (threading._shutdown, atexit._run_exitfuncs):
            try:
                in_cell(step)
            except BaseException as error:
                self.streams.complain(format_exception(error, self._hidden))

    def _end_child(self, outcome):
        self._flush()
        os._exit(outcome[1] & 0xFF)

    def _restore(self):
        """Takes back what a cell must not keep."""
        if sys.getrecursionlimit() < LOWEST_RECURSION_LIMIT:
            sys.setrecursionlimit(1000)
        self.streams.reopen()
        self._interrupts.arm()
        if sys.modules.get("__main__") is not self.main:
            sys.modules["__main__"] = self.main

    # -- Cells ------------------------------------------------------------------------------------------------------

    def _compile_and_run(self, code, mode):
        """None when the cell is not Python; else (status, exit code, error name, value, traceback)."""
        self._interrupts.start_cell()
        try:
            cell = self._compile(code, mode == MODE_DETECT)
            if cell is None:
                return None
            self._run(cell)
        except SystemExit as error:
            return self._exited(error)
        except BaseException as error:
            return self._failed(error)
        if self.reported_error is not None:
            name, value, text = self.reported_error
            return STATUS_EXCEPTION, 1, name, value, text
        return STATUS_OK, 0, b"", b"", b""

    def _exited(self, error):
        code = error.code
        if code is None:
            code = 0
        elif not isinstance(code, int):
            self.streams.complain("%s\n" % describe_value(error))
            code = 1
        return STATUS_EXIT, int(code) & 0xFF, b"SystemExit", bounded(str(code), 64), b""

    def _failed(self, error):
        name, value, text = self.report(error)
        try:
            sys.last_type, sys.last_value, sys.last_traceback = type(error), error, self._own_part(error.__traceback__)
        except BaseException:
            pass
        return STATUS_EXCEPTION, 1, name, value, text

    def _own_part(self, frames):
        """A traceback from the first frame that is the user's: what a debugger starts with."""
        while frames is not None and frames.tb_frame.f_code.co_filename.startswith(self._hidden):
            frames = frames.tb_next
        return frames

    def report(self, error):
        """Writes an exception to stderr; gives (name, value, traceback) as `D` carries them."""
        text = bounded(self._shell_text(error) or format_exception(error, self._hidden), MAX_TRACEBACK_BYTES)
        self._flush()
        self.streams.complain(text.decode("utf-8"))
        return bounded(type_name(error), 256), bounded(describe_value(error), MAX_ERROR_VALUE_BYTES), text

    @staticmethod
    def _shell_text(error):
        # IPython's UsageError is a message to the person, not a fault in code.
        if type(error).__module__ == "IPython.core.error" and type_name(error) == "UsageError":
            return "UsageError: %s\n" % describe_value(error)
        return None

    def _compile(self, code, is_detecting):
        filename = "<cell %d>" % self._cell_id
        if not is_detecting:
            return self._compile_as_python(code.decode("utf-8"), filename)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                source = code.decode("utf-8")
            except UnicodeDecodeError:
                return None
            # A call is no shell command.
            is_call = _ONE_CALL.match(source) is not None
            try:
                tree = None if is_call else compile(source, filename, "exec", self._future_flags | ONLY_AST, True)
            except (SyntaxError, ValueError, MemoryError, RecursionError):
                tree = None
            if tree is not None and self._is_shell_command(tree, source):
                return None
            try:
                return self._compile_as_python(source, filename, tree)
            except (SyntaxError, ValueError, MemoryError, RecursionError):
                return None

    def _is_shell_command(self, tree, source):
        name = first_bare_name(tree)
        if name is None or name in self.namespace or hasattr(builtins, name):
            return False
        if name in SHELL_BUILTINS or is_program(name):
            return True
        word = source.split(None, 1)[0]
        return word.startswith(name) and "/" not in word and is_program(word)

    def _compile_as_python(self, source, filename, tree=None):
        shown = source
        try:
            cell = Cell(source, filename, self._future_flags, tree)
        except SyntaxError as error:
            translated = self._shell.translate(source) if _MAYBE_MAGIC.search(source) else source
            if translated == source and "await" not in source and "async" not in source:
                self._remember(filename, source)
                raise
            if translated.count("\n") != source.count("\n") + (not source.endswith("\n")):
                shown = translated
            self._remember(filename, shown)
            try:
                cell = Cell(translated, filename, self._future_flags | ALLOW_TOP_LEVEL_AWAIT)
            except SyntaxError as second:
                raise (error if translated == source else second) from None
        self._remember(filename, shown)
        self._future_flags |= cell.future_flags
        return cell

    def _remember(self, filename, source):
        """So that tracebacks and `inspect.getsource` show a cell's lines; the oldest are forgotten first."""
        if not isinstance(linecache.cache, dict):
            linecache.cache = {}
        linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
        self._sources.append((filename, len(source)))
        self._source_bytes += len(source)
        while self._source_bytes > MAX_KEPT_SOURCE_BYTES and len(self._sources) > 1:
            oldest, size = self._sources.pop(0)
            self._source_bytes -= size
            if oldest != filename:
                linecache.cache.pop(oldest, None)

    def _run(self, cell):
        self._shell.before_cell()
        try:
            if cell.body is not None:
                self._evaluate(cell.body)
            if cell.tail is not None:
                self.show_result(self._evaluate(cell.tail))
        finally:
            self._shell.after_cell()

    def _evaluate(self, code):
        if code.co_flags & CO_COROUTINE:
            return self._await(eval(code, self.namespace))
        return eval(code, self.namespace)

    def _await(self, coroutine):
        import asyncio

        if self._loop is None or self._loop.is_closed():
            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)
        task = self._loop.create_task(coroutine)
        try:
            return self._loop.run_until_complete(task)
        except BaseException:
            if not task.done():
                task.cancel()
                try:
                    self._loop.run_until_complete(task)
                except BaseException:
                    pass
            raise

    # -- Display ----------------------------------------------------------------------------------------------------

    def show_result(self, value):
        """The value of a cell's last expression: kept as `_`, shown as a result."""
        if value is None:
            return
        builtins._ = value
        data = None if type(value) in PLAIN_TYPES and not is_long(value) else self._shell.bundle(value)
        self.show({"text/plain": repr(value)} if data is None else data, True)

    def show(self, data, is_result=False):
        """Sends a display message. `data`: MIME type to str or bytes; long text/plain is cut. What else is too large, the
        agent leaves out and says so."""
        parts = []
        for mime, content in data.items():
            if mime == "text/plain" and isinstance(content, str):
                content = bounded(content, MAX_TEXT_BYTES)
            elif isinstance(content, str):
                content = content.encode("utf-8", "backslashreplace")
            if len(content) > MAX_RICH_BYTES:
                # As long as need be to be too long.
                content = bytes(MAX_RICH_BYTES + 1)
            parts.append(packed(bounded(mime, 256)) + packed(content))
        if not parts:
            return
        self.streams.flush()
        body = struct.pack("<IBI", self._cell_id, is_result, len(parts)) + b"".join(parts)
        self._wire.send(DISPLAY, body)

    # -- Shell commands ---------------------------------------------------------------------------------------------

    def system(self, command):
        """Runs a shell command; its output goes where `print` goes. Returns its exit code, negative for a signal."""
        import subprocess

        self.streams.flush()
        is_captured = sys.stdout is not self.streams.stdout
        process = subprocess.Popen(
            shell_arguments(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if is_captured else 1,
            stderr=subprocess.STDOUT if is_captured else 2,
            start_new_session=True,
        )
        try:
            if process.stdout is not None:
                for line in io.TextIOWrapper(process.stdout, encoding="utf-8", errors="surrogateescape"):
                    sys.stdout.write(line)
            return process.wait()
        except BaseException:
            end_group(process)
            raise

    def output_of(self, command):
        """What a shell command writes to stdout and stderr, as text."""
        import subprocess

        self.streams.flush()
        process = subprocess.Popen(
            shell_arguments(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            return process.communicate()[0].decode("utf-8", "surrogateescape")
        except BaseException:
            end_group(process)
            raise


PLAIN_TYPES = frozenset((bool, bytes, complex, dict, float, frozenset, int, list, set, str, tuple))


def is_long(value):
    """A container whose full repr nobody reads; IPython's printer cuts it."""
    return isinstance(value, (dict, frozenset, list, set, tuple)) and len(value) > 1000


def shell_arguments(command):
    return ["/bin/bash" if os.path.exists("/bin/bash") else "/bin/sh", "-c", command]


def end_group(process):
    """Interrupts a command's process group, kills it when it stays, and reaps the shell."""
    import subprocess

    # The group is killed even when its shell has gone: what the shell had in the background ignores SIGINT.
    for number, patience_s in ((signal.SIGINT, 0.5), (signal.SIGKILL, 5)):
        try:
            os.killpg(process.pid, number)
            process.wait(patience_s)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def main():
    private_directory = sys.argv[1] if len(sys.argv) > 1 else PRIVATE_DIRECTORY
    wire = Wire(3, 4)
    driver = Driver(wire, private_directory)
    driver.prepare()
    try:
        driver.serve()
    except BaseException as error:
        driver.streams.complain(format_exception(error, ()))
        os._exit(70)
    # No interpreter shutdown: threads of old cells must not hold the process.
    os._exit(0)


if __name__ == "__main__":
    main()
