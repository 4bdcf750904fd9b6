"""Drives a real server through the installed Python SDK; INSTAVM_BASE_URL and INSTAVM_STATE_DIR name the server."""

import asyncio
import io
import json
import os
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import instavm
from instavm import AsyncInstaVM, InstaVM

FIGURE = """
from IPython.display import display, HTML, SVG
display(HTML('<table><tr><td>1</td></tr></table>'))
display(SVG('<svg xmlns="http://www.w3.org/2000/svg"/>'))
print('printed')
40 + 2
"""


class OneSession(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.client = InstaVM(env={"NAME": "grün"}, timeout=1200)
        cls.addClassCleanup(cls.client.close)

    def test_state_and_files_stay_from_call_to_call(self):
        self.client.execute("kept = 41")
        result = self.client.execute("kept + 1")
        self.assertEqual(
            (result.stdout, result["stdout"], result.exit_code, result.language), ("42\n", "42\n", 0, "python")
        )
        self.client.execute("echo more > kept.txt", language="bash")
        self.assertEqual(self.client.execute("cat kept.txt").stdout, "more\n")
        self.assertEqual(self.client.execute("import os; print(os.environ['NAME'])").stdout, "grün\n")

    def test_code_that_fails_is_a_result(self):
        result = self.client.execute("1 / 0")
        self.assertEqual((result.success, result.error.name, result.exit_code), (False, "ZeroDivisionError", 1))
        self.assertIn("Traceback", result.stderr)
        with self.assertRaises(instavm.ExecutionError):
            result.raise_for_error()
        late = self.client.execute("import time\nprint('before')\ntime.sleep(60)", timeout=6)
        self.assertEqual((late.timed_out, late.exit_code, late.stdout), (True, 124, "before\n"))

    def test_what_code_displays_is_shown_in_a_notebook(self):
        result = self.client.execute(FIGURE)
        forms = [sorted(display.forms) for display in result.displays]
        self.assertEqual(forms, [["text/html", "text/plain"], ["image/svg+xml", "text/plain"], ["text/plain"]])
        html = result._repr_mimebundle_()["text/html"]
        self.assertIn("&lt;table&gt;", html)
        self.assertIn('<img src="data:image/svg+xml;base64,', html)
        self.assertTrue(html.startswith('<pre style="">printed\n</pre>'), html)
        self.assertTrue(html.endswith('<pre style="">42</pre>'), html)

    def test_output_comes_while_the_code_runs(self):
        code = "import time\nfor n in range(3):\n    print(n)\n    time.sleep(1)\n'last'"
        times, types, text = [], [], ""
        for event in self.client.stream(code, timeout=60):
            times.append(time.monotonic())
            types.append(event.type)
            text += event.text if event.type == "stdout" else ""
        self.assertEqual((text, types[0], types[-2:]), ("0\n1\n2\n", "stdout", ["result", "exit"]))
        self.assertGreater(times[-1] - times[0], 2)

    def test_leaving_a_stream_ends_its_code(self):
        with self.client.stream("import time\nfor n in range(600):\n    print(n)\n    time.sleep(0.1)") as events:
            self.assertTrue(next(events).text.startswith("0"))
        started = time.monotonic()
        self.assertEqual(self.client.execute("print('free')", timeout=30).stdout, "free\n")
        self.assertLess(time.monotonic() - started, 30)

    def test_ten_megabytes_come_through_a_stream(self):
        text = io.StringIO()
        for piece in self.client.execute_streaming("for _ in range(10): print('ü' * 512 * 1024)", timeout=120):
            text.write(piece)
        self.assertEqual(text.getvalue(), ("ü" * 512 * 1024 + "\n") * 10)

    def test_code_in_the_background(self):
        task = self.client.execute_async("import time; time.sleep(1); print('done'); 1 / 0")
        result = self.client.get_task_result(task["task_id"], timeout=60)
        self.assertEqual((result.status, result.exit_code, result.stdout), ("completed", 1, "done\n"))
        self.assertIn("ZeroDivisionError", result["stderr"])
        self.assertIn(task.task_id, [listed.task_id for listed in self.client.list_executions()])

    def test_files_go_up_and_come_down_as_they_are(self):
        with tempfile.TemporaryDirectory(prefix="instavm-python-") as name:
            directory = Path(name, "a folder")
            (directory / "sub").mkdir(parents=True)
            content = os.urandom(3_000_000)
            (directory / "binary").write_bytes(content)
            (directory / "sub" / "-ü \n.txt").write_text("text")
            (directory / "empty").touch()
            self.client.upload_file(directory, "up", recursive=True)
            self.assertEqual(self.client.download_file("up/binary", Path(name, "down")).size, len(content))
            self.assertEqual(Path(name, "down").read_bytes(), content)
        self.assertEqual(self.client.download_file("up/sub/-ü \n.txt").content, b"text")
        self.assertEqual(self.client.download_file("/app/up/empty").content, b"")
        with self.assertRaises(FileNotFoundError):
            self.client.download_file("up/nothing")

    def test_files_are_written_read_listed_moved_and_removed(self):
        files = self.client.files
        content = os.urandom(300_000)
        self.assertEqual(files.write("raw/a", content, mode="0600").path, "/app/raw/a")
        self.assertEqual(files.read("raw/a"), content)
        self.assertEqual(files.read("raw/a", offset=5, length=7), content[5:12])
        self.assertEqual((files.stat("raw/a").size, files.stat("raw/a").mode), (300_000, "0600"))
        with self.assertRaises(instavm.ConflictError):
            files.write("raw/a", b"", must_be_new=True)
        files.mkdir("raw/d/e")
        self.assertEqual(files.move("raw/a", "raw/d/b").name, "b")
        self.assertEqual([(each.name, each.type) for each in files.list("raw/d")], [("b", "file"), ("e", "directory")])
        self.assertEqual(files.change("raw/d/b", mode="0644").mode, "0644")
        self.assertEqual(files.remove("raw", recursive=True), 4)
        self.assertIs(files.exists("raw"), False)
        self.assertIn(b"Linux", files.read("/proc/version"))
        self.client.execute("for n in range(1200): open(f'/tmp/{n:04}', 'w')")
        self.assertEqual([each.name for each in files.list("/tmp")], [f"{n:04}" for n in range(1200)])

    def test_whole_directories_go_in_and_come_out(self):
        with tempfile.TemporaryDirectory(prefix="instavm-python-") as name:
            source, target = Path(name, "source"), Path(name, "target")
            (source / "sub" / ("d" * 120)).mkdir(parents=True)
            (source / "sub" / ("d" * 120) / "-ü \n").write_text("text")
            (source / os.fsdecode(b"\xff")).write_text("odd")
            (source / "big").write_bytes(os.urandom(60_000))
            (source / "big").chmod(0o750)
            (source / "link").symlink_to("sub/none")
            up = self.client.files.upload_directory(source, "tree")
            self.assertEqual(up, {"size": 60_007, "entries": 6, "skipped": 0})
            self.client.commands.run("ln -s /etc/passwd tree/out")
            down = self.client.files.download_directory("/app/tree", target)
            self.assertEqual(down, {"size": 60_007, "entries": 6, "skipped": 1})
            subprocess.run(["diff", "-r", "--no-dereference", source, target], check=True)
            self.assertEqual((target / "big").stat().st_mode & 0o777, 0o750)

    def test_contexts_have_variables_of_their_own(self):
        contexts = self.client.contexts
        self.client.execute("x = 'default'")
        python = contexts.create(cwd="/tmp", env={"WHO": "me"}).context_id
        self.assertEqual(contexts.run(python, "import os; x = 1; print(os.getcwd(), os.environ['WHO'])").stdout, "/tmp me\n")
        bash = contexts.create("bash").context_id
        contexts.run(bash, "cd /usr; z=kept")
        self.assertEqual(contexts.run(bash, "echo $z $PWD").stdout, "kept /usr\n")
        self.assertEqual(self.client.execute("print(x)").stdout, "default\n")
        self.assertLessEqual({python, bash}, {context.context_id for context in contexts.list()})
        busy = threading.Thread(target=lambda: errors.append(contexts.run(python, "import time; time.sleep(100)").error))
        errors = []
        busy.start()
        while not contexts.get(python).is_busy:
            time.sleep(0.05)
        contexts.interrupt(python)
        busy.join(60)
        self.assertEqual(errors[0].name, "KeyboardInterrupt")
        self.assertEqual(self.client.execute("x", context_id=python).stdout, "1\n")
        contexts.restart(python)
        self.assertEqual(contexts.run(python, "x").error.name, "NameError")
        contexts.delete(python)
        with self.assertRaises(instavm.NotFoundError):
            contexts.run(python, "1")

    def test_commands_in_the_background(self):
        commands = self.client.commands
        echo = commands.start('read line; echo "got $line"; echo err >&2; cat; exit 5', stdin=True, tag="echo")
        echo.write_stdin("first\n")
        echo.write_stdin(b"second", close=True)
        self.assertEqual(echo.wait().exit_code, 5)
        for reader, expected in (echo, "got first\nsecond"), (commands.attach(echo.command_id, offset=4), "first\nsecond"):
            came = list(reader)
            self.assertEqual("".join(event.text for event in came if event.type == "stdout"), expected)
            self.assertEqual((came[-1].type, came[-1].info.exit_code), ("exit", 5))
        self.assertEqual([each.command_id for each in commands.list(tag="echo")], [echo.command_id])
        with commands.start(["sleep", "1000"], user="nobody", cwd="/tmp") as sleeper:
            with self.assertRaises(TimeoutError):
                sleeper.wait(timeout=0.1)
            sleeper.kill("SIGINT")
            self.assertEqual(sleeper.wait().signal, 2)
        with self.assertRaises(instavm.NotFoundError):
            commands.get(sleeper.command_id)

    def test_threads_share_a_session(self):
        outputs = []
        calls = [lambda n=n: outputs.append(self.client.execute(f"print({n})").stdout) for n in range(8)]
        threads = [threading.Thread(target=call) for call in calls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(sorted(outputs), [f"{n}\n" for n in range(8)])

    def test_a_session_can_be_looked_at(self):
        self.client.execute("1")
        self.assertTrue(self.client.is_session_active())
        self.assertEqual(self.client.get_session_info().memory_mb, 512)
        self.assertGreater(self.client.get_usage().executions, 0)
        self.assertIn(self.client.session_id, [sandbox.session_id for sandbox in self.client.list_sandboxes()])
        self.assertEqual(self.client.health().version, instavm.__version__)


class OwnSessions(unittest.TestCase):
    def test_the_end_of_a_block_is_the_end_of_the_vm(self):
        with InstaVM() as client:
            client.execute("1")
            session_id = client.session_id
        with InstaVM() as other:
            self.assertFalse(other.get_session_status(session_id).vm_alive)
            with self.assertRaises(instavm.SessionError), InstaVM(session_id=session_id) as ended:
                ended.execute("1")

    def test_kill_and_close_session_begin_anew(self):
        with InstaVM() as client:
            client.execute("kept = 1")
            self.assertEqual(client.kill().status, "killed")
            self.assertEqual(client.execute("'kept' in globals()").stdout, "False\n")
            client.close_session()
            self.assertIs(client.is_session_active(), False)

    def test_a_session_is_made_once_however_often_its_answer_is_lost(self):
        keys = []

        class Forgetful(BaseHTTPRequestHandler):
            def do_POST(self):
                keys.append(self.headers["idempotency-key"])
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name: self.headers[name] for name in ("x-api-key", "idempotency-key", "content-type")}
                request = urllib.request.Request(os.environ["INSTAVM_BASE_URL"] + self.path, body, headers)
                with urllib.request.urlopen(request, timeout=120) as answer:
                    text = answer.read()
                if len(keys) > 2:
                    self.send_response(200)
                    self.end_headers()
                    self.wfile.write(text)

            def log_message(self, *_):
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Forgetful) as proxy:
            serving = threading.Thread(target=proxy.serve_forever)
            serving.start()
            try:
                client = InstaVM(base_url=f"http://127.0.0.1:{proxy.server_port}", metadata={"of": "lost answers"})
                session_id = client.start_session()
            finally:
                proxy.shutdown()
                serving.join()
        self.assertEqual((len(keys), len(set(keys))), (3, 1))
        with InstaVM(session_id=session_id) as other:
            found = [sandbox.session_id for sandbox in other.list_sandboxes(metadata={"of": "lost answers"})]
            self.assertEqual(found, [session_id])
            other.kill(session_id)

    def test_vms(self):
        with InstaVM() as client:
            vm = client.vms.create(name="worker", metadata={"team": "red"}, vm_lifetime_seconds=300)
            self.assertIn(vm.vm_id, [listed.vm_id for listed in client.vms.list()])
            with InstaVM(session_id=vm.session_id) as inside:
                self.assertEqual(inside.execute("print(1)").stdout, "1\n")
            self.assertEqual(client.vms.get(vm.vm_id).status, "active")
            self.assertEqual(client.vms.update(vm.vm_id, name="boss").name, "boss")
            with self.assertRaises(instavm.ConflictError):
                client.vms.update(vm.vm_id, memory_mb=1024)
            client.vms.delete(vm.vm_id)
            self.assertEqual(client.vms.get(vm.vm_id).status, "terminated")
            self.assertIn(vm.vm_id, [listed.vm_id for listed in client.vms.list_all_records()])
            with self.assertRaises(instavm.UnsupportedOperationError):
                client.vms.create(snapshot_id="none")

    def test_a_key_sees_its_own_and_is_revoked_at_once(self):
        with InstaVM() as admin:
            key = admin.api_keys.create(description="for a test")
            admin.execute("1")
            with InstaVM(api_key=key.key) as client:
                self.assertEqual(client.get_current_user().role, "user")
                self.assertEqual(client.list_sandboxes(), [])
                with self.assertRaises(instavm.SessionError):
                    client.get_session_info(admin.session_id)
                with self.assertRaises(instavm.ForbiddenError):
                    client.api_keys.create()
                admin.api_keys.delete(key.id)
                with self.assertRaises(instavm.AuthenticationError):
                    client.execute("1")

    def test_over_a_limit_the_limit_is_named(self):
        with InstaVM(vm_lifetime_seconds=90_000) as client:
            with self.assertRaisesRegex(instavm.ForbiddenError, "VM lifetime cannot exceed 86400s"):
                client.execute("1")


