"""A driver as the agent runs it, for the tests beside the drivers: its messages are those of python/driver.py."""

from __future__ import annotations

import os
import select
import signal
import struct
import subprocess
import time

DEADLINE_S = 60
OK, EXCEPTION, EXIT = 0, 1, 2


def packed(text):
    data = text.encode() if isinstance(text, str) else text
    return struct.pack("<I", len(data)) + data


def pairs(env):
    return struct.pack("<I", len(env)) + b"".join(packed(name) + packed(value) for name, value in env.items())


class Fields:
    """Takes fields off a message."""

    def __init__(self, body):
        self.body = body
        self.offset = 0

    def take(self, form):
        (value,) = struct.unpack_from("<" + form, self.body, self.offset)
        self.offset += struct.calcsize("<" + form)
        return value

    def blob(self):
        length = self.take("I")
        self.offset += length
        assert self.offset <= len(self.body)
        return self.body[self.offset - length : self.offset]


class Result:
    """What one cell gave."""

    def __init__(self):
        self.displays = []
        self.status = self.exit_code = None
        self.name = self.value = self.traceback = ""
        self.out = self.err = ""

    @property
    def result(self):
        """text/plain of the last expression."""
        results = [data for is_result, data in self.displays if is_result]
        return results[-1]["text/plain"].decode() if results else None


class DriverProcess:
    """One driver and the agent's ends of its pipes. `with` ends it."""

    def __init__(self, argv, cwd, env=None):
        request_read, self._requests = os.pipe()
        self._replies, reply_write = os.pipe()
        self._out, out_write = os.pipe()
        self._err, err_write = os.pipe()
        self._printed = {self._out: b"", self._err: b""}
        self._replied = b""
        self.cell_id = 0

        def place():
            # Above all of them first, so that none overwrites another.
            high = [os.dup2(fd, 100 + at) for at, fd in enumerate((out_write, err_write, request_read, reply_write))]
            for target, fd in enumerate(high, 1):
                os.dup2(fd, target)
            # Whatever the tests themselves were started with must not reach the driver.
            os.closerange(5, os.sysconf("SC_OPEN_MAX"))

        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            preexec_fn=place,
            close_fds=False,
            start_new_session=True,
        )
        for fd in (request_read, reply_write, out_write, err_write):
            os.close(fd)

    def __enter__(self):
        try:
            kind, _ = self.message()
            assert kind == "R", kind
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        for fd in (self._requests, self._replies, self._out, self._err):
            if fd is not None:
                os.close(fd)
        self._requests = self._replies = self._out = self._err = None

    # -- Messages ---------------------------------------------------------------------------------------------------

    def send(self, kind, body=b""):
        data = memoryview(struct.pack("<I", len(body) + 1) + kind.encode() + body)
        while data:
            self._pump(write=True)
            data = data[os.write(self._requests, data[:65536]) :]

    def message(self, deadline=None):
        """The next message as (type, fields)."""
        deadline = deadline or time.monotonic() + DEADLINE_S
        while True:
            if len(self._replied) >= 5:
                length, kind = struct.unpack_from("<IB", self._replied)
                if len(self._replied) >= 4 + length:
                    body = self._replied[5 : 4 + length]
                    self._replied = self._replied[4 + length :]
                    return chr(kind), Fields(body)
            if time.monotonic() > deadline:
                raise AssertionError("no message in time; stderr: %r" % self._printed[self._err])
            self._pump()

    def _pump(self, write=False):
        """Reads what is there; with `write`, until a request can be written."""
        while True:
            ready, writable, _ = select.select([self._replies, *self._printed], [self._requests] if write else [], [], 0.05)
            for fd in ready:
                data = os.read(fd, 1 << 16)
                if fd == self._replies:
                    if not data:
                        raise EOFError("the driver closed its pipe; stderr: %r" % self._printed[self._err])
                    self._replied += data
                else:
                    self._printed[fd] += data
            if writable or not write:
                return

    def printed(self):
        """What was printed since the last time, on stdout and on stderr."""
        for fd in self._printed:
            while select.select([fd], [], [], 0)[0]:
                data = os.read(fd, 1 << 16)
                if not data:
                    break
                self._printed[fd] += data
        out, err = (self._printed[fd].decode("utf-8", "replace") for fd in (self._out, self._err))
        self._printed = {self._out: b"", self._err: b""}
        return out, err

    # -- Cells ------------------------------------------------------------------------------------------------------

    def start(self, code, env=None):
        """Sends a cell."""
        self.cell_id += 1
        if env:
            self.send("E", pairs(env))
        data = code.encode() if isinstance(code, str) else code
        self.send("X", struct.pack("<IB", self.cell_id, 0) + data)

    def finish(self):
        """Waits for the cell's end."""
        result = Result()
        while True:
            kind, fields = self.message()
            assert fields.take("I") == self.cell_id
            if kind == "V":
                is_result = bool(fields.take("B"))
                data = {}
                for _ in range(fields.take("I")):
                    mime = fields.blob().decode()
                    data[mime] = fields.blob()
                result.displays.append((is_result, data))
                continue
            assert kind == "D", kind
            result.status, result.exit_code = fields.take("B"), fields.take("i")
            result.name, result.value, result.traceback = (fields.blob().decode() for _ in range(3))
            result.out, result.err = self.printed()
            assert fields.offset == len(fields.body)
            return result

    def run(self, code, env=None):
        self.start(code, env)
        return self.finish()

    def activate(self, seed=b"", env=None):
        self.send("A", packed(seed) + pairs(env or {}))
        kind, _ = self.message()
        assert kind == "K", kind

    def interrupt(self):
        """As the agent does: the driver and what runs in its process group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def interrupt_until_done(self, again_s=0.5):
        """As the agent does: again when it did nothing."""
        while True:
            self.interrupt()
            deadline = time.monotonic() + again_s
            while time.monotonic() < deadline:
                self._pump()
                if self._replied:
                    return self.finish()

    def wait_for_output(self, text):
        """Until something was printed on stdout."""
        deadline = time.monotonic() + DEADLINE_S
        while text.encode() not in self._printed[self._out]:
            assert time.monotonic() < deadline, self._printed
            self._pump()
