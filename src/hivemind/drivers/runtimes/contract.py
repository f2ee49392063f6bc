"""What the agent asks of every runtime. One contract suite (tests/contract/runtimes) runs against all of them.

A *container* is one instance of an allocation: started once, ended once, never started again. Containers
outlive the daemon: a runtime finds everything it ever started by `list()`, with exit codes kept, and touches
nothing that it did not start itself.

All methods are safe to repeat: `create` of an existing id raises `Conflict`; `stop`, `kill` and `remove` of
one that is gone or ended do nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from hivemind.model.image import Image


class Mount(msgspec.Struct, frozen=True):
    """A host path (or a tmpfs when `source` is empty) that appears at `target` inside."""

    target: str
    source: str = ""
    readonly: bool = False
    size: int = 0
    """Bytes, for a tmpfs."""
    mode: int = 0o1777
    """Permission bits, for a tmpfs."""
    idmap: bool = False
    """Users inside own what their numbers own on disk, whatever user namespace the container has. For the hive's
    own volumes; without it a container in a user namespace sees foreign files as nobody's."""
    owned: bool = False
    """What is at `source` was made for this container alone: it is given to the container's user, whom only the
    runtime may be able to look up. A runtime that cannot takes numbers for what they are and names for root."""


class Device(msgspec.Struct, frozen=True):
    """A device node of the host; `access` is some of r, w and m."""

    host: str
    container: str
    access: str = "rwm"


class Ulimit(msgspec.Struct, frozen=True):
    """-1: no limit."""

    soft: int
    hard: int


class ContainerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a runtime needs to know; images' defaults are already folded in."""

    id: str
    """`<allocation>.<instance>`."""
    image: str = ""
    """Digest of an image that `pull` or `load` brought here; empty: the host's own files (`process` only)."""
    args: tuple[str, ...]
    env: dict[str, str] = {}
    secret_env: dict[str, str] = {}
    """Like `env`, but `oci` and `process` keep it off every disk. An engine with records of its own cannot."""
    user: str = ""
    """`name|uid[:group|gid]`, looked up inside the image; empty is root (the daemon's own user for `process`)."""
    workdir: str = "/"
    hostname: str = ""
    netns: str = ""
    """Path of the network namespace to join; empty: the host's network, or the `network` of an engine."""
    network: str = ""
    ip: str = ""
    """For an engine that makes its networks itself (docker): the network's name and the address in it."""
    network_shared: bool = False
    """There too: other containers of this allocation live in the same network, whichever ends first."""
    resolv_conf: str = ""
    hosts: str = ""
    """Contents for /etc/resolv.conf and /etc/hosts; empty: leave what the image has."""
    mounts: tuple[Mount, ...] = ()
    cpus: float = 0.0
    memory: int = 0
    pids: int = 0
    """0: no limit. Memory is without swap."""
    tty: bool = False
    stdin: bool = False
    read_only: bool = False
    init: bool = False
    """A small init as process 1. `Unsupported` where the machine has none."""
    privileged: bool = False
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    """Without CAP_; `ALL` is all of them. Dropped first, then added."""
    seccomp: str = "default"
    """`default`, `unconfined`, or the JSON of a profile."""
    apparmor: str = ""
    no_new_privileges: bool = True
    users: Literal["auto", "host"] = "auto"
    """`auto`: a user namespace where machine and runtime can."""
    shm_size: int = 64 * 2**20
    devices: tuple[Device, ...] = ()
    ulimits: dict[str, Ulimit] = {}
    sysctls: dict[str, str] = {}
    stop_signal: str = "SIGTERM"
    labels: dict[str, str] = {}
    log_max_size: int = 16 * 2**20
    log_max_files: int = 3
    fleeting: bool = False
    """Once the machine was started anew nobody asks for it, but perhaps for its log: `process` then keeps no more of
    it on the disk than that."""


class Status(StrEnum):
    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    """`code` follows the shell: 128 + n for death by signal n. `oom`: killed by the kernel at the memory limit.

    `code` is None when the runtime cannot know it any more (a reboot); `reason` then says why."""

    code: int | None
    oom: bool = False
    at: int = 0
    """Milliseconds since 1970."""
    reason: str = ""

    @property
    def signal(self) -> int | None:
        return self.code - 128 if self.code is not None and 128 < self.code <= 192 else None


