"""Makes src/instavm/_sync, the blocking client, from src/instavm/_async: `python3 sdk/python/generate_sync.py`."""

from __future__ import annotations

import re
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent / "src" / "instavm"

#: What stands in the asynchronous source, and what takes its place, in this order.
REPLACEMENTS = (
    (r"from asyncio import Lock, sleep", "from threading import Lock\nfrom time import sleep"),
    (r"The asynchronous client", "The blocking client"),
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait ", ""),
    (r"Awaitable, ", ""),
    (r"\bAwaitable\[([\w.]+)\]", r"\1"),
    (r"\bAsync(?=[A-Z])", ""),
    (r"\b__a(enter|exit|iter|next)__", r"__\1__"),
    (r"\ba(close|iter_bytes)\b", r"\1"),
)


def sync_source(name: str, source: str) -> str:
    """The blocking form of one module."""
    for pattern, replacement in REPLACEMENTS:
        source = re.sub(pattern, replacement, source)
    return f"# Made by generate_sync.py from _async/{name}: change that and run it again.\n{source}"


def sync_modules() -> dict[Path, str]:
    """Every file that belongs into `_sync`, with its text."""
    modules = sorted((PACKAGE / "_async").glob("*.py"))
    return {PACKAGE / "_sync" / module.name: sync_source(module.name, module.read_text()) for module in modules}


if __name__ == "__main__":
    for path, text in sync_modules().items():
        path.write_text(text)
