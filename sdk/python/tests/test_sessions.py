import json
import threading
import unittest

from instavm import InstaVMError, NetworkError, SessionError
from scripted_server import RESULT, SESSION, SESSION_ID, VM_ID, Answer, ClientTest, ScriptedServer, error

END = f"DELETE /v1/sessions/session/{SESSION_ID}"


class Sessions(ClientTest):
    def test_a_session_begins_with_the_first_call_that_needs_it_and_ends_with_the_block(self):
        with ScriptedServer() as server:
            with self.client(server) as client:
                self.assertEqual((client.session_id, server.asked), (None, []))
                client.execute("6 * 7")
                client.execute("6 * 7")
                self.assertEqual(client.session_id, SESSION_ID)
            self.assertEqual(server.lines, ["POST /v1/sessions/session", "POST /execute", "POST /execute", END])
            self.assertTrue(all(asked.headers["x-api-key"] == "key" for asked in server.asked))

    def test_a_block_that_runs_nothing_asks_the_server_for_nothing(self):
        with ScriptedServer() as server:
            with self.client(server):
                pass
            self.assertEqual(server.asked, [])

    def test_the_session_is_created_as_the_client_was(self):
        wish = {"cpu_count": 4, "memory_mb": 4096, "env": {"A": "b"}, "metadata": {"k": [1]}}
        with ScriptedServer() as server:
            self.client(server, timeout=120, **wish).start_session()
            self.client(server, timeout=120, vm_lifetime_seconds=60).start_session()
            first, second = (asked.json for asked in server.asked)
        body = {"vcpu_count": 4, "memory_mb": 4096, "env": {"A": "b"}, "metadata": {"k": [1]}}
        self.assertEqual(first, {"vm_lifetime_seconds": 120, **body})
        self.assertEqual(second, {"vm_lifetime_seconds": 60})

    def test_threads_that_come_at_once_share_one_session(self):
        with ScriptedServer() as server, self.client(server) as client:
            threads = [threading.Thread(target=client.execute, args=("1",)) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(server.lines.count("POST /v1/sessions/session"), 1)
            self.assertEqual(server.lines.count("POST /execute"), 8)

    def test_close_session_ends_it_and_the_next_execute_begins_another(self):
        with ScriptedServer() as server, self.client(server) as client:
            client.execute("1")
            self.assertIs(client.close_session(), True)
            self.assertIsNone(client.session_id)
            self.assertIs(client.close_session(), True)
            client.execute("1")
            self.assertEqual(server.lines.count("POST /v1/sessions/session"), 2)
            self.assertEqual(server.lines.count(END), 1)

    def test_a_session_that_has_ended_by_itself_can_be_closed(self):
        with ScriptedServer({END: [error(404, "session_not_found")]}) as server:
            client = self.client(server)
            client.execute("1")
            self.assertIs(client.close_session(), True)

    def test_a_session_of_someone_else_is_used_and_left_alone(self):
        with ScriptedServer() as server:
            with self.client(server, session_id=SESSION_ID) as client:
                client.execute("1")
            self.assertEqual(server.lines, ["POST /execute"])

    def test_what_goes_wrong_in_the_block_is_not_hidden_by_what_goes_wrong_at_its_end(self):
        with ScriptedServer({END: [error(500, "internal")]}) as server:
            with self.assertRaises(ZeroDivisionError), self.client(server) as client:
                client.execute("1")
                raise ZeroDivisionError
            with self.assertRaises(NetworkError), self.client(server) as client:
                client.execute("1")

    def test_a_closed_client_says_so(self):
        with ScriptedServer() as server:
            client = self.client(server)
            client.close()
            with self.assertRaisesRegex(InstaVMError, "client is closed"):
                client.execute("1")
            self.assertEqual(server.asked, [])

    def test_kill_ends_this_session_or_another(self):
        killed = Answer({"message": "gone", "session_id": SESSION_ID, "vm_id": VM_ID, "status": "killed"})
        with ScriptedServer({"POST /kill": [killed]}) as server:
            client = self.client(server)
            with self.assertRaises(SessionError):
                client.kill()
            client.start_session()
            client.kill("another")
            self.assertEqual(client.session_id, SESSION_ID)
            self.assertEqual(client.kill().status, "killed")
            self.assertIsNone(client.session_id)
            self.assertEqual([asked.json["session_id"] for asked in server.asked[1:]], ["another", SESSION_ID])

    def test_sessions_can_be_looked_at(self):
        status = {"exists": True, "session_id": SESSION_ID, "vm_alive": True, "vm_status": "active"}
        answers = {
            f"GET /v1/sessions/session/{SESSION_ID}": [Answer(SESSION)],
            f"GET /v1/sessions/status/{SESSION_ID}": [Answer(status)],
            f"GET /v1/sessions/usage/{SESSION_ID}": [Answer({"cpu_seconds": 1.5})],
            "GET /v1/sessions/sandboxes": [Answer([{"session_id": SESSION_ID, "status": "active"}])],
            "GET /v1/users/me": [Answer({"id": 1, "name": "n", "role": "user"})],
            "GET /health": [Answer({"status": "ok"})],
        }
        with ScriptedServer(answers) as server:
            client = self.client(server)
            self.assertIs(client.is_session_active(), False)
            client.start_session()
            self.assertEqual(client.get_session_info().expires_at, SESSION["expires_at"])
            self.assertTrue(client.get_session_status().vm_alive)
            self.assertIs(client.is_session_active(), True)
            self.assertEqual(client.get_usage().cpu_seconds, 1.5)
            self.assertEqual(client.list_sandboxes({"a": "ü&="}, limit=5)[0].session_id, SESSION_ID)
            self.assertIn("metadata=%7B%22a%22%3A+%22%5Cu00fc%26%3D%22%7D&limit=5", server.lines[-1])
            self.assertEqual(client.get_current_user().role, "user")
            self.assertEqual(client.health()["status"], "ok")


class Executions(ClientTest):
    def test_a_result_has_attributes_and_is_a_dict(self):
        with ScriptedServer() as server, self.client(server) as client:
            result = client.execute("6 * 7", language="python", timeout=5)
            sent = server.asked[-1].json
        self.assertEqual(sent, {"command": "6 * 7", "session_id": SESSION_ID, "language": "python", "timeout": 5})
        self.assertEqual((result.stdout, result["stdout"], result.get("nothing", 1)), ("42\n", "42\n", 1))
        self.assertIsInstance(result, dict)
        self.assertEqual(json.loads(json.dumps(result)), RESULT)

    def test_code_in_the_background_is_asked_for_until_it_has_ended(self):
        running = {"task_id": "t", "is_complete": False, "status": "running"}
        ended = {
            "task_id": "t",
            "is_complete": True,
            "status": "completed",
            "exit_code": 0,
            "created_at": "2026-01-02T03:04:05Z",
        }
        done = {**ended, "serialized_stdout": "out", "serialized_stderr": "err", "execution_time": 2.5, "cpu_time": 1.5}
        answers = {
            "POST /execute_async": [Answer(running)],
            "GET /v1/executions/t": [Answer(running), Answer(running), Answer(done)],
            "GET /v1/executions": [Answer([ended])],
        }
        with ScriptedServer(answers) as server, self.client(server) as client:
            task = client.execute_async("work", timeout=7)
            self.assertEqual(server.asked[-1].json["timeout"], 7)
            result = client.get_task_result(task["task_id"], poll_interval=0.01)
            self.assertEqual((result.stdout, result["stderr"], result.success), ("out", "err", True))
            self.assertEqual((result.execution_time, result.cpu_time), (2.5, 1.5))
            self.assertEqual(server.lines.count("GET /v1/executions/t"), 3)
            self.assertEqual(client.list_executions(session_id="s", limit=3)[0].task_id, "t")
            self.assertEqual(server.lines[-1], "GET /v1/executions?session_id=s&limit=3")

    def test_waiting_for_a_task_has_an_end(self):
        running = {"task_id": "t", "is_complete": False, "status": "running"}
        with ScriptedServer({"GET /v1/executions/t": [Answer(running)]}) as server:
            with self.assertRaises(TimeoutError):
                self.client(server).get_task_result("t", poll_interval=0.02, timeout=0.1)


class VmsAndKeys(ClientTest):
    def test_vms_are_made_listed_changed_and_ended_without_a_session(self):
        vm = {"vm_id": VM_ID, "session_id": SESSION_ID, "status": "active"}
        answers = {
            "POST /v1/vms": [Answer(vm)],
            "GET /v1/vms": [Answer([vm])],
            "GET /v1/vms/": [Answer([vm, vm])],
            f"GET /v1/vms/{VM_ID}": [Answer(vm)],
            f"PATCH /v1/vms/{VM_ID}": [Answer({**vm, "name": "n"})],
            f"DELETE /v1/vms/{VM_ID}": [Answer({"message": "gone", "status": "terminated"})],
        }
        with ScriptedServer(answers) as server, self.client(server) as client:
            self.assertEqual(client.vms.create(name="x", env=None, memory_mb=256).vm_id, VM_ID)
            self.assertEqual(server.asked[0].json, {"name": "x", "memory_mb": 256})
            self.assertEqual(server.lines[0], "POST /v1/vms?wait=true")
            self.assertEqual([len(client.vms.list()), len(client.vms.list_all_records())], [1, 2])
            self.assertEqual(client.vms.get(VM_ID).status, "active")
            self.assertEqual(client.vms.update(VM_ID, name=None).name, "n")
            self.assertEqual(server.asked[-1].json, {"name": None})
            self.assertEqual(client.vms.delete(VM_ID)["status"], "terminated")

    def test_a_fork_is_as_many_clients_each_with_a_session_that_it_ends(self):
        ids = [f"00000000-0000-4000-8000-00000000000{number}" for number in range(3)]
        made = {"vms": [{"vm_id": f"v{number}", "session_id": id} for number, id in enumerate(ids)]}
        answers = {
            f"GET /v1/sessions/session/{SESSION_ID}": [Answer(SESSION)],
            f"POST /v1/vms/{VM_ID}/fork": [Answer(made)],
            f"POST /v1/vms/{VM_ID}/clone": [Answer({"vm_id": "c", "session_id": ids[0], "forked_from": VM_ID})],
            **{f"DELETE /v1/sessions/session/{id}": [Answer({"status": "killed"})] for id in ids},
        }
        with ScriptedServer(answers) as server:
            client = self.client(server, session_id=SESSION_ID)
            wish = {"name": "copy", "metadata": {"n": 1}, "env": {"A": "b"}, "vm_lifetime_seconds": 60}
            forks = client.fork(3, **wish)
            self.assertEqual([fork.session_id for fork in forks], ids)
            self.assertEqual(server.asked[-1].json, {"count": 3, **wish})
            self.assertRegex(server.asked[-1].headers["idempotency-key"], "^[0-9a-f-]{36}$")
            for fork in forks:
                with fork:
                    self.assertEqual(fork.execute("6 * 7").stdout, "42\n")
            self.assertEqual(server.lines.count("POST /execute"), 3)
            self.assertEqual([line for line in server.lines if line.startswith("DELETE")], [
                f"DELETE /v1/sessions/session/{id}" for id in ids
            ])
            self.assertEqual(len(client.vms.fork(VM_ID)), 3)
            self.assertEqual(server.asked[-1].json, {"count": 1})
            self.assertEqual(client.vms.clone(VM_ID, name="c").forked_from, VM_ID)
            self.assertEqual(server.lines[-1], f"POST /v1/vms/{VM_ID}/clone?wait=true")

    def test_an_id_is_one_part_of_a_path_whatever_it_is(self):
        with ScriptedServer() as server, self.client(server) as client:
            with self.assertRaises(InstaVMError):
                client.vms.get("a/../b?c#d")
            self.assertEqual(server.lines, ["GET /v1/vms/a%2F..%2Fb%3Fc%23d"])
            for path in ("", ".", ".."):
                with self.assertRaises(InstaVMError):
                    client.vms.delete(path)
            self.assertEqual(len(server.asked), 1)

    def test_keys_are_made_listed_described_and_revoked(self):
        key = {"id": 2, "description": "d", "role": "user"}
        answers = {
            "POST /v1/api-keys/": [Answer({**key, "key": "secret"})],
            "GET /v1/api-keys/": [Answer([key])],
            "GET /v1/api-keys/2": [Answer(key)],
            "PATCH /v1/api-keys/2": [Answer(key)],
            "DELETE /v1/api-keys/2": [Answer({"status": "revoked"})],
        }
        with ScriptedServer(answers) as server, self.client(server) as client:
            self.assertEqual(client.api_keys.create(description="d").key, "secret")
            self.assertEqual(client.api_keys.list()[0].id, 2)
            self.assertEqual(client.api_keys.get(2).description, "d")
            client.api_keys.update(2, description="e")
            self.assertEqual(server.asked[-1].json, {"description": "e"})
            self.assertEqual(client.api_keys.delete(2)["status"], "revoked")


if __name__ == "__main__":
    unittest.main()
