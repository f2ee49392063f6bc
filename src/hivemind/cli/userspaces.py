"""What of the doctor's checks is about keeping containers apart."""

from __future__ import annotations

from hivemind.cli.findings import OK, WARN, Finding, Machine

_ID_MAPS = (5, 19)
"""From here on overlayfs takes layers that are seen through an id map."""


def user_namespaces(machine: Machine) -> Finding:
    release = machine.read("/proc/sys/kernel/osrelease").strip()
    numbers = tuple(int(n) for n in release.split("-")[0].split(".")[:2] if n.isdigit())
    if numbers < _ID_MAPS:
        return Finding(
            WARN,
            f"Linux {release or 'unknown'}: root in containers is root of this machine before 5.19",
            "upgrade the system to a newer release",
        )
    if machine.read("/proc/sys/user/max_user_namespaces").strip() in ("", "0"):
        return Finding(
            WARN,
            "user namespaces are off: root in containers is root of this machine",
            "sysctl -w user.max_user_namespaces=65536",
        )
    return Finding(OK, "containers have users of their own")


def init(machine: Machine) -> Finding:
    if name := machine.program("docker-init", "tini-static", "catatonit"):
        return Finding(OK, name)
    return Finding(WARN, "no init for containers: --init is refused", machine.install("tini"))
