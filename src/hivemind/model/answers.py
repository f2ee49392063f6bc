"""What the API answers beside documents: pages of them, problems, plans, log lines, progress, statistics."""

from __future__ import annotations

from typing import Generic, Literal, TypeVar

import msgspec

from hivemind.errors import HivemindError, from_code
from hivemind.model.allocation import CheckResult
from hivemind.model.base import Document
from hivemind.model.image import ImageDocument

D = TypeVar("D")

STREAM_FORMAT = "application/x-ndjson"
PROBLEM_FORMAT = "application/problem+json"


class Page(msgspec.Struct, Generic[D], frozen=True, kw_only=True):
    """Some documents of a list, in order. `next` is the `cursor` that continues it; empty at the end."""

    items: list[D]
    next: str = ""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """An error as RFC 9457 has it, with Hivemind's stable `code` and a `hint` at the next step."""

    type: str
    """`urn:hivemind:problem:<code>`."""
    title: str
    status: int
    detail: str
    code: str
    hint: str = ""

    def error(self) -> HivemindError:
        return from_code(self.code, self.detail, self.hint)


def problem(error: HivemindError) -> Problem:
    return Problem(
        type=f"urn:hivemind:problem:{error.code}",
        title=error.title,
        status=error.status,
        detail=error.message,
        code=error.code,
        hint=error.hint,
    )


class Info(msgspec.Struct, frozen=True, kw_only=True):
    """What `GET /v1/status` says about this node and its hive."""

    version: str
    hive: str
    node: str
    node_name: str
    runtime: str
    network: str
    started: int
    sequence: int
    digest: str
    dns: str = ""
    """`127.0.0.1:8653`: where the host may ask for names."""
    problems: tuple[str, ...] = ()


class PlanStep(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that the hive would do."""

    action: str
    object: str
    node: str = ""
    detail: str = ""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a write with `dry_run=true` answers; nothing was changed."""

    steps: tuple[PlanStep, ...]


class LogEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of one replica, or of one attempt at a task."""

    time: int
    """Nanoseconds since 1970."""
    stream: Literal["stdout", "stderr", "notice"]
    """`notice`: the text is not its own, it says which node could not be asked."""
    text: str
    allocation: str
    slot: int
    path: str = ""
    """Of the task."""
    attempt: int = 0


class AllocationStats(Document, frozen=True, kw_only=True):
    allocation: str
    container: str = ""
    """Name of the companion; empty: the app's own."""
    cpu_seconds: float
    """Since the start, summed over cores."""
    memory: int
    """Bytes in use, without reclaimable file cache."""
    memory_limit: int
    """Bytes; 0 without a limit."""
    pids: int
    net_rx: int
    net_tx: int


class StatsList(msgspec.Struct, frozen=True, kw_only=True):
    items: list[AllocationStats]
    unreached: list[str] = []
    """Which nodes could not be asked, and since when."""


class CheckList(msgspec.Struct, frozen=True, kw_only=True):
    """What the checks of an allocation found, oldest first."""

    items: list[CheckResult]


class ImageList(msgspec.Struct, frozen=True, kw_only=True):
    """What loading an archive brought."""

    items: list[ImageDocument]


class PullProgress(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a pull or push: `done` of `total` bytes (0 while unknown). The last has `image` or `error`."""

    stage: Literal["resolving", "downloading", "unpacking", "uploading", "done"] = "done"
    done: int = 0
    total: int = 0
    image: ImageDocument | None = None
    error: Problem | None = None


class Pruned(msgspec.Struct, frozen=True, kw_only=True):
    """Images that were removed, by name or else by digest, and the bytes that this freed."""

    images: list[str]
    freed: int


class ExecRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first message of an exec WebSocket. The frames after it are described at `ExecChannel`."""

    args: tuple[str, ...]
    env: dict[str, str] = {}
    user: str = ""
    workdir: str = ""
    tty: bool = False
    stdin: bool = False
    columns: int = 80
    rows: int = 24


class AttachRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first message of an attach WebSocket; then as with exec. `columns` 0: the terminal stays as it is."""

    columns: int = 0
    rows: int = 0


class ProcessEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One process of a container; `pid` as its node counts, `memory` in bytes, `started` in ms since 1970."""

    pid: int
    parent: int
    user: str
    state: str
    cpu_seconds: float
    memory: int
    started: int
    command: str


class ProcessList(msgspec.Struct, frozen=True, kw_only=True):
    items: list[ProcessEntry]


class ChangeEntry(msgspec.Struct, frozen=True, kw_only=True):
    """How the files of a container differ from its image at one path."""

    kind: Literal["added", "changed", "deleted"]
    path: str


class ChangeList(msgspec.Struct, frozen=True, kw_only=True):
    items: list[ChangeEntry]


class ExecChannel:
    """The first byte of each binary frame after the first message says what the rest of it is."""

    STDIN = 0
    STDOUT = 1
    STDERR = 2
    RESIZE = 3
    """From the client: JSON `{"columns", "rows"}`."""
    STDIN_END = 4
    EXIT = 5
    """From the server, the last frame: JSON `{"code": 0}` or a problem."""
    STDOUT_END = 6
    """From the server, of a forwarded port only: nothing more comes from there."""


class ExecExit(msgspec.Struct, frozen=True, kw_only=True):
    code: int
