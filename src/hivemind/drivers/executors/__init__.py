"""Engines that tasks may be handed to where people already have them: Slurm, Dask, Ray."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hivemind.errors import Invalid

if TYPE_CHECKING:
    from hivemind.drivers.executors.contract import Executor

NAMES = ("slurm", "dask", "ray")


def make(name: str) -> Executor:
    """Not opened yet. Only the one that is asked for is imported."""
    if name == "slurm":
        from hivemind.drivers.executors.slurm import Slurm

        return Slurm()
    if name == "dask":
        from hivemind.drivers.executors.dask import Dask

        return Dask()
    if name == "ray":
        from hivemind.drivers.executors.ray import Ray

        return Ray()
    raise Invalid(f"there is no executor {name!r}", hint=f"there are hive, {', '.join(NAMES)}")
