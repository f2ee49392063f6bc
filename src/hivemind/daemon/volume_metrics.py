"""What /metrics shows of volumes: how full they are, and how their backups go."""

from __future__ import annotations

from collections.abc import Callable

from hivemind.model.volume import Volume, VolumeStatus
from hivemind.state.state import State
from hivemind.state.storage import keeper
from hivemind.store.contract import Store
from hivemind.store.said import said
from hivemind.telemetry.metrics import Registry

_LABELS = ("project", "volume")


class VolumeMetrics:
    """Adds its families to a registry; all is read when it is asked for."""

    """Of volumes that `node` looks after."""

    def __init__(self, node: str, state: State, store: Store, registry: Registry) -> None:
        self._node = node
        self._state = state
        self._store = store
        families: tuple[tuple[str, str, Callable[[Volume, VolumeStatus], float | None]], ...] = (
            ("used_bytes", "What a volume's files take.", lambda v, s: float(s.used)),
            ("limit_bytes", "What a volume may hold; none without a limit.", lambda v, s: float(v.size) or None),
            ("ready", "1 while a volume is as agreed.", lambda v, s: float(s.phase == "ready" and not s.message)),
            ("backup_time_seconds", "When a backup last succeeded.", lambda v, s: s.backed_up / 1000 or None),
            ("backup_verified_seconds", "When a backup was last restored and found equal.",
             lambda v, s: s.verified / 1000 or None),
            ("backup_failing", "1 when the last backup failed.",
             lambda v, s: float(bool(s.backup.error)) if s.backup else None),
        )  # fmt: skip
        for name, text, value in families:
            registry.gauge(f"hivemind_volume_{name}", text, _LABELS).ask(self._reader(value))

    def _reader(
        self, value: Callable[[Volume, VolumeStatus], float | None]
    ) -> Callable[[], dict[tuple[str, ...], float]]:
        def read() -> dict[tuple[str, ...], float]:
            found: dict[tuple[str, ...], float] = {}
            for volume in self._state.volumes.values():
                entry = self._store.get(f"volume/{volume.id}")
                if volume.node != self._node and (entry is None or entry.writer != self._node):
                    continue
                status = said(entry, VolumeStatus, keeper(self._state, volume)) or VolumeStatus()
                amount = value(volume, status)
                if amount is not None:
                    found[volume.project, volume.name] = amount
            return found

        return read
