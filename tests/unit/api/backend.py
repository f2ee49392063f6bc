"""A node in memory: the real state, a small store, and logs, commands and images that tests fill in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import msgspec

from hivemind.api.backend import Info
from hivemind.api.remote.remote import Remote
from hivemind.drivers.runtimes.contract import (
    ExecSpec,
    FileChange,
    LogLine,
    LogQuery,
    ProcessInfo,
    Stats,
)
from hivemind.errors import Conflict, NotFound
from hivemind.model.allocation import AllocationStatus, CheckResult, Phase
from hivemind.model.base import encode
from hivemind.model.event import Event
from hivemind.model.principal import Principal, Role
from hivemind.model.project import ProjectManifest
from hivemind.security.identity import Identity
from hivemind.security.sealing import Vault
from hivemind.state.forecast import forecast
from hivemind.state.operations import (
    Operation,
    PutProject,
    RegisterNode,
    RegisterPrincipal,
    decode_operation,
    encode_operation,
)
from hivemind.state.state import Outcome, Signed, State
from hivemind.state.tables import Change
from hivemind.store.contract import Entry
from tests.unit.api.cluster import MemoryCluster
from tests.unit.api.images import MemoryImages
from tests.unit.api.volumes import MemoryVolumes

ADMIN = Identity(b"a" * 32)
OPERATOR = Identity(b"o" * 32)
VIEWER = Identity(b"v" * 32)
STRANGER = Identity(b"s" * 32)
NODE = Identity(b"n" * 32)


class MemoryStore:
    """One writer, everything in a dict; subscribers are called at once."""

    writer = NODE.public

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._callbacks: dict[int, tuple[str, Callable[[Iterable[Entry]], None]]] = {}
        self._sequence = 0

    @property
    def subscribers(self) -> int:
        return len(self._callbacks)

    def put(self, key: str, value: bytes) -> None:
        self.write({key: value})

    def delete(self, key: str) -> None:
        self.write({key: None})

    def write(self, batch: Mapping[str, bytes | None]) -> None:
        entries = []
        for key, value in batch.items():
            self._sequence += 1
            entry = Entry(
                key=key, value=value, writer=self.writer, sequence=self._sequence, time=self._sequence
            )
            self._entries[key] = entry
            entries.append(entry)
        for prefix, callback in list(self._callbacks.values()):
            touched = [entry for entry in entries if entry.key.startswith(prefix)]
            if touched:
                callback(touched)

    def get(self, key: str) -> Entry | None:
        entry = self._entries.get(key)
        return entry if entry and entry.value is not None else None

    def range(
        self, prefix: str, *, after: str = "", limit: int | None = None, reverse: bool = False
    ) -> Iterator[Entry]:
        keys = sorted(k for k, e in self._entries.items() if k.startswith(prefix) and e.value is not None)
        beyond = [k for k in keys if not after or (k < after if reverse else k > after)]
        chosen = list(reversed(beyond)) if reverse else beyond
        return iter([self._entries[k] for k in chosen[:limit]])

    def subscribe(self, prefix: str, callback: Callable[[Iterable[Entry]], None]) -> Callable[[], None]:
        number = max(self._callbacks, default=0) + 1
        self._callbacks[number] = (prefix, callback)
        return lambda: self._callbacks.pop(number, None) and None

    async def flush(self) -> None:
        return None

    async def close(self) -> None:
        return None


class Command:
    """A session that echoes its input in upper case and ends when its input does."""

    def __init__(self, spec: ExecSpec) -> None:
        self.spec = spec
        self.output: asyncio.Queue[tuple[Literal["stdout", "stderr"], bytes] | None] = asyncio.Queue()
        self.sizes: list[tuple[int, int]] = []
        self.code = 0
        self.closed = asyncio.Event()
        self.output.put_nowait(("stdout", " ".join(spec.args).encode() + b"\n"))
        if spec.args[0] == "false":
            self.output.put_nowait(("stderr", b"no\n"))
            self.code = 1
        if not spec.stdin:
            self.output.put_nowait(None)

    async def read(self) -> tuple[Literal["stdout", "stderr"], bytes] | None:
        return await self.output.get()

    async def write(self, data: bytes) -> None:
        self.output.put_nowait(("stdout", data.upper()))

    async def close_stdin(self) -> None:
        self.output.put_nowait(None)

    async def resize(self, columns: int, rows: int) -> None:
        self.sizes.append((columns, rows))
        self.output.put_nowait(("stdout", f"{columns}x{rows}".encode()))

    async def wait(self) -> int:
        return self.code

    async def close(self) -> None:
        self.closed.set()


class MemoryLooking:
    """What can be seen: the same of whatever runs. Files are one text a path, links none."""

    def __init__(self, backend: MemoryBackend) -> None:
        self.backend = backend
        self.files: dict[str, bytes] = {"/etc/hosts": b"127.0.0.1 localhost\n"}
        self.expected: dict[tuple[str, str], asyncio.Future[Any]] = {}
        self.left = asyncio.Event()
        """Somebody expects no longer."""
        self.earlier: dict[str, list[LogLine]] = {}
        self.port = 0
        """Where whatever runs listens, on loopback."""

    def _runs(self, allocation: str) -> None:
        if allocation not in self.backend.running:
            raise Conflict(f"allocation {allocation} does not run", hint="start it")

    async def attach(self, allocation: str, container: str = "") -> Command:
        self._runs(allocation)
        self.backend.commands.append(Command(ExecSpec(args=("main",), stdin=True)))
        return self.backend.commands[-1]

    @contextmanager
    def expect(self, project: str, app: str) -> Iterator[asyncio.Future[Any]]:
        coming: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.expected[project, app] = coming
        try:
            yield coming
        finally:
            del self.expected[project, app]
            self.left.set()

    async def processes(self, allocation: str, container: str = "") -> list[ProcessInfo]:
        self._runs(allocation)
        return [
            ProcessInfo(
                pid=7,
                parent=1,
                user="root",
                state="S",
                cpu_seconds=1.5,
                memory=4096,
                started=1,
                command="sleep 9",
            )
        ]

    async def changes(self, allocation: str, container: str = "") -> list[FileChange]:
        return [FileChange("added", path) for path in sorted(self.files)]

    async def read_files(self, allocation: str, path: str, container: str = "") -> AsyncIterator[bytes]:
        if path not in self.files:
            raise NotFound(f"there is no {path}")
        yield self.files[path]

    async def write_files(
        self, allocation: str, path: str, chunks: AsyncIterator[bytes], container: str = ""
    ) -> None:
        self.files[path] = b"".join([chunk async for chunk in chunks])

    def previous_logs(self, allocation: str, query: LogQuery, container: str = "") -> AsyncIterator[LogLine]:
        if allocation not in self.earlier:
            raise NotFound(f"{allocation} has no earlier instance")
        return self._lines(allocation)

    async def _lines(self, allocation: str) -> AsyncIterator[LogLine]:
        for line in self.earlier[allocation]:
            yield line

    async def connect(self, allocation: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self._runs(allocation)
        if not self.port:
            raise Conflict(f"nothing listens at {port}")
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def stats(self) -> dict[tuple[str, str], Stats]:
        return {(id, ""): await self.backend.stats(id) for id in sorted(self.backend.running)}


class MemoryArtifact(NamedTuple):
    name: str
    size: int
    files: int


class MemoryAttempts:
    """Artifacts by allocation and name, each of one file."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, bytes]] = {}

    def artifacts(self, allocation: str) -> list[MemoryArtifact]:
        there = sorted(self.kept.get(allocation, {}).items())
        return [MemoryArtifact(name, len(data), 1) for name, data in there]

    async def read_artifact(self, allocation: str, name: str) -> AsyncIterator[bytes]:
        yield self.kept[allocation][name]