class Contract(unittest.TestCase):
    ANSWERS = {
        instavm.ApiKey: ("post", "/v1/api-keys"),
        instavm.CommandInfo: ("get", "/v1/vms/{vm_id}/commands/{command_id}"),
        instavm.Context: ("get", "/v1/vms/{vm_id}/contexts/{context_id}"),
        instavm.CurrentUser: ("get", "/v1/users/me"),
        instavm.ExecutionResult: ("post", "/execute"),
        instavm.FileInfo: ("get", "/v1/vms/{vm_id}/files/stat"),
        instavm.Health: ("get", "/health"),
        instavm.KilledSession: ("post", "/kill"),
        instavm.Sandbox: ("get", "/v1/sessions/sandboxes"),
        instavm.Session: ("post", "/v1/sessions/session"),
        instavm.SessionStatus: ("get", "/v1/sessions/status/{session_id}"),
        instavm.SessionUsage: ("get", "/v1/sessions/usage/{session_id}"),
        instavm.Task: ("get", "/v1/executions"),
        instavm.UploadedFile: ("post", "/upload"),
        instavm.Vm: ("get", "/v1/vms"),
        instavm.WrittenFile: ("put", "/v1/vms/{vm_id}/files"),
        instavm.WrittenTree: ("put", "/v1/vms/{vm_id}/files/tar"),
    }

    def test_every_field_that_the_types_name_is_in_the_servers_document(self):
        with urllib.request.urlopen(f"{os.environ['INSTAVM_BASE_URL']}/openapi.json", timeout=30) as response:
            paths = json.load(response)["paths"]
        for kind, (method, path) in self.ANSWERS.items():
            schema = paths[path][method]["responses"]["200"]["content"]["application/json"]["schema"]
            described = schema.get("items", schema)["properties"]
            self.assertEqual(set(kind.__annotations__) - set(described), set(), kind.__name__)


