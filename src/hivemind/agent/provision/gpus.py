"""Which allocation has which GPUs of this node.

The hive agrees how many an allocation gets, its node which. That stands in a file, so that a new daemon knows what
running containers hold. Vendors' libraries are the image's business: only the devices are handed over."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from hivemind.agent.provision.contract import Provision
from hivemind.drivers.gpus import Gpu
from hivemind.drivers.runtimes.contract import Device
from hivemind.errors import Unavailable
from hivemind.model.allocation import Allocation
from hivemind.model.app import AppSpec
from hivemind.model.template import ContainerTemplate


class Gpus:
    """A `Provider` of devices. `file`: where it keeps what it gave."""

    def __init__(self, file: Path, present: Sequence[Gpu]) -> None:
        self._file = file
        self._present = {gpu.name: gpu for gpu in present}
        self._given = _load(file)
        """Allocation -> names."""

    async def provide(
        self, allocation: Allocation, spec: AppSpec, template: ContainerTemplate, user: str
    ) -> Provision:
        """Raises `Unavailable` while others still hold what it shall have."""
        if not template.resources.gpus:
            return Provision()
        held = self._held(allocation.id, spec.reserved.gpus)
        mine = held[_offset(spec, template) :][: template.resources.gpus]
        paths = dict.fromkeys(path for name in mine for path in self._present[name].paths)
        return Provision(devices=tuple(Device(host=path, container=path, access="rw") for path in paths))

    async def release(self, allocation: str) -> None:
        if self._given.pop(allocation, None) is not None:
            self._save()

    async def prune(self, keep: set[str]) -> None:
        gone = self._given.keys() - keep
        if gone:
            self._given = {id: names for id, names in self._given.items() if id in keep}
            self._save()

    def _held(self, allocation: str, wanted: int) -> list[str]:
        known = self._given.get(allocation, [])
        if len(known) == wanted and self._present.keys() >= set(known):
            return known
        taken = {name for id, names in self._given.items() if id != allocation for name in names}
        free = [name for name in self._present if name not in taken]
        if len(free) < wanted:
            raise Unavailable(
                f"{wanted} GPUs are wanted and {len(free)} of this node's {len(self._present)} are free",
                hint="they get free when the allocation before has stopped; ls /dev shows which there are",
            )
        self._given[allocation] = free[:wanted]
        self._save()
        return free[:wanted]

    def _save(self) -> None:
        draft = self._file.with_suffix(".draft")
        draft.write_bytes(msgspec.json.encode(self._given))
        os.replace(draft, self._file)


def _offset(spec: AppSpec, template: ContainerTemplate) -> int:
    """The app's own container and its sidecars run together and share nothing; init containers run before them."""
    before = 0
    for other in (spec, *spec.sidecars):
        if other is template:
            return before
        before += other.resources.gpus
    return 0


def _load(file: Path) -> dict[str, list[str]]:
    """Nothing when it is missing or unreadable: what runs keeps its devices, and asks again when it starts anew."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, list[str]])
    except (FileNotFoundError, msgspec.DecodeError):
        return {}
