import base64
import os
import tempfile
import unittest
from pathlib import Path

from instavm import ConflictError, FileMissingError, InvalidRequestError, NetworkError
from scripted_server import SESSION, SESSION_ID, VM_ID, Answer, ClientTest, ScriptedServer, error

ROOT = f"/v1/vms/{VM_ID}/files"
SESSION_READ = {f"GET /v1/sessions/session/{SESSION_ID}": [Answer(SESSION)]}
UPLOADED = Answer({"status": "success", "path": "/app/x", "size": 3})


def downloaded(content):
    text = base64.b64encode(content).decode() if content else "\n"
    return Answer({"filename": "x", "content": text, "size": len(content)})


class FilesTest(ClientTest):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="instavm-python-")
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)


class UploadsAndDownloads(FilesTest):
    def test_a_file_goes_up_behind_the_fields_that_say_where_to(self):
        source = self.directory / "local name.bin"
        source.write_bytes(b"\x00\xff\r\n--")
        with ScriptedServer({"POST /upload": [UPLOADED]}) as server, self.client(server) as client:
            self.assertEqual(client.upload_file(str(source), "dir/remote ü.bin").path, "/app/x")
            body = server.asked[-1].body
        marks = [b'name="session_id"', SESSION_ID.encode(), b'name="remote_path"', "dir/remote ü.bin".encode()]
        marks += [b'name="file"', b"\x00\xff\r\n--\r\n"]
        places = [body.find(mark) for mark in marks]
        self.assertNotIn(-1, places)
        self.assertEqual(places, sorted(places))

    def test_bytes_go_up_and_are_sent_whole_at_a_second_try(self):
        answers = [error(503, "capacity", retry_after="0"), UPLOADED]
        with ScriptedServer({"POST /upload": answers}) as server, self.client(server) as client:
            client.upload_file(b"content", "x")
            first, second = (asked.body for asked in server.asked if asked.path == "/upload")
            self.assertIn(b"\r\ncontent\r\n", first)
            self.assertIn(b"\r\ncontent\r\n", second)

    def test_a_directory_goes_up_file_by_file_without_its_symbolic_links(self):
        (self.directory / "a" / "b").mkdir(parents=True)
        (self.directory / "a" / "one.txt").write_text("one")
        (self.directory / "a" / "b" / "two.txt").write_text("two")
        (self.directory / "a" / "link").symlink_to("/etc/hostname")
        with ScriptedServer({"POST /upload": [UPLOADED]}) as server, self.client(server) as client:
            self.assertEqual(client.upload_file(self.directory / "a", "to/", recursive=True).size, 6)
            bodies = b"".join(asked.body for asked in server.asked)
            self.assertEqual(server.lines.count("POST /upload"), 2)
            self.assertIn(b"to/one.txt", bodies)
            self.assertIn(b"to/b/two.txt", bodies)
            with self.assertRaisesRegex(InvalidRequestError, "recursive=True"):
                client.upload_file(self.directory / "a", "to")

    def test_a_local_file_that_is_not_there_is_said_to_be_missing(self):
        with ScriptedServer() as server, self.client(server) as client:
            with self.assertRaises(FileNotFoundError):
                client.upload_file(self.directory / "nothing", "x")
            self.assertNotIn("POST /upload", server.lines)

    def test_a_file_comes_down_into_the_answer(self):
        content = bytes(range(256))
        with ScriptedServer({"POST /download": [downloaded(content)]}) as server, self.client(server) as client:
            file = client.download_file("dir/a b&c")
            self.assertEqual(server.asked[-1].body, f"filename=dir%2Fa+b%26c&session_id={SESSION_ID}".encode())
        self.assertEqual((file.content, file["size"], file.filename), (content, 256, "dir/a b&c"))

    def test_an_empty_file_is_empty(self):
        with ScriptedServer({"POST /download": [downloaded(b"")]}) as server, self.client(server) as client:
            self.assertEqual(client.download_file("x").content, b"")

    def test_a_file_comes_down_to_a_path_and_is_there_whole(self):
        target = self.directory / "target"
        target.write_text("what was there")
        with ScriptedServer({**SESSION_READ, f"GET {ROOT}": [Answer(b"new")]}) as server, self.client(server) as client:
            file = client.download_file("x", target)
        self.assertEqual((file.local_path, file.size, "content" in file), (str(target), 3, False))
        self.assertEqual(target.read_bytes(), b"new")
        self.assertEqual(os.listdir(self.directory), ["target"])
        mask = os.umask(0)
        os.umask(mask)
        self.assertEqual(target.stat().st_mode & 0o777, 0o666 & ~mask)

    def test_a_file_that_is_missing_in_the_vm_leaves_the_local_one_alone(self):
        target = self.directory / "target"
        missing = error(404, "file_not_found")
        with ScriptedServer({**SESSION_READ, f"GET {ROOT}": [missing]}) as server, self.client(server) as client:
            with self.assertRaises(FileMissingError):
                client.download_file("x", target)
        self.assertFalse(target.exists())


