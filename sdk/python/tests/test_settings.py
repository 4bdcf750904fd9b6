import os
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from instavm import AuthenticationError, InstaVM, InvalidRequestError
from instavm.settings import read_settings
from scripted_server import ScriptedServer


class WhichServerAndKey(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="instavm-python-")
        self.addCleanup(directory.cleanup)
        Path(directory.name, "admin-key").write_text("ivm_admin\n")
        patch = mock.patch.dict(os.environ, {"INSTAVM_STATE_DIR": directory.name})
        patch.start()
        self.addCleanup(patch.stop)
        for name in ("INSTAVM_API_KEY", "INSTAVM_BASE_URL"):
            os.environ.pop(name, None)

    def read(self, api_key=None, base_url=None):
        settings = read_settings(api_key, base_url)
        return settings.base_url, settings.api_key

    def test_by_default_the_server_of_this_machine_with_its_admin_key(self):
        self.assertEqual(self.read(), ("http://127.0.0.1:8222", "ivm_admin"))

    def test_variables_come_before_that_and_arguments_before_variables(self):
        os.environ.update(INSTAVM_BASE_URL="https://vm.example/api/", INSTAVM_API_KEY="from-variable")
        self.assertEqual(self.read(), ("https://vm.example/api", "from-variable"))
        self.assertEqual(self.read("own", "http://localhost:1/"), ("http://localhost:1", "own"))

    def test_the_admin_key_is_for_this_machine_alone(self):
        for url in ("http://localhost:8222", "http://127.0.0.2:1", "http://[::1]:8222"):
            self.assertEqual(self.read(None, url)[1], "ivm_admin")
        for url in ("http://127.0.0.1.example:8222", "http://10.0.0.1", "http://localhost@vm.example"):
            with self.assertRaisesRegex(AuthenticationError, "no api_key, no INSTAVM_API_KEY"):
                self.read(None, url)

    def test_no_key_at_all_is_said_with_the_place_where_one_would_be(self):
        os.environ["INSTAVM_STATE_DIR"] = "/nothing/here"
        with self.assertRaisesRegex(AuthenticationError, "nor a readable /nothing/here/admin-key"):
            InstaVM()

    def test_a_base_url_that_is_none_is_refused(self):
        for url in ("localhost:8222", "ftp://x", "http://"):
            with self.assertRaises(InvalidRequestError):
                self.read("k", url)

    def test_the_key_is_not_shown(self):
        with InstaVM("secret", "http://127.0.0.1:1") as client:
            self.assertNotIn("secret", repr(client))
        self.assertNotIn("secret", repr(read_settings("secret", None)))

    def test_no_proxy_stands_between_a_program_and_its_own_machine(self):
        with mock.patch.dict(os.environ, {"http_proxy": "http://127.0.0.1:1", "HTTP_PROXY": "http://127.0.0.1:1"}):
            with ScriptedServer() as server, InstaVM("key", server.url) as client:
                self.assertEqual(client.execute("1").exit_code, 0)


if __name__ == "__main__":
    unittest.main()
