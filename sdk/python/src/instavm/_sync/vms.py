# Made by generate_sync.py from _async/vms.py: change that and run it again.
from __future__ import annotations

import builtins
from typing import Any

from ..calls import Call, named, segment
from ..records import Record, Vm
from .files import Files
from .transport import Transport

#: How long a VM may take to start, in seconds.
START_TIMEOUT_S = 120.0


class Vms:
    """VMs by themselves: `client.vms`."""

    def __init__(self, transport: Transport, timeout_s: float) -> None:
        self._transport = transport
        self._timeout_s = timeout_s

    def create(self, wait: bool = True, **fields: Any) -> Vm:
        """Starts a VM with a session of its own, which `execute` can use.

        Fields: `vm_lifetime_seconds`, `memory_mb`, `vcpu_count`, `name`, `metadata`, `env`, `session_id`, and what newer
        servers know. Those that are None are left out.
        """
        body = {name: value for name, value in fields.items() if value is not None}
        params = {"wait": "true" if wait else "false"}
        call = Call("POST", "/v1/vms", START_TIMEOUT_S, params=params, json=body, headers=named())
        return Vm(self._transport.call(call))

    def list(self) -> builtins.list[Vm]:
        """The live VMs of the key, newest first."""
        return [Vm(vm) for vm in self._transport.call(Call("GET", "/v1/vms", self._timeout_s))]

    def list_all_records(self, limit: int | None = None) -> builtins.list[Vm]:
        """All VMs that the key has and had, newest first."""
        params = None if limit is None else {"limit": limit}
        return [Vm(vm) for vm in self._transport.call(Call("GET", "/v1/vms/", self._timeout_s, params=params))]

    def get(self, vm_id: str) -> Vm:
        """A VM, also one that has ended."""
        return Vm(self._transport.call(Call("GET", f"/v1/vms/{segment(vm_id)}", self._timeout_s)))

    def update(self, vm_id: str, **fields: Any) -> Vm:
        """Changes `name`, `metadata` or `vm_lifetime_seconds`. What cannot change raises ConflictError."""
        return Vm(self._transport.call(Call("PATCH", f"/v1/vms/{segment(vm_id)}", self._timeout_s, json=fields)))

    def fork(self, vm_id: str, count: int = 1, **fields: Any) -> builtins.list[Vm]:
        """Copies a VM that runs, memory, processes and files, while it goes on: `count` copies, 1 to 100, or none at all.
        Each has a session of its own.

        Fields: `name`, `metadata` and `env`, which are added to those of the VM's session, `vm_lifetime_seconds`, and what
        newer servers know. Those that are None are left out. Raises ConflictError where VMs cannot be copied so.
        """
        body = {"count": count, **{name: value for name, value in fields.items() if value is not None}}
        call = Call("POST", f"/v1/vms/{segment(vm_id)}/fork", START_TIMEOUT_S, json=body, headers=named())
        return [Vm(vm) for vm in (self._transport.call(call))["vms"]]

    def clone(self, vm_id: str, wait: bool = True, **fields: Any) -> Vm:
        """One copy of a VM that runs; see `fork`. Field: `name`."""
        body = {name: value for name, value in fields.items() if value is not None}
        params = {"wait": "true" if wait else "false"}
        path = f"/v1/vms/{segment(vm_id)}/clone"
        return Vm(
            self._transport.call(Call("POST", path, START_TIMEOUT_S, params=params, json=body, headers=named()))
        )

    def delete(self, vm_id: str) -> Record:
        """Ends a VM and its session."""
        return Record(self._transport.call(Call("DELETE", f"/v1/vms/{segment(vm_id)}", self._timeout_s)))

    def files(self, vm_id: str) -> Files:
        """The files of a VM."""

        def same() -> str:
            return vm_id

        return Files(self._transport, same, self._timeout_s)
