"""The embedded runtime on the real kernel: limits and isolation enforced, nothing lost, nothing left behind."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import platform
import re
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import debimage
import pytest
from tests.e2e.eventually import eventually

import oci_leftovers
from hivemind.drivers.images.archive import load
from hivemind.drivers.images.images import Images
from hivemind.drivers.images.store import ImageStore
from hivemind.drivers.memory import forget_memory, prefer_memory
from hivemind.drivers.runtimes.cgroups import ROOT, Cgroup
from hivemind.drivers.runtimes.contract import ContainerSpec, ExecSpec, LogQuery, Mount, RuntimeEvent, Status
from hivemind.drivers.runtimes.oci import kernel, lifecycle
from hivemind.drivers.runtimes.oci.runtime import OciRuntime
from hivemind.errors import Invalid, Unsupported

pytestmark = [pytest.mark.real, pytest.mark.anyio]


class Node:
    """One state directory; `runtime()` gives a daemon's hold on it."""

    def __init__(self, path: Path, images: Images, digest: str, kind: str) -> None:
        self.path, self.images, self.digest, self.kind = path, images, digest, kind
        self.numbers = iter(range(1, 1000))

    async def runtime(self) -> OciRuntime:
        runtime = OciRuntime(self.path / "state", self.path / "run", self.images, runtime=self.kind)
        await runtime.open()
        return runtime

    def spec(self, script: str, **fields: Any) -> ContainerSpec:
        id = fields.pop("id", f"real.{next(self.numbers)}")
        return ContainerSpec(id=id, image=self.digest, args=("sh", "-c", script), **fields)

    def traces(self) -> list[str]:
        """Everything on the machine that names this node: mounts, control groups, processes."""
        own = str(self.path)
        mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if own in line]
        processes = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    command = (entry / "cmdline").read_text(errors="replace")
                except OSError:
                    continue
                if f"{own}/state/containers" in command:
                    processes.append(command)
        return mounts + processes

    def groups(self) -> list[Path]:
        """Directories of this node's control groups, in every hierarchy."""
        digest = hashlib.sha256(os.fsencode(self.path / "state")).hexdigest()[:12]
        every = [ROOT, *(path for path in ROOT.iterdir() if path.is_dir())]
        found = [root / f"hivemind-{digest}" for root in every]
        return [
            inner
            for group in found
            if group.is_dir()
            for inner in (group, *group.iterdir())
            if inner.is_dir()
        ]


