"""IPython for the driver: translates `!cmd`, `%magics` and `name?`, shows rich objects. Lives in the private directory.

Cells never run through IPython's `run_cell`: the driver compiles what `translate` gives and runs it in its own
namespace. History, completion and IPython's tracebacks stay out.
"""

from __future__ import annotations

import base64
import binascii
import builtins
import json
import os
import sys
import types

from IPython.core import inputtransformer2
from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.text import LSString, SList
from traitlets import Any, Type
from traitlets.config import Config

import instavm_figures

# `/path arguments`, `, words` and `; words` would make shell lines into Python calls.
inputtransformer2.ESCAPE_SINGLES = {"!", "?", "%"}

# Imported before the template is saved: the magics that people use.
WARM_MAGICS = ("basic", "code", "display", "execution", "namespace", "osm", "packaging", "pylab", "script")

RICH_METHODS = (
    "_repr_mimebundle_", "_repr_html_", "_repr_markdown_", "_repr_svg_", "_repr_png_", "_repr_jpeg_", "_repr_latex_",
    "_repr_json_", "_repr_javascript_", "_repr_pdf_", "_repr_pretty_", "_ipython_display_",
)  # fmt: skip

# Names that IPython puts beside the user's own.
UNWANTED_NAMES = ("In", "Out", "_", "_ih", "_oh", "exit", "quit", "open", "get_ipython", "__builtin__")


def mime_data(bundle):
    """A display bundle as the driver sends it: text as str, images as bytes, JSON as text."""
    data = {}
    for mime, content in bundle.items():
        if isinstance(content, str) and mime.startswith("image/") and not mime.endswith("+xml"):
            try:
                content = base64.b64decode(content, validate=False)
            except (binascii.Error, ValueError):
                continue
        elif not isinstance(content, (str, bytes)):
            try:
                content = json.dumps(content)
            except (TypeError, ValueError):
                continue
        data[str(mime)] = content
    return data


class Publisher(DisplayPublisher):
    """`display()` goes to the driver."""

    def publish(self, data, metadata=None, *arguments, **options):
        self.shell.driver.show(mime_data(data))

    def clear_output(self, wait=False):
        pass


class ResultHook(DisplayHook):
    """The value of a last expression that a magic ran."""

    def __call__(self, result=None):
        self.shell.driver.show_result(result)


class Shell(InteractiveShell):
    """IPython's shell without what belongs to a terminal."""

    driver = None
    is_formatting = False
    profile_dir = Any()
    display_pub_class = Type(Publisher)
    displayhook_class = Type(ResultHook)

    def init_ipython_dir(self, ipython_dir):
        self.ipython_dir = os.path.expanduser("~/.ipython")

    def init_profile_dir(self, profile_dir):
        # Named, never made. What IPython would keep in its database lasts as long as the interpreter.
        self.profile_dir = types.SimpleNamespace(location=os.path.join(self.ipython_dir, "profile_default"))
        self._db = {}

    def init_virtualenv(self):
        pass

    def system(self, cmd):
        self.user_ns["_exit_code"] = self.driver.system(self.var_expand(cmd, depth=1))

    def getoutput(self, cmd, split=True, depth=0):
        text = self.driver.output_of(self.var_expand(cmd, depth=depth + 1))
        return SList(text.splitlines()) if split else LSString(text)

    def showtraceback(self, exc_tuple=None, *arguments, **options):
        error = sys.exc_info()[1] if exc_tuple is None else exc_tuple[1]
        if error is None:
            return
        reported = self.driver.report(error)
        if not self.is_formatting:
            self.driver.reported_error = reported

    def showsyntaxerror(self, filename=None, *arguments, **options):
        self.showtraceback()

    def show_usage_error(self, exc):
        self.showtraceback((type(exc), exc, None))

    def enable_gui(self, gui=None):
        pass

    def enable_matplotlib(self, gui=None):
        instavm_figures.use()
        return "inline", instavm_figures.BACKEND

    def atexit_operations(self):
        pass


def print_page(_shell, data, _start=0, _screen_lines=0, **_options):
    """Help goes to stdout, not into a pager."""
    print(data.get("text/plain", "") if isinstance(data, dict) else data)


class DriverShell:
    """What the driver calls."""

    def __init__(self, driver, shell):
        self._driver = driver
        self._shell = shell

    def translate(self, source):
        """May raise SyntaxError."""
        return self._shell.transform_cell(source)

    def bundle(self, value):
        """MIME data of a rich object; None when its repr says it all."""
        kind = type(value)
        if not any(hasattr(kind, name) for name in RICH_METHODS) and not self._is_registered(value):
            return None
        self._shell.is_formatting = True
        try:
            data, _ = self._shell.display_formatter.format(value)
        finally:
            self._shell.is_formatting = False
        data = mime_data(data)
        return data

    def _is_registered(self, value):
        if isinstance(value, (dict, frozenset, list, set, tuple)):
            return True
        return any(prints(formatter, value) for formatter in self._shell.display_formatter.formatters.values())

    def before_cell(self):
        self._trigger("pre_execute", "pre_run_cell")

    def after_cell(self):
        instavm_figures.show_all()
        self._trigger("post_execute", "post_run_cell")

    def _trigger(self, *events):
        for event in events:
            for callback in list(self._shell.events.callbacks[event]):
                call_back(callback)


def prints(formatter, value):
    """Whether a printer was registered for the type of a value; the plain text ones are left out."""
    if formatter.format_type == "text/plain" or not (formatter.type_printers or formatter.deferred_printers):
        return False
    try:
        formatter.lookup(value)
    except KeyError:
        return False
    return True


def call_back(callback):
    """`pre_run_cell` and `post_run_cell` take IPython's record of the cell, which does not exist here."""
    try:
        callback()
    except TypeError:
        try:
            callback(None)
        except Exception as error:
            print("%s: %s" % (type(error).__name__, error), file=sys.stderr)
    except Exception as error:
        print("%s: %s" % (type(error).__name__, error), file=sys.stderr)


def start(driver):
    """Makes the shell in the driver's namespace."""
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    config.InteractiveShell.cache_size = 0
    config.Completer.use_jedi = False
    Shell.driver = driver
    shell = Shell.instance(config=config, user_module=driver.main)
    shell.set_hook("show_in_pager", print_page, 99)
    for name in UNWANTED_NAMES:
        shell.user_ns.pop(name, None)
    builtins.get_ipython = shell.get_ipython
    # The publisher's own bookkeeping has nothing to keep.
    for callbacks in shell.events.callbacks.values():
        callbacks.clear()
    for name in WARM_MAGICS:
        __import__("IPython.core.magics." + name)
    instavm_figures.install(driver, shell)
    return DriverShell(driver, shell)
