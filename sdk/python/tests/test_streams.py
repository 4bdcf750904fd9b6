import threading
import time
import unittest

from instavm import DisplayEvent, ExitEvent, NetworkError, OutputEvent, SessionError
from instavm.events import EventDecoder, execution_event
from scripted_server import EXIT, SESSION_ID, ClientTest, ScriptedServer, error, event, events

OUT = event("stdout", {"text": "grün\n"})
SHOWN = event("result", {"type": "text/plain", "data": "5", "display": 0, "is_result": True})


class Streams(ClientTest):
    def test_events_come_in_order_and_the_last_one_is_the_exit(self):
        stream = events(": open\n\n", OUT, ": heartbeat\n\n", event("stderr", {"text": "oh"}), SHOWN, EXIT)
        with ScriptedServer({"POST /execute": [stream]}) as server, self.client(server) as client:
            running = client.stream("code", language="python", timeout=9)
            self.assertIsNone(running.result)
            got = list(running)
            asked = server.asked[-1]
        self.assertEqual(got[:2], [OutputEvent("stdout", "grün\n"), OutputEvent("stderr", "oh")])
        self.assertEqual(got[2], DisplayEvent("result", "text/plain", "5", 0, True))
        self.assertIsInstance(got[3], ExitEvent)
        self.assertEqual((got[3].result.exit_code, got[3].result.stdout, running.result), (0, "", got[3].result))
        self.assertEqual(asked.headers["accept"], "text/event-stream")
        self.assertEqual(asked.json, {"command": "code", "session_id": SESSION_ID, "language": "python", "timeout": 9})

    def test_events_come_while_the_code_runs(self):
        may_end = threading.Event()

        def wait_then_end(handler):
            may_end.wait(10)
            handler.wfile.write(EXIT.encode())

        with (
            ScriptedServer({"POST /execute": [events(OUT, then=wait_then_end)]}) as server,
            self.client(server) as client,
        ):
            running = client.stream("code")
            self.assertEqual(next(running).text, "grün\n")
            may_end.set()
            self.assertEqual([event.type for event in running], ["exit"])

    def test_leaving_a_stream_hangs_up(self):
        hung_up = threading.Event()

        def write_on(handler):
            try:
                for _ in range(1000):
                    handler.wfile.write(OUT.encode())
                    time.sleep(0.005)
            except OSError:
                hung_up.set()

        with ScriptedServer({"POST /execute": [events(OUT, then=write_on)]}) as server, self.client(server) as client:
            with client.stream("code") as running:
                next(running)
            self.assertTrue(hung_up.wait(5))

    def test_the_text_of_a_stream_alone(self):
        seen = []
        with ScriptedServer({"POST /execute": [events(OUT, SHOWN, EXIT)]}) as server, self.client(server) as client:
            self.assertEqual(list(client.execute_streaming("code", seen.append)), ["grün\n", "5\n"])
        self.assertEqual(seen, ["grün\n", "5\n"])

    def test_what_fails_before_the_code_runs_is_an_ordinary_failure(self):
        with (
            ScriptedServer({"POST /execute": [error(404, "session_not_found")]}) as server,
            self.client(server) as client,
        ):
            with self.assertRaises(SessionError):
                next(client.stream("code"))

    def test_what_fails_while_the_code_runs_is_raised_behind_its_output(self):
        lost = event("error", {"detail": "The VM is gone.", "code": "vm_lost", "next": "", "request_id": "r"})
        with ScriptedServer({"POST /execute": [events(OUT, lost)]}) as server, self.client(server) as client:
            running = client.stream("code")
            self.assertEqual(next(running).text, "grün\n")
            with self.assertRaises(NetworkError) as raised:
                next(running)
            self.assertEqual((raised.exception.code, raised.exception.request_id), ("vm_lost", "r"))

    def test_a_stream_that_ends_without_an_exit_is_a_failure(self):
        with ScriptedServer({"POST /execute": [events(OUT)]}) as server, self.client(server) as client:
            with self.assertRaisesRegex(NetworkError, "ended before the code did"):
                list(client.stream("code"))

    def test_heartbeats_do_not_make_a_stream_last_for_ever(self):
        def beat(handler):
            for _ in range(200):
                handler.wfile.write(b": heartbeat\n\n")
                time.sleep(0.02)

        with ScriptedServer({"POST /execute": [events(then=beat)]}) as server, self.client(server) as client:
            running = client.stream("code")
            running._timeout_s = 0.2
            with self.assertRaises(TimeoutError):
                next(running)

    def test_the_time_that_a_reader_takes_is_its_own(self):
        pieces = [OUT, OUT, EXIT]

        def write_on(handler):
            for piece in pieces:
                handler.wfile.write(piece.encode())
                handler.wfile.flush()
                time.sleep(0.02)

        with ScriptedServer({"POST /execute": [events(then=write_on)]}) as server, self.client(server) as client:
            running = client.stream("code")
            running._timeout_s = 0.25
            types = []
            for got in running:
                types.append(got.type)
                time.sleep(0.2)
            self.assertEqual(types, ["stdout", "stdout", "exit"])


class Decoding(unittest.TestCase):
    def test_events_are_the_same_in_whatever_pieces_they_come(self):
        whole = (OUT + ": heartbeat\r\n\r\n" + event("later", {"x": 1}) + SHOWN.replace("\n", "\r\n") + EXIT).encode()
        expected = list(EventDecoder(execution_event).feed(whole))
        self.assertEqual([event.type for event in expected], ["stdout", "result", "exit"])
        for size in (1, 2, 3, 7, 64):
            decoder = EventDecoder(execution_event)
            got = [event for at in range(0, len(whole), size) for event in decoder.feed(whole[at : at + size])]
            self.assertEqual(got, expected)

    def test_an_event_that_is_not_understood_is_said_to_be_broken(self):
        for text in ("event: stdout\ndata: {\n\n", "event: result\ndata: {}\n\n", "event: stderr\ndata: 5\n\n"):
            with self.assertRaises(NetworkError) as raised:
                list(EventDecoder(execution_event).feed(text.encode()))
            self.assertEqual(raised.exception.code, "bad_gateway")


if __name__ == "__main__":
    unittest.main()
