"""From what is wanted (the template of an app or a companion) and what the image says to what a runtime starts.
Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from hivemind.agent.checks.chosen import inherited_check
from hivemind.agent.provision.contract import Provision
from hivemind.agent.work import isolation
from hivemind.drivers.network.contract import Attachment
from hivemind.drivers.runtimes.contract import ContainerSpec
from hivemind.errors import Invalid
from hivemind.model.allocation import Allocation
from hivemind.model.image import Image, ImageConfig
from hivemind.model.network import NetworkOptions
from hivemind.model.template import ContainerTemplate

_FALLBACK_SIGNAL = "SIGTERM"
_ORDINARY = NetworkOptions()
BOOT = "hivemind.boot"
"""Label of a container: the start of the kernel it was made in."""


class Place(NamedTuple):
    """Which container of an allocation it is: a companion's by `name`, the app's own without, and its instance."""

    allocation: str
    instance: int
    name: str = ""


def container_id(allocation: str, instance: int, name: str = "") -> str:
    """`<allocation>.<instance>`, a companion's with `.<name>` behind it."""
    return f"{allocation}.{instance}.{name}" if name else f"{allocation}.{instance}"


def place_of(container: str) -> Place:
    """The inverse of `container_id`. Raises `ValueError` for what it did not make."""
    match = re.fullmatch(r"([0-9a-z]+)\.(0|[1-9][0-9]*)(?:\.([0-9a-z](?:[0-9a-z-]*[0-9a-z])?))?", container)
    if not match:
        raise ValueError(f"{container!r} is not the container of an allocation")
    return Place(match[1], int(match[2]), match[3] or "")


def compose(
    allocation: Allocation,
    template: ContainerTemplate,
    image: Image | None,
    attachment: Attachment,
    provision: Provision,
    *,
    place: Place,
    node_name: str,
    search: str,
    options: NetworkOptions = _ORDINARY,
    boot: str = "",
) -> ContainerSpec:
    """Docker's rules: a given entrypoint drops the image's command; a given command replaces it."""
    config = image.config if image else ImageConfig()
    name = f"{allocation.app_name}-{allocation.slot}"
    return ContainerSpec(
        id=container_id(*place),
        image=image.digest if image else "",
        args=arguments(template, config),
        env={
            **parse_env(config.env),
            **_own_env(allocation, node_name, attachment),
            **provision.env,
            **template.env,
        },
        secret_env={name: value for name, value in provision.secret_env.items() if name not in template.env},
        mounts=tuple(sorted(provision.mounts, key=lambda mount: mount.target)),  # what contains others first
        user=user_of(template, config),
        workdir=template.workdir or config.workdir or "/",
        tty=template.tty,
        stdin=template.stdin,
        network_shared=bool(place.name),
        **isolation.network(options, attachment, name=name, node_name=node_name, search=search),
        **isolation.isolation(template.isolation, provision.devices),
        cpus=template.resources.cpus,
        memory=template.resources.memory,
        pids=template.resources.pids,
        stop_signal=stop_signal(template, config),
        labels={
            "hivemind.project": allocation.project,
            "hivemind.app": allocation.app_name,
            "hivemind.allocation": allocation.id,
            "hivemind.revision": str(allocation.revision),
            "hivemind.stop-signal": stop_signal(template, config),
            **({"hivemind.container": place.name} if place.name else {}),
            **({BOOT: boot} if boot else {}),
            **inherited_check(template, config),
        },
    )


def user_of(template: ContainerTemplate, config: ImageConfig) -> str:
    return template.user if template.user is not None else config.user


def stop_signal(template: ContainerTemplate, config: ImageConfig) -> str:
    name = template.stop.signal or config.stop_signal or _FALLBACK_SIGNAL
    return name if name.startswith("SIG") or name.isdigit() else f"SIG{name}"


def arguments(template: ContainerTemplate, config: ImageConfig) -> tuple[str, ...]:
    entrypoint = config.entrypoint if template.entrypoint is None else template.entrypoint
    inherited = config.command if template.entrypoint is None else ()
    command = inherited if template.command is None else template.command
    arguments = (*entrypoint, *command)
    if not arguments:
        raise Invalid("the image names no command", hint="give one with --command")
    return arguments


def parse_env(lines: tuple[str, ...]) -> dict[str, str]:
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _own_env(allocation: Allocation, node_name: str, attachment: Attachment) -> dict[str, str]:
    """What every replica may want to know of itself. On a shared network also where it must listen."""
    env = {
        "HIVEMIND_PROJECT": allocation.project,
        "HIVEMIND_APP": allocation.app_name,
        "HIVEMIND_ALLOCATION": allocation.id,
        "HIVEMIND_REPLICA": str(allocation.slot),
        "HIVEMIND_REVISION": str(allocation.revision),
        "HIVEMIND_NODE": node_name,
    }
    if not attachment.apart:
        env |= _port_env(attachment.ports)
    return env


def _port_env(ports: Mapping[str, int]) -> dict[str, str]:
    env = {f"PORT_{declared.split('/')[0]}": str(actual) for declared, actual in ports.items()}
    if ports:
        env["PORT"] = str(next(iter(ports.values())))
    return env
