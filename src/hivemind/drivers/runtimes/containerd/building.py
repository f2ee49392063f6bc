"""Building: what it takes in containerd to make a container, and to take every trace of it away."""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
import signal as signals
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from hivemind.drivers.runtimes.cgroups import Cgroup
from hivemind.drivers.runtimes.containerd import messages, oci_spec, rootfs
from hivemind.drivers.runtimes.containerd.api import Api
from hivemind.drivers.runtimes.containerd.images import Library
from hivemind.drivers.runtimes.containerd.protobuf import Value
from hivemind.drivers.runtimes.containerd.record import Directory
from hivemind.drivers.runtimes.containerd.spool import Spool
from hivemind.drivers.runtimes.contract import ContainerSpec
from hivemind.drivers.runtimes.oci.users import Account
from hivemind.drivers.runtimes.secrets import give_files
from hivemind.errors import Conflict, NotFound

_IDENTIFIER = re.compile(r"[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*")
_LONGEST = 76
"""What containerd takes for a name, and how long it may be."""
_SHIM = "io.containerd.runc.v2"
_OPTIONS = "containerd.runc.v1.Options"
_LABEL = 4096
"""Bytes that containerd takes for a label."""
_ACCOUNTS = 256


class Building:
    """For one node, whose containers bear the name of their `owner` in the containerd's `namespace`."""

    def __init__(
        self,
        api: Api,
        library: Library,
        *,
        run: Path,
        namespace: str,
        snapshotter: str,
        owner: str,
        slice: str,
        open_files: int,
    ) -> None:
        """`slice`: the control group that holds theirs. `open_files`: the hard limit that containerd itself has."""
        self._api = api
        self._library = library
        self._run = run
        self._namespace = namespace
        self._snapshotter = snapshotter
        self._owner = owner
        self._slice = slice
        self._open_files = open_files
        self._accounts: dict[tuple[str, str, str], Account] = {}
        """By image, user and working directory."""

    def name_of(self, id: str) -> str:
        name = f"{self._owner}-{id}"
        if _IDENTIFIER.fullmatch(name) and len(name) <= _LONGEST:
            return name
        return f"{self._owner}-{hashlib.sha256(id.encode()).hexdigest()[:32]}"

    def cgroup_of(self, id: str) -> Cgroup:
        return Cgroup(f"{self._slice}/{id}")

    async def build(self, spec: ContainerSpec, directory: Directory) -> int:
        """Everything in containerd; the process id of the container, which then waits to be started."""
        name = self.name_of(spec.id)
        mounts = await self._snapshot(spec.image, name)
        account = await self._account(spec, mounts, directory)
        await asyncio.to_thread(give_files, spec, account.uid, account.gid)
        configuration = await asyncio.to_thread(
            oci_spec.configuration, spec, account, directory, f"/{self._slice}/{spec.id}", self._open_files
        )
        labels = {key: text for key, text in spec.labels.items() if len(f"{key}{text}".encode()) <= _LABEL}
        await self._api.call(
            "containers.v1.Containers/Create",
            container={
                "id": name,
                "labels": labels | {"hivemind.node": self._owner},
                "image": f"{self._owner}/{spec.image}",
                "runtime": {"name": _SHIM},
                "spec": {"type_url": oci_spec.SPEC, "value": msgspec.json.encode(configuration)},
                "snapshotter": self._snapshotter,
                "snapshot_key": name,
            },
        )
        spool: dict[str, Any] = {stream: str(path) for stream, path in Spool.paths_in(directory.path).items()}
        if spec.tty:
            del spool["stderr"]
        options = {"io_uid": account.uid, "io_gid": account.gid, "root": str(self._run / "runc")}
        task = await self._api.call(
            "tasks.v1.Tasks/Create",
            container_id=name,
            rootfs=mounts,
            stdin=str(directory.stdin) if spec.stdin else "",
            **spool,
            terminal=spec.tty,
            options={"type_url": _OPTIONS, "value": messages.RUNC_OPTIONS.encode(options)},
        )
        return int(task["pid"])

    async def _account(self, spec: ContainerSpec, mounts: Sequence[Value], directory: Directory) -> Account:
        """Looked up once for all containers that are alike: images do not change."""
        key = (spec.image, spec.user, spec.workdir)
        if key not in self._accounts:
            self._accounts[key] = await rootfs.look_inside(mounts, directory.rootfs, spec.user, spec.workdir)
            while len(self._accounts) > _ACCOUNTS:
                del self._accounts[next(iter(self._accounts))]
        return self._accounts[key]

    async def _snapshot(self, image: str, name: str) -> Sequence[Value]:
        """Its writable layer. It stays until it is removed, whatever refers to it."""
        for last in (False, True):
            try:
                prepared = await self._api.call(
                    "snapshots.v1.Snapshots/Prepare",
                    snapshotter=self._snapshotter,
                    key=name,
                    parent=await self._library.chain(image),
                    labels={"containerd.io/gc.root": "hivemind"},
                )
                return prepared["mounts"]  # type: ignore[no-any-return]
            except NotFound:  # the image was removed from containerd behind our back
                if last:
                    raise
                self._library.forget(image)
        raise AssertionError

    async def mounts(self, name: str) -> Sequence[Value]:
        answer = await self._api.call(
            "snapshots.v1.Snapshots/Mounts", snapshotter=self._snapshotter, key=name
        )
        return answer["mounts"]  # type: ignore[no-any-return]

    async def demolish(self, directory: Directory, id: str) -> None:
        """Takes away every trace of a container, however far its creation came. Safe to repeat."""
        name = self.name_of(id)
        await self.gone("tasks.v1.Tasks/Kill", container_id=name, signal=int(signals.SIGKILL), all=True)
        await self.gone("tasks.v1.Tasks/Wait", container_id=name)
        await self.gone("tasks.v1.Tasks/Delete", container_id=name)
        await self.gone("containers.v1.Containers/Delete", id=name)
        await self.gone("snapshots.v1.Snapshots/Remove", snapshotter=self._snapshotter, key=name)
        self.cgroup_of(id).remove()
        for left in (self._run / "exec" / id, self._run / "runc" / self._namespace / name):
            shutil.rmtree(left, ignore_errors=True)
        await asyncio.to_thread(directory.remove)

    async def end_commands(self, id: str) -> None:
        """Those that an earlier daemon ran: nobody hears them any more."""
        left, name = self._run / "exec" / id, self.name_of(id)
        for files in left.iterdir() if left.exists() else ():
            at = {"container_id": name, "exec_id": files.name}
            await self.gone("tasks.v1.Tasks/Kill", **at, signal=int(signals.SIGKILL))
            await self.gone("tasks.v1.Tasks/Wait", **at)
            await self.gone("tasks.v1.Tasks/DeleteProcess", **at)
        shutil.rmtree(left, ignore_errors=True)

    async def gone(self, method: str, **fields: Any) -> None:
        try:
            await self._api.call(method, **fields)
        except (NotFound, Conflict):
            pass
