"""What a plain command cannot be given: it sees the machine as it is, with the rights of its user."""

from __future__ import annotations

from collections.abc import Iterator

from hivemind.drivers.runtimes.contract import ContainerSpec
from hivemind.errors import Unsupported

_SHM = ContainerSpec(id="", args=()).shm_size


def refuse_isolation(spec: ContainerSpec) -> None:
    """Raises `Unsupported` for the first thing asked for that it would not get."""
    for what, option in _asked(spec):
        raise Unsupported(
            f"the process runtime cannot {what}: its commands run on the machine itself",
            hint=f"leave out {option}, or start the daemon with --runtime oci",
        )


def _asked(spec: ContainerSpec) -> Iterator[tuple[str, str]]:
    if spec.privileged:
        yield "give more rights than its user has", "--privileged"
    if spec.cap_add or spec.cap_drop:
        yield "change capabilities", "--cap-add and --cap-drop"
    if spec.seccomp not in ("default", "unconfined") or spec.apparmor:
        yield "load security profiles", "--security-opt"
    if spec.read_only:
        yield "keep the file system from being written", "--read-only"
    if spec.init:
        yield "run an init", "--init"
    if spec.shm_size != _SHM:
        yield "size /dev/shm", "--shm-size"
    if spec.ulimits:
        yield "set limits", "--ulimit"
    if spec.sysctls:
        yield "set kernel parameters", "--sysctl"
    if any(device.host != device.container for device in spec.devices):
        yield "show devices under other names", "--device"
    if not spec.netns and spec.hostname:
        yield "have a host name of its own", "--hostname"
    if spec.resolv_conf:
        yield "have name servers of its own", "--dns"
    if not spec.netns and spec.hosts:
        yield "have hosts of its own", "--add-host"
