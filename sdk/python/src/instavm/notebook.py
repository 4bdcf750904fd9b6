"""HTML for notebooks. A VM is not trusted: its HTML runs in a frame that can reach nothing of the notebook."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping
from html import escape

#: Forms that a browser shows as a picture, the best first. No script in them runs.
_PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml")
_TEXTS = ("text/markdown", "text/latex", "application/json", "text/plain")


def html_of_output(stdout: str, stderr: str, displays: Iterable[Mapping[str, str]]) -> str:
    """What code printed, what it displayed, and what it printed to stderr."""
    return _preformatted(stdout) + "".join(map(html_of_forms, displays)) + _preformatted(stderr, "color:#b00020")


def html_of_forms(forms: Mapping[str, str]) -> str:
    """The best form of one thing."""
    if "text/html" in forms:
        return _frame(forms["text/html"])
    for media_type in _PICTURES:
        if media_type in forms:
            return _picture(media_type, forms[media_type])
    return next((_preformatted(forms[media_type]) for media_type in _TEXTS if media_type in forms), "")


def _preformatted(text: str, style: str = "") -> str:
    return f'<pre style="{style}">{escape(text)}</pre>' if text else ""


def _picture(media_type: str, data: str) -> str:
    encoded = b64encode(data.encode()).decode() if media_type == "image/svg+xml" else data
    return f'<img src="data:{media_type};base64,{escape(encoded)}">'


def _frame(html: str) -> str:
    # Scripts may draw; without allow-same-origin they have neither the notebook's page nor its cookies.
    style = "width:100%;min-height:20em;border:0"
    return f'<iframe sandbox="allow-scripts" style="{style}" srcdoc="{escape(html)}"></iframe>'
