"""The containerd runtime where it differs from others: its engine may be killed, keeps records of its own, and must
have nothing of ours in the end. The contract suite has the rest."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import debimage
import pytest

import private_containerd
from hivemind.drivers.images.archive import load
from hivemind.drivers.images.images import Images
from hivemind.drivers.images.store import ImageStore
from hivemind.drivers.runtimes.cgroups import Cgroup
from hivemind.drivers.runtimes.containerd.runtime import ContainerdRuntime
from hivemind.drivers.runtimes.contract import (
    ContainerSpec,
    Device,
    ExecSpec,
    LogQuery,
    Mount,
    Status,
    Ulimit,
)
from hivemind.drivers.runtimes.oci import kernel
from hivemind.errors import NotFound, Unavailable, Unsupported
from private_containerd import Containerd

pytestmark = [pytest.mark.anyio, pytest.mark.real]
SOURCE = Path(__file__).parents[2] / "src"
FOREVER = "while :; do sleep 0.05; done"


class Node:
    """A data directory, and the daemons that have it one after the other."""

    def __init__(self, path: Path, engine: Containerd) -> None:
        self.path = path
        self.engine = engine
        self.namespace = f"real-{os.urandom(4).hex()}"
        self.images = Images(ImageStore(path / "images"))
        self.digest = ""

    def make(self) -> ContainerdRuntime:
        return ContainerdRuntime(
            self.path / "state", self.path / "run", self.images,
            address=self.engine.address, namespace=self.namespace,
        )  # fmt: skip

    def spec(self, script: str, id: str = "c.0", **fields: Any) -> ContainerSpec:
        return ContainerSpec(id=id, image=self.digest, args=("sh", "-c", script), **fields)

    async def left(self) -> dict[str, int]:
        """What containerd has in this node's namespace: how much of each kind."""
        return await self.engine.held(self.namespace)


async def _node(path: Path, engine: Containerd) -> Node:
    node = Node(path, engine)
    await node.images.open()
    node.digest = load(node.images.store, debimage.build("busybox"))[0].digest
    return node


@pytest.fixture
async def node(tmp_path: Path, containerd: Containerd, anyio_backend: str) -> AsyncIterator[Node]:
    node = await _node(tmp_path, containerd)
    try:
        yield node
    finally:
        last = node.make()
        await last.open()
        await last.destroy()
    assert await node.left() == {}
    assert not [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(tmp_path) in line]


@pytest.fixture
async def runtime(node: Node) -> AsyncIterator[ContainerdRuntime]:
    runtime = node.make()
    await runtime.open()
    yield runtime
    await runtime.close()


@pytest.fixture
def mortal() -> Iterator[Containerd]:
    """One that may be killed."""
    with private_containerd.running() as engine:
        yield engine


async def run(runtime: ContainerdRuntime, spec: ContainerSpec) -> str:
    await runtime.create(spec)
    await runtime.start(spec.id)
    return spec.id


async def ready(runtime: ContainerdRuntime, id: str) -> None:
    lines = runtime.logs(id, LogQuery(follow=True))
    async with asyncio.timeout(20):
        await anext(lines)
    await lines.aclose()


async def output(runtime: ContainerdRuntime, spec: ContainerSpec) -> list[str]:
    await run(runtime, spec)
    async with asyncio.timeout(30):
        lines = [line.text async for line in runtime.logs(spec.id, LogQuery(follow=True))]
    await runtime.remove(spec.id)
    return lines


async def said(runtime: ContainerdRuntime, id: str, *args: str) -> str:
    session = await runtime.exec(id, ExecSpec(args=args))
    text = b""
    while (chunk := await session.read()) is not None:
        text += chunk[1]
    await session.close()
    return text.decode()


# -- containerd is killed ----------------------------------------------------------------------------------------


