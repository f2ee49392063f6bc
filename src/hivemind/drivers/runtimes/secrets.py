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
    """What was made for this container alone (`Mount.owned`) becomes its user's, by the node's numbers."""
    for mount in spec.mounts:
        if mount.owned and mount.source:
            os.chown(mount.source, uid, gid)
            if os.path.isdir(mount.source):
                for name in os.listdir(mount.source):
                    os.chown(os.path.join(mount.source, name), uid, gid, follow_symlinks=False)


def public(spec: ContainerSpec) -> ContainerSpec:
    """The specification as it may be written anywhere."""
    return replace(spec, secret_env={}) if spec.secret_env else spec
