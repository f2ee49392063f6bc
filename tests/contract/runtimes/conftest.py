"""The machines that the contract suite runs on: one `Bench` for each runtime."""

from __future__ import annotations

import hashlib
import itertools
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from docker_engine import DockerEngine
from hivemind.drivers.runtimes.contract import ContainerSpec, Runtime
from private_containerd import Containerd


class Bench:
    """A machine with one runtime. `open` gives a daemon's hold on it; calling it again is a daemon that was
    killed and started anew: the old object is dropped without a word."""

    image = ""
    sized_at_start = True
    """Whether a command finds its terminal with its size; otherwise it hears of it by SIGWINCH."""
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

    def __init__(self, make: Callable[[], Runtime]) -> None:
        self._make = make
        self._opened: list[Runtime] = []
        self._numbers = itertools.count(1)

    async def open(self) -> Runtime:
        runtime = self._make()
        await runtime.open()
        self._opened.append(runtime)
        return runtime

    def spec(self, script: str, **fields: Any) -> ContainerSpec:
        """A container that runs `script` in a POSIX shell."""
        id = fields.pop("id", f"contract-{next(self._numbers)}.0")
        args = fields.pop("args", ("sh", "-c", script))
        env = {"PATH": self.path, **fields.pop("env", {})}
        return ContainerSpec(id=id, args=args, env=env, image=self.image, **fields)

    async def clean(self) -> None:
        for container in await self._opened[-1].list() if self._opened else []:
            await self._opened[-1].remove(container.id)
        for runtime in self._opened:
            await runtime.close()


B = TypeVar("B", bound=Bench)


@contextmanager
def run_in_memory(tmp_path: Path) -> Iterator[None]:
    """Its `run` leads to a memory file system, as `/run` is one: secret variables go nowhere else."""
    with tempfile.TemporaryDirectory(prefix="hivemind-contract-", dir="/dev/shm") as memory:
        (tmp_path / "run").symlink_to(memory)
        yield


async def _fake(tmp_path: Path) -> AsyncIterator[Bench]:
    from hivemind.drivers.runtimes.fake import FakeMachine, FakeRuntime

    machine = FakeMachine()
    bench = Bench(lambda: FakeRuntime(machine))
    yield bench
    await bench.clean()


async def _process(tmp_path: Path) -> AsyncIterator[Bench]:
    from hivemind.drivers.runtimes.process.runtime import ProcessRuntime

    def make() -> ProcessRuntime:
        return ProcessRuntime(tmp_path / "state", tmp_path / "run")

    bench = Bench(make)
    with run_in_memory(tmp_path):
        try:
            yield bench
            await bench.clean()
        finally:
            await make().destroy()


class InOwnUsers(Bench):
    """Containers in a network namespace of their own (with nothing but a loopback), and hence in a user namespace."""

    netns = ""

    def spec(self, script: str, **fields: Any) -> ContainerSpec:
        return super().spec(script, **{"netns": self.netns, **fields})


async def _oci_users(tmp_path: Path) -> AsyncIterator[Bench]:
    from hivemind.drivers.network.isolated import IsolatedNetwork

    network = IsolatedNetwork(tmp_path / "network")
    await network.open()
    try:
        netns = (await network.attach("contract", ())).netns
        async for bench in _oci(tmp_path, InOwnUsers):
            bench.netns = netns
            yield bench
    finally:
        await network.destroy()


async def _oci(tmp_path: Path, kind: type[B] = Bench) -> AsyncIterator[B]:
    import debimage

    import oci_leftovers
    from hivemind.drivers.images.archive import load
    from hivemind.drivers.images.images import Images
    from hivemind.drivers.images.store import ImageStore
    from hivemind.drivers.runtimes.oci.runtime import OciRuntime

    images = Images(ImageStore(tmp_path / "images"))
    await images.open()

    def make() -> OciRuntime:
        return OciRuntime(tmp_path / "state", tmp_path / "run", images)

    bench = kind(make)
    bench.image = load(images.store, debimage.build("busybox"))[0].digest
    with run_in_memory(tmp_path), oci_leftovers.noted(tmp_path):
        try:
            yield bench
            await bench.clean()
        finally:
            runtime = make()
            await runtime.open()
            await runtime.destroy()


async def _docker(tmp_path: Path, engine: DockerEngine) -> AsyncIterator[Bench]:
    import debimage

    from hivemind.drivers.images.archive import load
    from hivemind.drivers.images.images import Images
    from hivemind.drivers.images.store import ImageStore
    from hivemind.drivers.runtimes.docker.runtime import DockerRuntime

    images = Images(ImageStore(tmp_path / "images"))
    await images.open()
    owner = hashlib.sha256(bytes(tmp_path)).hexdigest()[:12]

    def make() -> DockerRuntime:
        return DockerRuntime(engine.socket, owner, tmp_path / "state", images)

    bench = Bench(make)
    bench.image = load(images.store, debimage.build("busybox"))[0].digest
    bench.sized_at_start = engine.api >= (1, 42)
    try:
        yield bench
        await bench.clean()
    finally:
        runtime = make()
        await runtime.open()
        await runtime.destroy()


async def _containerd(tmp_path: Path, engine: Containerd) -> AsyncIterator[Bench]:
    import debimage

    from hivemind.drivers.images.archive import load
    from hivemind.drivers.images.images import Images
    from hivemind.drivers.images.store import ImageStore
    from hivemind.drivers.runtimes.containerd.runtime import ContainerdRuntime

    images = Images(ImageStore(tmp_path / "images"))
    await images.open()
    namespace = f"test-{hashlib.sha256(bytes(tmp_path)).hexdigest()[:12]}"

    def make() -> ContainerdRuntime:
        return ContainerdRuntime(
            tmp_path / "state", tmp_path / "run", images, address=engine.address, namespace=namespace
        )

    bench = Bench(make)
    bench.image = load(images.store, debimage.build("busybox"))[0].digest
    try:
        yield bench
        await bench.clean()
    finally:
        runtime = make()
        await runtime.open()
        await runtime.destroy()


RUNTIMES = {
    "fake": _fake,
    "process": _process,
    "oci": _oci,
    "oci-users": _oci_users,
    "containerd": _containerd,
    "docker": _docker,
}
REAL = ("oci", "oci-users", "containerd", "docker")
"""These need root and real containers."""
ENGINES = {"containerd": "containerd", "docker": "docker_engine"}
"""Fixtures of those that need an engine."""


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.real if name in REAL else ()) for name in RUNTIMES]
)
async def bench(request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: str) -> AsyncIterator[Bench]:
    engine = ENGINES.get(request.param)
    more = {"engine": request.getfixturevalue(engine)} if engine else {}
    async for bench in RUNTIMES[request.param](tmp_path, **more):
        yield bench


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`@pytest.mark.without("process")`: not for that runtime, which refuses the whole thing (and a test says so)."""

    def is_meant(item: pytest.Item) -> bool:
        call = getattr(item, "callspec", None)
        excluded = {name for mark in item.iter_markers("without") for name in mark.args}
        return call is None or call.params.get("bench") not in excluded

    items[:] = [item for item in items if is_meant(item)]


@pytest.fixture
async def runtime(bench: Bench) -> Runtime:
    return await bench.open()
