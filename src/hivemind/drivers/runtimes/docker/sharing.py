"""Several containers in one network: a small container of ours holds it, and all of them join that one.

The engine ties a network to the container that it was made for. Others may join it, but are left in a dead one when
the first ends; so where an app has companions, the first is none of its own. The one that holds does nothing: its
program, written here instruction by instruction, waits for ever.
"""

from __future__ import annotations

import asyncio
import platform
import struct
from collections import defaultdict
from pathlib import Path
from typing import Any

from hivemind.drivers.runtimes.contract import ContainerSpec
from hivemind.drivers.runtimes.docker import configuration
from hivemind.drivers.runtimes.docker.container import Inspected
from hivemind.drivers.runtimes.docker.engine import Engine
from hivemind.errors import Conflict, NotFound, Unsupported

HOLDS = "hivemind.engine.holds"
"""Label: the allocation whose network the container holds."""

_BASE = 0x400000
_HEAD = 120
"""Bytes of a program's two headers."""
_INSTRUCTIONS = {
    # pause(); again
    "x86_64": (62, bytes.fromhex("b822000000 0f05 ebf7")),
    # ppoll(0, 0, 0, 0); again
    "aarch64": (
        183,
        struct.pack(
            "<7I", 0xD2800000, 0xD2800001, 0xD2800002, 0xD2800003, 0xD2800928, 0xD4000001, 0x17FFFFFA
        ),
    ),
}


def allocation_of(id: str) -> str:
    """Whose containers share a network: ids begin with it."""
    return id.partition(".")[0]


class Holders:
    def __init__(self, engine: Engine, owner: str, program: Path) -> None:
        """`program`: where the holders' program is kept."""
        self._engine = engine
        self._owner = owner
        self._program = program
        self._busy: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def join(self, spec: ContainerSpec, image: str) -> str:
        """The engine's id of the container to join; empty when this one has its network for itself."""
        if not spec.network:
            return ""
        allocation = allocation_of(spec.id)
        async with self._busy[allocation]:
            try:
                path = f"/containers/{self._name(allocation)}"
                found = await self._engine.call("GET", f"{path}/json", type=Inspected)
            except NotFound:
                if not spec.network_shared:
                    return ""
                return await self._make(spec, image, allocation)
            if not found.state.running:  # the engine was started anew
                await self._engine.call("POST", f"{path}/start")
            return str(found.id)

    async def release(self, allocation: str) -> None:
        """None of its containers is left."""
        async with self._busy[allocation]:
            try:
                await self._engine.call(
                    "DELETE", f"/containers/{self._name(allocation)}", query={"force": 1, "v": 1}
                )
            except (NotFound, Conflict):
                pass  # gone, or just going
        self._busy.pop(allocation, None)

    async def _make(self, spec: ContainerSpec, image: str, allocation: str) -> str:
        await asyncio.to_thread(self._write_program)
        name = self._name(allocation)
        made = await self._engine.call(
            "POST", "/containers/create", self._body(spec, image, allocation), query={"name": name}
        )
        await self._engine.call("POST", f"/containers/{name}/start")
        return str(made["Id"])

    def _body(self, spec: ContainerSpec, image: str, allocation: str) -> dict[str, Any]:
        inside = "/.hivemind-holds-network"
        mount = {"Type": "bind", "Source": str(self._program), "Target": inside, "ReadOnly": True}
        return {
            "Image": image,
            "Entrypoint": [inside],
            "Cmd": [],
            "User": "65534:65534",
            "WorkingDir": "/",
            "Hostname": spec.hostname[:63],
            "Labels": {configuration.OWNER: self._owner, HOLDS: allocation},
            "Healthcheck": {"Test": ["NONE"]},
            "HostConfig": {
                "NetworkMode": spec.network,
                "Mounts": [mount],
                "RestartPolicy": {"Name": "no"},
                "LogConfig": {"Type": "none"},
                "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges:true"],
                "ReadonlyRootfs": True,
            },
            "NetworkingConfig": configuration.endpoint(spec),
        }

    def _write_program(self) -> None:
        if not self._program.exists():
            fresh = self._program.with_suffix(".new")
            fresh.write_bytes(waiting_program(platform.machine()))
            fresh.chmod(0o555)
            fresh.rename(self._program)

    def _name(self, allocation: str) -> str:
        return f"hivemind-{self._owner}-{allocation}-network"


def waiting_program(machine: str) -> bytes:
    """An executable that does nothing and never ends. Raises `Unsupported` where its instructions are not known."""
    try:
        kind, code = _INSTRUCTIONS[machine]
    except KeyError:
        raise Unsupported(
            f"apps with companions cannot run on docker on {machine}", hint="use another runtime"
        ) from None
    size = _HEAD + len(code)
    start = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)
    header = struct.pack("<HHIQQQIHHHHHH", 2, kind, 1, _BASE + _HEAD, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x10000)
    return start + header + segment + code
