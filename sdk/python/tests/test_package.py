import os
import re
import subprocess
import sys
import tempfile
import unittest
import zipfile
from pathlib import Path

import generate_sync
import instavm
from installed_wheel import PROJECT, build_wheel, install

CONTRACT_VERSION = PROJECT.parents[1] / "packages" / "contract" / "src" / "version.ts"
USE = """
from instavm import AsyncInstaVM, InstaVM

def use(client: InstaVM) -> str:
    with client as same, same.stream("1") as events:
        for event in events:
            if event.type == "stdout":
                print(event.text)
    number: int = client.execute("1").exit_code
    with client.commands.start("sleep 1") as command:
        for came in command:
            if came.type == "stdout":
                print(came.text)
    context: str = client.contexts.create("javascript").context_id
    print(context, client.files.download_directory("a", "b").entries)
    return client.vms.list()[0].vm_id + str(number)

async def use_async(client: AsyncInstaVM) -> str:
    async for event in client.stream("1"):
        if event.type == "exit":
            return event.result.stdout
    return (await client.execute("1")).stdout
"""
MISUSE = "from instavm import InstaVM\nInstaVM().execute('1').no_such_field\nInstaVM(cpu_count='2')\n"


def mypy(*arguments, python=None):
    at = ["--python-executable", str(python)] if python else []
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--cache-dir", os.devnull, *at, *arguments]
    ended = subprocess.run(command, cwd=PROJECT, text=True, capture_output=True, timeout=300)
    return ended.stdout + ended.stderr


class Package(unittest.TestCase):
    def test_the_blocking_client_is_what_the_asynchronous_one_makes(self):
        made = generate_sync.sync_modules()
        there = {path: path.read_text() for path in (generate_sync.PACKAGE / "_sync").glob("*.py")}
        self.assertEqual(there, made, "run: python3 sdk/python/generate_sync.py")
        left = [
            text
            for text in made.values()
            if re.search(r"\b(await|asyncio|Async\w+|__a(enter|exit|iter|next)__)\b", text)
        ]
        self.assertEqual(left, [])

    def test_both_clients_have_the_same_methods(self):
        for name in ("InstaVM", "Vms", "Files", "ApiKeys", "ExecutionStream", "Command", "Commands", "Contexts"):
            blocking, asynchronous = (
                {
                    method.removeprefix("a") if method == "aclose" else method
                    for method in vars(kind)
                    if method[0] != "_"
                }
                for kind in (getattr(instavm, name), getattr(instavm, f"Async{name}"))
            )
            self.assertEqual(blocking, asynchronous)

    def test_everything_that_is_offered_is_there_and_explained(self):
        self.assertEqual(instavm.__all__, sorted(instavm.__all__))
        for name in instavm.__all__:
            if name not in ("__version__", "ExecutionEvent", "CommandEvent"):
                self.assertTrue(getattr(instavm, name).__doc__, name)

    def test_the_version_is_the_servers(self):
        version = re.search(r'version = "([^"]+)"', CONTRACT_VERSION.read_text())
        self.assertEqual(instavm.__version__, version and version[1])

    def test_types_hold(self):
        self.assertRegex(mypy(), r"^Success: no issues found")


class Wheel(unittest.TestCase):
    def test_the_wheel_holds_the_package_alone_and_works_installed(self):
        with tempfile.TemporaryDirectory(prefix="instavm-python-") as name:
            directory = Path(name)
            wheel = build_wheel(directory / "wheel")
            with zipfile.ZipFile(wheel) as archive:
                names = archive.namelist()
                (metadata,) = (archive.read(name).decode() for name in names if name.endswith("/METADATA"))
            self.assertEqual(
                {name.partition("/")[0] for name in names}, {"instavm", f"instavm-{instavm.__version__}.dist-info"}
            )
            self.assertIn("instavm/py.typed", names)
            self.assertIn("License-Expression: Apache-2.0", metadata)
            self.assertTrue(any(name.endswith("/licenses/LICENSE") for name in names))
            self.assertEqual(re.findall(r"^Requires-Dist: (.*)$", metadata, re.M), ["httpx<1,>=0.27"])

            python = install(wheel, directory / "venv")
            code = "import instavm, sys; print(instavm.__version__, sys.prefix in instavm.__file__)"
            environment = {"PATH": os.environ["PATH"]}
            seen = subprocess.run(
                [python, "-c", code], env=environment, text=True, capture_output=True, timeout=60, cwd=name
            )
            self.assertEqual((seen.stdout, seen.stderr), (f"{instavm.__version__} True\n", ""))

            (directory / "use.py").write_text(USE)
            (directory / "misuse.py").write_text(MISUSE)
            self.assertRegex(mypy(str(directory / "use.py"), python=python), r"^Success")
            wrong = mypy(str(directory / "misuse.py"), python=python)
            self.assertRegex(wrong, "no_such_field")
            self.assertRegex(wrong, "Found 2 errors")


if __name__ == "__main__":
    unittest.main()
