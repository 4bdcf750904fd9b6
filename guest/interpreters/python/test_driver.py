"""Runs the real driver over its pipes. `python3 -m unittest` in this directory.

INSTAVM_TEST_PYTHON names the interpreter to test (default: the one that runs this file). INSTAVM_TEST_PRIVATE is a
directory into which the base image's requirements.txt was installed; without it one is made in a temporary directory.
"""

from __future__ import annotations

import os
import pathlib
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
REQUIREMENTS = HERE.parents[2] / "packages" / "images" / "base" / "python-requirements.txt"
PYTHON = os.environ.get("INSTAVM_TEST_PYTHON", sys.executable)
DEADLINE_S = 60
OK, EXCEPTION, EXIT = 0, 1, 2


def packed(text):
    data = text.encode() if isinstance(text, str) else text
    return struct.pack("<I", len(data)) + data


def runs(pid):
    """Whether a process exists and is no zombie."""
    try:
        return pathlib.Path("/proc/%d/stat" % pid).read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Reader:
    """Takes fields off a body."""

    def __init__(self, body):
        self.body = body
        self.offset = 0

    def take(self, form):
        values = struct.unpack_from("<" + form, self.body, self.offset)
        self.offset += struct.calcsize("<" + form)
        return values[0]

    def blob(self):
        length = self.take("I")
        self.offset += length
        return self.body[self.offset - length : self.offset]

    def text(self):
        return self.blob().decode()


class Result:
    """What one cell gave."""

    def __init__(self):
        self.displays = []
        self.is_python = True
        self.status = self.exit_code = None
        self.name = self.value = self.traceback = ""
        self.stdout = self.stderr = b""

    @property
    def out(self):
        return self.stdout.decode("utf-8", "replace")

    @property
    def err(self):
        return self.stderr.decode("utf-8", "replace")

    @property
    def result(self):
        """text/plain of the last expression."""
        results = [data for is_result, data in self.displays if is_result]
        return results[-1]["text/plain"].decode() if results else None


class Interpreter:
    """One driver process and the agent's ends of its pipes."""

    def __init__(self, private, cwd, env=None):
        request_read, self._requests = os.pipe()
        self._replies, reply_write = os.pipe()
        self._out, out_write = os.pipe()
        self._err, err_write = os.pipe()
        self.cell_id = 0
        self._pending = {self._out: b"", self._err: b""}
        self._replied = b""
        self.started = False

        def place():
            # Above all of them first, so that none overwrites another.
            high = [os.dup2(fd, 100 + index) for index, fd in enumerate((out_write, err_write, request_read, reply_write))]
            for target, fd in enumerate(high, 1):
                os.dup2(fd, target)
            os.closerange(5, 200)

        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        environment.update(env or {})
        self.process = subprocess.Popen(
            [PYTHON, "-I", "-S", "-X", "utf8", str(HERE / "driver.py"), str(private)],
            stdin=subprocess.DEVNULL,
            cwd=cwd,
            env=environment,
            preexec_fn=place,
            close_fds=False,
        )
        for fd in (request_read, reply_write, out_write, err_write):
            os.close(fd)

    def __enter__(self):
        kind, body = self.receive()
        assert (kind, body) == (ord("R"), b""), (kind, body)
        return self

    def __exit__(self, *_):
        for fd in (self._requests, self._replies, self._out, self._err):
            os.close(fd)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def send(self, kind, body):
        data = memoryview(struct.pack("<IB", len(body) + 1, ord(kind)) + body)
        deadline = time.monotonic() + DEADLINE_S
        while data:
            self._pump(deadline, [self._requests])
            if self._is_writable:
                data = data[os.write(self._requests, data[:4096]) :]

    def _pump(self, deadline, writers=()):
        """Reads whatever came; at the end of the replies raises EOFError."""
        readable, writable, _ = select.select([self._replies, *self._pending], writers, [], max(0, deadline - time.monotonic()))
        self._is_writable = bool(writable)
        if not readable and not writable:
            raise TimeoutError("the driver said nothing for %d s" % DEADLINE_S)
        for fd in list(readable):
            data = os.read(fd, 1 << 16)
            if fd != self._replies:
                self._pending[fd] += data
                if not data:
                    readable.remove(fd)
                    select.select([self._replies], [], [], 0.01)
            elif data:
                self._replied += data
            else:
                raise EOFError

    def receive(self):
        deadline = time.monotonic() + DEADLINE_S
        while True:
            if len(self._replied) >= 4:
                (length,) = struct.unpack_from("<I", self._replied)
                if len(self._replied) >= 4 + length:
                    message = self._replied[4 : 4 + length]
                    self._replied = self._replied[4 + length :]
                    return message[0], message[1:]
            self._pump(deadline)

    def start(self, code, detect=False):
        self.cell_id += 1
        data = code if isinstance(code, bytes) else code.encode()
        self.send("X", struct.pack("<IB", self.cell_id, 1 if detect else 0) + data)

    def run(self, code, detect=False):
        self.start(code, detect)
        return self.finish()

    def finish(self):
        result = Result()
        while True:
            kind, body = self.receive()
            reader = Reader(body)
            assert reader.take("I") == self.cell_id, (kind, body)
            if kind == ord("V"):
                is_result = bool(reader.take("B"))
                data = {}
                for _ in range(reader.take("I")):
                    mime = reader.text()
                    data[mime] = reader.blob()
                result.displays.append((is_result, data))
                continue
            if kind == ord("N"):
                result.is_python = False
            else:
                assert kind == ord("D"), (kind, body)
                result.status, result.exit_code = reader.take("B"), reader.take("i")
                result.name, result.value, result.traceback = reader.text(), reader.text(), reader.text()
            result.stdout, result.stderr = self.output()
            return result

    def output(self):
        """What is in the pipes now."""
        while True:
            ready, _, _ = select.select(list(self._pending), [], [], 0)
            grown = False
            for fd in ready:
                data = os.read(fd, 1 << 16)
                grown = grown or bool(data)
                self._pending[fd] += data
            if not grown:
                break
        out, err = self._pending[self._out], self._pending[self._err]
        self._pending = {self._out: b"", self._err: b""}
        return out, err

    def output_until(self, wanted):
        """Collects stdout until it holds `wanted`."""
        deadline = time.monotonic() + DEADLINE_S
        collected = b""
        while wanted not in collected:
            if time.monotonic() > deadline:
                raise TimeoutError("%r does not hold %r" % (collected, wanted))
            collected += self.output()[0]
            time.sleep(0.005)
        return collected

    def wake(self):
        os.write(self._requests, struct.pack("<IB", 1, ord("W")))

    def activate(self, seed, env):
        body = packed(seed) + struct.pack("<I", len(env))
        for key, value in env.items():
            body += packed(key) + packed(value)
        self.send("A", body)
        kind, body = self.receive()
        assert (kind, body) == (ord("K"), b""), (kind, body)

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)


