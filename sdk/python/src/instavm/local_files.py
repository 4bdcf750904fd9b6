"""The caller's own files: what is uploaded and where a download goes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO

from .exceptions import FileMissingError, InvalidRequestError

#: A path, or the content itself.
Source = str | os.PathLike[str] | bytes


def opener(source: Source) -> Callable[[], IO[bytes]]:
    """Opens the source, each time from its beginning."""
    if isinstance(source, bytes):
        return lambda: BytesIO(source)
    path = Path(source)
    if path.is_dir():
        raise InvalidRequestError(
            f"{path} is a directory; expected a file.", next="Pass recursive=True to upload all in it."
        )
    if not path.exists():
        raise FileMissingError(f"There is no file {path} to upload.")
    return lambda: open(path, "rb")


def files_under(directory: Path) -> Iterator[tuple[Path, str]]:
    """The regular files in a directory and the ones below it, with their paths from there. Symbolic links are left out."""
    for folder, folders, names in os.walk(directory):
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink():
                yield path, path.relative_to(directory).as_posix()


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A file to write to. At the end of the block it is there with all of its content; if that fails, all is as it was."""
    target = Path(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with open(handle, "wb") as file:
            yield file
        # mkstemp lets nobody else read; a download is a file like any other.
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
