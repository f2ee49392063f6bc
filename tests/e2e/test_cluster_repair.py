"""What people do when a hive cannot help itself: a file of all that was agreed, going on alone, throwing somebody out;
and a hive whose order an etcd decides."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import Hatch, Member, Rig, decides, whole
from tests.e2e.daemon import running
from tests.e2e.eventually import eventually
from tests.e2e.leftovers import inside

pytestmark = pytest.mark.real
SLEEP = ("--", "sleep", "100000")


@pytest.fixture
def rig(hatch: Hatch) -> Iterator[Rig]:
    rig = Rig(hatch)
    yield rig
    for member in rig.members:
        member.destroy()


def deploy(member: Member, name: str, replicas: int = 1, *options: str) -> None:
    member.cli("project", "allow", "default", "processes")
    member.cli(
        "app", "deploy", "--name", name, "--runtime", "process", "--replicas", str(replicas), *options, *SLEEP
    )


def test_what_is_left_goes_on_alone_and_the_others_join_again(rig: Rig) -> None:
    first, second, third = members = rig.hive(3)
    deploy(first, "kept", 3)
    (here,) = [a for a in first.ready("kept", 3) if a.node == first.name]
    refused = first.cli("cluster", "force-recover", "--yes", code=5)
    assert "can decide" in refused.err
    for member in (second, third):
        member.die()
    eventually(lambda: not first.status().can_decide, "it notices")
    said = first.cli("app", "scale", "--name", "kept", "--replicas", "1", code=7)
    assert "nothing was changed" in said.err and "n2, n3" in said.err
    said = first.cli("cluster", "force-recover", "--yes")
    assert "lineage 1" in said.out and "gone for good" in said.err
    assert len(first.ready("kept", 3)) == 3
    assert running(here.status.pid) and {a.node for a in first.ready("kept", 3)} == {first.name}
    second.rise()
    second.cli("cluster", "leave", "--force", "--yes")
    second.join(first.token())
    for member in (first, second):
        eventually(lambda m=member: decides(m, 2) and whole(m), f"{member.name} sees both")
    assert second.status().lineage == 1 and {m.name for m in members[0].status().members} == {"n1", "n2"}


def test_a_file_of_all_that_was_agreed_makes_a_hive_anew_on_another_machine(rig: Rig) -> None:
    first, second = rig.hive(2)
    first.cli("secret", "create", "word", "--from-literal", "is=plain")
    deploy(first, "kept", 2, "--secret", "word")
    first.ready("kept", 2)
    file, key = rig.home / "hive.snapshot", rig.home / "hive.key"
    assert str(file) in second.cli("cluster", "snapshot", "save", str(file)).out
    assert file.stat().st_mode & 0o777 == 0o600
    refused = second.cli("cluster", "snapshot", "restore", str(file), "--yes", code=5)
    assert "cluster leave" in refused.err
    shutil.copy(second.data / "hive.key", key)
    for member in (first, second):
        member.die()
    (third,) = rig.start(1)
    cut = rig.home / "cut"
    cut.write_bytes(file.read_bytes()[:-1])
    third.cli("cluster", "snapshot", "restore", str(cut), "--yes", code=9)
    assert not third.status().name
    third.stop()
    shutil.copy(key, third.data / "hive.key")
    third.start()
    said = third.cli("cluster", "snapshot", "restore", str(file), "--yes")
    assert "lineage 1" in said.out
    assert {a.node for a in third.ready("kept", 2)} == {"n3"}
    third.restart()
    assert third.status().name == "office" and third.status().lineage == 1 and third.status().can_decide
    third.ready("kept", 2)


def test_who_is_expelled_is_alone_and_never_comes_back(rig: Rig) -> None:
    members = rig.hive(4)
    first, last = members[0], members[3]
    deploy(first, "kept", 4)
    there = [a for a in first.ready("kept", 4) if a.node == last.name]
    last.cut()
    said = first.cli("cluster", "expel", "n4", "--reason", "stolen", "--yes")
    assert "n4 is expelled" in said.out
    last.mend()
    assert {a.node for a in first.ready("kept", 4)} <= {"n1", "n2", "n3"}
    eventually(lambda: decides(first, 3), "three voters")
    assert "n4: stolen" in first.cli("cluster", "status").out
    first.cli("cluster", "expel", "n9", "--yes", code=4)
    eventually(lambda: not last.status().name, "it hears of it")
    assert not any(running(a.status.pid) for a in there)
    refused = last.cli("cluster", "join", first.token(), code=3)
    assert "expelled" in refused.err


class Etcd:
    def __init__(self, member: Member, home: Path) -> None:
        self.url = f"http://{member.address}:2379"
        self.process = subprocess.Popen(
            [*inside(member.home), "etcd", "--data-dir", str(home / "etcd"),
             "--listen-client-urls", self.url, "--advertise-client-urls", self.url,
             "--listen-peer-urls", f"http://{member.address}:2380", "--log-level", "error"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def stop(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def test_an_etcd_decides_the_order_where_people_want_that(rig: Rig) -> None:
    url = "http://192.0.2.1:2379"
    first, second = rig.start(2, "--etcd-endpoints", url)
    (third,) = rig.start(1)
    refused = third.cli("cluster", "init", "--engine", "etcd", code=2)
    assert "--etcd-endpoints" in refused.err
    etcd = Etcd(first, rig.home)
    try:
        first.cli("cluster", "init", "--engine", "etcd")
        second.join(first.token())
        deploy(second, "kept", 2)
        assert {a.node for a in first.ready("kept", 2)} == {"n1", "n2"}
        for member in (first, second):
            status = member.status()
            assert status.engine == "etcd" and status.can_decide
        refused = third.cli("cluster", "join", first.token(), code=2)
        assert "--etcd-endpoints" in refused.err
    finally:
        etcd.stop()
    eventually(lambda: not second.status().can_decide, "it notices")
    said = second.cli("app", "scale", "--name", "kept", "--replicas", "1", code=7)
    assert "etcd" in said.err
