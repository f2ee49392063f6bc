"""What a container needs beyond its image: volumes, files and variables, from several providers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import msgspec

from hivemind.drivers.runtimes.contract import Device, Mount
from hivemind.model.allocation import Allocation
from hivemind.model.app import AppSpec
from hivemind.model.template import ContainerTemplate


class Provision(msgspec.Struct, frozen=True, kw_only=True):
    mounts: tuple[Mount, ...] = ()
    env: dict[str, str] = {}
    secret_env: dict[str, str] = {}
    devices: tuple[Device, ...] = ()


class Provider(Protocol):
    """Level-triggered: what is there already is found and used."""

    async def provide(
        self, allocation: Allocation, spec: AppSpec, template: ContainerTemplate, user: str
    ) -> Provision:
        """For one container of the allocation; `user` is whom it runs as (`name|uid[:group|gid]`, empty: root).

        `NotFound`, `Invalid` and `Unsupported` make the allocation count as failing, other errors are tried again."""

    async def release(self, allocation: str) -> None:
        """Nothing of that allocation runs here any more. Idempotent."""

    async def prune(self, keep: set[str]) -> None:
        """At the daemon's start: releases all allocations but these."""


async def provide(
    providers: Iterable[Provider],
    allocation: Allocation,
    spec: AppSpec,
    template: ContainerTemplate,
    user: str,
) -> Provision:
    """Everything together."""
    total = Provision()
    for provider in providers:
        more = await provider.provide(allocation, spec, template, user)
        total = Provision(
            mounts=(*total.mounts, *more.mounts),
            env={**total.env, **more.env},
            secret_env={**total.secret_env, **more.secret_env},
            devices=(*total.devices, *more.devices),
        )
    return total
