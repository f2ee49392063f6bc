"""The OCI runtime configuration (config.json) of a container: a pure translation of its spec."""

from __future__ import annotations

import platform
from typing import Any

from hivemind.drivers.runtimes import seccomp
from hivemind.drivers.runtimes.contract import ContainerSpec, ExecSpec, Mount
from hivemind.drivers.runtimes.oci.users import Account

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PERIOD = 100_000  # microseconds, the kernel's own default
_OPEN_FILES = 65_536

_FILE_SYSTEMS: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("/proc", "proc", "proc", ("nosuid", "noexec", "nodev")),
    ("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    (
        "/dev/pts",
        "devpts",
        "devpts",
        ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
    ),
    ("/dev/shm", "tmpfs", "shm", ("nosuid", "noexec", "nodev", "mode=1777", "size=65536k")),
    ("/dev/mqueue", "mqueue", "mqueue", ("nosuid", "noexec", "nodev")),
    ("/sys", "sysfs", "sysfs", ("nosuid", "noexec", "nodev", "ro")),
    ("/sys/fs/cgroup", "cgroup", "cgroup", ("nosuid", "noexec", "nodev", "relatime", "ro")),
)


def configuration(
    spec: ContainerSpec,
    account: Account,
    *,
    rootfs: str,
    cgroup: str,
    netns: str,
    files: dict[str, str],
    sources: dict[str, str],
    open_files: int,
) -> dict[str, Any]:
    """`netns`: as the runtime may open it; empty is the host's. `files`: single files to show inside, target to
    host path. `sources`: where each mount's source is reachable, by target. `open_files`: the daemon's own hard
    limit, which a container cannot exceed."""
    return {
        "ociVersion": "1.0.2",
        "process": process(
            spec.args,
            environment(spec.env, account, hostname=hostname(spec)),
            account,
            workdir=spec.workdir,
            open_files=open_files,
        ),
        "root": {"path": rootfs, "readonly": False},
        "hostname": hostname(spec),
        "mounts": [
            *(_mount(target, kind, source, options) for target, kind, source, options in _FILE_SYSTEMS),
            *(_bind(target, source, readonly=False) for target, source in files.items()),
            *(_from_spec(mount, sources.get(mount.target, "")) for mount in _outermost_first(spec.mounts)),
        ],
        "linux": {
            "cgroupsPath": cgroup,
            "namespaces": [
                *({"type": kind} for kind in ("pid", "ipc", "uts", "mount", "cgroup")),
                *([{"type": "network", "path": netns}] if netns else []),
            ],
            "resources": resources(spec),
            # Ordinary users inside may listen on port 80: the ports of a private network are nobody else's.
            "sysctl": {"net.ipv4.ip_unprivileged_port_start": "0"} if netns else {},
            "seccomp": seccomp.profile(machine=platform.machine()),
            "maskedPaths": list(seccomp.MASKED_PATHS),
            "readonlyPaths": list(seccomp.READONLY_PATHS),
        },
    }


def process(
    args: tuple[str, ...],
    env: dict[str, str],
    account: Account,
    *,
    workdir: str,
    open_files: int,
    terminal: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """`process` of the configuration, also used for exec. `terminal`: columns and rows."""
    capabilities = list(seccomp.DEFAULT_CAPABILITIES)
    permitted = capabilities if account.uid == 0 else []
    built: dict[str, Any] = {
        "terminal": terminal is not None,
        "user": {"uid": account.uid, "gid": account.gid, "additionalGids": list(account.groups)},
        "args": list(args),
        "env": [f"{name}={value}" for name, value in env.items()],
        "cwd": workdir or "/",
        "capabilities": {"bounding": capabilities, "effective": permitted, "permitted": permitted},
        "noNewPrivileges": True,
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": min(open_files, _OPEN_FILES), "hard": open_files}],
    }
    if terminal is not None:
        built["consoleSize"] = {"width": terminal[0], "height": terminal[1]}
    return built


def exec_process(spec: ContainerSpec, command: ExecSpec, account: Account, open_files: int) -> dict[str, Any]:
    """`process` of a command that joins the container: its environment and directory unless told otherwise."""
    env = environment(spec.env, account, hostname=hostname(spec))
    if command.tty:
        env.setdefault("TERM", "xterm")
    return process(
        command.args,
        env | command.env,
        account,
        workdir=command.workdir or spec.workdir,
        open_files=open_files,
        terminal=(command.columns, command.rows) if command.tty else None,
    )


def environment(env: dict[str, str], account: Account, *, hostname: str) -> dict[str, str]:
    return {"PATH": DEFAULT_PATH, "HOSTNAME": hostname, "HOME": account.home} | env


def hostname(spec: ContainerSpec) -> str:
    return (spec.hostname or spec.id)[:63]


def resources(spec: ContainerSpec) -> dict[str, Any]:
    """Limits in the words of cgroup v1; the runtimes translate them for v2."""
    limits: dict[str, Any] = {"devices": [{"allow": False, "access": "rwm"}]}
    if spec.cpus:
        quota = max(1000, round(spec.cpus * _PERIOD))  # the kernel takes no less
        limits["cpu"] = {"period": _PERIOD, "quota": quota, "shares": max(2, round(spec.cpus * 1024))}
    if spec.memory:
        limits["memory"] = {"limit": spec.memory, "swap": spec.memory}
    if spec.pids:
        limits["pids"] = {"limit": spec.pids}
    return limits


def _outermost_first(mounts: tuple[Mount, ...]) -> list[Mount]:
    return sorted(mounts, key=lambda mount: mount.target.rstrip("/").count("/"))


def _from_spec(mount: Mount, source: str) -> dict[str, Any]:
    if mount.source:
        return _bind(mount.target, source or mount.source, readonly=mount.readonly)
    options = ("nosuid", "nodev", "mode=1777", *([f"size={mount.size}"] if mount.size else []))
    return _mount(mount.target, "tmpfs", "tmpfs", (*options, *(["ro"] if mount.readonly else [])))


def _bind(target: str, source: str, *, readonly: bool) -> dict[str, Any]:
    return _mount(target, "bind", source, ("rbind", "rprivate", "ro" if readonly else "rw"))


def _mount(target: str, kind: str, source: str, options: tuple[str, ...]) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": source, "options": list(options)}
