"""What only a real docker engine shows: that limits hold, what survives it, and what is none of ours."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import debimage
import pytest

from docker_engine import DockerEngine, engine
from hivemind.drivers.images.archive import load
from hivemind.drivers.images.images import Images
from hivemind.drivers.images.store import ImageStore
from hivemind.drivers.network import netns
from hivemind.drivers.network.docker import DockerNetwork
from hivemind.drivers.runtimes.contract import (
    ContainerSpec,
    Device,
    ExecSpec,
    LogQuery,
    Mount,
    RuntimeEvent,
    Ulimit,
)
from hivemind.drivers.runtimes.docker.runtime import DockerRuntime
from hivemind.errors import Conflict, Invalid, NotFound, Unavailable, Unsupported

pytestmark = [pytest.mark.real, pytest.mark.anyio]

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
FOREVER = "while :; do sleep 0.05; done"


class Machine:
    """A runtime on an engine, with busybox in the node's own store."""

    def __init__(self, place: Path, running: DockerEngine) -> None:
        self.place = place
        self.engine = running
        self.owner = hashlib.sha256(bytes(place)).hexdigest()[:12]
        self.images = Images(ImageStore(place / "images"))
        self._numbers = itertools.count(1)
        self.opened: list[DockerRuntime] = []

    async def open(self) -> DockerRuntime:
        runtime = DockerRuntime(self.engine.socket, self.owner, self.place / "state", self.images)
        await runtime.open()
        self.opened.append(runtime)
        return runtime

    async def prepare(self) -> None:
        await self.images.open()
        self.image = load(self.images.store, debimage.build("busybox"))[0]

    def spec(self, script: str, **fields: Any) -> ContainerSpec:
        id = fields.pop("id", f"real{next(self._numbers)}.0")
        args = fields.pop("args", ("sh", "-c", script))
        return ContainerSpec(id=id, image=self.image.digest, args=args, env={"PATH": PATH}, **fields)

    async def clean(self) -> None:
        for runtime in self.opened:
            await runtime.close()
        runtime = await self.open()
        await runtime.destroy()


@pytest.fixture
async def machine(tmp_path: Path, docker_engine: DockerEngine) -> AsyncIterator[Machine]:
    made = Machine(tmp_path, docker_engine)
    await made.prepare()
    yield made
    await made.clean()


@pytest.fixture
async def runtime(machine: Machine) -> DockerRuntime:
    return await machine.open()


@pytest.fixture
def inside(docker_engine: DockerEngine) -> Iterator[None]:
    """This thread, and those that it starts from now on, are where the engine makes its networks."""
    with netns.entered(Path(docker_engine.netns)):
        yield


@pytest.fixture
async def network(inside: None, machine: Machine) -> AsyncIterator[DockerNetwork]:
    made = DockerNetwork(machine.engine.socket, machine.owner, machine.place / "network")
    await made.open()
    yield made
    await machine.clean()
    await made.destroy()


async def run(runtime: DockerRuntime, spec: ContainerSpec) -> str:
    await runtime.create(spec)
    await runtime.start(spec.id)
    return spec.id


async def output(runtime: DockerRuntime, spec: ContainerSpec) -> list[str]:
    """Its lines, once it ended well."""
    id = await run(runtime, spec)
    async with asyncio.timeout(30):
        exit = await runtime.wait(id)
    lines = [line.text async for line in runtime.logs(id, LogQuery())]
    assert exit.code == 0, lines
    return lines


