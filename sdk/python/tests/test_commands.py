import asyncio
import unittest

import instavm
from instavm import AsyncInstaVM, CommandExit, CommandText, DroppedOutput
from scripted_server import RESULT, SESSION, SESSION_ID, VM_ID, Answer, ClientTest, ScriptedServer, error, event, events

RUNNING = {
    "id": 3,
    "command_id": 3,
    "vm_id": VM_ID,
    "tag": "web",
    "command": "sleep 9",
    "pid": 77,
    "is_running": True,
    "stdin_is_open": True,
    "started_at": "2026-01-02T03:04:05Z",
    "ended_at": None,
    "output_bytes": 0,
    "output_start": 0,
    "truncated": False,
    "exit_code": None,
    "signal": None,
    "timed_out": False,
    "out_of_memory": False,
    "execution_time": None,
    "cpu_time": None,
}
ENDED = {**RUNNING, "is_running": False, "stdin_is_open": False, "exit_code": 143, "signal": 15}
COMMANDS = f"/v1/vms/{VM_ID}/commands"
OUTPUT = f"GET {COMMANDS}/3/output"
CONTEXTS = f"/v1/vms/{VM_ID}/contexts"
CONTEXT = {
    "id": "python-1",
    "context_id": "python-1",
    "vm_id": VM_ID,
    "language": "python",
    "cwd": "/root",
    "is_busy": False,
}


def server_of(answers):
    always = {f"GET /v1/sessions/session/{SESSION_ID}": [Answer(SESSION)], f"GET {COMMANDS}/3": [Answer(RUNNING)]}
    return ScriptedServer({**always, **answers})


def position(offset, dropped=0):
    return event("position", {"offset": offset, "dropped_bytes": dropped})


def text(name, value, offset):
    return event(name, {"text": value, "offset": offset, "next_offset": offset + len(value)})


