"""The circuit: whether something outside the hive, that tasks depend on, is worth trying just now.

The pattern is Nygard's (Release It!): closed while all is well, open after too many failures, half-open while one
task probes.
"""

from __future__ import annotations

from typing import Literal

from hivemind.model.base import Document, Record
from hivemind.model.job import Circuit
from hivemind.model.resource import Column, Resource

CircuitState = Literal["closed", "open", "half-open"]


class CircuitRecord(Record, frozen=True, kw_only=True):
    """Kept by `<project>/<name>`; the name of one that was detected is `host:port`."""

    project: str
    name: str
    policy: Circuit = Circuit()
    detected: bool = False
    state: CircuitState = "closed"
    forced: bool = False
    """By hand; it stays so until it is given back to itself."""
    failures: tuple[int, ...] = ()
    """When (ms) tasks failed for it, within the window."""
    opened: int = 0
    due: int = 0
    """When (ms) it may be probed."""
    probe: str = ""
    """Key of the task run that probes it."""
    tasks: tuple[str, ...] = ()
    """Of one that was detected: `<job>/<path>`, indexes left out, of the tasks that were seen to fail for it."""
    reason: str = ""
    updated: int = 0


class CircuitDocument(Document, frozen=True, kw_only=True):
    kind: Literal["Circuit"] = "Circuit"
    project: str
    name: str
    state: str
    forced: bool
    detected: bool
    failures: int
    policy: Circuit
    opened: int
    due: int
    waiting: int
    """Tasks that wait for it."""
    reason: str
    updated: int

    @property
    def shown(self) -> str:
        return f"{self.state} (by hand)" if self.forced else self.state


CIRCUIT = Resource(
    kind="Circuit",
    plural="circuits",
    short="cb",
    scope="project",
    document=CircuitDocument,
    columns=(
        Column("NAME", "name"),
        Column("STATE", "shown"),
        Column("FAILURES", "failures"),
        Column("WAITING", "waiting"),
        Column("REASON", "reason"),
    ),
)
