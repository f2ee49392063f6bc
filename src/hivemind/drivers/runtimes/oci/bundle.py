"""The OCI runtime configuration (config.json) of a container: a pure translation of its spec."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hivemind.drivers.runtimes.contract import ContainerSpec, ExecSpec, Mount
from hivemind.drivers.runtimes.oci import init, rights, sysctls
from hivemind.drivers.runtimes.oci.devices import Node
from hivemind.drivers.runtimes.oci.idmap import Users
from hivemind.drivers.runtimes.oci.users import Account

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TERMINAL = (80, 24)  # until somebody is attached to it and says how large his is
_PERIOD = 100_000  # microseconds, the kernel's own default

_FileSystem = tuple[str, str, str, tuple[str, ...]]


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
    users: Users | None = None,
    sysfs: str = "",
    devices: Sequence[Node] = (),
    device_sources: dict[str, str] | None = None,
    inner: dict[str, list[str]] | None = None,
    init_program: str = "",
) -> dict[str, Any]:
    """`netns`: as the runtime may open it; empty is the host's. `files`: single files to show inside, target to
    host path. `sources`: where each mount's source is reachable, by target. `open_files`: the daemon's own hard
    limit, which a container cannot exceed. `users`: its own, with `sysfs` already mounted for its network, and
    `device_sources` where nodes of its `devices` are, because in there neither can be made. `inner`: what is
    mounted below sources, by target, for a runtime that does not take it along. `init_program`: the host's, if it
    is to have one."""
    bound = device_sources or {}
    return {
        "ociVersion": "1.0.2",
        "process": process(
            spec,
            (init.INSIDE, "--", *spec.args) if init_program else spec.args,
            ({"TERM": "xterm"} if spec.tty else {})
            | environment(spec.env | spec.secret_env, account, hostname=hostname(spec)),
            account,
            workdir=spec.workdir,
            open_files=open_files,
            terminal=_TERMINAL if spec.tty else None,
        ),
        "root": {"path": rootfs, "readonly": spec.read_only},
        "hostname": hostname(spec),
        "mounts": [
            *(_mount(*entry) for entry in _file_systems(spec)),
            *(_mount(*entry) for entry in _system(spec, sysfs)),
            *(_bind(target, source, readonly=False) for target, source in files.items()),
            *([_bind(init.INSIDE, init_program, readonly=True)] if init_program else []),
            *(_bind(target, source, readonly=False) for target, source in bound.items()),
            *(
                entry
                for mount in _outermost_first(spec.mounts)
                for entry in (
                    _from_spec(mount, sources.get(mount.target, "")),
                    *_inner(mount, sources, (inner or {}).get(mount.target, [])),
                )
            ),
        ],
        "linux": {
            "cgroupsPath": cgroup,
            "namespaces": [
                *({"type": kind} for kind in ("pid", "ipc", "uts", "mount", "cgroup")),
                *([{"type": "network", "path": netns}] if netns else []),
                *([{"type": "user"}] if users else []),
            ],
            **(_id_maps(users) if users else {}),
            "resources": resources(spec, devices),
            "devices": [node.entry() for node in devices if node.path not in bound],
            "sysctl": sysctls.of_container(spec.sysctls),
            **rights.of_container(spec),
        },
    }


def process(
    spec: ContainerSpec,
    args: tuple[str, ...],
    env: dict[str, str],
    account: Account,
    *,
    workdir: str,
    open_files: int,
    terminal: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """`process` of the configuration, also used for exec. `terminal`: columns and rows."""
    built: dict[str, Any] = {
        "terminal": terminal is not None,
        "user": {"uid": account.uid, "gid": account.gid, "additionalGids": list(account.groups)},
        "args": list(args),
        "env": [f"{name}={value}" for name, value in env.items()],
        "cwd": workdir or "/",
        **rights.of_process(spec, account, open_files),
    }
    if terminal is not None:
        built["consoleSize"] = {"width": terminal[0], "height": terminal[1]}
    return built


def exec_process(spec: ContainerSpec, command: ExecSpec, account: Account, open_files: int) -> dict[str, Any]:
    """`process` of a command that joins the container: its environment and directory unless told otherwise."""
    env = environment(spec.env | spec.secret_env, account, hostname=hostname(spec))
    if command.tty:
        env.setdefault("TERM", "xterm")
    return process(
        spec,
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


def resources(spec: ContainerSpec, devices: Sequence[Node] = ()) -> dict[str, Any]:
    """Limits in the words of cgroup v1; the runtimes translate them for v2."""
    rules = [{"allow": spec.privileged, "access": "rwm"}, *(node.rule() for node in devices)]
    limits: dict[str, Any] = {"devices": rules[:1] if spec.privileged else rules}
    if spec.cpus:
        quota = max(1000, round(spec.cpus * _PERIOD))  # the kernel takes no less
        limits["cpu"] = {"period": _PERIOD, "quota": quota, "shares": max(2, round(spec.cpus * 1024))}
    if spec.memory:
        limits["memory"] = {"limit": spec.memory, "swap": spec.memory}
    if spec.pids:
        limits["pids"] = {"limit": spec.pids}
    return limits


def _file_systems(spec: ContainerSpec) -> list[_FileSystem]:
    shm = ("nosuid", "noexec", "nodev", "mode=1777", *([f"size={spec.shm_size}"] if spec.shm_size else []))
    pts = ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")
    return [
        ("/proc", "proc", "proc", ("nosuid", "noexec", "nodev")),
        ("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
        ("/dev/pts", "devpts", "devpts", pts),
        ("/dev/shm", "tmpfs", "shm", shm),
        ("/dev/mqueue", "mqueue", "mqueue", ("nosuid", "noexec", "nodev")),
    ]


def _system(spec: ContainerSpec, bound: str) -> list[_FileSystem]:
    """What the kernel shows of itself; only a privileged container may write there."""
    access = "rw" if spec.privileged else "ro"
    groups = ("nosuid", "noexec", "nodev", "relatime", access)
    return [
        ("/sys", "bind", bound, ("rbind", "rprivate", "nosuid", "noexec", "nodev", access))
        if bound
        else ("/sys", "sysfs", "sysfs", ("nosuid", "noexec", "nodev", access)),
        ("/sys/fs/cgroup", "cgroup", "cgroup", groups),
    ]


def _id_maps(users: Users) -> dict[str, Any]:
    lines = [
        {"containerID": inside, "hostID": outside, "size": count} for inside, outside, count in users.lines()
    ]
    return {"uidMappings": lines, "gidMappings": lines}


def _outermost_first(mounts: tuple[Mount, ...]) -> list[Mount]:
    return sorted(mounts, key=lambda mount: mount.target.rstrip("/").count("/"))


def _from_spec(mount: Mount, source: str) -> dict[str, Any]:
    if mount.source:
        return _bind(mount.target, source or mount.source, readonly=mount.readonly)
    if source:
        access = "ro" if mount.readonly else "rw"
        return _mount(mount.target, "bind", source, ("bind", "rprivate", "nosuid", "nodev", access))
    size = [f"size={mount.size}"] if mount.size else []
    options = ("nosuid", "nodev", f"mode={mount.mode:o}", *size)
    return _mount(mount.target, "tmpfs", "tmpfs", (*options, *(["ro"] if mount.readonly else [])))


def _inner(mount: Mount, sources: dict[str, str], below: list[str]) -> list[dict[str, Any]]:
    return [
        _bind(
            f"{mount.target.rstrip('/')}/{path}", f"{sources[mount.target]}/{path}", readonly=mount.readonly
        )
        for path in below
    ]


def _bind(target: str, source: str, *, readonly: bool) -> dict[str, Any]:
    return _mount(target, "bind", source, ("rbind", "rprivate", "ro" if readonly else "rw"))


def _mount(target: str, kind: str, source: str, options: tuple[str, ...]) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": source, "options": list(options)}
