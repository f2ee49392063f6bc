"""The tests' own eyes: what a daemon could leave behind is really seen."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.daemon import Daemon
from tests.e2e.leftovers import NAMESPACES, mentions, netns_of

pytestmark = pytest.mark.real

STRANGER = "zzzzzzzzzzzz"
Remove = Callable[[], object]


def record(node: Daemon) -> Remove:
    path = node.data / "oci/containers" / f"{STRANGER}.0"
    path.mkdir()
    return path.rmdir


def mount(node: Daemon, *inside: str) -> Remove:
    path = node.run / STRANGER
    path.mkdir()
    subprocess.run([*inside, "mount", "-t", "tmpfs", "none", path], check=True)

    def remove() -> None:
        subprocess.run([*inside, "umount", path], check=True)
        path.rmdir()

    return remove


def mount_in_the_runtimes_namespace(node: Daemon) -> Remove:
    return mount(node, "nsenter", f"--mount={node.run / 'oci/ns/mnt'}")


def control_group(node: Daemon) -> Remove:
    scope = "hivemind-" + hashlib.sha256(os.fsencode(node.data / "oci")).hexdigest()[:12]
    root = Path("/sys/fs/cgroup")
    path = (root if (root / "cgroup.controllers").exists() else root / "pids") / scope / STRANGER
    path.mkdir(parents=True)
    return path.rmdir


def process(node: Daemon) -> Remove:
    return subprocess.Popen(["sh", "-c", "read forever", str(node.data)], stdin=subprocess.PIPE).communicate


def pin(node: Daemon) -> Remove:
    path = node.run / "network/netns" / STRANGER
    path.touch()
    subprocess.run(["mount", "--bind", NAMESPACES / netns_of(node.home), path], check=True)

    def remove() -> None:
        subprocess.run(["umount", path], check=True)
        path.unlink()

    return remove


def directory(place: str) -> Callable[[Daemon], Remove]:
    def plant(node: Daemon) -> Remove:
        path = node.home / place / STRANGER
        path.mkdir(parents=True)
        return path.rmdir

    return plant


def loop_device(node: Daemon) -> Remove:
    file = node.home / f"{STRANGER}.img"
    file.write_bytes(bytes(1 << 20))
    done = subprocess.run(["losetup", "--find", "--show", file], capture_output=True, text=True, check=True)

    def remove() -> None:
        subprocess.run(["losetup", "--detach", done.stdout.strip()], check=True)
        file.unlink()

    return remove


def stage(node: Daemon) -> Remove:
    """Where containers with users of their own are put together; one with a web server is there already."""
    (staged, *_) = (trace for trace in node.traces.everything() if trace.kind == "stage")
    place = str(Path(staged.name).with_name(STRANGER))
    inside = ["nsenter", f"--mount={node.run / 'oci/ns/mnt'}"]
    subprocess.run([*inside, "mkdir", place], check=True)
    return lambda: subprocess.run([*inside, "rmdir", place], check=True)


def link(node: Daemon) -> Remove:
    node.command("ip", "link", "add", "stray0", "type", "veth", "peer", "name", "stray1")
    return lambda: node.command("ip", "link", "del", "stray0")


def rule(node: Daemon) -> Remove:
    node.command("nft", "add", "chain", "ip", table(node), "tcp_4711")
    return lambda: node.command("nft", "delete", "chain", "ip", table(node), "tcp_4711")


def address_in_a_set(node: Daemon) -> Remove:
    where = ("element", "ip", table(node), "hairpin", "{ 10.200.0.77 . 10.200.0.77 }")
    node.command("nft", "add", *where)
    return lambda: node.command("nft", "delete", *where)


def table(node: Daemon) -> str:
    (line,) = [line for line in node.command("nft", "list", "tables").splitlines() if "hivemind" in line]
    return line.split()[-1]


@pytest.mark.parametrize(
    ("planted", "kind"),
    [
        (record, "record"),
        (mount, "mount"),
        (mount_in_the_runtimes_namespace, "mount"),
        (control_group, "control group"),
        (process, "process"),
        (pin, "pin"),
        (directory("d/scratch"), "scratch"),
        (directory("d/volumes/local/volumes"), "volume"),
        (directory("d/volumes/local/snapshots"), "snapshot"),
        (directory("r/contents"), "contents"),
        (directory("r/oci/secret"), "secret variables"),
        (directory("r/volumes"), "sub-path"),
        (loop_device, "loop device"),
        (stage, "stage"),
        (link, "link"),
        (rule, "published port"),
        (address_in_a_set, "address in a set"),
    ],
)
def test_a_leak_is_seen(node: Daemon, planted: Callable[[Daemon], Remove], kind: str) -> None:
    node.cli("app", "deploy", "--image", "web:1", "--name", "web-app", "--port", "8080:8080")
    node.traces.must_be_clean()
    remove = planted(node)
    try:
        assert any(leak.startswith(kind) for leak in node.traces.leaks())
    finally:
        remove()
    node.traces.must_be_clean()


def test_what_belongs_to_a_neighbour_is_not_mine() -> None:
    mine = Path("/tmp/hm-e2e-x/4")
    assert all(
        mentions(words, mine) for words in (b"sh\0/tmp/hm-e2e-x/4", b"sh\0--at=/tmp/hm-e2e-x/4/r\x0060.0")
    )
    assert not mentions(b"shim\0/tmp/hm-e2e-x/40/r/process\x0060.0", mine)
