"""Builds the wheel and installs it, with what it needs, into a new virtual environment: `installed_wheel.py DIRECTORY`.

Everything comes from what script/setup --with-tests has fetched, nothing from the network.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
FETCHED = Path(sys.prefix) / "wheels"


def build_wheel(directory: Path) -> Path:
    """The wheel, in this directory."""
    run("-m", "hatchling", "build", "--target", "wheel", "--directory", str(directory))
    (wheel,) = directory.glob("*.whl")
    return wheel


def install(wheel: Path, directory: Path) -> Path:
    """The Python of a new virtual environment that has the wheel."""
    venv.create(directory, with_pip=False)
    python = directory / "bin" / "python"
    run(
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--quiet",
        "--no-index",
        "--find-links",
        str(FETCHED),
        str(wheel),
    )
    return python


def run(*arguments: str) -> None:
    environment = {"PYTHONDONTWRITEBYTECODE": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PATH": "/usr/bin:/bin"}
    ended = subprocess.run(
        [sys.executable, *arguments], cwd=PROJECT, env=environment, text=True, capture_output=True, timeout=300
    )
    if ended.returncode != 0:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{ended.stdout}{ended.stderr}")


if __name__ == "__main__":
    target = Path(sys.argv[1])
    print(install(build_wheel(target / "wheel"), target / "venv"))
