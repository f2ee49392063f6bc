"""Secret variables: they may be in memory, never on a disk."""

from __future__ import annotations

import os
from pathlib import Path

from msgspec.structs import replace

from hivemind.drivers.memory import in_memory
from hivemind.drivers.runtimes.contract import ContainerSpec
from hivemind.errors import Unsupported


def check_secrets(spec: ContainerSpec, run_dir: Path) -> None:
    """Raises `Unsupported` when they would have to be kept on a disk: a running container's go to `run_dir`, in
    case that a daemon that comes later runs a command beside it."""
    if spec.secret_env and not in_memory(run_dir):
        raise Unsupported(
            f"{run_dir} lies on a disk, where no secret variable may be written",
            hint="start the daemon with --run-dir on a tmpfs, such as one below /run; or mount the secret as files",
        )


def give_files(spec: ContainerSpec, uid: int, gid: int) -> None:
    """What was made for this container alone (`Mount.owned`) becomes its user's, by the node's numbers. Raises
    `Unsupported` without the right to do so."""
    try:
        for mount in spec.mounts:
            if mount.owned and mount.source:
                _give(mount.source, uid, gid)
    except PermissionError as error:
        raise Unsupported(
            f"files cannot be given to user {uid} of the container: the daemon is not root",
            hint="start the daemon as root, or run the container as its user: --user",
        ) from error


def _give(top: str, uid: int, gid: int) -> None:
    os.chown(top, uid, gid)
    if os.path.isdir(top):
        for name in os.listdir(top):
            os.chown(os.path.join(top, name), uid, gid, follow_symlinks=False)


def public(spec: ContainerSpec) -> ContainerSpec:
    """The specification as it may be written anywhere."""
    return replace(spec, secret_env={}) if spec.secret_env else spec
