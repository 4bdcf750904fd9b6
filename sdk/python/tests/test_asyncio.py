import asyncio
import unittest

from instavm import AsyncInstaVM, ExitEvent, NetworkError
from scripted_server import EXIT, RESULT, SESSION, SESSION_ID, VM_ID, Answer, ScriptedServer, error, event, events
from test_files import UPLOADED, downloaded

OUT = event("stdout", {"text": "out"})


class Asyncio(unittest.IsolatedAsyncioTestCase):
    async def test_calls_at_once_share_one_session_that_ends_with_the_block(self):
        with ScriptedServer() as server:
            async with AsyncInstaVM("key", server.url) as client:
                results = await asyncio.gather(*(client.execute("6 * 7") for _ in range(8)))
                self.assertEqual({result.stdout for result in results}, {"42\n"})
            self.assertEqual(server.lines.count("POST /v1/sessions/session"), 1)
            self.assertEqual(server.lines[-1], f"DELETE /v1/sessions/session/{SESSION_ID}")

    async def test_streams(self):
        with ScriptedServer({"POST /execute": [events(OUT, EXIT)]}) as server:
            async with AsyncInstaVM("key", server.url) as client:
                got = [event async for event in client.stream("code")]
                self.assertEqual([event.type for event in got], ["stdout", "exit"])
                self.assertIsInstance(got[-1], ExitEvent)
                self.assertEqual([text async for text in client.execute_streaming("code")], ["out"])
                async with client.stream("code") as running:
                    self.assertEqual((await anext(running)).text, "out")

    async def test_files_and_background(self):
        ended = {"task_id": "t", "is_complete": True, "exit_code": 1, "serialized_stdout": "o", "serialized_stderr": ""}
        answers = {
            "POST /upload": [UPLOADED],
            "POST /download": [downloaded(b"content")],
            "POST /execute_async": [Answer({"task_id": "t"})],
            "GET /v1/executions/t": [Answer({"is_complete": False}), Answer(ended)],
            "GET /v1/vms": [Answer([{"vm_id": "v"}])],
            f"GET /v1/sessions/session/{SESSION_ID}": [Answer(SESSION)],
            f"POST /v1/vms/{VM_ID}/fork": [Answer({"vms": [{"vm_id": "f", "session_id": "forked"}]})],
            "DELETE /v1/sessions/session/forked": [Answer({"status": "killed"})],
        }
        with ScriptedServer(answers) as server:
            async with AsyncInstaVM("key", server.url) as client:
                self.assertEqual((await client.upload_file(b"abc", "x")).size, 3)
                self.assertEqual((await client.download_file("x")).content, b"content")
                task = await client.execute_async("code")
                self.assertIs((await client.get_task_result(task.task_id)).success, False)
                self.assertEqual((await client.vms.list())[0].vm_id, "v")
                (fork,) = await client.fork()
                async with fork:
                    self.assertEqual(fork.session_id, "forked")

    async def test_failures_and_retries(self):
        answers = {"POST /execute": [error(503, "capacity", retry_after="0"), Answer(RESULT), error(503, "vm_lost")]}
        with ScriptedServer(answers) as server:
            async with AsyncInstaVM("key", server.url) as client:
                self.assertEqual((await client.execute("1")).exit_code, 0)
                with self.assertRaises(NetworkError):
                    await client.execute("1")

    async def test_a_call_that_is_cancelled_ends_at_once(self):
        with ScriptedServer({"POST /execute": [events(then=lambda handler: handler.rfile.read(1))]}) as server:
            async with AsyncInstaVM("key", server.url) as client:
                with self.assertRaises(asyncio.TimeoutError):
                    await asyncio.wait_for(client.execute("1"), 0.2)


if __name__ == "__main__":
    unittest.main()
