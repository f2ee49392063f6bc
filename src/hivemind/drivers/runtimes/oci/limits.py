"""Resource limits of a container above the daemon's own, which its children cannot exceed.

They are raised for the container's monitor alone, by prlimit(1) in front of it: the daemon's own stay as they are."""

from __future__ import annotations

import resource
from pathlib import Path

from hivemind.drivers.runtimes.capabilities import passable
from hivemind.drivers.runtimes.contract import ContainerSpec, Ulimit
from hivemind.errors import Invalid, Unsupported


def raising(spec: ContainerSpec) -> list[str]:
    """What to put in front of the monitor's command; empty when nothing needs to be raised.

    Raises `Unsupported` when the daemon may not, `Invalid` for more than the kernel has."""
    options = []
    for name, limit in sorted(spec.ulimits.items()):
        own = resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))[1] if _known(name) else -1
        if name == "nofile":
            _check_open_files(limit)
        if own != resource.RLIM_INFINITY and (limit.hard < 0 or limit.hard > own):
            if "CAP_SYS_RESOURCE" not in passable():
                raise Unsupported(
                    f"the daemon of this node may not raise the limit {name} above its own, {own}",
                    hint=f"start it with a higher one: Limit{name.upper()}= in its systemd unit",
                )
            options.append(f"--{name}={_text(limit.soft)}:{_text(limit.hard)}")
    return ["prlimit", *options] if options else []


def _known(name: str) -> bool:
    return hasattr(resource, f"RLIMIT_{name.upper()}")


def _check_open_files(limit: Ulimit) -> None:
    most = int(Path("/proc/sys/fs/nr_open").read_text())
    if limit.hard < 0 or limit.hard > most:
        raise Invalid(
            f"this node opens no more than {most} files for a process",
            hint=f"ask for that many, or raise it: sysctl fs.nr_open (now {most})",
        )


def _text(value: int) -> str:
    return "unlimited" if value < 0 else str(value)
