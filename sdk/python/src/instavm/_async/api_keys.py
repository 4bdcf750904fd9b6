from __future__ import annotations

import builtins

from ..calls import Call, segment
from ..records import ApiKey, Record
from .transport import AsyncTransport


class AsyncApiKeys:
    """API keys: `client.api_keys`."""

    def __init__(self, transport: AsyncTransport, timeout_s: float) -> None:
        self._transport = transport
        self._timeout_s = timeout_s

    async def create(self, description: str = "", role: str = "user") -> ApiKey:
        """Makes a key, which `key` of the answer shows this once. Needs an admin's key."""
        body = {"description": description, "role": role}
        return ApiKey(await self._transport.call(Call("POST", "/v1/api-keys/", self._timeout_s, json=body)))

    async def list(self, include_revoked: bool = False) -> builtins.list[ApiKey]:
        """An admin sees all keys, a user its own."""
        params = {"include_revoked": "true"} if include_revoked else None
        keys = await self._transport.call(Call("GET", "/v1/api-keys/", self._timeout_s, params=params))
        return [ApiKey(key) for key in keys]

    async def get(self, item_id: int) -> ApiKey:
        """What is known of a key."""
        return ApiKey(await self._transport.call(Call("GET", f"/v1/api-keys/{segment(item_id)}", self._timeout_s)))

    async def update(self, item_id: int, description: str) -> ApiKey:
        """Describes a key anew."""
        body = {"description": description}
        call = Call("PATCH", f"/v1/api-keys/{segment(item_id)}", self._timeout_s, json=body)
        return ApiKey(await self._transport.call(call))

    async def delete(self, item_id: int) -> Record:
        """Revokes a key at once; its sessions live on until they expire."""
        return Record(await self._transport.call(Call("DELETE", f"/v1/api-keys/{segment(item_id)}", self._timeout_s)))
