"""What a container's spec is in the words of the engine's API: a pure translation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from hivemind.drivers.runtimes.contract import ContainerSpec, ExecSpec, Mount
from hivemind.errors import Unsupported

OWNER = "hivemind.engine.owner"
"""Label: which node's runtime made it. Everything else on the engine is somebody else's."""
ID = "hivemind.engine.id"
IMAGE = "hivemind.engine.image"
LABELS = "hivemind.engine.labels"
"""The container's own labels as JSON, for the engine mixes those of the image among them."""

_PERIOD = 100_000
"""Microseconds, the kernel's own default."""
DETACH_KEYS = ",".join(["ctrl-_", "ctrl-^"] * 4)
"""The keys by which docker lets go of a terminal: nobody types these, so ctrl-p reaches the program."""


def body(spec: ContainerSpec, image: str, owner: str, files: Path, joined: str = "") -> dict[str, Any]:
    """For `POST /containers/create`. `image`: the engine's id of it; `files`: where `write_files` put them; `joined`:
    the engine's id of a container whose network, and with it whose host name, it shares."""
    if spec.netns:
        raise Unsupported(
            "docker makes network namespaces itself and cannot join one",
            hint="use its own network, or another runtime",
        )
    return {
        "Image": image,
        "Entrypoint": list(spec.args),
        "Cmd": [],
        "Env": [f"{name}={value}" for name, value in {**spec.env, **spec.secret_env}.items()],
        "User": spec.user or "0",  # empty would be the image's own user
        "WorkingDir": spec.workdir or "/",
        "Hostname": "" if joined else (spec.hostname or spec.id)[:63],
        "Tty": spec.tty,
        "OpenStdin": spec.stdin,
        "StdinOnce": not spec.tty,  # who leaves ends the input; a terminal stays
        "StopSignal": spec.stop_signal,
        "Labels": {
            **spec.labels,
            OWNER: owner,
            ID: spec.id,
            IMAGE: spec.image,
            LABELS: msgspec.json.encode(spec.labels).decode(),
        },
        "Healthcheck": {"Test": ["NONE"]},  # the hive does its own checks
        "HostConfig": {
            "NetworkMode": f"container:{joined}" if joined else spec.network or "host",
            "Mounts": [_mount(mount) for mount in (*spec.mounts, *_files(spec, files))],
            "RestartPolicy": {"Name": "no"},
            "LogConfig": _log(spec),
            **_limits(spec),
            **_isolation(spec),
        },
        "NetworkingConfig": {} if joined else endpoint(spec),
    }


def endpoint(spec: ContainerSpec) -> dict[str, Any]:
    """Its place in the engine's network."""
    if not spec.ip:
        return {}
    return {"EndpointsConfig": {spec.network: {"IPAMConfig": {"IPv4Address": spec.ip}}}}


def exec_body(spec: ExecSpec) -> dict[str, Any]:
    """For `POST /containers/{id}/exec`."""
    return {
        "Cmd": list(spec.args),
        "Env": [f"{name}={value}" for name, value in spec.env.items()],
        "User": spec.user,
        "WorkingDir": spec.workdir,
        "Tty": spec.tty,
        "AttachStdin": spec.stdin,
        "AttachStdout": True,
        "AttachStderr": True,
        "DetachKeys": DETACH_KEYS,
    }


def _mount(mount: Mount) -> dict[str, Any]:
    shared = {"Target": mount.target, "ReadOnly": mount.readonly}
    if mount.source:
        return {**shared, "Type": "bind", "Source": mount.source, "BindOptions": {"Propagation": "rprivate"}}
    return {**shared, "Type": "tmpfs", "TmpfsOptions": {"SizeBytes": mount.size, "Mode": mount.mode}}


def _files(spec: ContainerSpec, directory: Path) -> list[Mount]:
    """Over the files that the engine would write itself, which name its own name server."""
    mounted = {mount.target for mount in spec.mounts}
    given = {"/etc/resolv.conf": spec.resolv_conf, "/etc/hosts": spec.hosts}
    return [
        Mount(target=target, source=str(directory / Path(target).name))
        for target, text in given.items()
        if text and target not in mounted
    ]


def write_files(spec: ContainerSpec, directory: Path) -> None:
    """What `body` mounts."""
    for name, text in (("resolv.conf", spec.resolv_conf), ("hosts", spec.hosts)):
        if text:
            (directory / name).write_text(text)
            (directory / name).chmod(0o644)


def _log(spec: ContainerSpec) -> dict[str, Any]:
    """Docker's `local` driver costs less than its JSON files and keeps bytes that are no text; but it loses the ends
    of lines that are longer than 16 KiB, which only frames make up for, and a terminal has none."""
    config = {"max-size": str(max(1, spec.log_max_size)), "max-file": str(max(1, spec.log_max_files))}
    if spec.tty:
        return {"Type": "json-file", "Config": config}
    return {"Type": "local", "Config": {**config, "compress": "false"}}


def _limits(spec: ContainerSpec) -> dict[str, Any]:
    limits: dict[str, Any] = {
        "ShmSize": spec.shm_size,
        "Ulimits": [{"Name": n, "Soft": limit.soft, "Hard": limit.hard} for n, limit in spec.ulimits.items()],
    }
    if spec.cpus:
        limits["CpuPeriod"] = _PERIOD
        limits["CpuQuota"] = max(1000, round(spec.cpus * _PERIOD))  # the kernel takes no less
        limits["CpuShares"] = max(2, round(spec.cpus * 1024))
    if spec.memory:
        limits["Memory"] = limits["MemorySwap"] = spec.memory  # together: no swap
    if spec.pids:
        limits["PidsLimit"] = spec.pids
    return limits


def _isolation(spec: ContainerSpec) -> dict[str, Any]:
    options = []
    if spec.no_new_privileges:
        options.append("no-new-privileges:true")
    if spec.seccomp != "default":
        options.append(f"seccomp={spec.seccomp}")
    if spec.apparmor:
        options.append(f"apparmor={spec.apparmor}")
    return {
        "ReadonlyRootfs": spec.read_only,
        "Init": spec.init,
        "Privileged": spec.privileged,
        "CapAdd": list(spec.cap_add),
        "CapDrop": list(spec.cap_drop),
        "SecurityOpt": options,
        "UsernsMode": "host" if spec.users == "host" else "",
        "IpcMode": "private",
        "Devices": [
            {"PathOnHost": d.host, "PathInContainer": d.container, "CgroupPermissions": d.access}
            for d in spec.devices
        ],
        "Sysctls": spec.sysctls,
    }
