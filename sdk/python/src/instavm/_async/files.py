from __future__ import annotations

import builtins
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from os import PathLike
from typing import Any

from ..calls import Call, segment
from ..exceptions import InvalidRequestError, UnsupportedOperationError
from ..local_files import Source, opener, whole_file
from ..local_trees import ReadTree, WrittenTreeHere
from ..records import FileInfo, WrittenFile, WrittenTree
from .transport import AsyncTransport

#: How long a file may take either way, in seconds.
TRANSFER_TIMEOUT_S = 600.0
#: Names in one answer.
PAGE_LENGTH = 1000


class AsyncFiles:
    """The files of one VM: `client.files` or `client.vms.files(vm_id)`. A relative path starts at the working directory."""

    def __init__(self, transport: AsyncTransport, vm_id: Callable[[], Awaitable[str]], timeout_s: float) -> None:
        self._transport = transport
        self._vm_id = vm_id
        self._timeout_s = timeout_s

    async def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        """A file's bytes, or those from `offset`, `length` of them at the most."""
        content = bytearray()
        if length != 0:
            async for piece in self._pieces(path, _range(offset, length)):
                content += piece
        return bytes(content)

    async def download(self, path: str, local_path: str | PathLike[str], timeout: float = TRANSFER_TIMEOUT_S) -> int:
        """Copies a file to this machine, of any size in little memory; its length in bytes. It is there whole or not at all."""
        size = 0
        with whole_file(local_path) as local:
            async for piece in self._pieces(path, None, timeout):
                size += local.write(piece)
        return size

    async def write(
        self,
        path: str,
        source: Source,
        *,
        mode: str | None = None,
        user: str | None = None,
        group: str | None = None,
        must_be_new: bool = False,
        timeout: float = TRANSFER_TIMEOUT_S,
    ) -> WrittenFile:
        """Writes bytes, or a file of this machine, of any size in little memory. It appears whole or not at all; the
        directories above it are made. `mode` such as "0644". With `must_be_new` a file that is there raises ConflictError.
        """
        params = _given(path=path, mode=mode, user=user, group=group, must_be_new="true" if must_be_new else None)
        headers = {"content-type": "application/octet-stream"}
        opens = opener(source)
        call = Call("PUT", await self._path(), timeout, params=params, open_file=opens, headers=headers)
        return WrittenFile(await self._transport.call(call))

    async def upload_directory(
        self,
        local_path: str | PathLike[str],
        path: str,
        *,
        user: str | None = None,
        group: str | None = None,
        timeout: float = TRANSFER_TIMEOUT_S,
    ) -> WrittenTree:
        """Copies all that is in a directory of this machine into one of the VM, which is made when it is missing, in little
        memory. Symbolic links stay links; sockets, pipes and devices are left out.
        """
        tree = ReadTree(local_path)
        params = _given(path=path, user=user, group=group)
        headers = {"content-type": "application/octet-stream"}
        url = f"{await self._path()}/tar"
        call = Call("PUT", url, timeout, params=params, open_file=tree.open, headers=headers)
        written = WrittenTree(await self._transport.call(call))
        written["skipped"] += tree.skipped
        return written

    async def download_directory(
        self, path: str, local_path: str | PathLike[str], timeout: float = TRANSFER_TIMEOUT_S
    ) -> WrittenTree:
        """Copies all that is in a directory of the VM into one of this machine, which is made when it is missing, in little
        memory. Each file is there whole or not at all, and nothing is written outside: links that lead out of the directory
        are left out, as hard links and devices are.
        """
        found = await self.stat(path, follow=True)
        if found.type != "directory":
            raise InvalidRequestError(f"{path} is a {found.type}; expected a directory.", next="Use download().")
        call = Call("GET", f"{await self._path()}/tar", timeout, params={"path": path})
        with WrittenTreeHere(local_path) as tree:
            async for piece in self._transport.pieces(call):
                tree.feed(piece)
            tree.end()
        return WrittenTree(size=tree.size, entries=tree.entries, skipped=tree.skipped)

    async def stat(self, path: str, follow: bool = False) -> FileInfo:
        """What is known of a file; with `follow` of what a symbolic link points to."""
        params = _given(path=path, follow="true" if follow else None)
        return FileInfo(await self._call("GET", "/stat", params=params))

    async def exists(self, path: str) -> bool:
        """Whether there is something at a path."""
        try:
            await self.stat(path)
        except FileNotFoundError:
            return False
        return True

    async def list(self, path: str = ".") -> builtins.list[FileInfo]:
        """What is in a directory, sorted by name."""
        entries: builtins.list[FileInfo] = []
        while True:
            after = entries[-1].name if entries else None
            page = await self._call("GET", "/list", params=_given(path=path, limit=PAGE_LENGTH, after=after))
            entries += [FileInfo(entry) for entry in page["entries"]]
            if not page["has_more"]:
                return entries
            if entries[-1].raw_name is not None:
                raise UnsupportedOperationError(
                    f"{path} has more than {len(entries)} names, and behind {entries[-1].name!r}, no UTF-8, none can be asked for.",
                    next="List the directory with execute().",
                )

    async def mkdir(self, path: str, parents: bool = True, mode: str | None = None) -> FileInfo:
        """Makes a directory; with `parents` those above it too, and one that is there already will do."""
        return FileInfo(await self._call("POST", "/mkdir", json=_given(path=path, parents=parents, mode=mode)))

    async def move(self, path: str, to: str, overwrite: bool = False) -> FileInfo:
        """Moves or renames a file or directory. Without `overwrite` something that is there raises ConflictError."""
        body = {"from": path, "to": to, "overwrite": overwrite}
        return FileInfo(await self._call("POST", "/move", json=body))

    async def change(
        self, path: str, mode: str | None = None, user: str | None = None, group: str | None = None
    ) -> FileInfo:
        """Changes a file's mode, such as "0644", or its owner."""
        body = _given(mode=mode, user=user, group=group)
        return FileInfo(await self._call("PATCH", "", params={"path": path}, json=body))

    async def remove(self, path: str, recursive: bool = False) -> int:
        """Removes a file, or with `recursive` a directory with all in it; how many things that were."""
        params = _given(path=path, recursive="true" if recursive else None)
        answer = await self._call("DELETE", "", params=params)
        return int(answer["removed"])

    async def _pieces(
        self, path: str, headers: Mapping[str, str] | None, timeout_s: float = TRANSFER_TIMEOUT_S
    ) -> AsyncIterator[bytes]:
        call = Call("GET", await self._path(), timeout_s, params={"path": path}, headers=headers)
        async for piece in self._transport.pieces(call):
            yield piece

    async def _call(
        self, method: str, action: str, params: Mapping[str, Any] | None = None, json: Mapping[str, Any] | None = None
    ) -> Any:
        call = Call(method, f"{await self._path()}{action}", self._timeout_s, params=params, json=json)
        return await self._transport.call(call)

    async def _path(self) -> str:
        return f"/v1/vms/{segment(await self._vm_id())}/files"


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _range(offset: int, length: int | None) -> Mapping[str, str] | None:
    if offset == 0 and length is None:
        return None
    return {"range": f"bytes={offset}-{'' if length is None else offset + length - 1}"}
