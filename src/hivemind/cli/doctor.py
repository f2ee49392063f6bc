"""What this machine must have, one small function a check. `hivemind doctor` runs all of `CHECKS`.

A check reads `Machine` and gives a `Finding`; it changes nothing. `fail` is what Hivemind cannot run containers
without, `warn` what it can work around.
"""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path

from hivemind.cli.engines import engines
from hivemind.cli.findings import FAIL, OK, WARN, Finding, Machine
from hivemind.cli.forwarding import forward_policy
from hivemind.cli.userspaces import init, user_namespaces

_MIN_KERNEL = (4, 18)
_MIN_DISK = 2 * 2**30
_PORTS = (3000, 8653)
_RELEASED = 1_735_689_600
"""2025-01-01: no clock that is right shows an earlier time."""


def administrator(machine: Machine) -> Finding:
    if machine.user == 0:
        return Finding(OK, "root")
    return Finding(
        WARN, f"user {machine.user}: only the process runtime", "run the daemon as root: sudo hivemind daemon"
    )


def kernel(machine: Machine) -> Finding:
    release = machine.read("/proc/sys/kernel/osrelease").strip()
    numbers = tuple(int(n) for n in release.split("-")[0].split(".")[:2] if n.isdigit())
    if numbers >= _MIN_KERNEL:
        return Finding(OK, f"Linux {release}")
    needed = ".".join(str(n) for n in _MIN_KERNEL)
    return Finding(
        FAIL, f"Linux {release or 'unknown'}, needs {needed}", "upgrade the system to a newer release"
    )


def overlay(machine: Machine) -> Finding:
    if any(line.split()[-1:] == ["overlay"] for line in machine.read("/proc/filesystems").splitlines()):
        return Finding(OK, "overlayfs")
    return Finding(
        FAIL,
        "the kernel has not loaded overlayfs",
        "modprobe overlay && echo overlay > /etc/modules-load.d/overlay.conf",
    )


def cgroups(machine: Machine) -> Finding:
    unified = machine.read("/sys/fs/cgroup/cgroup.controllers").split()
    if unified:
        missing = {"cpu", "memory", "pids"} - set(unified)
        return (
            Finding(WARN, f"cgroup v2 without {', '.join(sorted(missing))}: those limits do not hold",
                    "boot with cgroup_enable=memory on the kernel's command line")
            if missing
            else Finding(OK, "cgroup v2")
        )  # fmt: skip
    present = [c for c in ("cpu", "memory", "pids") if (machine.root / "sys/fs/cgroup" / c).is_dir()]
    if len(present) == 3:
        return Finding(OK, "cgroup v1")
    if present:
        return Finding(WARN, f"cgroup v1 with {', '.join(present)} alone: other limits do not hold",
                       "boot with systemd.unified_cgroup_hierarchy=1")  # fmt: skip
    return Finding(FAIL, "no cgroups are mounted", "mount -t cgroup2 none /sys/fs/cgroup")


def container_runtime(machine: Machine) -> Finding:
    if name := machine.program("crun", "runc"):
        return Finding(OK, name)
    return Finding(FAIL, "neither crun nor runc is installed", machine.install("crun"))


def monitor(machine: Machine) -> Finding:
    if machine.program("conmon"):
        return Finding(OK, "conmon")
    return Finding(FAIL, "conmon is not installed", machine.install("conmon"))


def firewall(machine: Machine) -> Finding:
    if machine.program("nft"):
        return Finding(OK, "nft")
    return Finding(FAIL, "nft is not installed: no published ports", machine.install("nftables"))


def forwarding(machine: Machine) -> Finding:
    if machine.read("/proc/sys/net/ipv4/ip_forward").strip() == "1":
        return Finding(OK, "IPv4 forwarding is on")
    mend = "sysctl -w net.ipv4.ip_forward=1 && echo net.ipv4.ip_forward=1 > /etc/sysctl.d/90-hivemind.conf"
    return Finding(WARN, "IPv4 forwarding is off; the daemon turns it on as root", mend)


