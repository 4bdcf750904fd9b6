import base64
import os
import tempfile
import unittest
from pathlib import Path

from instavm import FileMissingError, InvalidRequestError
from scripted_server import SESSION_ID, Answer, ClientTest, ScriptedServer, error

UPLOADED = Answer({"status": "success", "path": "/app/x", "size": 3})


def downloaded(content):
    text = base64.b64encode(content).decode() if content else "\n"
    return Answer({"filename": "x", "content": text, "size": len(content)})


class Files(ClientTest):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="instavm-python-")
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)

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
        with ScriptedServer({"POST /download": [downloaded(b"new")]}) as server, self.client(server) as client:
            file = client.download_file("x", target)
        self.assertEqual((file.local_path, file.size, "content" in file), (str(target), 3, False))
        self.assertEqual(target.read_bytes(), b"new")
        self.assertEqual(os.listdir(self.directory), ["target"])
        mask = os.umask(0)
        os.umask(mask)
        self.assertEqual(target.stat().st_mode & 0o777, 0o666 & ~mask)

    def test_a_file_that_is_missing_in_the_vm_leaves_the_local_one_alone(self):
        target = self.directory / "target"
        with ScriptedServer({"POST /download": [error(404, "file_not_found")]}) as server, self.client(server) as client:
            with self.assertRaises(FileMissingError):
                client.download_file("x", target)
        self.assertFalse(target.exists())


if __name__ == "__main__":
    unittest.main()
