"""Several real daemons, each on a machine of its own: a network namespace, wired to the others through one bridge.

The bridge stands in a namespace of its own, so nothing of it is on the machine that runs the tests, and all of it goes
with the session, however that ends (see `leftovers`)."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from hivemind.errors import HivemindError
from hivemind.model.cluster import ClusterMember, ClusterStatus
from tests.e2e.daemon import Daemon
from tests.e2e.eventually import eventually
from tests.e2e.leftovers import netns_of

Hatch = Callable[..., Daemon]
_NET = "192.0.2"
_PORT = 7946
_PACE = (
    "--probe-interval", "300ms", "--probe-timeout", "250ms", "--agreement-timeout", "1s",
)  # fmt: skip
"""Quick, and yet a daemon that waits three seconds for its turn on a busy machine is not taken for a dead one."""


class Member(Daemon):
    """One machine. `number`: the last part of its address."""

    number: int
    rig: Rig

    @property
    def address(self) -> str:
        return f"{_NET}.{self.number}"

    def status(self) -> ClusterStatus:
        return self.client.cluster.status()

    def seen(self, name: str) -> ClusterMember:
        """Another one, as this one sees it."""
        return next(member for member in self.status().members if member.name == name)

    def join(self, token: str, *options: str) -> None:
        self.cli("cluster", "join", token, *options)

    def token(self, *options: str) -> str:
        return self.cli("cluster", "token", "create", *options).out.strip()

    # -- what befalls it -------------------------------------------------------------------------------------

    def cut(self) -> None:
        """Its cable is pulled."""
        _ip("-n", self.rig.hub, "link", "set", self.port, "down")

    def mend(self) -> None:
        _ip("-n", self.rig.hub, "link", "set", self.port, "up")

    def die(self) -> None:
        """The machine is off: nobody answers any more, not even that nobody listens."""
        self.cut()
        self.power_off(self.pids_here())

    def rise(self) -> None:
        self.mend()
        self.start()

    def freeze(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGCONT)

    def pids_here(self) -> list[int]:
        """Of what runs on this machine, whether its daemon knows already or not."""
        groups = [Path(trace.name) for trace in self.traces.control_groups()]
        files = [file for group in groups for file in group.rglob("cgroup.procs")]
        pids = {int(pid) for file in files for pid in _words(file)}
        with suppress(HivemindError):
            pids |= {a.status.pid for a in self.client.allocations.list(None) if a.node == self.name}
        return sorted(pids - {0})

    @property
    def port(self) -> str:
        return f"n{self.number}"


class Rig:
    """Machines `n1`, `n2`, … that are not started yet."""

    def __init__(self, hatch: Hatch) -> None:
        self._hatch = hatch
        self.home = hatch().home
        """For what all of them share."""
        self.hub = netns_of(self.home)
        self.members: list[Member] = []
        _ip("-n", self.hub, "link", "add", "hive", "type", "bridge")
        _ip("-n", self.hub, "link", "set", "hive", "up")

    def destroy(self) -> None:
        """All its machines, at the same time."""
        with ThreadPoolExecutor(len(self.members) or 1) as pool:
            list(pool.map(lambda member: member.destroy(), self.members))

    def add(self, *options: str, of: type[Member] = Member) -> Member:
        number = len(self.members) + 1
        member = self._hatch(
            "--runtime", "process", "--dns-port", "0", "--cluster-address", f"{_NET}.{number}:{_PORT}",
            *_PACE, *options, of=of,
        )  # fmt: skip
        assert isinstance(member, Member)
        member.number, member.rig, member.name = number, self, f"n{number}"
        port, there = f"n{number}", netns_of(member.home)
        _ip("link", "add", port, "netns", self.hub, "type", "veth", "peer", "name", "wire", "netns", there)
        _ip("-n", self.hub, "link", "set", port, "master", "hive", "up")
        _ip("-n", there, "address", "add", f"{_NET}.{number}/24", "dev", "wire")
        _ip("-n", there, "link", "set", "wire", "up")
        self.members.append(member)
        return member

    def hive(self, count: int, *options: str) -> list[Member]:
        """So many more, who are one hive in the end."""
        return self.one(self.start(count, *options))

    def one(self, members: list[Member]) -> list[Member]:
        """These become one hive, all but the first one by joining at the same time."""
        first, *others = members
        count = len(members)
        first.cli("cluster", "init", "--name", "office")
        token = first.token("--uses", str(count))
        with ThreadPoolExecutor(count) as pool:
            list(pool.map(lambda member: member.join(token), others))
        for member in members:
            eventually(lambda m=member: decides(m, min(count, 7)) and whole(m), f"{member.name} sees all")
        return members

    def start(self, count: int, *options: str) -> list[Member]:
        """So many more, at the same time. `{number}` in an option is that of the machine."""
        numbers = range(len(self.members) + 1, len(self.members) + 1 + count)
        fresh = [self.add(*(option.format(number=number) for option in options)) for number in numbers]
        for member in fresh:
            member.launch()
        for member in fresh:
            eventually(member._answers, f"{member.name} ready")
        return fresh


def primary(members: list[Member]) -> Member:
    """Who proposes now, as the first of them sees it."""
    status = members[0].status()
    return next(member for member in members if member.seen(member.name).id == status.primary)


def decides(member: Member, voters: int) -> bool:
    status = member.status()
    return (
        status.can_decide and sum(each.voter for each in status.members) == voters and not status.next_epoch
    )


def whole(member: Member) -> bool:
    """All are there, and agreed to be, as that one sees it."""
    status = member.status()
    return status.can_decide and all(
        m.agreed == "ready" and m.reach in ("self", "alive") for m in status.members
    )


def power_off(members: list[Member]) -> None:
    """All of them at once."""
    for member, pids in [(member, _pids(member)) for member in members]:
        member.power_off(pids)


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:  # it has just gone
        return []


def _pids(member: Member) -> list[int]:
    """And its daemon dies."""
    pids = member.pids_here()
    member.kill()
    return pids


@contextmanager
def visitors(fetch: Callable[[], object]) -> Iterator[list[str]]:
    """Somebody who asks again and again; what went wrong, as it goes wrong."""
    problems: list[str] = []
    enough = threading.Event()

    def visit() -> None:
        while not enough.is_set():
            try:
                fetch()
            except Exception as error:
                problems.append(repr(error))
            enough.wait(0.05)

    thread = threading.Thread(target=visit)
    thread.start()
    try:
        yield problems
    finally:
        enough.set()
        thread.join()


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