class DriverTest(unittest.TestCase):
    """Base: a fresh workdir for each test, and a driver on demand."""

    private = "/nonexistent"

    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="instavm-driver-")
        self.addCleanup(directory.cleanup)
        self.app = directory.name

    def interpreter(self, **env):
        return Interpreter(self.private, self.app, env)


class CellTests:
    """Sat by the driver with IPython and without."""

    def test_state_stays_between_cells(self):
        with self.interpreter() as python:
            self.assertEqual(python.run("x = 20").status, OK)
            result = python.run("print(x + 22)")
            self.assertEqual((result.status, result.exit_code, result.stdout, result.stderr), (OK, 0, b"42\n", b""))

    def test_the_last_expression_is_a_result_and_not_output(self):
        with self.interpreter() as python:
            result = python.run("1\n6 * 7")
            self.assertEqual((result.result, result.stdout), ("42", b""))
            self.assertEqual(python.run("_ + 1").result, "43")
            self.assertIsNone(python.run("None").result)
            self.assertEqual(python.run("_").result, "43")
            self.assertIsNone(python.run("7;").result)

    def test_an_exception_shows_the_users_lines_only(self):
        with self.interpreter() as python:
            python.run("def inner():\n    return 1 / 0\n")
            result = python.run("def outer():\n    inner()\nouter()")
            self.assertEqual((result.status, result.exit_code), (EXCEPTION, 1))
            self.assertEqual((result.name, result.value), ("ZeroDivisionError", "division by zero"))
            self.assertEqual(result.err, result.traceback)
            self.assertIn("return 1 / 0", result.traceback)
            self.assertIn('File "<cell 2>", line 3, in <module>', result.traceback)
            self.assertNotIn("driver.py", result.traceback)
            self.assertNotIn("\x1b", result.traceback)
            self.assertEqual(python.run("print('on')").out, "on\n")

    def test_chained_exceptions_hide_the_driver_too(self):
        with self.interpreter() as python:
            result = python.run("try:\n    1/0\nexcept ZeroDivisionError as e:\n    raise KeyError('k') from e")
            self.assertIn("direct cause", result.traceback)
            self.assertNotIn("driver.py", result.traceback)

    def test_a_syntax_error_shows_line_and_caret(self):
        with self.interpreter() as python:
            result = python.run("x = 1\nprint('a'\ny = 2")
            self.assertEqual((result.status, result.name), (EXCEPTION, "SyntaxError"))
            self.assertIn("print('a'", result.err)
            self.assertIn("^", result.err)
            self.assertNotIn("Traceback", result.err)
            self.assertNotIn("driver", result.err)

    def test_exit_ends_with_its_code_after_the_output(self):
        for code, expected in (("exit()", 0), ("quit(3)", 3), ("import sys; sys.exit('bye')", 1), ("raise SystemExit(-1)", 255)):
            with self.subTest(code=code), self.interpreter() as python:
                result = python.run("print('before', end='')\n" + code)
                self.assertEqual((result.status, result.exit_code, result.stdout), (EXIT, expected, b"before"))
                self.assertEqual(python.process.wait(DEADLINE_S), expected)
                if "bye" in code:
                    self.assertEqual(result.err, "bye\n")

    def test_exit_waits_for_threads_and_runs_exit_handlers(self):
        with self.interpreter() as python:
            code = (
                "import atexit, threading, time\natexit.register(print, 'last')\n"
                "threading.Thread(target=lambda: (time.sleep(0.2), print('thread'))).start()\nexit()"
            )
            self.assertEqual(python.run(code).out, "thread\nlast\n")

    def test_an_interrupt_ends_the_cell_and_nothing_else(self):
        with self.interpreter() as python:
            python.interrupt()
            python.run("x = 5")
            python.start("print('go')\nwhile True: pass")
            python.output_until(b"go\n")
            python.interrupt()
            result = python.finish()
            self.assertEqual((result.status, result.name), (EXCEPTION, "KeyboardInterrupt"))
            self.assertNotIn("driver.py", result.traceback)
            self.assertEqual(python.run("x").result, "5")

    def test_interrupts_at_any_moment_leave_the_protocol_whole(self):
        with self.interpreter() as python:
            for step in range(60):
                python.start("for i in range(20000): pass\n'r'")
                time.sleep(step * 0.0001)
                python.interrupt()
                self.assertIn(python.finish().status, (OK, EXCEPTION))
            self.assertEqual(python.run("print('alive')").out, "alive\n")

    def test_a_cell_can_catch_an_interrupt_and_be_interrupted_again(self):
        with self.interpreter() as python:
            python.start("import time\nfor _ in range(2):\n    try:\n        print('in')\n        time.sleep(50)\n    except KeyboardInterrupt:\n        print('caught')")
            for _ in range(2):
                python.output_until(b"in\n")
                python.interrupt()
            self.assertEqual(python.finish().status, OK)

    def test_a_cell_that_ignores_sigint_does_not_keep_it(self):
        with self.interpreter() as python:
            python.run("import signal; signal.signal(signal.SIGINT, signal.SIG_DFL)")
            python.interrupt()
            self.assertEqual(python.run("1").result, "1")

    def test_input_reads_the_end_of_file(self):
        with self.interpreter() as python:
            self.assertEqual(python.run("input('name? ')").name, "EOFError")

    def test_binary_and_surrogates_never_crash_the_output(self):
        with self.interpreter() as python:
            result = python.run("print(b'\\xff\\x00'.decode('utf-8', 'surrogateescape'), '\\ud800x', 'ü')")
            self.assertEqual((result.status, result.stdout), (OK, b"\xff\x00 \\ud800x \xc3\xbc\n"))
            self.assertEqual(python.run("import sys; sys.stdout.buffer.write(bytes(range(256)));").stdout, bytes(range(256)))

    def test_output_appears_line_by_line(self):
        with self.interpreter() as python:
            python.start("import time\nprint('first')\ntime.sleep(30)")
            python.output_until(b"first\n")
            python.interrupt()
            python.finish()

    def test_a_forked_child_ends_with_the_cell(self):
        with self.interpreter() as python:
            result = python.run("import os\npid = os.fork()\nif pid: print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))")
            self.assertEqual((result.status, result.out), (OK, "0\n"))
            result = python.run("pid = os.fork()\nif pid == 0: raise SystemExit(7)\nprint(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))")
            self.assertEqual((result.status, result.out), (OK, "7\n"))
            result = python.run("pid = os.fork()\nif pid == 0: 1/0\nprint(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))")
            self.assertEqual((result.status, result.out), (OK, "1\n"))
            self.assertIn("ZeroDivisionError", result.err)

    def test_a_forked_child_does_not_hold_the_reply_pipe(self):
        with self.interpreter() as python:
            python.run("import os, time\npid = os.fork()\nif pid == 0:\n    time.sleep(60); os._exit(0)")
            pid = int(python.run("pid").result)
            self.addCleanup(os.kill, pid, signal.SIGKILL)
            python.start("os._exit(9)")
            with self.assertRaises(EOFError):
                python.finish()
            self.assertEqual(python.process.wait(DEADLINE_S), 9)

    def test_threads_print_after_their_cell(self):
        with self.interpreter() as python:
            python.run("import threading\ngate = threading.Event()\nthreading.Thread(target=lambda: (gate.wait(), print('late')), daemon=True).start()")
            early = python.run("gate.set()").stdout
            self.assertEqual(early or python.output_until(b"late\n"), b"late\n")

    def test_multiprocessing_works_with_fork_and_in_a_pool(self):
        with self.interpreter() as python:
            python.run("def square(x):\n    return x * x\nimport multiprocessing as mp")
            result = python.run("with mp.get_context('fork').Pool(2) as pool:\n    print(pool.map(square, range(4)))")
            self.assertEqual((result.status, result.out), (OK, "[0, 1, 4, 9]\n"))
            code = "import math\nwith mp.get_context('spawn').Pool(1) as pool:\n    print(pool.map(math.sqrt, [9]))"
            self.assertEqual(python.run(code).out, "[3.0]\n")

    def test_pickled_objects_belong_to_main(self):
        with self.interpreter() as python:
            result = python.run("import pickle, sys\nclass C: pass\nprint(type(pickle.loads(pickle.dumps(C()))) is C, C.__module__, sys.argv, __name__)")
            self.assertEqual(result.out, "True __main__ [''] __main__\n")

    def test_getsource_sees_a_cells_function(self):
        with self.interpreter() as python:
            python.run("def f():\n    return 'mine'")
            self.assertIn("return 'mine'", python.run("import inspect; print(inspect.getsource(f))").out)

    def test_future_imports_hold_for_later_cells(self):
        with self.interpreter() as python:
            python.run("from __future__ import annotations")
            self.assertEqual(python.run("def f(x: Undefined): pass\nf.__annotations__").result, "{'x': 'Undefined'}")

    def test_the_drivers_own_future_imports_do_not_leak(self):
        with self.interpreter() as python:
            self.assertEqual(python.run("def f(x: int): pass\nf.__annotations__").result, "{'x': <class 'int'>}")

    def test_damage_by_a_cell_is_survived(self):
        for damage in (
            "import sys; sys.stdout = None; sys.stderr = None",
            "import sys; sys.stdout.close(); sys.stderr.close()",
            "import sys; sys.stdout.detach()",
            "import sys; sys.stdout = object()",
            "import os; os.close(1); os.close(2)",
            "import sys; sys.stdin = None",
            "import sys; sys.setrecursionlimit(40)",
            "import builtins\nfor n in ('len', 'print', 'isinstance', 'type', 'getattr', 'hasattr', 'repr', 'str'):\n    keep = {**globals().get('keep', {}), n: getattr(builtins, n)}; delattr(builtins, n)",
            "import sys; del sys.modules['__main__']; sys.path[:] = []",
            "import os; os.read = os.write = os.getpid = None",
            "import linecache, traceback; linecache.cache = None; traceback.TracebackException = None",
            "import warnings, signal; signal.signal = signal.getsignal = None; warnings.catch_warnings = None",
        ):
            with self.subTest(damage=damage), self.interpreter() as python:
                python.run(damage)
                self.assertEqual(python.run("1/0").name, "ZeroDivisionError")
                python.run("import builtins\nfor n, f in globals().get('keep', {}).items(): setattr(builtins, n, f)")
                self.assertEqual(python.run("print('here')").out, "here\n")

    def test_closing_every_descriptor_ends_the_process_cleanly(self):
        with self.interpreter() as python:
            python.start("import os; os.closerange(3, 1024)")
            with self.assertRaises(EOFError):
                python.finish()
            self.assertIn(python.process.wait(DEADLINE_S), (0, 70))

    def test_closing_descriptors_from_three_does_not_reach_the_driver(self):
        with self.interpreter() as python:
            python.run("import os; os.closerange(3, 20)")
            self.assertEqual(python.run("1").result, "1")

    def test_a_huge_result_is_cut(self):
        with self.interpreter() as python:
            result = python.run("'x' * 50_000_000")
            self.assertLess(len(result.result), 3 << 20)
            self.assertIn("left out", result.result)

    def test_a_huge_error_is_cut(self):
        with self.interpreter() as python:
            result = python.run("raise ValueError('v' * 10_000_000)")
            self.assertLess(len(result.value), 200_000)
            self.assertLess(len(result.traceback), 1 << 20)

    def test_exceptions_that_cannot_be_shown_are_named(self):
        with self.interpreter() as python:
            result = python.run("class Bad(Exception):\n    def __str__(self): raise Exception('no')\n    __repr__ = __str__\nraise Bad()")
            self.assertEqual(result.name, "Bad")
            self.assertEqual(python.run("class R:\n    def __repr__(self): return 1/0\nR()").name, "ZeroDivisionError")
            python.start("class Slow:\n    def __repr__(self):\n        print('in')\n        while True: pass\nSlow()")
            python.output_until(b"in\n")
            python.interrupt()
            self.assertEqual(python.finish().name, "KeyboardInterrupt")

    def test_deep_recursion_is_an_exception(self):
        with self.interpreter() as python:
            self.assertEqual(python.run("def f(): f()\nf()").name, "RecursionError")
            nested = python.run("(" * 5000 + ")" * 5000)
            self.assertEqual(nested.status, EXCEPTION)
            self.assertEqual(python.run("1").result, "1")

    def test_top_level_await_runs_and_can_be_interrupted(self):
        with self.interpreter() as python:
            result = python.run("import asyncio\nawait asyncio.sleep(0.01)\nawait asyncio.sleep(0, 'done')")
            self.assertEqual((result.status, result.result), (OK, "'done'"))
            self.assertEqual(python.run("async with asyncio.timeout(5):\n    print('in')" if sys.version_info >= (3, 11) else "print('in')").out, "in\n")
            python.start("print('wait')\nawait asyncio.sleep(60)")
            python.output_until(b"wait\n")
            python.interrupt()
            self.assertEqual(python.finish().name, "KeyboardInterrupt")
            self.assertEqual(python.run("asyncio.run(asyncio.sleep(0, 3))").result, "3")
            self.assertEqual(python.run("await asyncio.sleep(0, 4)").result, "4")

    def test_a_shell_line_runs_between_python_lines(self):
        with self.interpreter() as python:
            result = python.run("print('a')\n!echo b; echo c >&2\nprint('d')")
            self.assertEqual((result.out, result.err), ("a\nb\nd\n", "c\n"))
            python.run("def f():\n    for i in range(2):\n        !echo in a function\nf()")

    def test_an_interrupt_ends_a_shell_line_and_its_children(self):
        with self.interpreter() as python:
            python.start("!echo go; sleep 1000 & echo $! > pid; wait")
            python.output_until(b"go\n")
            time.sleep(0.2)
            python.interrupt()
            self.assertEqual(python.finish().name, "KeyboardInterrupt")
            pid = int((pathlib.Path(self.app) / "pid").read_text())
            deadline = time.monotonic() + DEADLINE_S
            while runs(pid):
                self.assertLess(time.monotonic(), deadline, "the command's child lives on")
                time.sleep(0.01)

    def test_detect_tells_python_from_shell(self):
        shell = ["ls", "ls -la", "ls\npwd", "# look\nls -l", "cat x", "cat /etc/hostname | wc -l", "echo $HOME", "apt-get", "for f in *; do echo $f; done", "if true; then ls; fi", "python3 -c 'print(1)'", "[ -f x ] && ls", "/bin/ls -la", "export A=1", "ls; pwd", "cd /tmp", "cd /tmp\nls", "cd /tmp; ls -la", "ulimit -a", "source /etc/profile"]
        python_code = ["print(1)", "x = 1", "ls = 3", "date = 'today'\ndate", "import os", "# only a comment", "", "!ls", "await __import__('asyncio').sleep(0)", "undefined_name_xyz", "'ls'", "w: int = 3", "test(3) if False else 4"]
        with self.interpreter() as python:
            for code in python_code:
                with self.subTest(code=code):
                    self.assertTrue(python.run(code, detect=True).is_python)
            python.run("del ls, date, w")
            for code in shell:
                with self.subTest(code=code):
                    self.assertFalse(python.run(code, detect=True).is_python)
            python.run("ls = [5]; cd = tmp = 6")
            self.assertEqual(python.run("ls", detect=True).result, "[5]")
            self.assertEqual(python.run("cd /tmp", detect=True).result, "1.0")

    def test_detect_says_nothing_about_what_it_tried(self):
        with self.interpreter() as python:
            result = python.run("grep '\\d' x is 5; done", detect=True)
            self.assertEqual((result.is_python, result.stderr), (False, b""))
            self.assertFalse(python.run(b"echo \xff\xfe", detect=True).is_python)
            self.assertFalse(python.run("echo a\0b", detect=True).is_python)

    def test_large_code_runs(self):
        with self.interpreter() as python:
            code = "total = 0\n" + "total += 1\n" * 100_000 + "total"
            self.assertEqual(python.run(code).result, "100000")
            text = "x" * (20 << 20)
            self.assertEqual(python.run("s = '" + text + "'\nlen(s)").result, str(20 << 20))

    def test_activation_reseeds_and_sets_the_environment(self):
        with self.interpreter() as python:
            python.run("import random, os; random.random()")
            python.activate(b"a" * 32, {"INSTAVM_X": "grün", "TZ": "UTC"})
            first = python.run("random.random()").result
            python.activate(b"a" * 32, {})
            self.assertEqual(python.run("random.random()").result, first)
            python.activate(b"b" * 32, {})
            self.assertNotEqual(python.run("random.random()").result, first)
            self.assertEqual(python.run("os.environ['INSTAVM_X']").result, "'grün'")
            self.assertEqual(python.run("!echo $INSTAVM_X").out, "grün\n")

    def test_a_wake_up_leaves_no_trace(self):
        with self.interpreter() as python:
            python.run("_ = 5; print = print")
            for _ in range(3):
                python.wake()
            result = python.run("print(_, sorted(name for name in globals() if not name.startswith('_')))")
            self.assertEqual((result.out, result.err, result.displays), ("5 ['print']\n", "", []))
            python.run("import builtins; builtins.str = builtins.compile = None")
            python.wake()
            self.assertEqual(python.run("print('on')").out, "on\n")

    def test_one_line_that_starts_with_a_call_is_run_as_any_other(self):
        with self.interpreter() as python:
            python.run("def f(n=1):\n    return n\nasync def g(n=2):\n    return n")
            for code, result in (("f(3)", "3"), ("f(3)  \n", "3"), ("f(3) + f(4)", "7"), ("f(\n5\n)", "5"), ("str(await g(6))", "'6'"), ("f(7); f(8)", "8")):
                with self.subTest(code=code):
                    self.assertEqual(python.run(code).result, result)
                    self.assertEqual(python.run(code, detect=True).result, result)
            self.assertEqual(python.run("f(9);").displays, [])
            failed = python.run("f(1/0)")
            self.assertIn("f(1/0)", failed.traceback)
            self.assertEqual(python.run("f(1) = (2)").name, "SyntaxError")

    def test_packages_beside_the_code_can_be_imported_and_poison_is_not(self):
        app = pathlib.Path(self.app)
        (app / "mine.py").write_text("value = 5")
        (app / "traceback.py").write_text("raise SystemExit('poison')")
        poison = app / "poison"
        poison.mkdir()
        for name in ("sitecustomize", "usercustomize", "startup", "ast", "typing_extensions", "traitlets"):
            (poison / (name + ".py")).write_text("raise SystemExit('poison')")
        with self.interpreter(PYTHONPATH=str(poison), PYTHONSTARTUP=str(poison / "startup.py"), PYTHONHOME="/nonexistent") as python:
            self.assertEqual(python.run("import mine; mine.value").result, "5")
            self.assertEqual(python.run("1/0").name, "ZeroDivisionError")
            self.assertIn(str(poison), python.run("import sys; print(sys.path)").out)

    def test_kill_ends_the_process(self):
        with self.interpreter() as python:
            python.start("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
            with self.assertRaises(EOFError):
                python.finish()

    def test_the_end_of_the_requests_ends_the_driver(self):
        with self.interpreter() as python:
            process = python.process
        self.assertEqual(process.returncode, 0)

    def test_stdout_can_be_redirected_for_a_while(self):
        with self.interpreter() as python:
            result = python.run("import io, contextlib\nb = io.StringIO()\nwith contextlib.redirect_stdout(b):\n    print('kept')\n    !echo shell\nprint(repr(b.getvalue()))")
            self.assertEqual(result.out, "'kept\\nshell\\n'\n")


class PlainTest(CellTests, DriverTest):
    """Without the private directory, as in an image that is not ours."""

    def test_magics_are_a_syntax_error(self):
        with self.interpreter() as python:
            self.assertEqual(python.run("%time 1").name, "SyntaxError")


def private_directory():
    """IPython as the base image has it."""
    given = os.environ.get("INSTAVM_TEST_PRIVATE")
    target = tempfile.mkdtemp(prefix="instavm-private-")
    if given:
        shutil.copytree(given, target, dirs_exist_ok=True)
    else:
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:", "--python-version", "3.11", "--target", target, "-r", str(REQUIREMENTS)],
            check=True,
        )
    for name in ("instavm_shell.py", "instavm_figures.py"):
        shutil.copy(HERE / name, target)
    return target