async def until(probe: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not probe():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_limits_and_isolation_hold(machine: Machine, runtime: DockerRuntime, tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    (tmp_path / "given/file").write_text("from the node\n")
    script = """
        ulimit -n; cat /proc/sys/kernel/msgmax; df -k /dev/shm | tail -1 | awk '{print $2}'
        df -k /memory | tail -1 | awk '{print $2}'; cat /given/file; touch /given/new 2>/dev/null || echo refused
        touch /new 2>/dev/null || echo read-only; grep CapEff /proc/self/status; grep NoNewPrivs /proc/self/status
        ls /dev/shown; cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null
        cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null; cat /etc/hosts; cat /etc/resolv.conf
        hostname; cat /proc/1/comm; echo $SECRET
    """
    spec = machine.spec(
        script,
        ulimits={"nofile": Ulimit(soft=100, hard=200)},
        sysctls={"kernel.msgmax": "7777"},
        shm_size=2**20,
        mounts=(
            Mount(target="/memory", size=2 * 2**20, mode=0o700),
            Mount(target="/given", source=str(tmp_path / "given"), readonly=True),
        ),
        read_only=True,
        cap_drop=("ALL",),
        cap_add=("NET_RAW",),
        devices=(Device(host="/dev/null", container="/dev/shown"),),
        memory=64 * 2**20,
        pids=50,
        cpus=0.5,
        hosts="127.0.0.1\tlocalhost\n",
        resolv_conf="nameserver 192.0.2.7\n",
        hostname="chosen",
        init=True,
        secret_env={"SECRET": "said to nobody else"},
    )
    assert await output(runtime, spec) == [
        "100", "7777", "1024", "2048", "from the node", "refused", "read-only",
        "CapEff:\t0000000000002000", "NoNewPrivs:\t1", "/dev/shown", str(64 * 2**20), "50",
        "127.0.0.1\tlocalhost", "nameserver 192.0.2.7", "chosen", "docker-init", "said to nobody else",
    ]  # fmt: skip


async def test_running_out_of_memory_is_told(machine: Machine, runtime: DockerRuntime) -> None:
    id = await run(runtime, machine.spec("", args=("tail", "-c", "100m", "/dev/zero"), memory=16 * 2**20))
    async with asyncio.timeout(30):
        exit = await runtime.wait(id)
    assert (exit.code, exit.oom) == (137, True)


async def test_what_cannot_be_is_refused(machine: Machine, runtime: DockerRuntime) -> None:
    with pytest.raises(Unsupported, match="cannot join"):
        await runtime.create(machine.spec("", netns="/run/netns/some"))
    with pytest.raises(NotFound):
        await runtime.create(ContainerSpec(id="x.0", image="sha256:" + "0" * 64, args=("sh",)))
    with pytest.raises(Invalid, match="/nowhere"):
        await runtime.create(machine.spec("", mounts=(Mount(target="/x", source="/nowhere"),)))
    assert await runtime.list() == [] and not list((machine.place / "state/containers").iterdir())
    lost = DockerRuntime("/nowhere/docker.sock", "x", machine.place / "other", machine.images)
    with pytest.raises(Unavailable, match="does not answer") as refused:
        await lost.open()
    assert "--docker-socket" in refused.value.hint


async def test_companions_share_a_network_whoever_ends_first(
    inside: None, machine: Machine, network: DockerNetwork, runtime: DockerRuntime
) -> None:
    given = await network.attach("shared", [])
    place = {"network": given.network, "ip": given.ip, "hostname": "both"}
    first = machine.spec("exit 0", id="shared.0.prepare", network_shared=True, **place)
    assert await output(runtime, first) == []
    side = machine.spec(
        "while :; do echo served | nc -l -p 81; done", id="shared.0.side", network_shared=True, **place
    )
    await run(runtime, side)
    main = machine.spec(
        "hostname; until nc 127.0.0.1 81 </dev/null 2>/dev/null; do sleep 0.05; done; ip -4 -o address",
        id="shared.0", **place,
    )  # fmt: skip
    said = await output(runtime, main)
    assert said[:2] == ["both", "served"] and f"{given.ip}/" in said[-1]
    await runtime.remove("shared.0")
    again = machine.spec(main.args[2], id="shared.1", **place)
    assert (await output(runtime, again))[1] == "served"
    for id in ("shared.1", "shared.0.side", "shared.0.prepare"):
        await runtime.remove(id)
    assert machine.owner not in str(machine.engine.ask("GET", "/containers/json?all=1"))


async def test_others_have_nothing_to_fear(machine: Machine, runtime: DockerRuntime) -> None:
    """Their image of the same name, and their containers."""
    ask = machine.engine.ask
    ask("POST", "/images/create?fromSrc=-&repo=busybox&tag=1", body=bytes(1024))
    theirs = ask("GET", "/images/busybox:1/json")["Id"]
    other = ask("POST", "/containers/create?name=somebodys", body={"Image": theirs, "Cmd": ["x"]})["Id"]
    id = await run(runtime, machine.spec(FOREVER))
    assert [container.id for container in await runtime.list()] == [id]
    assert ask("GET", "/images/busybox:1/json")["Id"] == theirs
    ours = f"hivemind-{machine.owner}:{machine.image.digest.partition(':')[2]}"
    assert (
        ask("GET", f"/images/{ours}/json")["Id"]
        == machine.images.manifest(machine.image.digest).config.digest
    )
    await runtime.remove(id)
    await runtime.destroy()
    assert "No such image" in str(ask("GET", f"/images/{ours}/json"))
    assert ask("GET", "/containers/somebodys/json")["Id"] == other
    assert ask("GET", "/images/busybox:1/json")["Id"] == theirs
    ask("DELETE", "/containers/somebodys")
    ask("DELETE", "/images/busybox:1")


async def test_what_somebody_takes_away_is_told(machine: Machine, runtime: DockerRuntime) -> None:
    id = await run(runtime, machine.spec(FOREVER))
    name = f"hivemind-{machine.owner}-{id}"
    machine.engine.ask("DELETE", f"/containers/{name}?force=1")
    async with asyncio.timeout(30):
        await runtime.wait(id)
        event = await anext(runtime.events())
    assert event.kind == "exited" and event.id == id
    await runtime.remove(id)
    assert await runtime.list() == []


async def test_nobody_starts_an_ended_one_again(machine: Machine, runtime: DockerRuntime) -> None:
    id = await run(runtime, machine.spec("[ -e /was ] || { touch /was; exit 3; }; sleep 1000"))
    await runtime.wait(id)
    path = f"/containers/hivemind-{machine.owner}-{id}"
    machine.engine.ask("POST", f"{path}/start")
    await until(lambda: not machine.engine.ask("GET", f"{path}/json")["State"]["Running"])
    (container,) = await runtime.list()
    assert container.exit is not None and container.exit.code == 3


@pytest.fixture
async def fragile(tmp_path: Path) -> AsyncIterator[Machine]:
    """An engine that may be killed."""
    with engine() as running:
        made = Machine(tmp_path, running)
        await made.prepare()
        yield made
        await made.clean()


async def test_an_engine_that_is_killed_and_comes_back(fragile: Machine) -> None:
    runtime = await fragile.open()
    told: list[RuntimeEvent] = []

    async def listen() -> None:
        events = runtime.events()
        while True:
            told.append(await anext(events))

    listening = asyncio.create_task(listen())
    counts = await run(runtime, fragile.spec("i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done"))
    short = await run(runtime, fragile.spec("until [ -e /tmp/go ]; do sleep 0.05; done; exit 9"))
    pid = {c.id: c.pid for c in await runtime.list()}[short]
    lines = runtime.logs(counts, LogQuery(follow=True))
    seen = [(await anext(lines)).text for _ in range(5)]
    fragile.engine.kill()
    Path(f"/proc/{pid}/root/tmp/go").touch()
    with pytest.raises(Unavailable):
        await runtime.create(fragile.spec("true"))
    with pytest.raises(Unavailable):
        await runtime.exec(counts, ExecSpec(args=("true",)))
    assert (await runtime.stats(counts)).pids >= 1  # which does not need the engine
    await until(lambda: "does not answer" in runtime.trouble)
    fragile.engine.start()
    await until(lambda: runtime.trouble == "")
    async with asyncio.timeout(30):
        assert (await runtime.wait(short)).code == 9
        while int(seen[-1]) < 100:
            seen.append((await anext(lines)).text)
    await lines.aclose()
    assert seen == [str(number) for number in range(1, len(seen) + 1)]
    session = await runtime.exec(counts, ExecSpec(args=("true",)))
    assert await session.wait() == 0
    await session.close()
    await runtime.stop(counts, "SIGKILL", 0)
    await until(lambda: len(told) == 2)
    listening.cancel()
    assert {event.id: event.exit.code for event in told if event.exit} == {short: 9, counts: 137}

    # an engine that does not keep them alive: they end with it, and that is what is told
    last = await run(runtime, fragile.spec(f"trap 'exit 4' TERM; {FOREVER}"))
    fragile.engine.keep_containers(False)
    fragile.engine.stop()
    fragile.engine.start()
    async with asyncio.timeout(30):
        assert (await runtime.wait(last)).code == 4
    with pytest.raises(Conflict):
        await runtime.exec(last, ExecSpec(args=("true",)))
