"""What is known of one container, and what the engine says of it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import msgspec

from hivemind.drivers.runtimes.cgroups import Cgroup
from hivemind.drivers.runtimes.contract import Container, Exit, Status
from hivemind.drivers.runtimes.docker import configuration
from hivemind.errors import Conflict


class State(msgspec.Struct, frozen=True, rename="pascal"):
    status: str = ""
    running: bool = False
    o_o_m_killed: bool = msgspec.field(name="OOMKilled", default=False)
    pid: int = 0
    exit_code: int = 0
    error: str = ""
    started_at: str = ""
    finished_at: str = ""


class _Config(msgspec.Struct, frozen=True, rename="pascal"):
    labels: dict[str, str] | None = None
    tty: bool = False
    open_stdin: bool = False


class _Host(msgspec.Struct, frozen=True, rename="pascal"):
    network_mode: str = ""


class Inspected(msgspec.Struct, frozen=True, rename="pascal"):
    """`GET /containers/{id}/json`, as much of it as matters."""

    id: str
    created: str
    state: State
    config: _Config
    host_config: _Host = _Host()

    @property
    def labels(self) -> dict[str, str]:
        return self.config.labels or {}


class Held:
    """A container of ours, with its ending once it is known."""

    def __init__(self, told: Inspected) -> None:
        labels = told.labels
        self.id = labels[configuration.ID]
        self.engine_id = told.id
        self.image = labels.get(configuration.IMAGE, "")
        self.labels: dict[str, str] = msgspec.json.decode(
            labels.get(configuration.LABELS, "{}"), type=dict[str, str]
        )
        self.tty = told.config.tty
        self.stdin = told.config.open_stdin
        mode = told.host_config.network_mode
        self.own_network = mode != "host"
        self.joined = mode.startswith("container:")
        self.created = milliseconds(told.created)
        self.started = 0
        self.pid = 0
        self.status = Status.CREATED
        self.exit: Exit | None = None
        self.out_of_memory = False
        self.running = asyncio.Event()
        """Set once it was started, and stays so."""
        self.ended = asyncio.Event()
        self.busy = asyncio.Lock()
        self.cgroup: Cgroup | None = None
        self.learn(told)

    def learn(self, told: Inspected) -> None:
        """What the engine says now. An ending is not believed to be undone."""
        state = told.state
        if self.status is Status.EXITED or state.status == "created":
            return
        self.started = milliseconds(state.started_at) or self.created
        self.running.set()
        if state.running:
            self.status, self.pid = Status.RUNNING, state.pid
            return
        oom = (state.o_o_m_killed or self.out_of_memory) and state.exit_code == 137
        at = max(milliseconds(state.finished_at), self.started)
        self.finish(Exit(code=state.exit_code, oom=oom, at=at, reason=state.error))

    def finish(self, exit: Exit) -> None:
        self.status, self.pid, self.exit = Status.EXITED, 0, exit
        self.release()
        self.running.set()
        self.ended.set()

    def must_run(self, what: str) -> None:
        """Raises `Conflict` unless it runs."""
        if self.status is not Status.RUNNING:
            raise Conflict(f"container {self.id} does not run, so one cannot {what}", hint="look at its logs")

    def describe(self) -> Container:
        return Container(
            id=self.id,
            status=self.status,
            pid=self.pid,
            created=self.created,
            started=self.started,
            exit=self.exit,
            labels=self.labels,
            image=self.image,
        )

    def release(self) -> None:
        if self.cgroup is not None:
            self.cgroup.close()
            self.cgroup = None


def milliseconds(stamp: str) -> int:
    return nanoseconds(stamp) // 10**6


def nanoseconds(stamp: str) -> int:
    """Since 1970, from RFC 3339 with up to nine digits after the point; 0 for the engine's "never"."""
    second, zone = stamp[:19], stamp[19:].lstrip(".0123456789")
    if len(second) < 19 or second.startswith("0001"):
        return 0
    fraction = stamp[20 : len(stamp) - len(zone)]
    zone = "" if zone == "Z" else zone
    moment = datetime.fromisoformat(second + zone)
    whole = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    return whole * 10**9 + int(fraction[:9].ljust(9, "0") or "0")


def stamp(nanoseconds: int) -> str:
    """As the engine takes times in queries."""
    return f"{nanoseconds // 10**9}.{nanoseconds % 10**9:09}"


def filters(**wanted: str) -> str:
    """For the `filters` of a query: each name with one value."""
    conditions: dict[str, Any] = {name: [value] for name, value in wanted.items()}
    return msgspec.json.encode(conditions).decode()