class IPythonTest(CellTests, DriverTest):
    """With IPython, as in the base image."""

    @classmethod
    def setUpClass(cls):
        cls.private = private_directory()
        cls.addClassCleanup(shutil.rmtree, cls.private)

    def test_magics_run(self):
        with self.interpreter() as python:
            self.assertIn("loops", python.run("%timeit -n10 -r2 sum(range(10))").out + "loops")
            self.assertEqual(python.run("%pwd").result, repr(self.app))
            self.assertIn("Wall time", python.run("%%time\nx = 5\n").out)
            self.assertEqual(python.run("x").result, "5")
            self.assertEqual(python.run("%%bash\necho from bash").out, "from bash\n")
            self.assertEqual(python.run("%env INSTAVM_Y=3").status, OK)
            self.assertEqual(python.run("!echo $INSTAVM_Y").out, "3\n")
            self.assertEqual(python.run("files = !echo a; echo b\nfiles").result, "['a', 'b']")
            self.assertEqual(python.run("%%capture out\nprint('hidden')\n!echo shell").out, "")
            self.assertEqual(python.run("out.stdout").result, "'hidden\\nshell\\n'")
            name = python.run("name = 'world'\n!echo {name} $name")
            self.assertEqual(name.out, "world world\n")
            self.assertEqual(python.run("%who_ls str").result, "['name']")
            self.assertEqual(python.run("%matplotlib", detect=True).is_python, True)

    def test_a_failing_magic_fails_the_cell(self):
        with self.interpreter() as python:
            result = python.run("%nosuchmagic")
            self.assertEqual((result.status, result.name), (EXCEPTION, "UsageError"))
            self.assertTrue(result.err.startswith("UsageError: Line magic function `%nosuchmagic` not found"), result.err)
            result = python.run("%%time\n1/0")
            self.assertEqual((result.status, result.name), (EXCEPTION, "ZeroDivisionError"))
            self.assertNotIn("IPython", result.err)
            (pathlib.Path(self.app) / "script.py").write_text("print('run'); raise ValueError('from the script')")
            result = python.run("%run script.py")
            self.assertEqual((result.status, result.name, result.out), (EXCEPTION, "ValueError", "run\n"))
            self.assertEqual(result.err.count("ValueError"), 2)

    def test_help_goes_to_stdout(self):
        with self.interpreter() as python:
            result = python.run("len?")
            self.assertEqual(result.status, OK)
            self.assertIn("Return the number of items", result.out)
            self.assertNotIn("\x1b", result.out)

    def test_rich_objects_are_displayed(self):
        with self.interpreter() as python:
            python.run("class Rich:\n    def _repr_html_(self): return '<b>rich</b>'\n    def __repr__(self): return 'plain'")
            self.assertEqual(python.run("Rich()").displays, [(True, {"text/plain": b"plain", "text/html": b"<b>rich</b>"})])
            result = python.run("display(Rich())\ndisplay('text')")
            self.assertEqual(result.displays[0], (False, {"text/plain": b"plain", "text/html": b"<b>rich</b>"}))
            self.assertEqual(result.displays[1], (False, {"text/plain": b"'text'"}))
            result = python.run("from IPython.display import Image, HTML, JSON\ndisplay(Image(data=b'\\x89PNG\\r\\n\\x1a\\n1234', format='png'))\nJSON({'a': 1})")
            self.assertEqual(result.displays[0][1]["image/png"], b"\x89PNG\r\n\x1a\n1234")
            self.assertEqual(result.displays[1][1]["application/json"], b'{"a": 1}')

    def test_a_cell_has_an_environment_of_its_own(self):
        with self.interpreter(OUTER="o") as python:
            show = "import os, subprocess; print(os.environ.get('ONE'), os.environ['OUTER'], subprocess.check_output(['sh', '-c', 'echo $ONE']), __import__('time').tzname[0])"
            pairs = {"ONE": "1", "OUTER": "\u00fc", "TZ": "XYZ1", "": "x", "a=b": "x"}
            body = struct.pack("<I", len(pairs)) + b"".join(packed(text) for pair in pairs.items() for text in pair)
            before = python.run(show).out
            python.send("E", body)
            self.assertEqual(python.run(show).out, "1 \u00fc b'1\\n' XYZ\n")
            self.assertEqual(python.run(show).out, before)
            python.send("E", body)
            self.assertEqual(python.run("1/0").status, EXCEPTION)
            self.assertEqual(python.run(show).out, before)

    def test_what_is_too_large_to_be_shown_is_sent_as_too_large(self):
        with self.interpreter() as python:
            code = "display({'text/html': 'x' * %d, 'image/svg+xml': 'y' * 200000, 'text/plain': 'z' * 3000000}, raw=True)"
            ((_, data),) = python.run(code % (17 << 20)).displays
            self.assertEqual((len(data["text/html"]), len(data["image/svg+xml"])), ((16 << 20) + 1, 200000))
            self.assertLess(len(data["text/plain"]), 1 << 20)

    def test_a_display_from_a_thread_between_cells_is_dropped(self):
        with self.interpreter() as python:
            code = "import threading, time\ngate = threading.Event(); shown = threading.Event()\ndef late():\n    gate.wait(); time.sleep(0.2); display('late'); shown.set()\nthreading.Thread(target=late, daemon=True).start()"
            python.run(code)
            python.run("gate.set()")
            time.sleep(0.6)
            python.activate(b"", {})
            self.assertEqual(python.run("shown.wait()").displays, [(True, {"text/plain": b"True"})])

    def test_a_broken_rich_repr_leaves_the_plain_one(self):
        with self.interpreter() as python:
            result = python.run("class Rich:\n    def _repr_html_(self): return 1/0\n    def __repr__(self): return 'plain'\nRich()")
            self.assertEqual((result.status, result.result), (OK, "plain"))
            self.assertIn("ZeroDivisionError", result.err)

    def test_long_containers_are_cut(self):
        with self.interpreter() as python:
            result = python.run("list(range(100000))")
            self.assertTrue(result.result.endswith("...]"), result.result[-20:])

    def test_the_namespace_holds_only_the_users_names(self):
        with self.interpreter() as python:
            visible = python.run("print(sorted(n for n in globals() if not n.startswith('__')))").out
            self.assertEqual(visible, "['_dh']\n")
            self.assertEqual(python.run("open.__module__").result, repr(open.__module__))

    def test_a_users_versions_win_and_cannot_break_the_driver(self):
        site = pathlib.Path(self.app) / "site"
        site.mkdir()
        for name in ("typing_extensions", "pygments", "decorator", "wcwidth", "traitlets", "IPython"):
            (site / (name + ".py")).write_text("origin = 'user'\n")
        with self.interpreter(PYTHONPATH=str(site)) as python:
            for name in ("typing_extensions", "pygments", "decorator", "wcwidth"):
                self.assertEqual(python.run("import %s; %s.origin" % (name, name)).result, "'user'")
            self.assertEqual(python.run("%pwd").status, OK)
            self.assertEqual(python.run("!echo fine").out, "fine\n")
            self.assertEqual(python.run("1/0").name, "ZeroDivisionError")

    def test_nothing_of_it_is_loaded_that_is_never_used(self):
        with self.interpreter() as python:
            code = "import sys; print([n for n in ('jedi', 'sqlite3', 'stack_data', 'prompt_toolkit', 'pexpect', 'matplotlib', 'psutil') if n in sys.modules])"
            self.assertEqual(python.run(code).out, "[]\n")

    def test_figures_are_sent_as_images(self):
        fake = pathlib.Path(self.app)
        probe = subprocess.run([PYTHON, "-c", "import matplotlib"], capture_output=True)
        if probe.returncode != 0:
            # No matplotlib here: the end-to-end tests draw a real figure inside a VM.
            with self.interpreter() as python:
                self.assertEqual(python.run("import matplotlib").name, "ModuleNotFoundError")
            return
        with self.interpreter() as python:
            result = python.run("import matplotlib.pyplot as plt\nplt.plot([1, 2]);\nplt.figure(); plt.plot([3]);")
            images = [data["image/png"][:4] for _, data in result.displays]
            self.assertEqual(images, [b"\x89PNG"] * 2)
            self.assertEqual(python.run("plt.get_fignums()").result, "[]")
            self.assertEqual(len(python.run("plt.plot([1]); plt.show(); print('shown')").displays), 1)


if __name__ == "__main__":
    unittest.main()
