import copy
import pickle
import unittest

from instavm import ExecutionError, ExecutionResult
from scripted_server import RESULT

PNG = "iVBORw0KGgo="


def form(media_type, data, display=0, is_result=False):
    return {"type": media_type, "data": data, "display": display, "is_result": is_result}


class Results(unittest.TestCase):
    def test_a_result_can_be_copied_and_pickled_and_lists_its_fields(self):
        result = ExecutionResult(RESULT)
        self.assertEqual(copy.deepcopy(result), result)
        self.assertIsInstance(pickle.loads(pickle.dumps(result)), ExecutionResult)
        self.assertIn("stdout", dir(result))

    def test_a_field_that_is_not_there_is_no_attribute(self):
        result = ExecutionResult({**RESULT, "of_a_newer_server": 1})
        self.assertEqual(result.of_a_newer_server, 1)
        self.assertFalse(hasattr(result, "nothing"))

    def test_what_the_code_raised_has_a_name(self):
        raised = {"name": "ZeroDivisionError", "value": "division by zero", "traceback": "…"}
        result = ExecutionResult({**RESULT, "exit_code": 1, "error": raised})
        self.assertEqual((result.error.name, result["error"]["value"]), ("ZeroDivisionError", "division by zero"))
        self.assertIsNone(ExecutionResult(RESULT).error)

    def test_code_that_failed_raises_when_that_is_wanted(self):
        good = ExecutionResult(RESULT)
        self.assertIs(good.raise_for_error(), good)
        failed = ExecutionResult({**RESULT, "exit_code": 2, "stderr": "one\nls: no such file\n"})
        with self.assertRaisesRegex(ExecutionError, "exit code 2: ls: no such file") as raised:
            failed.raise_for_error()
        self.assertEqual((raised.exception.result, raised.exception.code), (failed, "execution_failed"))
        with self.assertRaisesRegex(ExecutionError, "did not end within its time") as raised:
            ExecutionResult({**RESULT, "exit_code": 124, "timed_out": True}).raise_for_error()
        self.assertEqual(raised.exception.code, "timeout")

    def test_forms_of_one_thing_are_one_display(self):
        listed = [form("text/plain", "T"), form("text/html", "<b>"), form("text/plain", "5", 1, True)]
        displays = ExecutionResult({**RESULT, "results": listed}).displays
        self.assertEqual(
            [display.forms for display in displays], [{"text/plain": "T", "text/html": "<b>"}, {"text/plain": "5"}]
        )
        self.assertEqual([display.is_result for display in displays], [False, True])


class Notebooks(unittest.TestCase):
    def bundle(self, **fields):
        return ExecutionResult({**RESULT, **fields})._repr_mimebundle_()

    def test_text_is_shown_as_text(self):
        bundle = self.bundle(stdout="<b>&\n", stderr="oh\n", exit_code=1)
        self.assertEqual(bundle["text/plain"], "<b>&\noh\n\n[exit code 1]")
        self.assertIn("&lt;b&gt;&amp;", bundle["text/html"])
        self.assertIn("oh", bundle["text/html"])
        self.assertNotIn("<b>", bundle["text/html"])

    def test_at_a_prompt_of_ipython_the_text_is_shown(self):
        shown = []
        printer = type("Printer", (), {"text": shown.append})
        ExecutionResult(RESULT)._repr_pretty_(printer, False)
        self.assertEqual(shown, ["42\n"])

    def test_html_of_the_vm_cannot_reach_the_notebook(self):
        html = self.bundle(results=[form("text/html", "<script>\"'alert(1)</script>")])["text/html"]
        self.assertIn('<iframe sandbox="allow-scripts"', html)
        self.assertNotIn("<script>", html)
        self.assertNotIn("allow-same-origin", html)
        self.assertIn('srcdoc="&lt;script&gt;&quot;&#x27;alert(1)', html)

    def test_pictures_are_pictures(self):
        shown = [
            form("image/png", PNG),
            form("image/svg+xml", "<svg onload='x'/>", 1),
            form("image/png", '"onload="x', 2),
        ]
        html = self.bundle(results=shown)["text/html"]
        self.assertIn(f'<img src="data:image/png;base64,{PNG}">', html)
        self.assertIn('<img src="data:image/svg+xml;base64,PHN2Zy', html)
        self.assertNotIn("<svg", html)
        self.assertNotIn('"onload', html)

    def test_a_thing_is_shown_once_in_its_best_form(self):
        shown = [form("text/plain", "<Figure>"), form("image/png", PNG), form("text/plain", "7", 1, True)]
        html = self.bundle(stdout="printed\n<Figure>\n7\n", results=shown)["text/html"]
        self.assertNotIn("Figure", html)
        self.assertEqual([html.count("<img"), html.count("7</pre>"), html.count("printed")], [1, 1, 1])
        cut = self.bundle(stdout="printed, then cut", results=shown)["text/html"]
        self.assertEqual([cut.count("<img"), cut.count("7</pre>")], [1, 0])

    def test_one_display_shows_itself(self):
        display = ExecutionResult({**RESULT, "results": [form("text/plain", "T"), form("image/png", PNG)]}).displays[0]
        self.assertEqual(display._repr_mimebundle_()["text/plain"], "T")
        self.assertIn("<img", display._repr_mimebundle_()["text/html"])


if __name__ == "__main__":
    unittest.main()
