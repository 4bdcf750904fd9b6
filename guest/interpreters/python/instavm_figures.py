"""matplotlib figures as images: a backend that is chosen when pyplot is first imported and nobody chose another.

Nothing of matplotlib is imported here until the user does.
"""

from __future__ import annotations

import io
import os
import sys
import types

BACKEND = "module://instavm_figures_backend"
_MODULE = "instavm_figures_backend"
_driver = None


class PyplotWatch:
    """A finder that finds nothing: it only sees that `matplotlib.pyplot` is about to be imported."""

    def find_spec(self, name, path=None, target=None):
        if name == "matplotlib.pyplot":
            sys.meta_path.remove(self)
            try:
                _choose_backend()
            except Exception as error:
                print("figures are not shown: %s: %s" % (type(error).__name__, error), file=sys.stderr)
        return None


def install(driver, shell):
    """Called once, before the first cell."""
    global _driver
    _driver = driver
    sys.meta_path.insert(0, PyplotWatch())
    png = shell.display_formatter.formatters["image/png"]
    png.for_type_by_name("matplotlib.figure", "Figure", figure_png)


def _choose_backend():
    import matplotlib

    _make_backend()
    chosen = dict.get(matplotlib.rcParams, "backend")
    if isinstance(chosen, str) or os.environ.get("MPLBACKEND"):
        return
    matplotlib.rcParams["backend"] = BACKEND


def use():
    """`%matplotlib inline`, or any other: figures are images here."""
    import matplotlib

    _make_backend()
    matplotlib.use(BACKEND)


def _make_backend():
    if _MODULE in sys.modules:
        return
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    module = types.ModuleType(_MODULE)
    module.FigureCanvas = FigureCanvasAgg
    module.show = lambda *arguments, **options: show_all()
    sys.modules[_MODULE] = module


def figure_png(figure):
    """A figure as PNG; None for an empty one."""
    if not figure.axes and not figure.lines and not figure.texts and not figure.images:
        return None
    target = io.BytesIO()
    figure.savefig(target, format="png", bbox_inches="tight", dpi=figure.dpi)
    return target.getvalue()


def show_all():
    """Sends the open figures, in the order they were made, and closes them."""
    helpers = sys.modules.get("matplotlib._pylab_helpers")
    if helpers is None or not helpers.Gcf.figs or _MODULE not in sys.modules:
        return
    import matplotlib

    if str(dict.get(matplotlib.rcParams, "backend")).lower() != BACKEND:
        return
    managers = sorted(helpers.Gcf.get_all_fig_managers(), key=lambda manager: manager.num)
    try:
        for manager in managers:
            image = figure_png(manager.canvas.figure)
            if image is not None:
                _driver.show({"image/png": image, "text/plain": repr(manager.canvas.figure)})
    finally:
        helpers.Gcf.destroy_all()