class AsNewcomersAreTold(unittest.TestCase):
    """What the announcements of InstaVM show, with this server's key."""

    def test_the_client_of_the_first_page(self):
        client = InstaVM(api_key=admin_key())
        client.execute("import json")
        result = client.execute("import json; print(json.__name__)")
        self.assertEqual(result["stdout"], "json\n")
        self.assertIsInstance(result["execution_time"], float)
        client.close_session()

    def test_size_and_environment(self):
        with InstaVM(api_key=admin_key(), cpu_count=4, memory_mb=1024) as vm:
            self.assertEqual(vm.execute("import multiprocessing; print(multiprocessing.cpu_count())").stdout, "4\n")
        with InstaVM(api_key=admin_key(), env={"DATABASE_URL": "postgres://..."}) as vm:
            self.assertEqual(vm.execute("import os; print(os.getenv('DATABASE_URL'))").stdout, "postgres://...\n")


class Asyncio(unittest.IsolatedAsyncioTestCase):
    async def test_the_asynchronous_client_does_the_same(self):
        async with AsyncInstaVM() as client:
            results = await asyncio.gather(*(client.execute(f"print({n})") for n in range(4)))
            self.assertEqual([result.stdout for result in results], ["0\n", "1\n", "2\n", "3\n"])
            types = [event.type async for event in client.stream("print(1)")]
            self.assertEqual((types[0], types[-1]), ("stdout", "exit"))
            await client.upload_file(b"content", "x")
            self.assertEqual(await client.files.read("x"), b"content")
            self.assertEqual((await client.files.write("y", __file__)).size, Path(__file__).stat().st_size)
            self.assertEqual((await client.download_file("x")).content, b"content")
            task = await client.execute_async("print('later')")
            self.assertEqual((await client.get_task_result(task.task_id)).stdout, "later\n")
            self.assertTrue(await client.is_session_active())
            async with await client.commands.start("echo begun; sleep 1; echo over") as command:
                texts = [event.text async for event in command if event.type == "stdout"]
            self.assertEqual(texts, ["begun\n", "over\n"])


def admin_key():
    return Path(os.environ["INSTAVM_STATE_DIR"], "admin-key").read_text().strip()


if __name__ == "__main__":
    unittest.main()
