import io
import os
import subprocess
import tarfile
import tempfile
import unittest
from pathlib import Path

import instavm
from scripted_server import SESSION, SESSION_ID, VM_ID, Answer, ClientTest, ScriptedServer

FILES = f"/v1/vms/{VM_ID}/files"
DIRECTORY = Answer({"name": "x", "type": "directory"})


def server_of(answers):
    always = {f"GET /v1/sessions/session/{SESSION_ID}": [Answer(SESSION)], f"GET {FILES}/stat": [DIRECTORY]}
    return ScriptedServer({**always, **answers})


def archive(*entries, format=tarfile.PAX_FORMAT):
    """Of name, type, text or link, mode."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w", format=format) as tar:
        for name, kind, text, mode in entries:
            about = tarfile.TarInfo(name)
            about.type, about.mode, about.mtime = kind, mode, 1_000_000
            content = text.encode() if kind == tarfile.REGTYPE else b""
            about.size, about.linkname = len(content), "" if content else text
            tar.addfile(about, io.BytesIO(content))
    return whole.getvalue()


def file(name, text, mode=0o644):
    return name, tarfile.REGTYPE, text, mode


def link(name, target):
    return name, tarfile.SYMTYPE, target, 0o777


class Trees(ClientTest):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="instavm-trees-")
        self.addCleanup(directory.cleanup)
        self.here = Path(directory.name)
        self.out = self.here / "out"

    def download(self, content):
        with server_of({f"GET {FILES}/tar": [Answer(content)]}) as server, self.client(server) as client:
            return client.files.download_directory("/app/x", self.out)

    def test_a_directory_goes_in_as_one_archive_of_all_that_is_in_it(self):
        source = self.here / "source"
        (source / "sub" / "empty").mkdir(parents=True)
        (source / "sub" / ("-ü \n" + "n" * 200)).write_text("text")
        (source / "big").write_bytes(b"7" * 700_000)
        (source / "big").chmod(0o750)
        (source / "link").symlink_to("sub/none")
        os.mkfifo(source / "pipe")
        (source / os.fsdecode(b"\xffA")).write_text("odd")
        answer = Answer({"size": 700_007, "entries": 6, "skipped": 0})
        with server_of({f"PUT {FILES}/tar": [answer]}) as server, self.client(server) as client:
            written = client.files.upload_directory(source, "/app/x", user="root")
            self.assertEqual((written.size, written.entries, written.skipped), (700_007, 6, 1))
            self.assertEqual(server.asked[-1].path, f"{FILES}/tar?path=%2Fapp%2Fx&user=root")
            body = server.asked[-1].body
        unpacked = self.here / "unpacked"
        unpacked.mkdir()
        subprocess.run(["tar", "-xpf", "-", "-C", unpacked], input=body, stderr=subprocess.DEVNULL, check=True)
        subprocess.run(["diff", "-r", "--no-dereference", "--exclude=pipe", source, unpacked], check=True)
        self.assertEqual((unpacked / "big").stat().st_mode & 0o777, 0o750)
        self.assertEqual(os.readlink(unpacked / "link"), "sub/none")

    def test_what_is_no_directory_is_not_sent(self):
        (self.here / "file").touch()
        with server_of({}) as server, self.client(server) as client:
            for name in ("none", "file"):
                with self.assertRaisesRegex(instavm.InvalidRequestError, "is no directory"):
                    client.files.upload_directory(self.here / name, "x")
            self.assertEqual(server.asked, [])

    def test_a_directory_comes_out_with_its_files_modes_times_and_inner_links(self):
        long = "l" * 150
        for format in (tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT):
            done = self.download(
                archive(
                    ("sub", tarfile.DIRTYPE, "", 0o500),
                    file("sub/-ü \n.txt", "text", 0o4755),
                    file(f"deep/{long}/{'f' * 60}", "x" * 300_000),
                    link("sub/link", "../deep"),
                    file(long if format == tarfile.PAX_FORMAT else "short", "", 0o600),
                    format=format,
                )
            )
            self.assertEqual(done, {"size": 300_004, "entries": 5, "skipped": 0})
        found = (self.out / "sub" / "-ü \n.txt").stat()
        self.assertEqual((found.st_mode & 0o7777, found.st_mtime), (0o755, 1_000_000))
        self.assertEqual((self.out / "sub" / "link" / long / ("f" * 60)).stat().st_size, 300_000)
        self.assertEqual(sorted(os.listdir(self.out)), ["deep", long, "short", "sub"])

    def test_nothing_is_ever_written_elsewhere(self):
        for name in ("../x", "/tmp/instavm-never", "a/../../x", ".."):
            with self.subTest(name), self.assertRaisesRegex(instavm.NetworkError, "leads elsewhere"):
                self.download(archive(file(name, "evil")))
            self.assertEqual(os.listdir(self.here), ["out"])
        self.assertFalse(os.path.exists("/tmp/instavm-never"))

    def test_no_link_leads_out_also_over_another_link(self):
        outward = ["/etc", "..", "../..", "a/../..", "d/e/../../../x", "up/../.."]
        links = [link(f"link{number}", target) for number, target in enumerate(outward)]
        hard = ("hard", tarfile.LNKTYPE, "d/e/up", 0o644)
        done = self.download(archive(link("d/e/up", "../.."), link("d/e/out", "up/../x"), hard, *links))
        self.assertEqual((done.entries, done.skipped), (1, len(outward) + 2))
        self.assertEqual(os.readlink(self.out / "d" / "e" / "up"), "../..")

    def test_a_link_that_is_there_is_replaced_or_refused_and_never_followed(self):
        self.out.mkdir()
        (self.here / "elsewhere").mkdir()
        (self.out / "a").symlink_to("../elsewhere")
        with self.assertRaisesRegex(instavm.InvalidRequestError, "no link is followed"):
            self.download(archive(file("a/x", "evil")))
        with self.assertRaisesRegex(instavm.InvalidRequestError, "no link is followed"):
            self.download(archive(("t", tarfile.DIRTYPE, "", 0o755), link("l", "t"), file("l/x", "evil")))
        self.download(archive(file("a", "new")))
        self.assertEqual((self.out / "a").read_text(), "new")
        self.assertEqual(os.listdir(self.here / "elsewhere") + os.listdir(self.out / "t"), [])

    def test_an_archive_that_is_cut_or_none_leaves_no_half_file(self):
        whole = archive(file("a", "x" * 5000))
        for content in (whole[:3000], whole[:400], b"x" * 2000):
            with self.assertRaises(instavm.NetworkError) as raised:
                self.download(content)
            self.assertEqual(raised.exception.code, "guest_protocol")
            self.assertEqual(os.listdir(self.out), [])

    def test_a_file_is_no_directory(self):
        with server_of({f"GET {FILES}/stat": [Answer({"name": "x", "type": "file"})]}) as server:
            with self.client(server) as client, self.assertRaises(instavm.InvalidRequestError):
                client.files.download_directory("f", self.out)


if __name__ == "__main__":
    unittest.main()