async def test_containers_do_not_notice_that_containerd_is_killed(tmp_path: Path, mortal: Containerd) -> None:
    node = await _node(tmp_path, mortal)
    runtime = node.make()
    await runtime.open()
    counting = "i=0; while :; do echo $i; i=$((i+1)); sleep 0.01; done"
    talker = await run(runtime, node.spec(counting, "talker.0"))
    leaver = await run(runtime, node.spec("trap 'exit 9' TERM; echo ready; " + FOREVER, "leaver.0"))
    await ready(runtime, talker)
    await ready(runtime, leaver)
    pids = {container.id: container.pid for container in await runtime.list()}
    mortal.kill(signal.SIGKILL)

    os.kill(pids[leaver], signal.SIGTERM)  # it ends while nobody could tell with what code
    lines = runtime.logs(talker, LogQuery(follow=True, tail=0))
    async with asyncio.timeout(20):
        first = int((await anext(lines)).text)
        assert [int((await anext(lines)).text) for _ in range(20)] == list(range(first + 1, first + 21))
    await lines.aclose()
    assert (await runtime.list())[0].status is Status.RUNNING
    assert (await runtime.stats(talker)).pids >= 1
    assert "does not answer" in runtime.trouble

    mortal.start()
    async with asyncio.timeout(30):
        assert (await runtime.wait(leaver)).code == 9
        assert "0\n" in await said(runtime, talker, "id", "-u")
        assert (await runtime.stop(talker, "SIGKILL", 0)).code == 137
    assert runtime.trouble == ""
    told = runtime.events()
    async with asyncio.timeout(10):
        assert {(await anext(told)).id, (await anext(told)).id} == {talker, leaver}
    numbers = [int(line.text) async for line in runtime.logs(talker, LogQuery())]
    assert numbers == list(range(len(numbers)))
    another = await run(runtime, node.spec("exit 3", "later.0"))
    assert (await runtime.wait(another)).code == 3
    await runtime.destroy()
    assert await node.left() == {}
    assert mortal.shims() == [] and mortal.mounts() == []


async def test_both_are_killed_and_an_exit_meanwhile_is_known(tmp_path: Path, mortal: Containerd) -> None:
    node = await _node(tmp_path, mortal)
    first = node.make()
    await first.open()
    id = await run(first, node.spec("trap 'exit 5' TERM; echo ready; " + FOREVER))
    await ready(first, id)
    (container,) = await first.list()
    await first.close()
    mortal.kill(signal.SIGKILL)
    os.kill(container.pid, signal.SIGTERM)
    mortal.start()
    second = node.make()
    await second.open()
    async with asyncio.timeout(20):
        assert (await second.wait(id)).code == 5
    await second.destroy()
    assert await node.left() == {}


async def test_what_is_asked_meanwhile_waits_or_says_why(tmp_path: Path, mortal: Containerd) -> None:
    node = await _node(tmp_path, mortal)
    runtime = node.make()
    await runtime.open()
    await run(runtime, node.spec(FOREVER))
    mortal.kill(signal.SIGKILL)
    runtime._api.channel.patience = 0.1
    with pytest.raises(Unavailable, match="containerd"):
        await runtime.create(node.spec(FOREVER, "second.0"))
    with pytest.raises(Unavailable):
        await runtime.exec("c.0", ExecSpec(args=("true",)))
    runtime._api.channel.patience = 20.0
    asked = asyncio.ensure_future(runtime.create(node.spec("exit 0", "third.0")))
    await asyncio.sleep(0.05)
    mortal.start()
    async with asyncio.timeout(30):
        await asked
        while "second.0" in runtime._clearing:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert {container.id for container in await runtime.list()} == {"c.0", "third.0"}
    assert not (tmp_path / "state" / "containers" / "second.0").exists()
    await runtime.destroy()
    assert await node.left() == {}


async def test_a_killed_shim_ends_its_container(node: Node, runtime: ContainerdRuntime) -> None:
    id = await run(runtime, node.spec("echo ready; " + FOREVER))
    await ready(runtime, id)
    (shim,) = [
        pid for pid in node.engine.shims() if node.namespace in Path(f"/proc/{pid}/cmdline").read_text()
    ]
    os.kill(shim, signal.SIGKILL)
    async with asyncio.timeout(20):
        ended = await runtime.wait(id)
    assert ended.code in (None, 137) and (ended.reason or ended.code)
    await runtime.remove(id)


