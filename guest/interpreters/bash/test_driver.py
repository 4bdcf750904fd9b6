"""Runs the real Bash driver over its pipes. INSTAVM_TEST_BASH names the program to test (default: `bash` of PATH)."""

from __future__ import annotations

import os
import pathlib
import sys
import tempfile
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from driver_process import OK, DriverProcess, packed  # noqa: E402

BASH = os.environ.get("INSTAVM_TEST_BASH", "bash")


class Bash(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="instavm-bash-")
        self.addCleanup(directory.cleanup)
        self.app = os.path.realpath(directory.name)

    def interpreter(self, env=None):
        return DriverProcess([BASH, str(HERE / "driver.sh")], self.app, env)

    def test_variables_functions_aliases_options_and_the_directory_stay(self):
        with self.interpreter() as bash:
            bash.run("x=ü; declare -a list=(1 '2 3'); declare -A map=([k]=v); f() { echo \"f:$1\"; }; alias a='f alias'; shopt -s nullglob; mkdir d; cd d; export Y=y")
            result = bash.run("echo \"$x ${list[1]} ${map[k]}\"; f 1; a; echo none*; pwd; sh -c 'echo $Y'")
            self.assertEqual(result.out, "ü 2 3 v\nf:1\nf:alias\n\n%s/d\ny\n" % self.app)
            self.assertEqual((result.status, result.exit_code, result.err), (OK, 0, ""))

    def test_each_cell_has_its_exit_code_and_its_streams(self):
        with self.interpreter() as bash:
            for code, exit_code in [("true", 0), ("false", 1), ("(exit 7)", 7), ("nosuchprogram", 127), ("sh -c 'kill -9 $$'", 137), ("", 0)]:
                with self.subTest(code):
                    self.assertEqual(bash.run(code).exit_code, exit_code)
            result = bash.run("echo out; echo err >&2; nosuch")
            self.assertEqual((result.out, result.err), ("out\n", "err\nbash: nosuch: command not found\n"))
            self.assertEqual(bash.run("echo $?").out, "0\n")

    def test_cells_of_many_lines_run_in_order_and_errors_leave_the_shell_alive(self):
        with self.interpreter() as bash:
            result = bash.run("for i in 1 2; do\n  cat <<END\nline $i\nEND\ndone\nif true; then echo yes; fi # comment")
            self.assertEqual(result.out, "line 1\nline 2\nyes\n")
            result = bash.run("echo before\nif then\necho after")
            self.assertEqual((result.out, result.exit_code), ("before\n", 2))
            self.assertIn("syntax error", result.err)
            for code in ["echo ${nothing:?is missing}; echo not here", "set -u; echo $undefined; echo not here", "declare -r r=1; r=2; echo not here"]:
                with self.subTest(code):
                    result = bash.run(code)
                    self.assertEqual((result.exit_code, result.out), (1, ""))
            bash.run("set +u")
            self.assertEqual(bash.run("break 9; continue 9; return 3; echo alive").out, "alive\n")
            self.assertEqual(bash.run("eval() { echo mine; }; alias builtin='echo mine'; set -f; IFS=x; set -x; true").exit_code, 0)
            self.assertEqual(bash.run("set +x; echo alive").out, "alive\n")

    def test_a_long_cell_and_every_byte_arrive(self):
        with self.interpreter() as bash:
            self.assertEqual(bash.run("x='%s'; echo ${#x}" % ("ü\\'\"$\n" * 50_000).replace("'", "")).out, "250000\n")
            every = bytes(set(range(1, 256)) - {0x27})
            self.assertEqual(bash.run(b"printf %s '" + every + b"' | od -An -v -tx1 | tr -d ' \n'").out, every.hex())

    def test_an_interrupt_ends_what_runs_and_keeps_the_state(self):
        with self.interpreter() as bash:
            bash.run("kept=kept; f() { sleep 60; echo not here; }")
            for code in [
                "sleep 60; echo not here",
                "while :; do :; done; echo not here",
                "while sleep 60; do :; done; echo not here",
                "f; echo not here",
                "x=$(sleep 60); echo not here",
                "(sleep 60); echo not here",
                "sleep 60 | cat; echo not here",
                "sleep 60 & wait; echo not here",
                "read -t 60 < <(sleep 60); echo not here",
                "cat <(sleep 60); echo not here",
            ]:
                with self.subTest(code):
                    bash.start("echo in; " + code)
                    bash.wait_for_output("in")
                    time.sleep(0.1)
                    result = bash.interrupt_until_done()
                    self.assertEqual((result.exit_code, result.out), (130, "in\n"))
                    self.assertEqual(bash.run("echo $kept").out, "kept\n")

    def test_an_interrupt_between_cells_is_ignored(self):
        with self.interpreter() as bash:
            bash.run("kept=1")
            bash.interrupt()
            time.sleep(0.1)
            self.assertEqual(bash.run("echo $kept").out, "1\n")
            bash.start("trap 'echo mine' INT; echo in; sleep 60; echo after")
            bash.wait_for_output("in")
            time.sleep(0.1)
            bash.interrupt()
            self.assertEqual(bash.finish().out, "in\nmine\nafter\n")
            bash.start("echo in; sleep 60; echo not here")
            bash.wait_for_output("in")
            time.sleep(0.1)
            self.assertEqual(bash.interrupt_until_done().exit_code, 130)

    def test_what_runs_in_the_background_goes_on_from_cell_to_cell(self):
        with self.interpreter() as bash:
            bash.run("(trap 'exit' TERM; while :; do echo tick >> ticks; sleep 0.02; done) & pid=$!")
            time.sleep(0.2)
            result = bash.run("kill $pid; wait $pid; [[ $(wc -l < ticks) -gt 2 ]] && echo ticked")
            self.assertEqual(result.out, "ticked\n")
            # The shell tells of the ends of jobs between cells, where nobody hears it.
            bash.run("true & true")
            time.sleep(0.1)
            self.assertEqual(bash.run("echo next").err, "")

    def test_an_exit_ends_the_shell_with_its_code(self):
        for code, exit_code, out in [
            ("echo going; exit 3", 3, "going\n"),
            ("trap 'echo bye' EXIT; exit 4", 4, "bye\n"),
            ("set -e; echo a; false; echo b", 1, "a\n"),
            ("(exit 5); exit", 5, ""),
            ("f() { exit 6; }; f", 6, ""),
        ]:
            with self.subTest(code), self.interpreter() as bash:
                bash.start(code)
                self.assertEqual(bash.process.wait(20), exit_code)
                self.assertEqual(bash.printed(), (out, ""))

    def test_a_cell_has_an_environment_of_its_own(self):
        with self.interpreter({"OUTER": "o"}) as bash:
            env = {"ONE": "1 '\"$x\n", "OUTER": "ü", "no name": "x"}
            self.assertEqual(bash.run("echo \"$ONE\"; sh -c 'echo $OUTER'; kept=kept", env).out, "1 '\"$x\n\nü\n")
            self.assertEqual(bash.run("echo ${ONE-unset} $OUTER $kept").out, "unset o kept\n")
            bash.start("echo in; sleep 60", {"ONE": "1"})
            bash.wait_for_output("in")
            time.sleep(0.1)
            self.assertEqual(bash.interrupt_until_done().exit_code, 130)
            self.assertEqual(bash.run("echo ${ONE-unset}").out, "unset\n")
            self.assertEqual(bash.run("echo ${nothing:?}", {"ONE": "1"}).exit_code, 1)
            self.assertEqual(bash.run("echo ${ONE-unset}").out, "unset\n")

    def test_activation_sets_the_environment_and_the_seed(self):
        with self.interpreter() as bash:
            bash.run("readonly fixed=1")
            bash.activate(b"\x00\xff" * 16, {"HANDED": "über", "fixed": "2", "1bad": "x"})
            first = bash.run("echo $RANDOM $fixed; sh -c 'echo $HANDED'").out
            self.assertTrue(first.endswith(" 1\nüber\n"), first)
            bash.activate(b"\x01\xff" * 16)
            self.assertNotEqual(bash.run("echo $RANDOM").out.split()[0], first.split()[0])
            bash.activate(b"\x00\xff" * 16)
            self.assertEqual(bash.run("echo $RANDOM").out.split()[0], first.split()[0])
            bash.send("W")
            self.assertEqual(bash.run("echo 1").out, "1\n")

    def test_programs_do_not_hold_the_pipes_and_stdin_is_empty(self):
        with self.interpreter() as bash:
            result = bash.run("ls -l /proc/self/fd | grep -c pipe; cat; read x || echo empty")
            self.assertEqual(result.out, "2\nempty\n")
            # The pipe to grep and stderr; what a cell opens stays open.
            self.assertEqual(bash.run("exec 3>file; echo kept >&3").exit_code, 0)
            self.assertEqual(bash.run("echo more >&3; cat file").out, "kept\nmore\n")

    def test_it_ends_with_the_agent(self):
        with self.interpreter() as bash:
            os.close(bash._requests)
            bash._requests = None
            self.assertEqual(bash.process.wait(10), 0)


if __name__ == "__main__":
    unittest.main()