@pytest.fixture(params=["crun", "runc"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def node(tmp_path: Path, kind: str, anyio_backend: str) -> AsyncIterator[Node]:
    images = Images(ImageStore(tmp_path / "images"))
    await images.open()
    digest = load(images.store, debimage.build("busybox"))[0].digest
    node = Node(tmp_path, images, digest, kind)
    with oci_leftovers.noted(tmp_path):
        yield node
        await (await node.runtime()).destroy()
    assert node.traces() == []
    assert node.groups() == []
    assert not list((tmp_path / "state" / "containers").iterdir())


@pytest.fixture
async def runtime(node: Node) -> AsyncIterator[OciRuntime]:
    runtime = await node.runtime()
    yield runtime
    await runtime.close()


async def output(runtime: OciRuntime, spec: ContainerSpec) -> list[str]:
    """What it printed until it ended."""
    await runtime.create(spec)
    await runtime.start(spec.id)
    async with asyncio.timeout(30):
        await runtime.wait(spec.id)
        return [line.text async for line in runtime.logs(spec.id, LogQuery())]


async def first_line(runtime: OciRuntime, id: str) -> str:
    lines = runtime.logs(id, LogQuery(follow=True))
    async with asyncio.timeout(30):
        line = await anext(lines)
    await lines.aclose()
    return line.text


async def test_isolation(node: Node, runtime: OciRuntime) -> None:
    script = """
    grep -E 'Seccomp:|NoNewPrivs|CapEff|CapBnd' /proc/self/status | tr -d '\\t'
    mount -t tmpfs x /tmp 2>/dev/null && echo mounted
    unshare -U true 2>/dev/null && echo user namespace
    chroot / true && echo chrooted
    test -s /proc/kcore && echo kcore
    test -s /proc/keys && echo keys
    ( echo x > /proc/sys/kernel/core_pattern ) 2>/dev/null && echo sysctl
    ( echo x > /sys/kernel/notes ) 2>/dev/null && echo sysfs
    ls /proc | grep -c '^[0-9]'
    """
    assert await output(runtime, node.spec(script)) == [
        "CapBnd:00000000a80425fb" if line.startswith("CapBnd") else line
        for line in (
            "CapEff:00000000a80425fb",
            "CapBnd:00000000a80425fb",
            "NoNewPrivs:1",
            "Seccomp:2",
            "chrooted",
            "3",
        )
    ]


async def test_a_container_that_ended_has_no_control_group(node: Node, runtime: OciRuntime) -> None:
    ended, removed, running = node.spec("exit 0"), node.spec("sleep 1000"), node.spec("sleep 1000")
    for spec in (removed, running):
        await runtime.create(spec)
        await runtime.start(spec.id)
    await output(runtime, ended)
    await runtime.remove(removed.id)
    await runtime.remove(ended.id)
    named = {group.name for group in node.groups()}
    assert running.id in named and not named & {ended.id, removed.id}


def program_for_i386() -> bytes:
    """An executable that writes `32` and ends: write(1, "32\\n", 3); exit(0)."""
    start = 0x08048000
    code = bytes.fromhex("b804000000bb01000000b9") + (start + 0x54 + 34).to_bytes(4, "little")
    code += bytes.fromhex("ba03000000cd80" + "b801000000bb00000000cd80") + b"32\n"
    header = b"\x7fELF\x01\x01\x01" + bytes(9)
    header += struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, start + 0x54, 0x34, 0, 0, 0x34, 0x20, 1, 0, 0, 0)
    size = 0x54 + len(code)
    return header + struct.pack("<8I", 1, 0, start, start, size, size, 5, 0x1000) + code


@pytest.mark.skipif(platform.machine() != "x86_64", reason="only here is the older instruction set i386")
async def test_a_32_bit_program(node: Node, runtime: OciRuntime, tmp_path: Path) -> None:
    program = tmp_path / "old"
    program.write_bytes(program_for_i386())
    program.chmod(0o755)
    mounts = (Mount(target="/old", source=str(program), readonly=True),)
    assert await output(runtime, node.spec("/old", mounts=mounts)) == ["32"]


async def test_an_ordinary_user_has_no_capabilities(node: Node, runtime: OciRuntime) -> None:
    lines = await output(runtime, node.spec("id -u; id -g; grep CapEff /proc/self/status", user="1234:77"))
    assert lines == ["1234", "77", "CapEff:\t0000000000000000"]


async def test_memory_limit_kills_and_says_so(node: Node, runtime: OciRuntime) -> None:
    spec = node.spec("exec tail /dev/zero", memory=16 << 20)
    await output(runtime, spec)
    ended = await runtime.wait(spec.id)
    assert (ended.code, ended.oom) == (137, True)


async def test_sigkill_from_outside_is_no_oom(node: Node, runtime: OciRuntime) -> None:
    spec = node.spec("sleep 1000", memory=16 << 20)
    await runtime.create(spec)
    await runtime.start(spec.id)
    await runtime.kill(spec.id, "SIGKILL")
    ended = await runtime.wait(spec.id)
    assert (ended.code, ended.oom) == (137, False)


async def test_a_childs_oom_is_an_event_and_the_container_lives(node: Node, runtime: OciRuntime) -> None:
    spec = node.spec("tail /dev/zero; echo survived; sleep 1000", memory=16 << 20)
    await runtime.create(spec)
    await runtime.start(spec.id)
    async with asyncio.timeout(20):
        event = await anext(runtime.events())
    assert event == RuntimeEvent(kind="oom", id=spec.id)
    assert [container.status for container in await runtime.list()] == [Status.RUNNING]


async def test_cpu_quota(node: Node, runtime: OciRuntime) -> None:
    """The kernel's own account: a busy loop under a quota is throttled."""
    spec = node.spec("echo up; while :; do :; done", cpus=0.1)
    await runtime.create(spec)
    await runtime.start(spec.id)
    await first_line(runtime, spec.id)
    group = runtime._held[spec.id].cgroup.path
    file = Path("/sys/fs/cgroup/cpu") / group / "cpu.stat"
    if not file.exists():
        file = Path("/sys/fs/cgroup") / group / "cpu.stat"
    async with asyncio.timeout(20):
        while not int(file.read_text().split("nr_throttled ")[1].split()[0]):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_pids_limit(node: Node, runtime: OciRuntime) -> None:
    script = "i=0; while [ $i -lt 30 ]; do sleep 5 & i=$((i+1)); done 2>&1; exit 0"
    lines = await output(runtime, node.spec(script, pids=8))
    assert any("fork" in line for line in lines)


async def test_open_files_do_not_exceed_what_the_daemon_has(node: Node, runtime: OciRuntime) -> None:
    import resource

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert await output(runtime, node.spec("ulimit -Hn")) == [str(hard)]


async def test_mounts(node: Node, runtime: OciRuntime, tmp_path: Path) -> None:
    data, fixed = tmp_path / "data", tmp_path / "fixed"
    data.mkdir()
    fixed.write_text("as it was\n")
    mounts = (
        Mount(target="/data", source=str(data)),
        Mount(target="/data/inner", size=1 << 20),
        Mount(target="/etc/fixed", source=str(fixed), readonly=True),
    )
    script = """
    echo new > /data/file
    cat /etc/fixed
    ( echo no > /etc/fixed ) 2>/dev/null || echo readonly
    df -k /data/inner | tail -1 | tr -s ' ' | cut -d' ' -f2
    """
    assert await output(runtime, node.spec(script, mounts=mounts)) == ["as it was", "readonly", "1024"]
    assert (data / "file").read_text() == "new\n"


async def test_a_missing_mount_source_is_invalid(node: Node, runtime: OciRuntime, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="cannot be mounted"):
        await runtime.create(node.spec("", mounts=(Mount(target="/x", source=str(tmp_path / "gone")),)))
    assert await runtime.list() == []


async def test_name_files_and_environment(node: Node, runtime: OciRuntime) -> None:
    spec = node.spec(
        "hostname; cat /etc/hostname /etc/resolv.conf /etc/hosts; echo $HOME; pwd",
        hostname="web-1",
        resolv_conf="nameserver 192.0.2.1\n",
        hosts="192.0.2.7 seven\n",
        workdir="/made/for/it",
    )
    assert await output(runtime, spec) == [
        *("web-1", "web-1", "nameserver 192.0.2.1", "192.0.2.7 seven", "/root", "/made/for/it"),
    ]


async def test_many_layers(node: Node, runtime: OciRuntime, tmp_path: Path) -> None:
    """More than fit into a page of mount options with their full paths."""
    stack = []
    for number in range(120):
        layer = tmp_path / f"a-rather-long-name-for-a-layer-{number}"
        layer.mkdir()
        (layer / "top").write_text(f"{number}\n")
        stack.append(layer)
    base = node.images.layers(node.digest)
    runtime._images.layers = lambda digest: [*base, *stack]  # type: ignore[method-assign]
    assert await output(runtime, node.spec("cat /top")) == ["119"]


async def test_rotation_loses_nothing_under_a_fast_writer(node: Node, runtime: OciRuntime) -> None:
    script = "i=0; while [ $i -lt 20 ]; do seq $((i*10000)) $((i*10000+9999)); i=$((i+1)); sleep 0.1; done"
    spec = node.spec(script, log_max_size=100_000, log_max_files=1000)
    lines = await output(runtime, spec)
    assert lines == [str(number) for number in range(200_000)]
    assert len(list((node.path / "state" / "containers" / spec.id).glob("log.*"))) > 2


async def test_rotation_keeps_no_more_than_it_should(node: Node, runtime: OciRuntime) -> None:
    """A slow writer's files stay near their size, also when a new daemon takes over in between."""
    script = (
        "i=0; while [ $i -lt 60 ]; do seq $((i*100)) $((i*100+99)); i=$((i+1)); sleep 0.05; done; sleep 1000"
    )
    spec = node.spec(script, log_max_size=20_000, log_max_files=3)
    await runtime.create(spec)
    await runtime.start(spec.id)
    async for line in runtime.logs(spec.id, LogQuery(follow=True)):
        if int(line.text) == 2000:
            break
    await runtime.close()
    again = await node.runtime()
    expected = -1
    async with asyncio.timeout(60):
        async for line in again.logs(spec.id, LogQuery(follow=True)):
            assert int(line.text) == expected or expected < 0
            expected = int(line.text) + 1
            if expected == 6000:
                break
    await again.close()
    files = list((node.path / "state" / "containers" / spec.id).glob("log*"))
    assert {file.name for file in files} == {"log", "log.1", "log.2"}
    assert sum(file.stat().st_size for file in files) < 200_000


async def test_a_killed_monitor_ends_the_container(node: Node, runtime: OciRuntime) -> None:
    spec = node.spec("echo up; sleep 1000")
    await runtime.create(spec)
    pid = await runtime.start(spec.id)
    await first_line(runtime, spec.id)
    os.kill(runtime._held[spec.id].record.monitor, signal.SIGKILL)
    async with asyncio.timeout(20):
        ended = await runtime.wait(spec.id)
    assert ended.code is None and "conmon" in ended.reason
    status = Path(f"/proc/{pid}/status")
    assert not status.exists() or "zombie" in status.read_text()


async def test_after_a_restart_of_the_machine(node: Node, runtime: OciRuntime) -> None:
    spec = node.spec("exit 0")
    await output(runtime, spec)
    await runtime.close()
    directory = node.path / "state" / "containers" / spec.id
    (directory / "exit.json").unlink()
    (node.path / "state" / "exits" / spec.id).unlink()
    record = directory / "record.json"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    record.write_text(record.read_text().replace(boot, "another-boot"))
    again = await node.runtime()
    async with asyncio.timeout(20):
        ended = await again.wait(spec.id)
    assert ended.code is None and "restarted" in ended.reason
    await again.close()


DAEMON = """
import asyncio, sys
from pathlib import Path
from hivemind.drivers.images.images import Images
from hivemind.drivers.images.store import ImageStore
from hivemind.drivers.runtimes.contract import ContainerSpec
from hivemind.drivers.runtimes.oci.runtime import OciRuntime

async def main(path, kind, digest):
    images = Images(ImageStore(path / "images"))
    await images.open()
    runtime = OciRuntime(path / "state", path / "run", images, runtime=kind)
    await runtime.open()
    print("open", flush=True)
    async def one(number):
        id = f"killed.{number}"
        await runtime.create(ContainerSpec(id=id, image=digest, args=("sleep", "1000")))
        await runtime.start(id)
        print(id, flush=True)
    await asyncio.gather(*(one(number) for number in range(20)))

asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
"""


def run_and_kill(node: Node, after: int) -> list[str]:
    """Runs a daemon until it has started so many containers, then kills it; all that it called started."""
    command = [sys.executable, "-c", DAEMON, str(node.path), node.kind, node.digest]
    env = os.environ | {"PYTHONPATH": "src"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as daemon:
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == "open\n"
        started = [daemon.stdout.readline().strip() for _ in range(after)]
        daemon.kill()
        return started + daemon.stdout.read().split()


@pytest.mark.parametrize("after", [0, 1, 5, 12])
async def test_a_daemon_killed_while_it_starts_containers(node: Node, after: int) -> None:
    """Every container it called started is running afterwards; nothing half-made is left."""
    started = await asyncio.to_thread(run_and_kill, node, after)
    runtime = await node.runtime()
    found = {container.id: container.status for container in await runtime.list()}
    assert {id: found.get(id) for id in started} == dict.fromkeys(started, Status.RUNNING)
    kept = {path.name for path in (node.path / "state" / "containers").iterdir()}
    assert kept == set(found)
    monitored = [trace for trace in node.traces() if "conmon" in trace]
    assert len(monitored) == len(found)
    await runtime.close()


@pytest.mark.parametrize("kind", ["crun"], indirect=True)
async def test_what_was_released_by_a_daemon_that_died_then_is_not_started_again(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = await node.runtime()
    for name in ("released", "waiting"):
        await runtime.create(node.spec("echo ready; exec sleep 1000", id=f"{name}.0"))

    def died(*_: object) -> None:
        raise RuntimeError("before the fifo was removed")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", died)
        with pytest.raises(RuntimeError, match="before the fifo"):
            await runtime.start("released.0")
    assert await first_line(runtime, "released.0") == "ready"
    await runtime.close()
    runtime = await node.runtime()
    found = {container.id: container.status for container in await runtime.list()}
    assert found == {"released.0": Status.RUNNING, "waiting.0": Status.CREATED}
    await runtime.close()


async def test_a_daemon_that_died_while_it_removed_one_never_started_leaves_none_that_ended(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = await node.runtime()
    await runtime.create(node.spec("true", id="never.0"))

    def died(*_: object) -> None:
        raise RuntimeError("before its files were removed")

    with monkeypatch.context() as patch:
        patch.setattr(lifecycle, "demolish", died)
        with pytest.raises(RuntimeError, match="before its files"):
            await runtime.remove("never.0")
    await runtime.close()
    runtime = await node.runtime()
    assert await runtime.list() == []
    assert list((node.path / "state" / "containers").iterdir()) == []
    await runtime.create(node.spec("exit 3", id="never.0"))
    await runtime.start("never.0")
    assert (await runtime.wait("never.0")).code == 3
    await runtime.close()


async def test_two_nodes_on_one_machine(node: Node, runtime: OciRuntime, tmp_path: Path) -> None:
    other = OciRuntime(tmp_path / "b" / "state", tmp_path / "b" / "run", node.images, runtime=node.kind)
    await other.open()
    spec = node.spec("sleep 1000")
    for each in (runtime, other):
        await each.create(spec)
        await each.start(spec.id)
    await other.destroy()
    assert [container.status for container in await runtime.list()] == [Status.RUNNING]
    assert (await runtime.stop(spec.id, "SIGKILL", 1)).code == 137


async def test_the_hosts_mount_table_shows_only_the_pin(node: Node, runtime: OciRuntime) -> None:
    spec = node.spec("sleep 1000")
    await runtime.create(spec)
    await runtime.start(spec.id)
    own = [line.split()[4] for line in node.traces() if " - " in line]
    assert all(target.startswith(str(node.path / "run" / "ns")) for target in own)


async def test_a_hung_stop_does_not_hold_up_others(node: Node, runtime: OciRuntime) -> None:
    slow = [node.spec("trap '' TERM; echo up; while :; do sleep 1; done") for _ in range(8)]
    quick = node.spec("trap 'exit 3' TERM; echo up; while :; do sleep 0.05; done")
    for spec in (*slow, quick):
        await runtime.create(spec)
        await runtime.start(spec.id)
        await first_line(runtime, spec.id)
    stopping = [asyncio.ensure_future(runtime.stop(spec.id, "SIGTERM", 60)) for spec in slow]
    async with asyncio.timeout(20):
        assert (await runtime.stop(quick.id, "SIGTERM", 60)).code == 3
    assert not any(task.done() for task in stopping)
    for spec in slow:
        await runtime.stop(spec.id, "SIGTERM", 0)
    assert [task.code for task in await asyncio.gather(*stopping)] == [137] * 8


@pytest.fixture
def netns(tmp_path: Path, runtime: OciRuntime) -> Iterator[str]:
    """Pinned after the runtime's mount namespace was made, as the network driver does it."""
    pin = tmp_path / "netns"
    pin.touch()
    subprocess.run(["unshare", f"--net={pin}", "true"], check=True)
    yield str(pin)
    subprocess.run(["umount", str(pin)], check=True)


async def test_a_container_in_a_network_namespace(node: Node, runtime: OciRuntime, netns: str) -> None:
    lines = await output(runtime, node.spec("ls /sys/class/net", netns=netns))
    assert "lo" in lines and not set(lines) & {name for _, name in socket.if_nameindex() if name != "lo"}


async def test_a_runtime_that_is_not_there(tmp_path: Path, node: Node) -> None:
    with pytest.raises(Unsupported, match="need youki"):
        await OciRuntime(tmp_path / "s", tmp_path / "r", node.images, runtime="youki").open()


APART = """
import asyncio, sys
from pathlib import Path
from hivemind.drivers.images.images import Images
from hivemind.drivers.images.store import ImageStore
from hivemind.drivers.runtimes.contract import ContainerSpec, LogQuery
from hivemind.drivers.runtimes.oci.runtime import OciRuntime

async def main(path, kind, digest):
    images = Images(ImageStore(path / "images"))
    await images.open()
    first = OciRuntime(path / "state", path / "run", images, runtime=kind)
    await first.open()
    await first.create(ContainerSpec(id="apart.0", image=digest, args=("sh", "-c", "echo up; sleep 1000")))
    await first.start("apart.0")
    await first.close()
    second = OciRuntime(path / "state", path / "run", images, runtime=kind)
    await second.open()
    print([container.status.value for container in await second.list()], flush=True)
    lines = second.logs("apart.0", LogQuery(follow=True))  # it may not have written yet
    line = await anext(lines)
    print([line.text], flush=True)
    await lines.aclose()
    if "destroy" in sys.argv:
        await second.destroy()

asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
"""


@pytest.mark.parametrize("propagation", ["shared", "private", "slave", "unchanged"])
@pytest.mark.parametrize("end", ["destroy", "leave"])
async def test_a_daemon_in_a_mount_namespace_of_its_own(node: Node, propagation: str, end: str) -> None:
    """As `ip netns exec`, systemd's sandboxing or a container make one. What it leaves, the next daemon adopts,
    though it sees neither the mounts nor the pin."""
    command = ["unshare", "--mount", "--propagation", propagation, sys.executable, "-c", APART]
    done = await asyncio.to_thread(
        subprocess.run,
        [*command, str(node.path), node.kind, node.digest, end],
        env=os.environ | {"PYTHONPATH": "src"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["['running']", "['up']"] or end == "leave"
    runtime = await node.runtime()
    expected = [] if end == "destroy" else [Status.RUNNING]
    assert [container.status for container in await runtime.list()] == expected
    await runtime.close()


async def test_no_control_groups_in_sight(node: Node) -> None:
    """As `ip netns exec` leaves it, which mounts a bare /sys over the machine's."""
    command = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        'mount -t tmpfs bare /sys/fs/cgroup; exec "$@"',
        "sh",
        sys.executable,
    ]
    done = await asyncio.to_thread(
        subprocess.run,
        [*command, "-c", APART, str(node.path), node.kind, node.digest],
        env=os.environ | {"PYTHONPATH": "src"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Unsupported: no control groups are mounted at /sys/fs/cgroup" in done.stderr
    assert node.traces() == []


async def test_without_a_pin(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel refuses to pin the namespace, everything works, also after the next start."""
    mount = kernel.mount

    def refuse(source: str, target: str, fstype: str = "", flags: int = 0, options: str = "") -> None:
        if source.startswith("/proc/self/fd/"):
            raise OSError(errno.EINVAL, "not younger")
        mount(source, target, fstype, flags, options)

    monkeypatch.setattr(kernel, "mount", refuse)
    spec, later = node.spec("echo up; sleep 1000"), node.spec("exit 3")
    first = await node.runtime()
    await first.create(spec)
    await first.start(spec.id)
    assert await first_line(first, spec.id) == "up"
    await first.close()
    second = await node.runtime()
    assert [container.status for container in await second.list()] == [Status.RUNNING]
    session = await second.exec(spec.id, ExecSpec(args=("true",)))
    assert await session.wait() == 0
    await session.close()
    await output(second, later)
    for each in (spec, later):
        await second.remove(each.id)
    assert await second.list() == []
    await second.close()


async def test_an_open_that_fails_leaves_nothing(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise Unsupported("nothing works here")

    monkeypatch.setattr("hivemind.drivers.runtimes.oci.runtime.choose", refuse)
    with pytest.raises(Unsupported, match="nothing works"):
        await node.runtime()
    assert node.traces() == []
    monkeypatch.undo()
    await (await node.runtime()).close()
    monkeypatch.setattr("hivemind.drivers.runtimes.oci.runtime.choose", refuse)
    with pytest.raises(Unsupported):
        await node.runtime()
    assert len(node.traces()) == 2, "a namespace that was there before stays"


async def test_a_command_at_a_terminal_loses_nothing(node: Node, runtime: OciRuntime) -> None:
    """Its size is there before the command is, and what it says in its last moment comes out."""
    spec = node.spec("sleep 1000")
    await runtime.create(spec)
    await runtime.start(spec.id)
    command = ("sh", "-c", "stty size; i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done")
    expected = ["33 101", *(f"line {number}" for number in range(2000))]
    for _ in range(10):
        session = await runtime.exec(spec.id, ExecSpec(args=command, tty=True, columns=101, rows=33))
        said = b""
        async with asyncio.timeout(30):
            while (item := await session.read()) is not None:
                said += item[1]
        # runc's two terminals may both turn a line's end into a carriage return and a line feed
        assert re.split("\r+\n", said.decode())[:-1] == expected
        assert await session.wait() == 0
        await session.close()


async def test_what_a_killed_test_run_left_is_cleared_by_the_next(node: Node) -> None:
    """Run by hand what the fixture does, in a process that is killed."""
    left = node.path / "left"
    left.mkdir()
    (left / "images").symlink_to(node.path / "images")
    killed = f"""
import oci_leftovers, sys
from pathlib import Path
note = oci_leftovers.noted(Path(sys.argv[1]))
note.__enter__()
{APART.replace("print([line", "import os, signal; os.kill(os.getpid(), signal.SIGKILL); print([line")}
"""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", killed, str(left), node.kind, node.digest],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(("src", "tests"))},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "['running']\n")
    there = Node(left, node.images, node.digest, node.kind)
    assert there.groups() and any("conmon" in trace for trace in there.traces())
    assert left in await asyncio.to_thread(oci_leftovers.sweep)
    assert there.traces() == there.groups() == []
    assert node.path not in await asyncio.to_thread(oci_leftovers.sweep), "its own process lives"


class Foreign:
    """A container that somebody else runs with the same OCI runtime."""

    def __init__(self, node: Node, path: Path) -> None:
        rootfs = node.images.layers(node.digest)[0]
        self.group = f"foreign-{os.getpid()}-{node.kind}"
        self.bundle = path
        self.runtime = [node.kind, "--root", str(path / "root")]
        self.bundle.mkdir()
        subprocess.run([node.kind, "spec"], cwd=path, check=True)
        configuration = json.loads((path / "config.json").read_text())
        configuration["process"] |= {"args": ["/bin/sh", "-c", "sleep 1000"], "terminal": False}
        del configuration["process"]["rlimits"]
        configuration["root"] = {"path": str(rootfs), "readonly": True}
        configuration["linux"]["cgroupsPath"] = f"/{self.group}/one"
        (path / "config.json").write_text(json.dumps(configuration))

    def run(self) -> None:
        # crun refuses the hybrid layout of control groups
        hidden = 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"'
        command = ["run", "--detach", "--bundle", str(self.bundle), "one"]
        subprocess.run(
            ["unshare", "--mount", "sh", "-c", hidden, "sh", *self.runtime, *command],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def state(self) -> tuple[str, int]:
        state = json.loads(
            subprocess.run([*self.runtime, "state", "one"], check=True, capture_output=True).stdout
        )
        return state["status"], state["pid"]

    def remove(self) -> None:
        Cgroup(self.group).remove()
        subprocess.run([*self.runtime, "delete", "--force", "one"], check=False, capture_output=True)


@pytest.fixture
def foreign(node: Node, tmp_path: Path) -> Iterator[Foreign]:
    foreign = Foreign(node, tmp_path / "foreign")
    try:
        foreign.run()
        yield foreign
    finally:
        foreign.remove()


async def test_foreign_containers_are_not_touched(node: Node, runtime: OciRuntime, foreign: Foreign) -> None:
    before = foreign.state()
    assert before[0] == "running"
    spec = node.spec("sleep 1000")
    await runtime.create(spec)
    await runtime.start(spec.id)
    again = await node.runtime()
    assert [container.id for container in await again.list()] == [spec.id]
    await again.destroy()
    assert foreign.state() == before


async def test_secret_variables_end_with_the_container(node: Node) -> None:
    """Its record and log stay as long as anybody may ask for them; a secret has no part in that."""
    prefer_memory(node.path / "run")
    runtime = await node.runtime()
    try:
        spec = node.spec("echo $KEY; touch /made", secret_env={"KEY": "hush-4c1f"}, env={"OPEN": "yes"})
        assert await output(runtime, spec) == ["hush-4c1f"]
        state, kept = node.path / "state/containers" / spec.id, node.path / "run/secret"
        await asyncio.to_thread(eventually, lambda: not list(kept.iterdir()), "it is taken down")
        configuration = (state / "config.json").read_text()
        assert "OPEN=yes" in configuration and "hush" not in configuration
        assert [change.path for change in await runtime.changes(spec.id)] == ["/made"]
    finally:
        await runtime.destroy()
        forget_memory(node.path / "run")