def entry(name, **fields):
    return {"name": name, "raw_name": None, "type": "file", "size": 3, "mode": "0644", **fields}


class FilesOfTheVm(FilesTest):
    def open(self, answers):
        server = ScriptedServer({**SESSION_READ, **answers})
        self.addCleanup(server.__exit__)
        server.__enter__()
        return server, self.client(server).files

    def test_bytes_are_read_whole_or_in_part(self):
        server, files = self.open({f"GET {ROOT}": [Answer(b"whole"), Answer(b"par", 206)]})
        self.assertEqual(files.read("a b"), b"whole")
        self.assertEqual(server.lines[-1], f"GET {ROOT}?path=a+b")
        self.assertNotIn("range", server.asked[-1].headers)
        self.assertEqual(files.read("x", offset=2, length=3), b"par")
        self.assertEqual(server.asked[-1].headers["range"], "bytes=2-4")
        files.read("x", offset=2)
        self.assertEqual(server.asked[-1].headers["range"], "bytes=2-")
        self.assertEqual(files.read("x", length=0), b"")

    def test_a_download_goes_to_a_path_and_one_that_breaks_off_leaves_nothing(self):
        def broken(handler):
            handler.send_response(200)
            handler.send_header("content-length", "1000")
            handler.end_headers()
            handler.wfile.write(b"part")
            handler.close_connection = True

        server, files = self.open({f"GET {ROOT}": [Answer(b"x" * 1_000_000), broken]})
        self.assertEqual(files.download("x", self.directory / "target"), 1_000_000)
        self.assertEqual((self.directory / "target").stat().st_size, 1_000_000)
        with self.assertRaises(NetworkError):
            files.download("x", self.directory / "other")
        self.assertEqual(os.listdir(self.directory), ["target"])

    def test_a_file_or_bytes_are_the_body_of_a_write(self):
        server, files = self.open({f"PUT {ROOT}": [Answer({"path": "/app/x", "size": 3})]})
        (self.directory / "local").write_bytes(b"\x00" * 1_000_000)
        self.assertEqual(files.write("x", self.directory / "local", mode="0600", must_be_new=True).size, 3)
        self.assertEqual(server.asked[-1].body, b"\x00" * 1_000_000)
        self.assertEqual(server.lines[-1], f"PUT {ROOT}?path=x&mode=0600&must_be_new=true")
        self.assertEqual(server.asked[-1].headers["content-type"], "application/octet-stream")
        files.write("x", b"")
        self.assertEqual(server.asked[-1].body, b"")

    def test_a_directory_is_listed_to_its_end(self):
        pages = [{"entries": [entry("a"), entry("b")], "has_more": True}, {"entries": [entry("c")], "has_more": False}]
        server, files = self.open({f"GET {ROOT}/list": [Answer(page) for page in pages]})
        self.assertEqual([each.name for each in files.list("d")], ["a", "b", "c"])
        self.assertEqual(server.lines[-1], f"GET {ROOT}/list?path=d&limit=1000&after=b")

    def test_files_are_looked_at_moved_changed_and_removed(self):
        answers = {
            f"GET {ROOT}/stat": [Answer(entry("x")), error(404, "file_not_found")],
            f"POST {ROOT}/mkdir": [Answer(entry("d", type="directory"))],
            f"POST {ROOT}/move": [error(409, "conflict"), Answer(entry("y"))],
            f"PATCH {ROOT}": [Answer(entry("x", mode="0600"))],
            f"DELETE {ROOT}": [Answer({"removed": 4})],
        }
        server, files = self.open(answers)
        self.assertEqual(files.stat("x", follow=True).size, 3)
        self.assertIs(files.exists("x"), False)
        self.assertEqual(files.mkdir("d", mode="0700").type, "directory")
        self.assertEqual(server.asked[-1].json, {"path": "d", "parents": True, "mode": "0700"})
        with self.assertRaises(ConflictError):
            files.move("x", "y")
        self.assertEqual(files.move("x", "y", overwrite=True).name, "y")
        self.assertEqual(server.asked[-1].json, {"from": "x", "to": "y", "overwrite": True})
        self.assertEqual(files.change("x", mode="0600").mode, "0600")
        self.assertEqual(files.remove("d", recursive=True), 4)
        self.assertEqual(server.lines[-1], f"DELETE {ROOT}?path=d&recursive=true")

    def test_any_vm_has_files(self):
        with ScriptedServer({"GET /v1/vms/other/files": [Answer(b"content")]}) as server:
            self.assertEqual(self.client(server).vms.files("other").read("x"), b"content")
            self.assertEqual(len(server.asked), 1)


if __name__ == "__main__":
    unittest.main()