class Container(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    status: Status
    pid: int = 0
    """Main process as the host sees it; 0 once it ended."""
    created: int = 0
    started: int = 0
    exit: Exit | None = None
    labels: dict[str, str] = {}
    image: str = ""


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    cpu_seconds: float
    """Since the start, summed over cores."""
    memory: int
    """Bytes in use, without reclaimable file cache."""
    memory_limit: int = 0
    pids: int = 0
    net_rx: int = 0
    net_tx: int = 0


class ProcessInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One process of a container. `pid` as the host sees it."""

    pid: int
    parent: int
    user: str
    """Name inside the container where it has one, else the number there."""
    state: str
    """R, S, D, Z, T as ps(1)."""
    cpu_seconds: float
    memory: int
    """Bytes resident."""
    started: int
    """Milliseconds since 1970."""
    command: str


class FileChange(msgspec.Struct, frozen=True):
    """How the root file system differs from the image at one path."""

    kind: Literal["added", "changed", "deleted"]
    path: str


class RuntimeEvent(msgspec.Struct, frozen=True, kw_only=True):
    """`exited` comes once for each container, also for those that ended while nobody listened."""

    kind: Literal["exited", "oom"]
    id: str
    exit: Exit | None = None


class LogLine(msgspec.Struct, frozen=True):
    time: int
    """Nanoseconds since 1970."""
    stream: Literal["stdout", "stderr"]
    text: str
    """Without the line's end; undecodable bytes are replaced."""


class LogQuery(msgspec.Struct, frozen=True, kw_only=True):
    follow: bool = False
    tail: int | None = None
    """Only the last so many lines; None: all."""
    since: int = 0
    until: int = 0
    """Nanoseconds since 1970; 0: no bound."""


class ExecSpec(msgspec.Struct, frozen=True, kw_only=True):
    args: tuple[str, ...]
    env: dict[str, str] = {}
    """Added to the container's own."""
    user: str = ""
    workdir: str = ""
    tty: bool = False
    stdin: bool = False
    columns: int = 80
    rows: int = 24


class ExecSession(Protocol):
    """A command running inside a container. Ends with its process; `close` kills what is left."""

    async def read(self) -> tuple[Literal["stdout", "stderr"], bytes] | None:
        """The next output, None at the end. With a terminal everything is `stdout`."""

    async def write(self, data: bytes) -> None: ...
    async def close_stdin(self) -> None: ...
    async def resize(self, columns: int, rows: int) -> None: ...
    async def wait(self) -> int:
        """Exit code, 126/127 when the command cannot be run."""

    async def close(self) -> None: ...


class PullProgress(msgspec.Struct, frozen=True):
    """Of a pull, or of a push. `done` of `total` bytes over all blobs; `total` 0 while unknown."""

    stage: Literal["resolving", "downloading", "unpacking", "uploading", "done"]
    done: int = 0
    total: int = 0


OnProgress = Callable[[PullProgress], None]
PullPolicy = Literal["missing", "always", "never"]


class Runtime(Protocol):
    """Errors: `NotFound` (unknown container or image), `Invalid` (a spec that cannot run: no such user, no such
    executable), `Unsupported` (this machine cannot), `Unavailable` (try later: disk full, registry down)."""

    name: str

    @property
    def trouble(self) -> str:
        """What keeps it from its work just now, as `status` shows it; empty: nothing that is known."""

    async def open(self) -> None:
        """Probes the machine and adopts what runs. Raises `Unsupported` saying what is missing."""

    async def close(self) -> None:
        """Lets go of everything; containers keep running."""

    async def pull(
        self, reference: str, on_progress: OnProgress | None = None, *, policy: PullPolicy = "missing"
    ) -> Image:
        """The image, fetched if it is not here; with `always` also if its registry has another by that name;
        with `never` not at all (`NotFound`)."""

    async def create(self, spec: ContainerSpec) -> None:
        """All set up but not running. Nothing is left behind when it fails."""

    async def start(self, id: str) -> int:
        """Runs it; the pid."""

    async def stop(self, id: str, signal: str, grace: float) -> Exit:
        """`signal`, then SIGKILL to everything inside after `grace` seconds; returns once all of it is dead."""

    async def kill(self, id: str, signal: str) -> None: ...

    async def wait(self, id: str) -> Exit: ...

    async def remove(self, id: str) -> None:
        """Kills it if it runs; removes root file system and record. Its log goes too."""

    async def exec(self, id: str, spec: ExecSpec) -> ExecSession: ...

    async def attach(self, id: str) -> ExecSession:
        """The main process's own terminal, or its input (if `stdin`) and its output from now on; of a container
        that was created but not started, all of it. Leaving does not end it, but without a terminal it ends its
        input. `wait` gives its exit code; `resize` acts on its terminal. Who does not read makes it wait.
        `Conflict` once it ended."""

    async def processes(self, id: str) -> list[ProcessInfo]:
        """`Conflict` when it does not run."""

    async def changes(self, id: str) -> list[FileChange]:
        """By path. `Unsupported` where the runtime cannot tell."""

    def read_files(self, id: str, path: str) -> AsyncIterator[bytes]:
        """A tar of that file, directory or link; its first name is the last part of `path`. Links on the way are
        followed as the container follows them, so nothing outside can be reached. `NotFound` when there is
        nothing, `Conflict` when it ended and its files are not kept."""

    async def write_files(self, id: str, path: str, chunks: AsyncIterator[bytes]) -> None:
        """Unpacks a tar into the directory `path`, which must exist (`NotFound`). What would land outside, and
        devices, are refused (`Invalid`)."""

    def logs(self, id: str, query: LogQuery) -> AsyncIterator[LogLine]:
        """In order; with `follow` until the container ended and all was read."""

    async def keep_log(self, id: str, file: Path) -> None:
        """Puts the log of a container that has ended at `file`, where it outlives the container: see `kept_log`. Its
        directory is made; nothing is when there was no output. May be repeated; what `logs` tells afterwards is not
        defined. `Conflict` while it runs."""

    async def stats(self, id: str) -> Stats: ...

    async def list(self) -> list[Container]: ...

    def events(self) -> AsyncIterator[RuntimeEvent]:
        """One consumer. No polling beneath it where the kernel can tell."""


Factory = Callable[[], Awaitable[Runtime]]