class Commands(ClientTest):
    def test_a_command_is_started_with_what_was_said_and_nothing_else(self):
        with server_of({f"POST {COMMANDS}": [Answer(RUNNING)]}) as server, self.client(server) as client:
            command = client.commands.start("sleep 9", tag="web", stdin=True, timeout=20, env={"A": "b"})
            self.assertEqual((command.command_id, command.info.tag, command.info.exit_code), (3, "web", None))
            wanted = {"command": "sleep 9", "tag": "web", "stdin": True, "timeout": 20, "env": {"A": "b"}}
            self.assertEqual(server.asked[-1].json, wanted)
            client.commands.start(["ls", "-l"], cwd="/tmp", user="nobody")
            self.assertEqual(
                server.asked[-1].json, {"argv": ["ls", "-l"], "stdin": False, "cwd": "/tmp", "user": "nobody"}
            )

    def test_commands_are_listed_by_their_tag_and_run_in_the_foreground(self):
        with server_of({f"GET {COMMANDS}": [Answer([RUNNING, ENDED])]}) as server, self.client(server) as client:
            self.assertEqual([each.is_running for each in client.commands.list(tag="a b")], [True, False])
            self.assertEqual(server.asked[-1].path, f"{COMMANDS}?tag=a+b")
            self.assertEqual(client.commands.run("true", timeout=5).stdout, RESULT["stdout"])
            asked = {"command": "true", "language": "bash", "session_id": SESSION_ID, "timeout": 5}
            self.assertEqual(server.asked[-1].json, asked)

    def test_stdin_is_written_as_bytes_and_closed_and_signals_are_sent(self):
        answers = {f"POST {COMMANDS}/3/stdin": [Answer({"size": 3})], f"POST {COMMANDS}/3/signal": [Answer(ENDED)]}
        with server_of(answers) as server, self.client(server) as client:
            command = client.commands.attach(3)
            command.write_stdin("hü")
            self.assertEqual(server.asked[-1].body, "hü".encode())
            self.assertEqual(server.asked[-1].headers["content-type"], "application/octet-stream")
            command.close_stdin()
            self.assertEqual(server.asked[-1].path, f"{COMMANDS}/3/stdin?close=true")
            self.assertEqual(command.kill().signal, 15)
            self.assertEqual(server.asked[-1].json, {"signal": "SIGTERM"})
            command.kill(10)
            self.assertEqual(server.asked[-1].json, {"signal": 10})

    def test_its_end_is_waited_for_until_the_deadline(self):
        looks = [Answer(RUNNING), Answer(RUNNING), Answer(ENDED)]
        with server_of({f"GET {COMMANDS}/3": looks}) as server, self.client(server) as client:
            command = client.commands.attach(3)
            self.assertEqual(command.wait().exit_code, 143)
            self.assertEqual(server.asked[-1].path, f"{COMMANDS}/3?wait=25.000")
            self.assertEqual(len(server.asked), 5)
        with server_of({}) as server, self.client(server) as client:
            with self.assertRaisesRegex(TimeoutError, "Command 3 still runs after 0.05 s; it runs on."):
                client.commands.attach(3).wait(timeout=0.05)

    def test_its_end_is_waited_for_also_while_the_server_is_away_for_a_moment(self):
        away = [Answer(b"<html>", 502)] * 5
        with server_of({f"GET {COMMANDS}/3": [Answer(RUNNING), *away, Answer(ENDED)]}) as server:
            self.assertEqual(self.client(server).commands.attach(3).wait().exit_code, 143)

    def test_output_is_read_to_the_exit_and_on_where_a_connection_broke(self):
        streams = [
            events(position(0), text("stdout", "abc", 0)),
            events(event("error", {"detail": "Stopping.", "code": "unavailable", "next": "-", "request_id": "r"})),
            events(position(3), text("stderr", "de", 3), event("of a newer server", {}), ": alive\n\n", event("exit", ENDED)),
        ]
        with server_of({OUTPUT: streams}) as server, self.client(server) as client:
            came = list(client.commands.attach(3))
            self.assertEqual(came[:2], [CommandText("stdout", "abc", 0, 3), CommandText("stderr", "de", 3, 5)])
            self.assertIsInstance(came[2], CommandExit)
            self.assertEqual(came[2].info.exit_code, 143)
            asked = [each.path for each in server.asked if "/output" in each.path]
            self.assertEqual(asked, [f"{COMMANDS}/3/output?offset={offset}" for offset in (0, 3, 3)])

    def test_a_reader_hears_of_what_it_missed(self):
        stream = events(position(10, 10), text("stdout", "k", 10), position(500, 489), event("exit", ENDED))
        with server_of({OUTPUT: [stream]}) as server, self.client(server) as client:
            dropped = [each for each in client.commands.attach(3) if isinstance(each, DroppedOutput)]
            self.assertEqual(dropped, [DroppedOutput("dropped", 10, 10), DroppedOutput("dropped", 489, 500)])

    def test_what_is_there_now_is_read_from_the_end_or_from_an_offset_of_ones_own(self):
        stream = events(position(5), text("stdout", "x", 5), event("more", RUNNING))
        with server_of({OUTPUT: [stream]}) as server, self.client(server) as client:
            command = client.commands.attach(3, offset=5)
            self.assertEqual([each.text for each in command.output(follow=False)], ["x"])
            self.assertEqual(server.asked[-1].path, f"{COMMANDS}/3/output?offset=5&follow=false")
            list(command.output(0, from_end=True))
            self.assertEqual(server.asked[-1].path, f"{COMMANDS}/3/output?offset=0&from_end=true")

    def test_a_stream_that_breaks_again_and_again_or_says_an_error_is_one(self):
        with server_of({OUTPUT: [events(position(0))]}) as server, self.client(server) as client:
            with self.assertRaisesRegex(instavm.NetworkError, "ended before the command did"):
                list(client.commands.attach(3))
            self.assertEqual(len([each for each in server.asked if "/output" in each.path]), 7)
        failure = {"detail": "Gone.", "code": "vm_lost", "next": "-", "request_id": "r"}
        with server_of({OUTPUT: [events(event("error", failure))]}) as server, self.client(server) as client:
            with self.assertRaises(instavm.NetworkError) as raised:
                list(client.commands.attach(3))
            self.assertEqual(raised.exception.code, "vm_lost")

    def test_leaving_its_block_ends_a_command_and_one_that_is_forgotten_is_no_error(self):
        answers = {
            f"POST {COMMANDS}": [Answer(RUNNING)],
            f"DELETE {COMMANDS}/3": [Answer({"message": "ended"}), error(404, "command_not_found")],
        }
        with server_of(answers) as server, self.client(server) as client:
            with client.commands.start("sleep 9") as command:
                self.assertEqual(repr(command), "Command(command_id=3, command='sleep 9')")
            self.assertEqual(server.lines[-1], f"DELETE {COMMANDS}/3")
            command.delete()

    def test_the_asynchronous_client_does_the_same(self):
        async def use(url):
            async with AsyncInstaVM("key", url) as client, await client.commands.start("sleep 9") as command:
                return [each.type async for each in command], (await command.wait()).exit_code

        answers = {
            f"POST {COMMANDS}": [Answer(RUNNING)],
            f"GET {COMMANDS}/3": [Answer(ENDED)],
            f"DELETE {COMMANDS}/3": [Answer({"message": "ended"})],
            OUTPUT: [events(position(0), text("stdout", "a", 0)), events(position(1), event("exit", ENDED))],
        }
        with server_of(answers) as server:
            self.assertEqual(asyncio.run(use(server.url)), (["stdout", "exit"], 143))
            self.assertIn(f"DELETE {COMMANDS}/3", server.lines)


class Contexts(ClientTest):
    def test_contexts_are_made_listed_used_restarted_interrupted_and_deleted(self):
        answers = {
            f"POST {CONTEXTS}": [Answer(CONTEXT)],
            f"GET {CONTEXTS}": [Answer([CONTEXT])],
            f"GET {CONTEXTS}/python-1": [Answer(CONTEXT)],
            f"POST {CONTEXTS}/python-1/interrupt": [Answer(CONTEXT)],
            f"POST {CONTEXTS}/python-1/restart": [Answer(CONTEXT)],
            f"DELETE {CONTEXTS}/python-1": [Answer({"message": "ended", **CONTEXT})],
        }
        with server_of(answers) as server, self.client(server) as client:
            context = client.contexts.create(cwd="/root")
            self.assertEqual(server.asked[-1].json, {"language": "python", "cwd": "/root"})
            self.assertEqual(client.contexts.list(), [CONTEXT])
            self.assertIs(client.contexts.get("python-1").is_busy, False)
            client.contexts.run(context.context_id, "1", timeout=5)
            asked = {"command": "1", "session_id": SESSION_ID, "timeout": 5, "context_id": "python-1"}
            self.assertEqual(server.asked[-1].json, asked)
            client.contexts.interrupt("python-1")
            client.contexts.restart("python-1")
            client.contexts.delete("python-1")
            self.assertEqual(server.lines[-1], f"DELETE {CONTEXTS}/python-1")


if __name__ == "__main__":
    unittest.main()