async def test_after_a_restart_of_the_machine(
    tmp_path: Path, mortal: Containerd, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await _node(tmp_path, mortal)
    first = node.make()
    await first.open()
    id = await run(first, node.spec("echo before; " + FOREVER))
    await ready(first, id)
    (container,) = await first.list()
    await first.close()
    mortal.kill()
    for pid in (*mortal.shims(), container.pid):
        os.kill(pid, signal.SIGKILL)
    for mount in reversed(mortal.mounts()):
        kernel.umount(mount)
    shutil.rmtree(mortal.home / "state")
    shutil.rmtree(tmp_path / "run")
    mortal.start()
    monkeypatch.setattr("hivemind.drivers.runtimes.containerd.runtime.boot_id", lambda: "another")
    second = node.make()
    await second.open()
    async with asyncio.timeout(20):
        ended = await second.wait(id)
    assert (ended.code, ended.reason) == (None, "the machine was restarted")
    assert [line.text async for line in second.logs(id, LogQuery())] == ["before"]
    await second.remove(id)
    assert await output(second, node.spec("echo after")) == ["after"]
    await second.destroy()
    assert await node.left() == {}


# -- the daemon is killed ----------------------------------------------------------------------------------------

DAEMON = """
import asyncio, sys
from pathlib import Path
from hivemind.drivers.images.images import Images
from hivemind.drivers.images.store import ImageStore
from hivemind.drivers.runtimes.containerd.runtime import ContainerdRuntime
from hivemind.drivers.runtimes.contract import ContainerSpec

path, address, namespace, digest = Path(sys.argv[1]), *sys.argv[2:]

async def main():
    images = Images(ImageStore(path / "images"))
    await images.open()
    runtime = ContainerdRuntime(path / "state", path / "run", images, address=address, namespace=namespace)
    await runtime.open()
    script = "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); [ $((i % 100)) = 0 ] && sleep 0.01; done; exit 6"
    spec = ContainerSpec(id="c.0", image=digest, args=("sh", "-c", script), secret_env={"KEY": "word of mouth"},
                         log_max_size=20_000, log_max_files=100)
    await runtime.create(spec)
    await runtime.start("c.0")
    print("started", flush=True)
    await asyncio.sleep(1000)

asyncio.run(main())
"""


async def test_the_daemon_is_killed_while_a_container_talks(node: Node) -> None:
    """Not a line is lost or told twice, wherever it was killed."""
    arguments = (str(node.path), node.engine.address, node.namespace, node.digest)
    daemon = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", DAEMON, *arguments],
        stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(SOURCE)},
    )  # fmt: skip
    assert daemon.stdout is not None
    with daemon.stdout:
        assert await asyncio.to_thread(daemon.stdout.readline) == b"started\n"
    await asyncio.sleep(0.1)  # anywhere in the middle
    daemon.kill()
    daemon.wait()
    runtime = node.make()
    await runtime.open()
    async with asyncio.timeout(30):
        assert (await runtime.wait("c.0")).code == 6
    lines = [line async for line in runtime.logs("c.0", LogQuery())]
    assert [line.text for line in lines] == [f"line {number}" for number in range(3000)]
    assert [line.time for line in lines] == sorted(line.time for line in lines)
    await runtime.close()


async def test_secrets_are_not_in_our_files_and_commands_have_them(node: Node) -> None:
    first = node.make()
    await first.open()
    spec = node.spec('echo "$KEY"; ' + FOREVER, secret_env={"KEY": "word of mouth"}, env={"OPEN": "yes"})
    id = await run(first, spec)
    await ready(first, id)
    await first.close()
    second = node.make()
    await second.open()
    assert (await said(second, id, "sh", "-c", "echo $KEY $OPEN")) == "word of mouth yes\n"
    assert "word of mouth" in [line.text async for line in second.logs(id, LogQuery())]
    files = [path for path in (node.path / "state").rglob("*.json") if path.is_file()]
    assert files and not [path for path in files if b"word of mouth" in path.read_bytes()]
    await second.close()