class MemoryBackend:
    def __init__(self) -> None:
        self.looking = MemoryLooking(self)
        self.state = State("testhive")
        self.store = MemoryStore()
        self.administrator = ADMIN
        self.vault = Vault(b"v" * 32)
        self.is_ready = True
        self.log_lines: dict[str, list[LogLine]] = {}
        self.log_news = asyncio.Condition()
        self.running: set[str] = set()
        self.commands: list[Command] = []
        self.volumes = MemoryVolumes()
        self.images = MemoryImages()
        self.attempts = MemoryAttempts()
        self.remote = Remote(NODE.public, self.state)
        self.cluster = MemoryCluster(self)
        self.listening: list[Callable[[Sequence[Change]], None]] = []
        self._count = 0
        for who, name, role in (
            (ADMIN, "ada", Role.ADMIN),
            (OPERATOR, "otto", Role.OPERATOR),
            (VIEWER, "vic", Role.VIEWER),
        ):
            principal = Principal(id=who.public, name=name, kind="person", role=role)
            self.apply(RegisterPrincipal(principal=principal), ADMIN)
        self.apply(RegisterPrincipal(principal=Principal(id=NODE.public, name="n", kind="node")), ADMIN)
        self.apply(PutProject(manifest=ProjectManifest(name="default")), ADMIN)
        node = RegisterNode(
            id=NODE.public, name="node-1", cpus=4.0, memory=2**33, runtimes=("oci", "process")
        )
        self.apply(node, NODE)

    def apply(self, operation: Operation, by: Identity, nonce: str = "") -> Outcome:
        self._count += 1
        signed = Signed(
            by.public, nonce or f"test-{self._count}", decode_operation(encode_operation(operation))
        )
        [outcome] = self.state.apply(self.state.sequence + 1, self.state.time + 10, [signed])
        for callback in list(self.listening):
            callback(self.state.changes)
        outcome.raise_for_error()
        return outcome

    def on_change(self, callback: Callable[[Sequence[Change]], None]) -> Callable[[], None]:
        self.listening.append(callback)
        return lambda: self.listening.remove(callback)

    async def submit(self, operation: Operation, by: Identity, *, nonce: str = "") -> Outcome:
        return self.apply(operation, by, nonce)

    async def report(self, operation: Operation) -> Outcome:
        return self.apply(operation, NODE)

    def ready(self) -> bool:
        return self.is_ready

    def info(self) -> Info:
        return Info(
            version="0.1.0", hive="testhive", node=NODE.public, node_name="node-1", runtime="fake", network="none",
            started=1, sequence=self.state.sequence, digest=self.state.digest().hex(),
        )  # fmt: skip

    async def plan(self, operation: Operation, by: Identity) -> list[dict[str, Any]]:
        return [msgspec.to_builtins(step) for step in forecast(self.state, operation, by.public)]

    async def exec(self, allocation: str, spec: ExecSpec, container: str = "") -> Command:
        if allocation not in self.running:
            raise Conflict(f"allocation {allocation} does not run", hint="start it")
        self.commands.append(Command(spec))
        return self.commands[-1]

    async def logs(self, allocation: str, query: LogQuery, container: str = "") -> AsyncIterator[LogLine]:
        if allocation not in self.log_lines:
            raise NotFound(f"no log of {allocation}")
        sent = 0
        lines = self.log_lines[allocation]
        chosen = [x for x in lines if x.time >= query.since and (not query.until or x.time <= query.until)]
        for line in chosen[-query.tail :] if query.tail else chosen:
            yield line
        sent = len(lines)
        while query.follow and allocation in self.running:
            async with self.log_news:
                await self.log_news.wait()
            for line in lines[sent:]:
                yield line
            sent = len(lines)

    def checks(self, allocation: str) -> list[CheckResult]:
        if allocation not in self.running:
            raise NotFound(f"{allocation} is not here")
        return [CheckResult(time=5, check="liveness", outcome="slow", latency=1.5, output="GET /: 200")]

    async def stats(self, allocation: str, container: str = "") -> Stats:
        if allocation not in self.running:
            raise Conflict("it does not run")
        return Stats(cpu_seconds=1.5, memory=1000, memory_limit=2000, pids=3, net_rx=4, net_tx=5)

    def metrics(self) -> str:
        return "# TYPE hivemind_up gauge\nhivemind_up 1\n"

    # -- what tests do to it ---------------------------------------------------------------------------------

    def run(self, allocation: str, **status: Any) -> None:
        """The node observes it running and ready."""
        self.running.add(allocation)
        self.log_lines.setdefault(allocation, [])
        seen = AllocationStatus(**{"phase": Phase.RUNNING, "ready": True, "instance": 1, **status})
        self.store.put(f"allocation/{allocation}", encode(seen))

    async def write_line(self, allocation: str, time: int, text: str) -> None:
        self.log_lines.setdefault(allocation, []).append(LogLine(time, "stdout", text))
        async with self.log_news:
            self.log_news.notify_all()

    async def end(self, allocation: str) -> None:
        self.running.discard(allocation)
        async with self.log_news:
            self.log_news.notify_all()

    def happen(self, number: int, type: str = "allocation.started", **more: Any) -> None:
        event = Event(id=f"{number:015}-0000", time=number, type=type, message=f"event {number}", **more)
        self.store.put(f"event/{event.id}", encode(event))
