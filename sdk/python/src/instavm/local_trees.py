"""Directories of this machine as tar archives: read from here, and unpacked here without trusting what comes."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Generator, Iterator
from os import PathLike, fsdecode, fsencode
from secrets import token_hex
from typing import TYPE_CHECKING

from .exceptions import InvalidRequestError, NetworkError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

#: Everything in an archive is in blocks of so many bytes.
BLOCK_BYTES = tarfile.BLOCKSIZE
#: What is read of a file at once, in bytes.
PIECE_BYTES = 256 * 1024
#: Pax records of one entry, in bytes.
MAX_RECORDS_BYTES = 64 * 1024
#: The last second that every file system knows.
MAX_TIME_S = 2**33


class ReadTree:
    """All that is in a directory, as an archive. Symbolic links stay links; sockets, pipes and devices are left out."""

    def __init__(self, directory: str | PathLike[str]) -> None:
        #: What was left out.
        self.skipped = 0
        self._root = fsencode(directory)
        if not os.path.isdir(self._root):
            raise InvalidRequestError(f"{fsdecode(self._root)} is no directory; expected one to upload.")

    def open(self) -> io.BufferedReader:
        """The archive, from its beginning."""
        self.skipped = 0
        return io.BufferedReader(_Pieces(self._archive()), PIECE_BYTES)

    def _archive(self) -> Iterator[bytes]:
        yield from self._directory(self._root, b"")
        yield bytes(2 * BLOCK_BYTES)

    def _directory(self, directory: bytes, prefix: bytes) -> Iterator[bytes]:
        for name in sorted(os.listdir(directory)):
            path = os.path.join(directory, name)
            found = os.lstat(path)
            if stat.S_ISDIR(found.st_mode):
                yield _header(prefix + name, found, tarfile.DIRTYPE)
                yield from self._directory(path, prefix + name + b"/")
            elif stat.S_ISLNK(found.st_mode):
                yield _header(prefix + name, found, tarfile.SYMTYPE, link=os.readlink(path))
            elif stat.S_ISREG(found.st_mode):
                yield from self._file(path, prefix + name)
            else:
                self.skipped += 1

    def _file(self, path: bytes, name: bytes) -> Iterator[bytes]:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb", buffering=0) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise InvalidRequestError(f"{fsdecode(path)} has become something else while it was read.")
            yield _header(name, found, tarfile.REGTYPE, size=found.st_size)
            left = found.st_size
            while left > 0:
                piece = file.read(min(left, PIECE_BYTES))
                if not piece:
                    raise InvalidRequestError(f"{fsdecode(path)} became shorter while it was read.")
                left -= len(piece)
                yield piece
            yield bytes(-found.st_size % BLOCK_BYTES)


def _header(name: bytes, found: os.stat_result, kind: bytes, *, size: int = 0, link: bytes = b"") -> bytes:
    about = tarfile.TarInfo(fsdecode(name))
    about.type, about.size, about.linkname = kind, size, fsdecode(link)
    about.mode, about.mtime = stat.S_IMODE(found.st_mode), max(0, int(found.st_mtime))
    return about.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


class _Pieces(io.RawIOBase):
    """Bytes that are made while they are read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer)
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        taken = min(len(self._rest), len(view))
        view[:taken] = self._rest[:taken]
        self._rest = self._rest[taken:]
        return taken