async def test_commands_of_a_killed_daemon_are_ended(node: Node) -> None:
    first = node.make()
    await first.open()
    id = await run(first, node.spec(FOREVER))
    session = await first.exec(id, ExecSpec(args=("sh", "-c", "echo up; sleep 1000")))
    assert await session.read() == ("stdout", b"up\n")
    await first.close()
    second = node.make()
    await second.open()
    assert not [info for info in await second.processes(id) if "sleep 1000" in info.command]
    assert list((node.path / "run" / "exec").glob("*")) == []
    await second.close()


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5, 7])
async def test_a_creation_that_is_cut_off_anywhere_leaves_nothing(node: Node, step: int) -> None:
    first = node.make()
    await first.open()
    await first._library.chain(node.digest)
    made, calls = first._api.call, 0

    class Killed(BaseException):
        pass

    async def call(method: str, **fields: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > step // 2:
            raise Killed
        answer = await made(method, **fields)
        if calls == step // 2 and step % 2:
            raise Killed
        return answer

    first._api.call = call  # type: ignore[method-assign]
    cut = False
    try:
        await first.create(node.spec(FOREVER))
    except Killed:
        cut = True
    first._api.call = made  # type: ignore[method-assign]
    assert cut
    first._held.clear()
    await first.close()
    second = node.make()
    await second.open()
    assert await second.list() == []
    left = await node.left()
    assert not left.keys() & {"tasks", "containers", "leases"}
    assert left["snapshots"] == len(node.images.get(node.digest).layers)
    await second.close()


# -- images ------------------------------------------------------------------------------------------------------


async def test_a_daemon_that_died_while_it_removed_one_never_started_leaves_none_that_ended(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = node.make()
    await runtime.open()
    await runtime.create(node.spec("true"))

    async def died(*_: object) -> None:
        raise RuntimeError("before its files were removed")

    monkeypatch.setattr(runtime._building, "demolish", died)
    with pytest.raises(RuntimeError, match="before its files"):
        await runtime.remove("c.0")
    await runtime.close()
    runtime = node.make()
    await runtime.open()
    assert await runtime.list() == []
    await runtime.close()


async def test_an_image_is_imported_once_and_goes_with_the_store(node: Node) -> None:
    runtime = node.make()
    await runtime.open()
    await asyncio.gather(*(runtime.create(node.spec("exit 0", f"c.{number}")) for number in range(4)))
    layers = len(node.images.get(node.digest).layers)
    left = await node.left()
    assert (left["tasks"], left["containers"], left["images"]) == (4, 4, 1)
    assert left["snapshots"] == layers + 4
    await asyncio.gather(*(runtime.remove(f"c.{number}") for number in range(4)))
    (name,) = node.images.get(node.digest).names
    await node.images.remove(name)
    async with asyncio.timeout(20):
        while await node.left():  # noqa: ASYNC110 - collected in the background
            await asyncio.sleep(0.05)
    with pytest.raises(NotFound):
        await runtime.create(node.spec("exit 0"))
    await runtime.close()


async def test_an_image_that_was_removed_from_containerd_is_imported_again(node: Node) -> None:
    runtime = node.make()
    await runtime.open()
    assert await output(runtime, node.spec("echo once")) == ["once"]
    await runtime._library.destroy()
    async with asyncio.timeout(20):
        while "snapshots" in await node.left():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert await output(runtime, node.spec("echo twice")) == ["twice"]
    await runtime.close()


# -- what is asked of a container --------------------------------------------------------------------------------


async def test_isolation_as_asked(node: Node, runtime: ContainerdRuntime, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file").write_text("outside")
    spec = node.spec(
        "grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status; ulimit -n; hostname; cat /data/file /etc/resolv.conf;"
        "touch /here 2>&1; df /small | tail -1; cat /proc/sys/kernel/shmmni; ls -l /dev/zero2; df /dev/shm | tail -1",
        hostname="box",
        resolv_conf="nameserver 192.0.2.1\n",
        read_only=True,
        cap_drop=("ALL",),
        cap_add=("NET_BIND_SERVICE",),
        ulimits={"nofile": Ulimit(100, 200)},
        sysctls={"kernel.shmmni": "123"},
        shm_size=1 << 20,
        devices=(Device("/dev/zero", "/dev/zero2"),),
        mounts=(Mount("/data", str(tmp_path / "data"), readonly=True), Mount("/small", size=1 << 20)),
    )
    text = "\n".join(await output(runtime, spec))
    assert "CapEff:\t0000000000000400" in text
    assert "NoNewPrivs:\t1" in text and "Seccomp:\t2" in text
    assert "\n100\nbox\noutside" in text and "nameserver 192.0.2.1" in text
    assert "Read-only file system" in text
    assert "1024" in text and "\n123\n" in text and "/dev/zero2" in text


async def test_an_ordinary_user_may_open_its_own_output(node: Node, runtime: ContainerdRuntime) -> None:
    spec = node.spec("echo to the file > /dev/stdout; echo and the other >/dev/stderr; id -u", user="65534")
    assert sorted(await output(runtime, spec)) == ["65534", "and the other", "to the file"]


async def test_memory_limit_kills_and_says_so(node: Node, runtime: ContainerdRuntime) -> None:
    eat = "x=a; while :; do x=$x$x; done"
    id = await run(runtime, node.spec(eat, memory=16 << 20))
    async with asyncio.timeout(30):
        ended = await runtime.wait(id)
        assert (ended.code, ended.oom) == (137, True)
        kinds = set()
        async for event in runtime.events():
            kinds.add(event.kind)
            if kinds == {"oom", "exited"}:
                break


async def test_the_control_group_is_gone_with_the_container(node: Node, runtime: ContainerdRuntime) -> None:
    id = await run(runtime, node.spec("exit 0"))
    await runtime.wait(id)
    assert Cgroup(f"{runtime._slice}/{id}").processes() == []
    await runtime.remove(id)


async def test_names_that_containerd_would_not_take(node: Node, runtime: ContainerdRuntime) -> None:
    for id in (f"c.0.{'long' * 20}", "c.0.two--dashes"):
        await run(runtime, node.spec(f"echo ready; {FOREVER}", id))
        await ready(runtime, id)
    second = node.make()
    await second.open()
    assert {container.status for container in await second.list()} == {Status.RUNNING}
    assert len(await second.list()) == 2
    await second.close()


async def test_two_nodes_share_a_namespace(node: Node, runtime: ContainerdRuntime, tmp_path: Path) -> None:
    other = ContainerdRuntime(
        tmp_path / "b" / "state", tmp_path / "b" / "run", node.images,
        address=node.engine.address, namespace=node.namespace,
    )  # fmt: skip
    await other.open()
    await run(runtime, node.spec(FOREVER))
    await run(other, node.spec(FOREVER))
    await other.destroy()
    (container,) = await runtime.list()
    assert container.status is Status.RUNNING
    assert "0\n" in await said(runtime, "c.0", "id", "-u")
    await runtime.remove("c.0")


async def test_a_machine_without_containerd_says_so(node: Node, tmp_path: Path) -> None:
    nowhere = str(tmp_path / "none.sock")
    runtime = ContainerdRuntime(tmp_path / "s", tmp_path / "r", node.images, address=nowhere, patience=0.1)
    with pytest.raises(Unavailable, match="containerd does not answer") as refused:
        await runtime.open()
    assert "--containerd-address" in refused.value.hint
    runtime = ContainerdRuntime(
        tmp_path / "s", tmp_path / "r", node.images,
        address=node.engine.address, namespace=node.namespace, snapshotter="floppy",
    )  # fmt: skip
    with pytest.raises(Unsupported, match="floppy"):
        await runtime.open()