def ports(machine: Machine) -> Finding:
    if daemon(machine).level == OK:
        return Finding(OK, "held by the daemon")
    taken = [port for port in _PORTS if _taken(port)]
    if not taken:
        return Finding(OK, f"{' and '.join(str(p) for p in _PORTS)} are free")
    flags = " ".join({3000: "--web-port 3001", 8653: "--dns-port 8654"}[p] for p in taken)
    return Finding(
        WARN,
        f"port {' and '.join(str(p) for p in taken)} in use by something else",
        f"hivemind daemon {flags}",
    )


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def disk(machine: Machine) -> Finding:
    place = Path(machine.data_dir)
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    shown = f"{free / 2**30:.1f} GiB free below {place}"
    if free >= _MIN_DISK:
        return Finding(OK, shown)
    return Finding(WARN, shown, "hivemind images shows what takes room, hivemind rmi IMAGE frees it")


def clock(machine: Machine) -> Finding:
    now = time.time()
    if now < _RELEASED:
        return Finding(
            FAIL, f"the clock shows {time.strftime('%Y-%m-%d', time.gmtime(now))}", _set_clock(machine)
        )
    synchronised = machine.program("chronyd", "ntpd", "ntpsec") or (
        machine.root / "run/systemd/timesync/synchronized").exists()  # fmt: skip
    if synchronised:
        return Finding(OK, "kept by a time service")
    return Finding(WARN, "no time service keeps the clock; several nodes need one", _set_clock(machine))


def _set_clock(machine: Machine) -> str:
    install = machine.install("chrony")
    return f"{install} && systemctl enable --now {'chrony' if install.startswith('apt') else 'chronyd'}"


def names(machine: Machine) -> Finding:
    servers = [
        line.split()[1]
        for line in machine.read("/etc/resolv.conf").splitlines()
        if line.startswith("nameserver") and len(line.split()) > 1
    ]
    if servers:
        return Finding(OK, f"name servers {', '.join(servers)}")
    return Finding(WARN, "/etc/resolv.conf names no server: containers resolve the hive's own names only",
                   "hivemind daemon --dns-upstream 1.1.1.1")  # fmt: skip


def daemon(machine: Machine) -> Finding:
    from hivemind.client.client import Hivemind
    from hivemind.errors import HivemindError

    try:
        with Hivemind(machine.endpoint, token=machine.token, ca=machine.ca, timeout=5.0) as hive:
            info = hive.status()
    except HivemindError as error:
        return Finding(WARN, error.message, error.hint.removeprefix("start it with: ") or "hivemind daemon")
    if info.problems:
        return Finding(WARN, f"{info.node_name} runs, but: {'; '.join(info.problems)}", "hivemind status")
    return Finding(OK, f"{info.node_name} runs version {info.version} at {machine.endpoint}")


def volumes(machine: Machine) -> Finding:
    """Volumes without a limit need nothing."""
    if not machine.program("mkfs.ext4"):
        return Finding(WARN, "no mkfs.ext4: volumes cannot have a size", machine.install("e2fsprogs"))
    return Finding(OK, "directories, and ext4 in files")


def backups(machine: Machine) -> Finding:
    if not machine.program("restic"):
        return Finding(WARN, "no restic: volumes cannot be backed up", machine.install("restic"))
    return Finding(OK, "restic")


CHECKS: dict[str, Callable[[Machine], Finding]] = {
    "root": administrator,
    "kernel": kernel,
    "overlayfs": overlay,
    "cgroups": cgroups,
    "container runtime": container_runtime,
    "conmon": monitor,
    "user namespaces": user_namespaces,
    "init": init,
    "engines": engines,
    "nftables": firewall,
    "forwarding": forwarding,
    "forward policy": forward_policy,
    "ports": ports,
    "disk": disk,
    "volumes": volumes,
    "backups": backups,
    "clock": clock,
    "resolver": names,
    "daemon": daemon,
}


def examine(machine: Machine) -> dict[str, Finding]:
    """Every check, in order. One that breaks is a finding of its own."""
    found = {}
    for name, check in CHECKS.items():
        try:
            found[name] = check(machine)
        except OSError as error:
            found[name] = Finding(WARN, f"this could not be checked: {error}", "")
    return found
