"""A real HTTP server that answers what a test tells it to, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
import unittest
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from instavm import InstaVM

SESSION_ID = "5b0f9b5c-3c07-4d53-9a0c-0d3d1e6f7a21"
VM_ID = "q7v2kd0w9x3m1zr8tj5c"
SESSION = {
    "id": SESSION_ID,
    "session_id": SESSION_ID,
    "vm_id": VM_ID,
    "status": "active",
    "created_at": "2026-01-02T03:04:05Z",
    "expires_at": "2026-01-02T03:09:05Z",
}
RESULT = {
    "session_id": SESSION_ID,
    "vm_id": VM_ID,
    "language": "python",
    "success": True,
    "exit_code": 0,
    "timed_out": False,
    "truncated": False,
    "context_lost": False,
    "out_of_memory": False,
    "execution_time": 0.02,
    "cpu_time": 0.01,
    "stdout": "42\n",
    "stderr": "",
    "output": "42\n",
    "results": [],
    "error": None,
}


@dataclass
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class Answer:
    """A status and a JSON body, or what a function writes."""

    def __init__(self, body: Any = None, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.body = body
        self.status = status
        self.headers = headers or {}


def error(status: int, code: str, **headers: str) -> Answer:
    body = {"detail": f"Seen: {code}.", "code": code, "next": "Do that.", "request_id": "request-1"}
    return Answer(body, status, {name.replace("_", "-"): value for name, value in headers.items()})


class QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Clients that hang up are what some tests are about."""


Writer = Callable[[BaseHTTPRequestHandler], None]


class ScriptedServer:
    """Use it `with`. `answers` holds for "METHOD /path" what is answered, in turn; the last one stays.

    Without a port it is not there before `listen`.
    """

    def __init__(self, answers: dict[str, list[Answer | Writer]] | None = None, port: int | None = 0) -> None:
        self.asked: list[Asked] = []
        self.answers: dict[str, list[Answer | Writer]] = {
            "POST /v1/sessions/session": [Answer(SESSION)],
            f"DELETE /v1/sessions/session/{SESSION_ID}": [Answer({"message": "gone", "status": "killed"})],
            "POST /execute": [Answer(RESULT)],
            **(answers or {}),
        }
        self._lock = threading.Lock()
        if port is not None:
            self._bind(port)

    def _bind(self, port: int) -> None:
        self._server = QuietServer(("127.0.0.1", port), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def listen(self, port: int) -> None:
        """Begins to answer."""
        self._bind(port)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def lines(self) -> list[str]:
        """Method and path of all that was asked."""
        return [str(asked) for asked in self.asked]

    def __enter__(self) -> ScriptedServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _take(self, asked: Asked) -> Answer | Writer:
        with self._lock:
            self.asked.append(asked)
            answers = self.answers.get(f"{asked.method} {asked.path.partition('?')[0]}")
            if not answers:
                return error(404, "not_found")
            return answers.pop(0) if len(answers) > 1 else answers[0]

    def _handler(outer) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.read_chunks() if "transfer-encoding" in self.headers else self.read_length()
                headers = {name.lower(): value for name, value in self.headers.items()}
                answer = outer._take(Asked(self.command, self.path, headers, body))
                if not isinstance(answer, Answer):
                    answer(self)
                    return
                text = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
                self.send_response(answer.status)
                for name, value in {**answer.headers, "content-length": str(len(text))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

            def read_length(self) -> bytes:
                return self.rfile.read(int(self.headers.get("content-length") or 0))

            def read_chunks(self) -> bytes:
                body = b""
                while length := int(self.rfile.readline(), 16):
                    body += self.rfile.read(length)
                    self.rfile.readline()
                self.rfile.readline()
                return body

            def log_message(self, *_: object) -> None:
                pass

        return Handler


class ClientTest(unittest.TestCase):
    """A test with clients, whose connections end with it."""

    def client(self, server: ScriptedServer, **options: Any) -> InstaVM:
        return self.client_of(server.url, **options)

    def client_of(self, url: str, **options: Any) -> InstaVM:
        client = InstaVM("key", url, **options)
        self.addCleanup(client._transport.close)
        return client


def closing(handler: BaseHTTPRequestHandler) -> None:
    """Hangs up without an answer."""
    handler.close_connection = True


def events(*texts: str, then: Callable[[BaseHTTPRequestHandler], None] | None = None) -> Writer:
    """An event stream of these pieces, which ends with the connection."""

    def write(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        handler.send_response(200)
        handler.send_header("content-type", "text/event-stream")
        handler.send_header("connection", "close")
        handler.end_headers()
        for text in texts:
            handler.wfile.write(text.encode())
            handler.wfile.flush()
        if then is not None:
            then(handler)

    return write


def event(name: str, data: Any) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


EXIT = event("exit", {key: RESULT[key] for key in RESULT.keys() - {"stdout", "stderr", "output", "results"}})
