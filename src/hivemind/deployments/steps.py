"""The steps a strategy may ask for. Values: shown by `--dry-run`, executed by state."""

from __future__ import annotations

import msgspec

from hivemind.model.deployment import DeploymentState


class Place(msgspec.Struct, frozen=True):
    """A new allocation of `revision` for `slot`."""

    slot: int
    revision: int


class Halt(msgspec.Struct, frozen=True):
    """The allocation shall stop."""

    allocation: str
    reason: str


class Progress(msgspec.Struct, frozen=True):
    """So many replicas of the running deployment are done now."""

    done: int
    total: int


class Conclude(msgspec.Struct, frozen=True):
    """The running deployment ends."""

    state: DeploymentState
    reason: str


class Settle(msgspec.Struct, frozen=True):
    """Every replica of `revision` is healthy: from now on it is the one to fall back to."""

    revision: int


class Revert(msgspec.Struct, frozen=True):
    """The app goes back to its stable `revision`."""

    revision: int


Step = Place | Halt | Progress | Conclude | Settle | Revert


class Plan(msgspec.Struct, frozen=True):
    steps: tuple[Step, ...] = ()
    deadline: int | None = None
    """When (ms) to plan again although nothing happened."""
