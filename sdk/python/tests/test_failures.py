import socket
import threading
import time
import unittest

import instavm
from instavm import InstaVMError, NetworkError
from scripted_server import RESULT, SESSION, VM_ID, Answer, ClientTest, ScriptedServer, closing, error

READ = "GET /v1/users/me"
ME = Answer({"id": 1})


class Errors(ClientTest):
    def test_each_failure_has_the_class_of_what_to_do_about_it(self):
        expected = [
            (400, "bad_request", instavm.InvalidRequestError),
            (401, "unauthorized", instavm.AuthenticationError),
            (403, "forbidden", instavm.ForbiddenError),
            (403, "limit_exceeded", instavm.QuotaExceededError),
            (404, "session_not_found", instavm.SessionError),
            (404, "vm_not_found", instavm.NotFoundError),
            (404, "file_not_found", FileNotFoundError),
            (408, "timeout", TimeoutError),
            (409, "conflict", instavm.ConflictError),
            (422, "invalid", instavm.InvalidRequestError),
            (429, "rate_limited", instavm.RateLimitError),
            (501, "not_implemented", instavm.UnsupportedOperationError),
            (503, "vm_lost", instavm.NetworkError),
            (418, "a_code_of_a_newer_server", instavm.InvalidRequestError),
        ]
        for status, code, kind in expected:
            with (
                self.subTest(code),
                ScriptedServer({"POST /execute": [error(status, code, retry_after="7")]}) as server,
            ):
                with self.assertRaises(kind) as raised, self.client(server, max_retries=0) as client:
                    client.execute("1")
                failure = raised.exception
                self.assertIsInstance(failure, InstaVMError)
                self.assertEqual((failure.code, failure.status, failure.detail), (code, status, f"Seen: {code}."))
                self.assertEqual((failure.next, failure.request_id, failure.retry_after), ("Do that.", "request-1", 7))
                self.assertEqual(str(failure), f"Seen: {code}. Do that. [{code}, request request-1]")

    def test_fields_that_are_wrong_are_named(self):
        fields = [{"loc": ["body", "timeout"], "msg": "too big", "type": "too_big"}]
        body = {"detail": "Wrong.", "code": "invalid", "next": "", "request_id": "r", "errors": fields}
        with ScriptedServer({"POST /execute": [Answer(body, 422)]}) as server, self.client(server) as client:
            with self.assertRaisesRegex(instavm.InvalidRequestError, r"\n  body.timeout: too big$") as raised:
                client.execute("1")
            self.assertEqual(raised.exception.errors[0]["type"], "too_big")

    def test_an_answer_that_is_not_the_servers_is_called_that(self):
        strange = [Answer(b"<html>", 502), Answer({"detail": [1]}, 404), Answer(b"<html>"), Answer(None, 302)]
        for answer in strange:
            with self.subTest(answer.status), ScriptedServer({READ: [answer]}) as server:
                with self.assertRaises(InstaVMError) as raised:
                    self.client(server, max_retries=0).get_current_user()
                self.assertEqual((raised.exception.code, raised.exception.status), ("bad_gateway", answer.status))

    def test_a_server_that_is_not_there(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with self.assertRaisesRegex(NetworkError, f"The server at {url} cannot be reached") as raised:
            self.client_of(url, max_retries=1).execute("1")
        self.assertEqual((raised.exception.code, raised.exception.status), ("unavailable", None))


class Deadlines(ClientTest):
    def test_a_silent_server_is_waited_for_only_so_long(self):
        with ScriptedServer({READ: [lambda handler: time.sleep(0.6)]}) as server:
            with self.assertRaises(TimeoutError) as raised:
                self.client(server, request_timeout=0.2).get_current_user()
            self.assertIsInstance(raised.exception, NetworkError)
            self.assertEqual(len(server.asked), 1)

    def test_an_answer_that_trickles_is_waited_for_only_so_long(self):
        def trickle(handler):
            handler.send_response(200)
            handler.send_header("content-length", "1000")
            handler.end_headers()
            for _ in range(20):
                handler.wfile.write(b" ")
                handler.wfile.flush()
                time.sleep(0.05)
            handler.close_connection = True

        with ScriptedServer({READ: [trickle]}) as server:
            started = time.monotonic()
            with self.assertRaises(TimeoutError):
                self.client(server, request_timeout=0.3).get_current_user()
            self.assertLess(time.monotonic() - started, 0.9)


class Retries(ClientTest):
    def test_reading_is_tried_again_when_the_server_was_away_for_a_moment(self):
        with ScriptedServer({READ: [closing, error(503, "unavailable"), ME]}) as server:
            self.assertEqual(self.client(server).get_current_user().id, 1)
            self.assertEqual(len(server.asked), 3)

    def test_there_is_an_end_to_trying(self):
        with ScriptedServer({READ: [error(503, "unavailable", retry_after="0")]}) as server:
            with self.assertRaises(NetworkError):
                self.client(server, max_retries=1).get_current_user()
            self.assertEqual(len(server.asked), 2)

    def test_what_would_fail_again_is_not_tried_again(self):
        lasting = [(404, "not_found"), (500, "internal"), (501, "not_implemented"), (503, "disk_full"), (503, "host_setup")]
        for answer in [error(*each) for each in lasting]:
            with self.subTest(answer.body), ScriptedServer({READ: [answer]}) as server:
                with self.assertRaises(InstaVMError):
                    self.client(server).get_current_user()
                self.assertEqual(len(server.asked), 1)

    def test_code_that_may_have_run_is_not_sent_again(self):
        for answer in (closing, error(503, "vm_lost"), error(504, "gateway_timeout")):
            with ScriptedServer({"POST /execute": [answer, Answer(RESULT)]}) as server:
                with self.assertRaises(NetworkError), self.client(server) as client:
                    client.execute("1")
                self.assertEqual(server.lines.count("POST /execute"), 1)

    def test_code_that_was_refused_before_it_ran_is_sent_again_when_the_server_says(self):
        full = error(503, "capacity", retry_after="0.2")
        with ScriptedServer({"POST /execute": [full, error(429, "rate_limited"), Answer(RESULT)]}) as server:
            with self.client(server) as client:
                started = time.monotonic()
                self.assertEqual(client.execute("1").stdout, "42\n")
            self.assertGreater(time.monotonic() - started, 0.2)
            self.assertEqual(server.lines.count("POST /execute"), 3)

    def test_what_creates_is_sent_again_under_one_key_until_it_is_answered(self):
        calls = {
            "POST /v1/sessions/session": (lambda client: client.start_session(), SESSION),
            "POST /v1/vms": (lambda client: client.vms.create(name="n"), {"vm_id": VM_ID}),
        }
        for line, (create, made) in calls.items():
            failures = [closing, Answer(b"<html>", 502), error(503, "unavailable"), Answer(b"", 429), Answer(made)]
            with self.subTest(line), ScriptedServer({line: failures}) as server:
                client = self.client(server, max_retries=4)
                create(client)
                keys = [asked.headers.get("idempotency-key") for asked in server.asked]
                self.assertEqual(len(keys), 5)
                self.assertEqual(len(set(keys)), 1)
                self.assertRegex(keys[0], "^[0-9a-f-]{36}$")
                create(client)
                self.assertNotEqual(server.asked[-1].headers["idempotency-key"], keys[0])

    def test_what_changes_something_else_is_sent_once_and_has_no_key(self):
        with ScriptedServer({f"PATCH /v1/vms/{VM_ID}": [closing]}) as server:
            with self.assertRaises(NetworkError):
                self.client(server).vms.update(VM_ID, name="n")
            self.assertEqual([asked.headers.get("idempotency-key") for asked in server.asked], [None])

    def test_a_call_that_no_server_has_seen_is_sent_again(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        server = ScriptedServer({"PATCH /v1/vms/a": [Answer({"vm_id": "a"})]}, port=None)
        client = self.client_of(f"http://127.0.0.1:{port}", max_retries=6)
        later = threading.Timer(0.4, lambda: server.listen(port))
        later.start()
        try:
            self.assertEqual(client.vms.update("a", name="n").vm_id, "a")
            self.assertEqual(server.lines, ["PATCH /v1/vms/a"])
        finally:
            later.join()
            server.__exit__()

    def test_a_pause_that_does_not_fit_into_the_time_is_not_begun(self):
        with ScriptedServer({READ: [error(503, "unavailable", retry_after="20")]}) as server:
            started = time.monotonic()
            with self.assertRaises(NetworkError):
                self.client(server, request_timeout=5).get_current_user()
            self.assertLess(time.monotonic() - started, 2)


if __name__ == "__main__":
    unittest.main()
