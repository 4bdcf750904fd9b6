"""Runs the real JavaScript driver over its pipes. INSTAVM_TEST_NODE names the program to test (default: `node` of PATH)."""

from __future__ import annotations

import os
import pathlib
import sys
import tempfile
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from driver_process import EXCEPTION, EXIT, OK, DriverProcess  # noqa: E402

NODE = os.environ.get("INSTAVM_TEST_NODE", "node")


class JavaScript(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="instavm-javascript-")
        self.addCleanup(directory.cleanup)
        self.app = os.path.realpath(directory.name)

    def interpreter(self, env=None):
        return DriverProcess([NODE, str(HERE / "driver.cjs")], self.app, env)

    def test_state_stays_and_const_may_be_declared_again(self):
        with self.interpreter() as js:
            self.assertEqual(js.run("const a = 1; let b = 2; class K { m() { return a } } function f() { return b }").result, None)
            self.assertEqual(js.run("a + b + new K().m() + f()").result, "6")
            result = js.run("const a = 5; let b = 7; class K {}; a + b")
            self.assertEqual((result.status, result.exit_code, result.result), (OK, 0, "12"))

    def test_the_last_expression_is_the_result(self):
        with self.interpreter() as js:
            for code, expected in [
                ("'text'", "'text'"),
                ("null", "null"),
                ("undefined", None),
                ("const x = 1", None),
                ("{ a: 1, b: [1, 2] }", "{ a: 1, b: [ 1, 2 ] }"),
                ("{ let y = 4; y }", "4"),
                ("if (true) { 7 }", "7"),
                ("12n ** 20n", "3833759992447475122176n"),
                ("-0", "-0"),
                ("Symbol('s')", "Symbol(s)"),
                ("new Map([[1, { deep: { er: [1] } }]])", "Map(1) {\n  1 => { deep: { er: [ 1 ] } }\n}"),
                ("6 * 7 // comment", "42"),
                ("", None),
            ]:
                with self.subTest(code):
                    result = js.run(code)
                    self.assertEqual((result.status, result.result), (OK, expected), result.err)

    def test_await_stands_at_the_top_level_and_a_promise_is_awaited(self):
        with self.interpreter() as js:
            self.assertEqual(js.run("const waited = await new Promise(done => setTimeout(done, 20, 7)); waited").result, "7")
            self.assertEqual(js.run("waited + 1").result, "8")
            result = js.run("async function main() { await null; console.log('in main'); return 'end' }\nmain()")
            self.assertEqual((result.out, result.result), ("in main\n", "'end'"))
            result = js.run("(async () => { throw new RangeError('late') })()")
            self.assertEqual((result.status, result.name, result.value), (EXCEPTION, "RangeError", "late"))

    def test_output_is_kept_apart_and_in_its_place(self):
        with self.interpreter() as js:
            result = js.run("console.log('out', { a: 1 }); console.error('err'); process.stdout.write('ü')")
            self.assertEqual((result.out, result.err), ("out { a: 1 }\nü", "err\n"))
            self.assertEqual(len(js.run("console.log('x'.repeat(3_000_000))").out), 3_000_001)
            self.assertEqual(js.run("process.stdout.end(); 1").result, "1")
            self.assertEqual(js.run("console.log('again')").out, "again\n")

    def test_an_error_has_name_value_and_a_traceback_of_the_cell(self):
        with self.interpreter() as js:
            result = js.run("function inner() {\n  throw new TypeError('no such thing')\n}\ninner()")
            self.assertEqual((result.status, result.name, result.value), (EXCEPTION, "TypeError", "no such thing"))
            self.assertIn("at inner (<cell-1>:2:9)", result.traceback)
            self.assertIn("at <cell-1>:4:1", result.traceback)
            self.assertNotIn("inspector", result.traceback)
            self.assertNotIn("driver.cjs", result.traceback)
            self.assertEqual(result.err, result.traceback)
            result = js.run("const fs = require('fs'); fs.readFileSync('/no/such')")
            self.assertIn("code: 'ENOENT'", result.traceback)
            self.assertEqual(js.run("throw 5").value, "5")
            self.assertEqual(js.run("throw { toString() { throw 1 }, get name() { throw 2 } }").status, EXCEPTION)
            self.assertEqual(js.run("await Promise.reject(new Error('r'))").value, "r")
            self.assertEqual(js.run("undefinedName").name, "ReferenceError")
            self.assertEqual(js.run("1").result, "1")

    def test_a_syntax_error_shows_its_line_and_runs_nothing(self):
        with self.interpreter() as js:
            result = js.run("console.log('never')\nconst = 5\n")
            self.assertEqual((result.status, result.name, result.out), (EXCEPTION, "SyntaxError", ""))
            self.assertTrue(result.traceback.startswith("<cell-1>:2\nconst = 5\n      ^\n"), result.traceback)

    def test_rich_results_and_display(self):
        with self.interpreter() as js:
            js.run(
                "class Rich { constructor() { this.n = 1 }\n"
                "[Symbol.for('instavm.display')]() { return { 'text/html': '<b>1</b>', 'image/png': Buffer.from([137, 80]), 'application/json': { a: [1] } } } }"
            )
            (is_result, data), = js.run("new Rich()").displays
            self.assertTrue(is_result)
            self.assertEqual(
                data,
                {"text/plain": b"Rich { n: 1 }", "text/html": b"<b>1</b>", "image/png": b"\x89P", "application/json": b'{"a":[1]}'},
            )
            code = "display.html('<i>'); display('plain'); display({ 'image/png': 'iVBO', 'image/svg+xml': '<svg/>' }, { raw: true }); await display(new Rich()); display.json({ b: 2 })"
            shown = js.run(code).displays
            self.assertEqual([is_result for is_result, _ in shown], [False] * 5)
            self.assertEqual(shown[0][1], {"text/html": b"<i>"})
            self.assertEqual(shown[1][1], {"text/plain": b"'plain'"})
            self.assertEqual(shown[2][1], {"image/png": b"\x89PN", "image/svg+xml": b"<svg/>"})
            self.assertEqual(shown[3][1]["text/html"], b"<b>1</b>")
            self.assertEqual(shown[4][1], {"application/json": b'{"b":2}'})
            jupyter = "({ [Symbol.for('Jupyter.display')]: async () => ({ 'text/plain': 'own', 'text/markdown': '# m' }) })"
            self.assertEqual(js.run(jupyter).displays, [(True, {"text/plain": b"own", "text/markdown": b"# m"})])

    def test_large_displays_are_sent_whole_and_too_large_ones_as_such(self):
        with self.interpreter() as js:
            ((_, data),) = js.run("display.png(Buffer.alloc(5_000_000, 7))").displays
            self.assertEqual(data["image/png"], b"\x07" * 5_000_000)
            ((_, data),) = js.run("display.png(Buffer.alloc(40_000_000))").displays
            self.assertEqual(len(data["image/png"]), (16 << 20) + 1)
            ((_, data),) = js.run("'x'.repeat(5_000_000)").displays
            self.assertLess(len(data["text/plain"]), 1 << 20)

    def test_modules_come_by_require_and_import(self):
        with self.interpreter() as js:
            for name, manifest, files in [
                ("plain", {"main": "m.js"}, {"m.js": "exports.x = 'from plain'"}),
                (
                    "esm-only",
                    {"type": "module", "exports": {"import": "./m.js"}},
                    {"m.js": "export const y = 'from esm'; export default 9"},
                ),
            ]:
                directory = pathlib.Path(self.app, "node_modules", name)
                directory.mkdir(parents=True)
                (directory / "package.json").write_text(__import__("json").dumps({"name": name, **manifest}))
                for file, text in files.items():
                    (directory / file).write_text(text)
            pathlib.Path(self.app, "own.mjs").write_text("export const z = 'own'")
            self.assertEqual(js.run("require('plain').x").result, "'from plain'")
            self.assertEqual(js.run("import { x as renamed } from 'plain'\nrenamed").result, "'from plain'")
            self.assertEqual(js.run("import nine, { y } from 'esm-only'; [nine, y]").result, "[ 9, 'from esm' ]")
            self.assertEqual(js.run("import * as own from './own.mjs'; own.z").result, "'own'")
            self.assertEqual(js.run("(await import('./own.mjs')).z").result, "'own'")
            self.assertEqual(js.run("import fs, { readFileSync } from 'node:fs'\nimport path from 'path'\nfs.readFileSync === readFileSync && path.sep").result, "'/'")
            self.assertEqual(js.run("os.EOL + path.sep").result, "'\\n/'")
            result = js.run("import {\n  a,\n} from './nothing.mjs'\nmore")
            self.assertEqual((result.status, result.name), (EXCEPTION, "Error"))
            self.assertIn("nothing.mjs", result.value)

    def test_the_word_import_elsewhere_is_left_alone(self):
        with self.interpreter() as js:
            for code, expected in [
                ('"import x from \'y\'"', "\"import x from 'y'\""),
                ("`import('a') ${'import(1)'} ${`import {b} from 'c'`}`", "\"import('a') import(1) import {b} from 'c'\""),
                ("// import('a')\n/* import 'b' */ 1", "1"),
                ("/import ['\"]x/.test('import \"x') && 4 / 2 / 1", "2"),
                ("({ import: 3 }).import", "3"),
                ("const important = 1; important", "1"),
            ]:
                with self.subTest(code):
                    result = js.run(code)
                    self.assertEqual((result.status, result.result), (OK, expected), result.err)

    def test_exit_ends_the_process_behind_its_handlers(self):
        with self.interpreter() as js:
            result = js.run("process.on('exit', () => console.log('bye')); console.log('going'); process.exit(3)")
            self.assertEqual((result.status, result.exit_code), (EXIT, 3))
            self.assertEqual(result.out, "going\nbye\n")
            self.assertEqual(js.process.wait(10), 3)

    def test_an_interrupt_ends_a_loop_and_keeps_the_state(self):
        with self.interpreter() as js:
            js.run("let kept = 'kept'")
            for code in [
                "console.log('in'); while (true) {}",
                "console.log('in'); await new Promise(() => {})",
                "console.log('in'); new Promise(() => {})",
                "console.log('in'); child_process.execSync('sleep 60')",
                "const spin = () => { console.log('in'); for (;;) try { spin2() } catch {} }; function spin2() { throw 1 }; spin()",
            ]:
                with self.subTest(code):
                    js.start(code)
                    js.wait_for_output("in")
                    time.sleep(0.1)
                    result = js.interrupt_until_done(0.1)
                    self.assertEqual(result.status, EXCEPTION)
                    if "execSync" not in code:
                        self.assertEqual((result.name, result.value), ("Interrupted", "the cell was interrupted"))
                    self.assertEqual(js.run("kept").result, "'kept'")

    def test_an_interrupt_between_cells_is_ignored(self):
        with self.interpreter() as js:
            js.run("let kept = 1")
            js.interrupt()
            time.sleep(0.1)
            self.assertEqual(js.run("kept").result, "1")

    def test_what_an_abandoned_cell_does_later_is_not_the_next_ones(self):
        with self.interpreter() as js:
            js.start("console.log('in'); await new Promise(done => setTimeout(done, 2000)); display('late'); 'late result'")
            js.wait_for_output("in")
            self.assertEqual(js.interrupt_until_done(0.1).name, "Interrupted")
            result = js.run("await new Promise(done => setTimeout(done, 2500)); 'own'")
            self.assertEqual(result.result, "'own'")
            self.assertNotIn("late result", str(result.displays))

    def test_errors_outside_of_cells_go_to_stderr_and_end_nothing(self):
        with self.interpreter() as js:
            first = js.run("setTimeout(() => { throw new Error('from a timer') }, 1); Promise.reject(new Error('from a promise')); 0")
            time.sleep(0.3)
            result = js.run("'alive'")
            self.assertEqual(result.result, "'alive'")
            self.assertIn("from a timer", first.err + result.err)
            self.assertIn("from a promise", first.err + result.err)

    def test_a_cell_has_an_environment_of_its_own(self):
        with self.interpreter({"OUTER": "o"}) as js:
            self.assertEqual(js.run("process.env.ONE + process.env.OUTER", {"ONE": "1", "OUTER": "ü"}).result, "'1ü'")
            self.assertEqual(js.run("[process.env.ONE, process.env.OUTER]").result, "[ undefined, 'o' ]")
            self.assertEqual(js.run("throw 1", {"ONE": "1"}).status, EXCEPTION)
            self.assertEqual(js.run("process.env.ONE").result, None)

    def test_activation_sets_the_environment_and_makes_generators_differ(self):
        with self.interpreter() as js:
            code = "[Math.random(), crypto.randomUUID(), require('crypto').randomBytes(4).toString('hex'), require('crypto').randomInt(1e9)].join()"
            js.run("globalThis.crypto ??= require('crypto').webcrypto; 0")
            js.activate(b"\x01" * 32, {"HANDED": "über"})
            first = js.run("Math.random()").result
            self.assertEqual(js.run("process.env.HANDED").result, "'über'")
            js.activate(b"\x02" * 32)
            self.assertNotEqual(js.run("Math.random()").result, first)
            js.activate(b"\x01" * 32)
            self.assertEqual(js.run("Math.random()").result, first)
            self.assertNotEqual(js.run(code).result, js.run(code).result)
            numbers = js.run("const all = Array.from({ length: 20000 }, Math.random); [Math.min(...all) >= 0, Math.max(...all) < 1, Math.abs(all.reduce((a, b) => a + b) / 20000 - 0.5) < 0.02]")
            self.assertEqual(numbers.result, "[ true, true, true ]")
            self.assertRegex(js.run("require('crypto').randomUUID()").result, r"^'[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}'$")
            js.send("W")
            self.assertEqual(js.run("1").result, "1")

    def test_programs_do_not_hold_the_pipes_and_stdin_is_empty(self):
        with self.interpreter() as js:
            listed = js.run("child_process.execSync('ls -l /proc/self/fd; cat', { encoding: 'utf8', stdio: ['inherit', 'pipe', 'inherit'] })").result
            self.assertNotRegex(listed, r" [34] -> pipe")

    def test_it_ends_with_the_agent(self):
        with self.interpreter() as js:
            os.close(js._requests)
            js._requests = None
            self.assertEqual(js.process.wait(10), 0)


if __name__ == "__main__":
    unittest.main()
