"""Everything at once while the daemon is killed again and again: nothing leaks, nothing that was promised is lost."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from hivemind.model.allocation import AllocationDocument
from hivemind.model.app import AppManifest
from hivemind.model.base import decode, encode
from hivemind.model.secret import SecretManifest
from hivemind.model.snapshot import SnapshotManifest
from hivemind.model.volume import FromVolume, VolumeManifest
from tests.e2e.daemon import Daemon
from tests.e2e.eventually import eventually

pytestmark = pytest.mark.real

SEED = int(os.environ.get("STORM_SEED", "3"))
DEATHS = int(os.environ.get("STORM_DEATHS", "12"))
"""For more of it by hand, with other dice."""
SIZE = 16 << 20
APPS = ("red", "green", "blue")
FOREVER = "trap exit TERM; while :; do sleep 1000 & wait; done"


def manifest(name: str, replicas: int = 1, **spec: Any) -> AppManifest:
    common = {"image": "busybox:1", "stop": {"signal": "SIGKILL"}, "update": {"min_healthy_time": 0}}
    return decode(encode({"name": name, "replicas": replicas, "spec": {**common, **spec}}), AppManifest)


def keeper() -> AppManifest:
    """Counts on a volume, and is never touched."""
    count = "n=0; while :; do n=$((n+1)); echo $n >> /data/count; sleep 0.05; done"
    mounts = [{"kind": "volume", "source": "kept", "target": "/data"}]
    return manifest("keeper", command=["sh", "-c", count], mounts=mounts)


def pod(name: str, replicas: int, text: str) -> AppManifest:
    """Whatever a replica can have: companions, a directory that they share, a volume of its own, secrets, a port."""
    shared = {"kind": "scratch", "source": "shared", "target": "/shared"}
    box = {"image": "busybox:1", "stop": {"signal": "SIGKILL"}}
    return manifest(
        name,
        replicas,
        command=["sh", "-c", FOREVER],
        env={"TEXT": text},
        env_from=[{"secret": "key", "key": "token", "name": "TOKEN"}],
        ports=[{"container": 8080, "host": 8081 + APPS.index(name)}],
        mounts=[
            shared,
            {"kind": "volume", "source": f"{name}-own", "target": "/own", "per_replica": True},
            {"kind": "volume", "source": f"{name}-part", "target": "/part", "subpath": "some/where"},
            {"kind": "secret", "source": "key", "target": "/run/key"},
            {"kind": "tmpfs", "target": "/fleeting", "size": 1 << 20},
        ],
        init_containers=[
            {
                **box,
                "name": "write",
                "command": ["sh", "-c", f"echo {text} > /shared/text"],
                "mounts": [shared],
            }
        ],
        sidecars=[{**box, "name": "beside", "command": ["sh", "-c", FOREVER], "mounts": [shared]}],
    )


class Storm:
    """Wishes at random. What was acknowledged is noted: that has to be so in the end."""

    def __init__(self, node: Daemon, dice: random.Random) -> None:
        self.node, self.dice = node, dice
        self.apps: dict[str, tuple[int, str]] = {}
        self.volumes: set[str] = set()
        self.snapshots: set[str] = set()
        self.token = "token-0"
        self._serial = 0

    def wish(self) -> None:
        choices: list[Callable[[], None]] = [
            self.deploy,
            self.deploy,
            self.snapshot,
            self.volume,
            self.reveal,
        ]
        if self.apps:
            choices += [self.scale, self.scale, self.remove, self.restart]
        self.dice.choice(choices)()

    def _new(self, what: str) -> str:
        self._serial += 1
        return f"{what}-{self._serial}"

    def deploy(self) -> None:
        name, replicas, text = self.dice.choice(APPS), self.dice.randint(1, 2), self._new("text")
        self.node.client.apps.deploy(pod(name, replicas, text))
        self.apps[name] = (replicas, text)

    def scale(self) -> None:
        name, replicas = self.dice.choice(sorted(self.apps)), self.dice.randint(0, 3)
        self.node.client.apps.scale(name, replicas)
        self.apps[name] = (replicas, self.apps[name][1])

    def restart(self) -> None:
        self.node.client.apps.restart(self.dice.choice(sorted(self.apps)))

    def remove(self) -> None:
        name = self.dice.choice(sorted(self.apps))
        self.node.client.apps.delete(name)
        del self.apps[name]

    def snapshot(self) -> None:
        if len(self.snapshots) > 1:
            self.node.client.snapshots.delete(name := self.dice.choice(sorted(self.snapshots)))
            self.snapshots.discard(name)
            return
        self.node.client.snapshots.create(SnapshotManifest(name=(name := self._new("snap")), volume="kept"))
        self.snapshots.add(name)

    def volume(self) -> None:
        if len(self.volumes) > 1:
            self.node.client.volumes.delete(name := self.dice.choice(sorted(self.volumes)))
            self.volumes.discard(name)
            return
        name, source = self._new("vol"), FromVolume(name="kept") if self.dice.random() < 0.5 else None
        self.node.client.volumes.create(VolumeManifest(name=name, size=SIZE, source=source))
        self.volumes.add(name)

    def reveal(self) -> None:
        """The apps that use the secret roll to its new content."""
        self.token = self._new("token")
        self.node.client.secrets.put(SecretManifest(name="key", data={"token": self.token}))

    # -- in the end ------------------------------------------------------------------------------------------

    def must_be_so(self) -> None:
        client = self.node.client
        assert {a.name for a in client.apps.list() if a.name in APPS} == set(self.apps)
        for name, (replicas, text) in self.apps.items():
            eventually(partial(self._is, name, replicas, text), f"{name} as it was wished", 60)
        eventually(self._storage, "every volume and snapshot", 30)

    def _is(self, name: str, replicas: int, text: str) -> bool:
        found = self.node.ready(name, replicas, 0) if replicas else self.node.replicas(name)
        assert len(found) == replicas
        assert len({a.revision for a in found}) <= 1
        return all(self._holds(replica, text) for replica in found)

    def _holds(self, replica: AllocationDocument, text: str) -> bool:
        inside = "echo $TEXT; cat /shared/text; echo $TOKEN; cat /run/key/token; echo; touch /own/x /part/y"
        said = self.node.cli("exec", replica.id, "sh", "-c", inside).out.split()
        assert said == [text, text, self.token, self.token], said
        return len(replica.status.companions) == 2

    def _storage(self) -> bool:
        volumes = {v.name: v.status for v in self.node.client.volumes.list()}
        snapshots = {s.name: s.status.phase for s in self.node.client.snapshots.list()}
        assert self.volumes <= set(volumes) and set(snapshots) == self.snapshots
        wrong = {
            name: volumes[name] for name in self.volumes if volumes[name].phase not in ("ready", "pending")
        }
        assert not wrong, wrong
        assert set(snapshots.values()) <= {"ready"}, snapshots
        return True


def counted(node: Daemon) -> list[int]:
    return [int(line) for line in node.cli("exec", "keeper", "cat", "/data/count").out.split()]


def test_killed_in_the_middle_of_everything(fresh: Daemon) -> None:
    client = fresh.client
    client.volumes.create(VolumeManifest(name="kept", size=SIZE))
    client.secrets.put(SecretManifest(name="key", data={"token": "token-0"}))
    client.apps.deploy(keeper())
    (before,) = fresh.ready("keeper", 1)
    dice = random.Random(SEED)
    storm = Storm(fresh, dice)
    for _ in range(DEATHS):
        for _ in range(dice.randint(1, 4)):
            storm.wish()
        # The instant of death is what this test is about, so here it really is time that is waited for.
        time.sleep(dice.choice((0.0, 0.05, 0.2, 0.6)) * dice.random())
        fresh.kill()
        fresh.start()
    storm.must_be_so()
    (after,) = fresh.ready("keeper", 1)
    assert (after.id, after.status.pid, after.status.restarts) == (before.id, before.status.pid, 0)
    count = counted(fresh)
    assert count == list(range(1, len(count) + 1))
    eventually(lambda: len(counted(fresh)) > len(count), "the counting goes on: nothing is frozen")
    fresh.traces.must_be_clean()

    fresh.remove_apps()
    for snapshot in client.snapshots.list():
        client.snapshots.delete(snapshot.name)
    for volume in client.volumes.list():
        client.volumes.delete(volume.name)
    client.secrets.delete("key")
    fresh.traces.must_be_clean()
    assert not [t for t in fresh.traces.everything() if t.kind != "process"]
