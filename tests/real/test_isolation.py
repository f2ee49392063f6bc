"""How containers are kept apart, seen from inside real ones: users, rights, devices, limits, file systems, networks."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import debimage
import pytest

import oci_leftovers
from hivemind.drivers.images.archive import load
from hivemind.drivers.images.images import Images
from hivemind.drivers.images.store import ImageStore
from hivemind.drivers.network.isolated import IsolatedNetwork
from hivemind.drivers.runtimes.contract import ContainerSpec, Device, ExecSpec, LogQuery, Mount, Ulimit
from hivemind.drivers.runtimes.oci import idmap, kernel
from hivemind.drivers.runtimes.oci.idmap import SIZE, Unmappable
from hivemind.drivers.runtimes.oci.ranges import STRIDE
from hivemind.drivers.runtimes.oci.runtime import OciRuntime
from hivemind.errors import HivemindError, Invalid, NotFound, Unsupported

pytestmark = [pytest.mark.real, pytest.mark.anyio]


class House:
    """A runtime, and a network namespace with nothing but a loopback for each container."""

    def __init__(self, path: Path, kind: str, images: Images, digest: str, network: IsolatedNetwork) -> None:
        self.path, self.kind, self.images, self.digest, self.network = path, kind, images, digest, network
        self.runtime: OciRuntime
        self.count = 0

    async def open(self, **settings: Any) -> None:
        self.runtime = OciRuntime(
            self.path / "state", self.path / "run", self.images, runtime=self.kind, **settings
        )
        await self.runtime.open()

    async def spec(self, script: str, **fields: Any) -> ContainerSpec:
        self.count += 1
        name = f"a{self.count}"
        attached = await self.network.attach(name, ())
        fields.setdefault("netns", attached.netns)
        return ContainerSpec(id=f"{name}.0", image=self.digest, args=("sh", "-c", script), **fields)

    async def start(self, script: str, **fields: Any) -> tuple[ContainerSpec, int]:
        spec = await self.spec(script, **fields)
        await self.runtime.create(spec)
        return spec, await self.runtime.start(spec.id)

    async def output(self, script: str, **fields: Any) -> list[str]:
        """What it printed until it ended."""
        spec, _ = await self.start(script, **fields)
        async with asyncio.timeout(30):
            await self.runtime.wait(spec.id)
            return [line.text async for line in self.runtime.logs(spec.id, LogQuery())]

    async def inside(self, id: str, script: str, **fields: Any) -> list[str]:
        """The output of a command that joins."""
        session = await self.runtime.exec(id, ExecSpec(args=("sh", "-c", script), **fields))
        data = b""
        async with asyncio.timeout(30):
            while piece := await session.read():
                data += piece[1]
        await session.close()
        return data.decode().splitlines()


@pytest.fixture(params=["crun", "runc"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def house(tmp_path: Path, kind: str, anyio_backend: str) -> AsyncIterator[House]:
    images = Images(ImageStore(tmp_path / "images"))
    await images.open()
    digest = load(images.store, debimage.build("busybox"))[0].digest
    network = IsolatedNetwork(tmp_path / "net")
    with oci_leftovers.noted(tmp_path):
        await network.open()
        house = House(tmp_path, kind, images, digest, network)
        try:
            await house.open()
            yield house
            await house.runtime.destroy()
        finally:
            await network.destroy()
    mounts = Path("/proc/self/mountinfo").read_text()
    assert str(tmp_path) not in mounts
    assert not list((tmp_path / "state" / "containers").iterdir())


def id_map(pid: int, which: str = "uid_map") -> list[tuple[int, ...]]:
    lines = Path(f"/proc/{pid}/{which}").read_text().splitlines()
    return [tuple(int(number) for number in line.split()) for line in lines]


# -- users ---------------------------------------------------------------------------------------------------


async def test_root_inside_is_nobody_on_the_node(house: House) -> None:
    assert house.runtime.why_host_users == ""
    script = "id -u; touch /mine; stat -c %u /mine /bin/busybox; echo said > /dev/stdout; sleep 1000"
    spec, pid = await house.start(script)
    lines = house.runtime.logs(spec.id, LogQuery(follow=True))
    async with asyncio.timeout(30):
        assert [(await anext(lines)).text for _ in range(4)] == ["0", "0", "0", "said"]
    await lines.aclose()
    ((inside, outside, size),) = id_map(pid)
    assert (inside, size) == (0, SIZE) and outside >= 1879048192
    assert id_map(pid, "gid_map") == id_map(pid)
    assert os.stat(f"/proc/{pid}").st_uid == outside
    upper = house.path / "state" / "containers" / spec.id / "upper"
    assert (upper / "mine").stat().st_uid == outside, "on disk it is nobody's of this machine"
    assert await house.inside(spec.id, "id -u; cat /proc/self/uid_map | wc -l; echo out > /dev/stdout") == [
        "0", "1", "out",
    ]  # fmt: skip


async def test_an_ordinary_user_inside(house: House) -> None:
    script = "id -u; id -g; echo x > /tmp/x && stat -c %u /tmp/x; touch /x 2>/dev/null || echo no; echo y > /dev/stdout"
    assert await house.output(script, user="1234:77") == ["1234", "77", "1234", "no", "y"]


async def test_a_user_beyond_those_that_a_container_has(house: House) -> None:
    large = 1_000_650_000
    script = "id -u; id -g; touch /tmp/x; stat -c %u /tmp/x; stat -c %u /"
    spec, pid = await house.start(f"{script}; sleep 1000", user=f"{large}:{large}")
    lines = house.runtime.logs(spec.id, LogQuery(follow=True))
    async with asyncio.timeout(30):
        said = [(await anext(lines)).text for _ in range(4)]
    await lines.aclose()
    assert said == [str(large), str(large), str(large), "0"]
    (_, first, _), (inside, outside, size) = id_map(pid)
    assert (inside, outside, size) == (large, first + SIZE, 1)


async def test_ranges_do_not_overlap_and_are_given_again(house: House) -> None:
    started = await asyncio.gather(*(house.start("sleep 1000") for _ in range(12)))
    firsts = sorted(id_map(pid)[0][1] for _, pid in started)
    assert all(later - earlier >= STRIDE for earlier, later in itertools.pairwise(firsts))
    await house.runtime.close()
    await house.open()
    spec, pid = await house.start("sleep 1000")
    assert all(abs(id_map(pid)[0][1] - first) >= STRIDE for first in firsts), "a new daemon knows them"
    assert await house.inside(spec.id, "id -u") == ["0"]


async def test_hundred_ranges_do_not_overlap(house: House) -> None:
    assert house.runtime._ranges is not None
    users = [house.runtime._ranges.give(f"many.{number}") for number in range(100)]
    spans = sorted((each.first, each.outside(SIZE - 1)) for each in users)
    assert all(end < start for (_, end), (start, _) in itertools.pairwise(spans))


async def test_the_nodes_users_where_they_are_asked_for(house: House) -> None:
    for fields in ({"users": "host"}, {"privileged": True}, {"cap_add": ("NET_ADMIN",)}, {"netns": ""}):
        _, pid = await house.start("sleep 1000", **fields)
        assert id_map(pid) == [(0, 0, 2**32 - 1)], fields


async def test_turned_off(house: House) -> None:
    await house.runtime.close()
    await house.open(container_users="off")
    assert "off" in house.runtime.why_host_users or "set" in house.runtime.why_host_users
    _, pid = await house.start("sleep 1000")
    assert id_map(pid) == [(0, 0, 2**32 - 1)]


async def test_containers_of_an_earlier_setting_are_adopted(house: House) -> None:
    plain, plain_pid = await house.start("sleep 1000", users="host")
    own, own_pid = await house.start("sleep 1000")
    await house.runtime.close()
    await house.open(container_users="off")
    listed = {each.id: each.pid for each in await house.runtime.list()}
    assert listed == {plain.id: plain_pid, own.id: own_pid}
    assert await house.inside(own.id, "id -u") == ["0"]
    await house.runtime.remove(own.id)


async def test_volumes_keep_who_owns_what(house: House, tmp_path: Path) -> None:
    """Numbers on disk are the numbers inside, whatever range the container has."""
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "of 70").write_text("old\n")
    os.chown(volume / "of 70", 70, 71)
    os.chmod(volume / "of 70", 0o600)
    mounts = (Mount(target="/data", source=str(volume), idmap=True),)
    script = "stat -c %u:%g '/data/of 70'; cat '/data/of 70'; touch /data/roots; chown 5:6 /data/roots"
    assert await house.output(script, mounts=mounts) == ["70:71", "old"]
    assert ((volume / "roots").stat().st_uid, (volume / "roots").stat().st_gid) == (5, 6)
    assert await house.output("cat '/data/of 70'; stat -c %u /data/roots", mounts=mounts, user="70") == [
        "old",
        "5",
    ]
    foreign = (Mount(target="/data", source=str(volume)),)
    script = "stat -c %u '/data/of 70'; cat '/data/of 70' 2>/dev/null || echo no"
    assert await house.output(script, mounts=foreign) == ["65534", "no"]


@pytest.mark.parametrize("users", ["auto", "host"])
async def test_binds_around_the_runtimes_own_directories(house: House, tmp_path: Path, users: str) -> None:
    """The machine's root, and a directory with the pin of the containers' mount namespace in it: all that can be seen
    there comes along, also what is mounted below, as docker has it."""
    (tmp_path / "beside").write_text("here")
    (inner := tmp_path / "inner").mkdir()
    kernel.mount("tmpfs", str(inner), "tmpfs")
    try:
        (inner / "mounted").write_text("too")
        os.chmod(tmp_path, 0o711)
        os.chmod(inner, 0o777)
        mounts = (
            Mount(target="/host", source="/", readonly=True),
            Mount(target="/around", source=str(tmp_path), readonly=True),
        )
        script = f"""
        cat /around/beside /around/inner/mounted; echo; test -d /host/etc && echo root
        test -e /host/proc/1/stat && echo proc; test -c /host/dev/null && echo dev
        test -d /host/{tmp_path.parts[1]} && echo tmp
        for place in /host/etc /host/dev/shm /around /around/inner; do
            (: > $place/written) 2> /dev/null && echo $place is written
        done
        grep -c 'mnt:\\[' /proc/self/mountinfo
        """
        assert await house.output(script, mounts=mounts, users=users) == [
            "heretoo", "root", "proc", "dev", "tmp", "0",
        ]  # fmt: skip
        assert inner.is_mount() and Path("/proc/1/stat").exists()
    finally:
        kernel.umount(str(inner))


async def test_what_cannot_be_mapped_goes_without(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(tree: int, users: int, **options: bool) -> None:
        raise Unmappable("this file system knows no maps")

    attach = idmap.attach_layer
    real = idmap.apply
    monkeypatch.setattr(idmap, "apply", refuse)

    def layer(source: str, target: str, users: int) -> None:
        idmap.apply = real  # type: ignore[assignment]
        attach(source, target, users)
        idmap.apply = refuse  # type: ignore[assignment]

    monkeypatch.setattr(idmap, "attach_layer", layer)
    mounts = (Mount(target="/data", source=str(tmp_path / "images"), idmap=True),)
    _, pid = await house.start("sleep 1000", mounts=mounts)
    assert id_map(pid) == [(0, 0, 2**32 - 1)]
    _, pid = await house.start("sleep 1000")
    assert id_map(pid)[0][1] >= 1879048192


# -- rights --------------------------------------------------------------------------------------------------


async def test_attempts_to_escape(house: House, tmp_path: Path) -> None:
    (tmp_path / "host secret").write_text("host")
    script = f"""
    mount -t tmpfs x /tmp 2>/dev/null && echo mounted
    mount -o remount,rw /sys 2>/dev/null && echo remounted
    umount /proc/kcore 2>/dev/null && echo unmasked
    unshare -U true 2>/dev/null && echo user namespace
    mknod /disk b 8 0 2>/dev/null && echo made a disk
    cat '{tmp_path}/host secret' 2>/dev/null && echo read the host
    ( echo x > /proc/sys/kernel/core_pattern ) 2>/dev/null && echo sysctl
    ( echo 0 > /proc/sysrq-trigger ) 2>/dev/null && echo sysrq
    ( echo 1 > /sys/fs/cgroup/memory/notify_on_release ) 2>/dev/null && echo cgroup
    nsenter -t 1 -m true 2>/dev/null && echo entered
    chmod u+s /bin/busybox 2>/dev/null; stat -c %a /bin/busybox >/dev/null
    ls /mnt /media 2>/dev/null
    test -s /proc/kcore && echo kcore
    grep -c '' /proc/1/mountinfo > /dev/null
    echo end
    """
    assert await house.output(script) == ["end"]


async def test_capabilities(house: House) -> None:
    async def bounding(**fields: Any) -> int:
        (line,) = await house.output("grep CapEff /proc/self/status", **fields)
        return int(line.split()[1], 16)

    chown, net_admin, net_raw, sys_admin = (1 << number for number in (0, 12, 13, 21))
    assert await bounding() & (chown | net_admin | sys_admin) == chown
    assert await bounding(cap_drop=("ALL",)) == 0
    assert await bounding(cap_drop=("ALL",), cap_add=("NET_RAW",)) == net_raw
    assert await bounding(cap_drop=("CHOWN",)) & chown == 0
    assert await bounding(cap_add=("NET_ADMIN",)) & net_admin
    everything = await bounding(privileged=True)
    assert everything & sys_admin and everything == await bounding(cap_add=("ALL",), users="host")
    with pytest.raises(Invalid, match="no capability FLY"):
        await house.output("true", cap_add=("FLY",))


async def test_privileged(house: House) -> None:
    script = """
    grep -E 'Seccomp:|NoNewPrivs' /proc/self/status | tr -d '\\t'
    mount -t tmpfs x /tmp && echo mounted
    test -e /dev/kmsg && echo kmsg
    mount | grep -q ' /sys type sysfs (rw' && echo writable
    """
    assert await house.output(script, privileged=True) == [
        "NoNewPrivs:0", "Seccomp:0", "mounted", "kmsg", "writable",
    ]  # fmt: skip


async def test_a_command_inside_has_the_same_rights(house: House) -> None:
    spec, _ = await house.start("sleep 1000", cap_drop=("ALL",), ulimits={"nofile": Ulimit(soft=77, hard=99)})
    script = "grep CapBnd /proc/self/status; ulimit -n; ulimit -Hn; grep Seccomp: /proc/self/status"
    assert await house.inside(spec.id, script) == ["CapBnd:\t0000000000000000", "77", "99", "Seccomp:\t2"]


async def test_seccomp_and_new_privileges(house: House) -> None:
    read = "grep -E 'Seccomp:|NoNewPrivs' /proc/self/status | tr -d '\\t'"
    assert await house.output(read, seccomp="unconfined") == ["NoNewPrivs:1", "Seccomp:0"]
    assert await house.output(read, no_new_privileges=False) == ["NoNewPrivs:0", "Seccomp:2"]
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
        "syscalls": [
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13},
            {"names": ["chmod", "fchmodat"], "action": "SCMP_ACT_ERRNO", "excludes": {"caps": ["CAP_CHOWN"]}},
        ],
    }
    script = "mkdir /d 2>&1; touch /f; chmod 700 /f && echo changed"
    assert await house.output(script, seccomp=json.dumps(profile)) == [
        "mkdir: can't create directory '/d': Permission denied", "changed",
    ]  # fmt: skip


async def test_an_apparmor_profile_that_is_not_there(house: House) -> None:
    with pytest.raises(Unsupported, match="AppArmor"):
        await house.output("true", apparmor="no-such-profile")


async def test_limits(house: House) -> None:
    limits = {
        "nofile": Ulimit(soft=100, hard=200),
        "core": Ulimit(soft=0, hard=0),
        "nproc": Ulimit(soft=50, hard=60),
    }
    script = "ulimit -n; ulimit -Hn; ulimit -c; awk '/Max processes/ { print $3, $4 }' /proc/self/limits"
    assert await house.output(script, ulimits=limits) == ["100", "200", "0", "50 60"]
    with pytest.raises(Invalid, match="opens no more than"):
        await house.output("true", ulimits={"nofile": Ulimit(soft=-1, hard=-1)})


# -- devices -------------------------------------------------------------------------------------------------


async def test_devices(house: House) -> None:
    fuse = Device(host="/dev/fuse", container="/dev/mine", access="rw")
    script = (
        "stat -c '%t:%T %u' /dev/mine; (exec 3<>/dev/mine) && echo opened; ls /dev/kmsg 2>&1 | grep -c No"
    )
    for users in ("auto", "host"):
        assert await house.output(script, devices=(fuse,), users=users) == ["a:e5 0", "opened", "1"], users
    with pytest.raises(NotFound, match="no device /dev/nothing"):
        await house.output("true", devices=(Device(host="/dev/nothing", container="/dev/nothing"),))
    with pytest.raises(Invalid, match="not a device"):
        await house.output("true", devices=(Device(host="/etc/passwd", container="/dev/x"),))


async def test_a_device_that_was_not_given_cannot_be_used(house: House) -> None:
    disk = os.makedev(7, 0)
    script = f"""
    mknod /log c 1 11 && (head -c 1 /log) 2>/dev/null && echo read
    mknod /disk b {os.major(disk)} 0 && (head -c 1 /disk) 2>/dev/null && echo read
    ls /log /disk
    """
    assert await house.output(script, users="host") == ["/disk", "/log"], "made, but of no use"
    readonly = Device(host="/dev/fuse", container="/dev/fuse", access="r")
    lines = await house.output(
        "(exec 3>/dev/fuse) 2>/dev/null && echo written; echo end", devices=(readonly,)
    )
    assert lines == ["end"]


# -- file systems --------------------------------------------------------------------------------------------


async def test_file_systems(house: House) -> None:
    mounts = (Mount(target="/run", size=1 << 20, mode=0o700), Mount(target="/fixed", readonly=True))
    script = """
    touch /x 2>/dev/null || echo read only
    touch /run/x && echo written
    touch /fixed/x 2>/dev/null || echo fixed
    stat -c '%a %u' /run
    df -k /run /dev/shm | awk 'NR > 1 { print $2 }'
    dd if=/dev/zero of=/dev/shm/x bs=1k count=3000 2>/dev/null || echo full
    """
    assert await house.output(script, read_only=True, mounts=mounts, shm_size=2 << 20) == [
        "read only", "written", "fixed", "700 0", "1024", "2048", "full",
    ]  # fmt: skip


async def test_a_working_directory_belongs_to_root_inside(house: House) -> None:
    assert await house.output("pwd; stat -c %u . ..; touch x && echo written", workdir="/made/here") == [
        "/made/here", "0", "0", "written",
    ]  # fmt: skip


async def test_files_for_names(house: House) -> None:
    fields = {"hostname": "box", "hosts": "127.0.0.1\tlocalhost\n", "resolv_conf": "nameserver 9.9.9.9\n"}
    script = (
        "hostname; cd /etc; cat hostname hosts resolv.conf; stat -c %u hosts; echo more >> hosts && echo ok"
    )
    assert await house.output(script, **fields) == [
        "box", "box", "127.0.0.1\tlocalhost", "nameserver 9.9.9.9", "0", "ok",
    ]  # fmt: skip


# -- kernel parameters, init, network ------------------------------------------------------------------------


async def test_kernel_parameters(house: House) -> None:
    sysctls = {"net.core.somaxconn": "99", "kernel.shmmax": "123456", "fs.mqueue.msg_max": "17"}
    script = "cd /proc/sys; cat net/core/somaxconn kernel/shmmax fs/mqueue/msg_max net/ipv4/ip_unprivileged_port_start"
    for users in ("auto", "host"):
        assert await house.output(script, sysctls=sysctls, users=users) == ["99", "123456", "17", "0"], users
    with pytest.raises(Invalid, match=r"no parameter net\.nothing"):
        await house.output("true", sysctls={"net.nothing.here": "1"})
    with pytest.raises(Invalid, match="does not take"):
        await house.output("true", sysctls={"net.core.somaxconn": "many"})


async def test_an_init_reaps(house: House) -> None:
    script = "cat /proc/1/comm; (sh -c 'sleep 0.1 &'); sleep 0.4; ps -o stat | grep -c Z"
    with_init = await house.output(script, init=True)
    assert "init" in with_init[0] and with_init[1] == "0"
    ended = await house.start("exit 7", init=True)
    assert (await house.runtime.wait(ended[0].id)).code == 7


async def test_no_network(house: House) -> None:
    script = "ls /sys/class/net; ip -o addr | wc -l; nc -w1 1.1.1.1 80 2>&1"
    lines = await house.output(script)
    assert lines[0] == "lo" and "unreachable" in lines[-1]


async def test_a_low_port_for_an_ordinary_user(house: House) -> None:
    script = "nc -l -p 80 -e true & until grep -q ':0050 ' /proc/net/tcp*; do sleep 0.05; done; echo listens"
    assert await house.output(script, user="1000") == ["listens"]


async def test_nothing_stays_of_a_container_that_could_not_be_made(house: House) -> None:
    with pytest.raises(HivemindError):
        await house.start("true", user="nobody-of-that-name")
    assert house.runtime._ranges is not None
    assert house.runtime._ranges._of == {}
    assert not list((house.path / "state" / "containers").iterdir())


def test_modes_of_the_stage() -> None:
    """Nothing of this machine was opened for containers: the stage is in their mount namespace alone."""
    assert not Path("/mnt/.hivemind").exists()
    assert stat.S_IMODE(os.stat("/mnt").st_mode) & 0o755 == 0o755
