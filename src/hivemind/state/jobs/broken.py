"""Which detected circuits concern which tasks, of those that let not everything through just now."""

from __future__ import annotations

from hivemind.model.circuit import CircuitRecord
from hivemind.state.multimap import add, drop

_NONE: frozenset[str] = frozenset()


class Broken:
    """An index over the circuits. While all is well it is empty."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, str], set[str]] = {}

    def concerning(self, project: str, task: str) -> frozenset[str] | set[str]:
        """Names of circuits. `task` as in `CircuitRecord.tasks`."""
        return self._names.get((project, task), _NONE)

    def reindex(self, old: CircuitRecord | None, new: CircuitRecord | None) -> None:
        if old is not None and _matters(old):
            for task in old.tasks:
                drop(self._names, (old.project, task), old.name)
        if new is not None and _matters(new):
            for task in new.tasks:
                add(self._names, (new.project, task), new.name)


def _matters(circuit: CircuitRecord) -> bool:
    return circuit.state != "closed"