class WrittenTreeHere:
    """An archive that is unpacked below a directory, which is made when it is missing, and nowhere else. Use it `with`.

    Each file appears whole or not at all. No link that is there is followed. A link that leads out of the directory, a hard
    link and a device are left out.
    """

    def __init__(self, directory: str | PathLike[str]) -> None:
        #: Bytes of files' content.
        self.size = 0
        self.entries = 0
        self.skipped = 0
        self._root = fsencode(directory)
        self._last_parent: bytes | None = None
        self._came = bytearray()
        self._steps = self._unpack()
        self._is_complete = False
        os.makedirs(self._root, exist_ok=True)

    def __enter__(self) -> WrittenTreeHere:
        return self

    def __exit__(self, *_: object) -> None:
        # What was half written goes.
        self._steps.close()

    def feed(self, piece: bytes) -> None:
        """Takes the archive's next bytes, in any pieces."""
        if self._is_complete:
            return
        self._came += piece
        self._is_complete = next(self._steps, True) is True

    def end(self) -> None:
        """No more will come. Raises NetworkError when the archive is not complete."""
        if not self._is_complete:
            raise _broken("it ends too early")

    def _unpack(self) -> Generator[None, None, None]:
        extension: dict[str, bytes] = {}
        while True:
            block = yield from self._exactly(BLOCK_BYTES)
            if block == bytes(BLOCK_BYTES):
                return
            try:
                about = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            except tarfile.HeaderError as cause:
                raise _broken(str(cause)) from cause
            if about.type == tarfile.XHDTYPE:
                if about.size > MAX_RECORDS_BYTES:
                    raise _broken(f"{about.size} bytes of records, expected at most {MAX_RECORDS_BYTES}")
                extension = _records((yield from self._exactly(about.size)))
                yield from self._exactly(-about.size % BLOCK_BYTES)
                continue
            name = extension.get("path", fsencode(about.name))
            link = extension.get("linkpath", fsencode(about.linkname))
            size = _number(extension["size"]) if "size" in extension else about.size
            extension = {}
            # What describes the whole archive is no entry.
            if about.type == tarfile.XGLTYPE:
                yield from self._pass_over(size)
            else:
                yield from self._entry(about, name, link, size)
            yield from self._exactly(-size % BLOCK_BYTES)

    def _entry(self, about: tarfile.TarInfo, name: bytes, link: bytes, size: int) -> Generator[None, None, None]:
        parts = _parts(name)
        is_file = about.type in (tarfile.REGTYPE, tarfile.AREGTYPE)
        is_inner_link = about.issym() and _stays_inside(link, len(parts) - 1)
        if parts and (is_file or about.isdir() or is_inner_link):
            self._parent(parts[:-1])
            path = os.path.join(self._root, *parts)
            if about.isdir():
                _directory_at(path, about.mode)
            elif is_file:
                yield from self._file(path, about, size)
                size = 0
            else:
                with _draft_of(path) as draft:
                    os.symlink(link, draft.path)
            self.entries += 1
        elif parts:
            self.skipped += 1
        yield from self._pass_over(size)

    def _file(self, path: bytes, about: tarfile.TarInfo, size: int) -> Generator[None, None, None]:
        with _draft_of(path) as draft:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with os.fdopen(os.open(draft.path, flags, about.mode & 0o777), "wb") as file:
                left = size
                while left > 0:
                    piece = yield from self._some(left)
                    file.write(piece)
                    left -= len(piece)
                    self.size += len(piece)
            modified_s = min(max(about.mtime, 0), MAX_TIME_S)
            os.utime(draft.path, (modified_s, modified_s))

    def _parent(self, parts: list[bytes]) -> None:
        parent = b"/".join(parts)
        if parent == self._last_parent:
            return
        for depth in range(len(parts)):
            _directory_at(os.path.join(self._root, *parts[: depth + 1]), 0o755)
        self._last_parent = parent

    def _exactly(self, length: int) -> Generator[None, None, bytes]:
        while len(self._came) < length:
            yield
        taken = bytes(self._came[:length])
        del self._came[:length]
        return taken

    def _some(self, most: int) -> Generator[None, None, bytes]:
        while not self._came:
            yield
        taken = bytes(self._came[:most])
        del self._came[:most]
        return taken

    def _pass_over(self, length: int) -> Generator[None, None, None]:
        while length > 0:
            length -= len((yield from self._some(length)))


class _draft_of:
    """What is made at `path` of the draft takes the place of what is there, at the end of the block."""

    def __init__(self, path: bytes) -> None:
        self._target = path
        self.path = os.path.join(os.path.dirname(path), f".{token_hex(6)}.part".encode())

    def __enter__(self) -> _draft_of:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                os.replace(self.path, self._target)
        finally:
            if os.path.lexists(self.path):
                os.unlink(self.path)


def _directory_at(path: bytes, mode: int) -> None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        # Whoever unpacks can write into it.
        os.mkdir(path, mode & 0o777 | 0o700)
        return
    if not stat.S_ISDIR(found.st_mode):
        raise InvalidRequestError(
            f"{fsdecode(path)} cannot be written into: something else is there, and no link is followed."
        )


def _parts(name: bytes) -> list[bytes]:
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    is_foreign = os.name == "nt" and (b"\\" in name or b":" in name)
    if name.startswith(b"/") or b"\0" in name or b".." in parts or is_foreign:
        raise _broken(f"{fsdecode(name)!r} leads elsewhere")
    return parts


def _stays_inside(link: bytes, depth: int) -> bool:
    """Whether a link leads to a place below the directory, `depth` directories above it. It may go up, then down: after the
    first way down another way up could begin anywhere."""
    if not link or link.startswith(b"/") or b"\0" in link:
        return False
    parts = [part for part in link.split(b"/") if part not in (b"", b".")]
    ups = next((index for index, part in enumerate(parts) if part != b".."), len(parts))
    return ups <= depth and b".." not in parts[ups:]


def _records(records: bytes) -> dict[str, bytes]:
    """Records are `<length> <key>=<value>\\n`; the length counts all of it."""
    found: dict[str, bytes] = {}
    while records:
        digits, _, rest = records[:32].partition(b" ")
        length = _number(digits)
        key, equals, value = records[len(digits) + 1 : length - 1].partition(b"=")
        if not rest or not equals or length > len(records):
            raise _broken("a record has no end")
        found[key.decode("ascii", "replace")] = value
        records = records[length:]
    return found


def _number(digits: bytes) -> int:
    if not digits.isdigit() or len(digits) > 18:
        raise _broken("there is no number where one is expected")
    return int(digits)


def _broken(why: str) -> NetworkError:
    return NetworkError(f"The archive that came is broken: {why}.", code="guest_protocol")
