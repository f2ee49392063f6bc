"""From what is wanted (an app's spec) and what the image says to what a runtime starts. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from hivemind.agent.provision import Provision
from hivemind.drivers.network.contract import Attachment
from hivemind.drivers.runtimes.contract import ContainerSpec
from hivemind.errors import Invalid
from hivemind.model.allocation import Allocation
from hivemind.model.app import AppSpec
from hivemind.model.image import Image, ImageConfig

_FALLBACK_SIGNAL = "SIGTERM"


def container_id(allocation: str, instance: int) -> str:
    return f"{allocation}.{instance}"


def allocation_of(container: str) -> tuple[str, int]:
    """The inverse of `container_id`. Raises `ValueError` for what it did not make."""
    match = re.fullmatch(r"([0-9a-z]+)\.(0|[1-9][0-9]*)", container)
    if not match:
        raise ValueError(f"{container!r} is not the container of an allocation")
    return match[1], int(match[2])


def compose(
    allocation: Allocation,
    spec: AppSpec,
    image: Image | None,
    attachment: Attachment,
    provision: Provision,
    *,
    instance: int,
    node_name: str,
    search: str,
) -> ContainerSpec:
    """Docker's rules: a given entrypoint drops the image's command; a given command replaces it."""
    config = image.config if image else ImageConfig()
    name = f"{allocation.app_name}-{allocation.slot}"
    return ContainerSpec(
        id=container_id(allocation.id, instance),
        image=image.digest if image else "",
        args=_arguments(spec, config),
        env={
            **_parse_env(config.env),
            **_own_env(allocation, node_name, attachment),
            **provision.env,
            **spec.env,
        },
        secret_env={name: value for name, value in provision.secret_env.items() if name not in spec.env},
        mounts=provision.mounts,
        user=user_of(spec, config),
        workdir=spec.workdir or config.workdir or "/",
        hostname=name if attachment.netns else "",
        netns=attachment.netns,
        resolv_conf=_resolv_conf(attachment, search),
        hosts=_hosts(attachment, name),
        cpus=spec.resources.cpus,
        memory=spec.resources.memory,
        pids=spec.resources.pids,
        stop_signal=stop_signal(spec, config),
        labels={
            "hivemind.project": allocation.project,
            "hivemind.app": allocation.app_name,
            "hivemind.allocation": allocation.id,
            "hivemind.revision": str(allocation.revision),
            "hivemind.stop-signal": stop_signal(spec, config),
        },
    )


def user_of(spec: AppSpec, config: ImageConfig) -> str:
    return spec.user if spec.user is not None else config.user


def stop_signal(spec: AppSpec, config: ImageConfig) -> str:
    name = spec.stop.signal or config.stop_signal or _FALLBACK_SIGNAL
    return name if name.startswith("SIG") or name.isdigit() else f"SIG{name}"


def _arguments(spec: AppSpec, config: ImageConfig) -> tuple[str, ...]:
    entrypoint = config.entrypoint if spec.entrypoint is None else spec.entrypoint
    inherited = config.command if spec.entrypoint is None else ()
    command = inherited if spec.command is None else spec.command
    arguments = (*entrypoint, *command)
    if not arguments:
        raise Invalid("the image names no command", hint="give one with --command")
    return arguments


def _parse_env(lines: tuple[str, ...]) -> dict[str, str]:
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
    if not attachment.netns:
        env |= _port_env(attachment.ports)
    return env


def _port_env(ports: Mapping[str, int]) -> dict[str, str]:
    env = {f"PORT_{declared.split('/')[0]}": str(actual) for declared, actual in ports.items()}
    if ports:
        env["PORT"] = str(next(iter(ports.values())))
    return env


def _resolv_conf(attachment: Attachment, search: str) -> str:
    if not attachment.nameserver:
        return ""
    return f"search {search}\nnameserver {attachment.nameserver}\noptions ndots:1 timeout:2 attempts:2\n"


def _hosts(attachment: Attachment, name: str) -> str:
    if not attachment.netns:
        return ""
    return f"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n{attachment.ip}\t{name}\n"
