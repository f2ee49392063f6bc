"""Dask: the script is a task of a running cluster, which its scheduler gives to a worker.

The Python package `distributed` is imported when a task first asks for it; it must be of the cluster's version. What
was submitted is published under the id of the attempt, so that the cluster keeps it when the daemon goes away.
"""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from typing import Any

from hivemind.drivers.executors import launch
from hivemind.drivers.executors.contract import Job, Progress
from hivemind.drivers.executors.engine import Engine
from hivemind.errors import Invalid, Unavailable, Unsupported

_PATIENCE = 20.0
_HINT = "name it among the task's options: address: tcp://scheduler:8786"


class Dask(Engine):
    name = "dask"
    options = frozenset({"address", "workers", "worker_resources"})

    def __init__(self) -> None:
        self._clients: dict[str, Any] = {}

    async def open(self) -> None:
        try:
            import distributed  # noqa: F401
        except ImportError:
            raise Unsupported(
                "the Python package distributed is not installed on this node, so nothing can be handed to Dask",
                hint="pip install distributed, of the version that the cluster has, into Hivemind's environment",
            ) from None

    async def close(self) -> None:
        for client in self._clients.values():
            await client.close()
        self._clients.clear()

    async def _hand_over(self, id: str, job: Job, script: Path) -> str:
        client = await self._client(job)
        resources = {"cpu": job.cpus, "memory": job.memory, "gpu": job.gpus}
        asked = str(job.options.get("worker_resources", "")).replace(",", " ").split()
        if unknown := [one for one in asked if one.lower() not in resources]:
            raise Invalid(
                f"Dask's workers cannot be asked for {unknown[0]}", hint="worker_resources: cpu,memory,gpu"
            )
        workers = self._option(job, "workers").replace(",", " ").split() or None
        future = client.submit(
            subprocess.call,
            ["/bin/sh", str(script)],
            key=_key(id),
            pure=False,
            retries=0,
            workers=workers,
            resources={one: resources[one.lower()] for one in asked} or None,
        )
        await _soon(client.publish_dataset(future, name=_key(id), override=True))
        return _key(id)

    async def _known(self, id: str, job: Job) -> str | None:
        client = await self._client(job)
        return _key(id) if _key(id) in await _soon(client.list_datasets()) else None

    async def _standing(self, id: str, job: Job, name: str) -> Progress | None:
        client = await self._client(job)
        try:
            future = await _soon(client.get_dataset(name))
        except KeyError:
            return None
        if future.status == "pending":
            where = launch.began_on(job)
            if where:
                return Progress(standing="running", nodes=(where,))
            return Progress(standing="waiting", reason="Dask: no worker has begun it")
        if future.status == "finished":
            return launch.exited(int(await _soon(future)) % 256)
        if future.status == "error":
            error = await _soon(future.exception())
            cause: Any = "lost" if launch.began_on(job) else "start"
            return Progress(
                standing="ended", cause=cause, reason=f"Dask: {type(error).__name__}: {error}"[:500]
            )
        return Progress(standing="ended", cause="lost", reason=f"Dask: the task is {future.status}")

    async def _remove(self, id: str, job: Job, name: str, *, kill: bool) -> None:
        """What has begun is ended by its script: Dask itself cannot."""
        if launch.began_on(job):
            return
        client = await self._client(job)
        try:
            await _soon((await _soon(client.get_dataset(name))).cancel())
            await self.forget(id, job)
        except KeyError:
            pass

    async def forget(self, id: str, job: Job) -> None:
        client = await self._client(job)
        try:
            await _soon(client.unpublish_dataset(_key(id)))
        except KeyError:
            pass

    async def _client(self, job: Job) -> Any:
        """Connected. Raises `Invalid` without an address, `Unavailable` when nobody answers there."""
        from distributed import Client

        connect: Any = Client

        address = self._option(job, "address")
        if not address:
            raise Invalid("the address of Dask's scheduler is missing", hint=_HINT)
        client = self._clients.get(address)
        if client is None or client.status != "running":
            try:
                client = await connect(address, asynchronous=True, timeout=_PATIENCE, set_as_default=False)
            except (OSError, TimeoutError) as error:
                raise Unavailable(
                    f"Dask's scheduler does not answer at {address}: {error}", hint=_HINT
                ) from None
            except ValueError as error:
                raise Invalid(f"{address!r} is no address of Dask: {error}", hint=_HINT) from None
            self._clients[address] = client
        return client


def _key(id: str) -> str:
    return f"hivemind-{id}"


async def _soon(asked: Any) -> Any:
    try:
        return await asyncio.wait_for(asked, _PATIENCE)
    except (OSError, TimeoutError) as error:
        raise Unavailable(f"Dask's scheduler does not answer: {error}") from None
