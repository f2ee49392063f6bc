"""Which OCI runtime works on this machine: found out by really running a container, once for each version.

A version number does not tell: crun stumbles over some cgroup layouts, runc over some kernels. The trial's root
file system is the host's own, read-only; it runs `/bin/true` with the limits and the seccomp filter that real
containers get. The verdict is kept in a file until a binary or the kernel changes.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from pathlib import Path

import msgspec

from hivemind.drivers.runtimes import cgroups
from hivemind.drivers.runtimes.cgroups import Cgroup
from hivemind.drivers.runtimes.contract import ContainerSpec
from hivemind.drivers.runtimes.oci import bundle, idmap, kernel, rootfs
from hivemind.drivers.runtimes.oci.idmap import Unmappable, Users
from hivemind.drivers.runtimes.oci.monitor import Programs, complaint
from hivemind.drivers.runtimes.oci.record import Directory
from hivemind.drivers.runtimes.oci.users import Account
from hivemind.errors import HivemindError, Unsupported

RUNTIMES = ("crun", "runc")
"""In order of preference: crun starts a container in half the time."""

_SEARCH = os.pathsep.join(
    (os.defpath, "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/sbin", "/usr/libexec/podman")
)
_ID = "probe"


def find_programs(run_dir: Path, wanted: str) -> dict[str, Programs]:
    """The runtimes that are installed, by name. Raises `Unsupported` without conmon, the `wanted` one, or control
    groups to put containers in."""
    monitor = shutil.which("conmon", path=_SEARCH)
    found = {name: shutil.which(name, path=_SEARCH) for name in RUNTIMES}
    missing = [] if monitor else ["conmon"]
    if wanted == "auto" and not any(found.values()):
        missing.append("crun or runc")
    elif wanted != "auto" and not found.get(wanted):
        missing.append(wanted)
    if missing or monitor is None:
        raise Unsupported(
            f"containers need {' and '.join(missing)}",
            hint="install what is missing, for example: apt-get install conmon crun",
        )
    if not cgroups.mounted():
        raise Unsupported(
            f"no control groups are mounted at {cgroups.ROOT}",
            hint="`ip netns exec` hides them: enter a network namespace with nsenter --net=/run/netns/NAME",
        )
    return {
        name: Programs(monitor=monitor, runtime=path, root=str(run_dir / name))
        for name, path in found.items()
        if path
    }


def choose(programs: dict[str, Programs], wanted: str, kept: Path, run_dir: Path, slice: str) -> Programs:
    """The first that works, or the `wanted` one if it does. Blocks; runs in the mount namespace."""
    candidates = list(programs) if wanted == "auto" else [wanted]
    refusals = []
    for name in candidates:
        key = _key(programs[name])
        if key in _verdicts(kept):
            return programs[name]
        refusal = _try(programs[name], run_dir / "probe", f"/{slice}/{_ID}")
        if not refusal:
            kept.write_bytes(msgspec.json.encode([*_verdicts(kept), key][-8:]))
            return programs[name]
        refusals.append(f"{name}: {refusal}")
    raise Unsupported(
        f"no OCI runtime can run a container here ({'; '.join(refusals)})",
        hint="see hivemind doctor, or run with --runtime process",
    )


def _try(programs: Programs, directory: Path, cgroup: str) -> str:
    """Empty when a trial container ran, else what the runtime had to say."""
    root = directory / "rootfs"
    spec = ContainerSpec(id=_ID, args=("/bin/true",), memory=64 << 20, pids=64, cpus=1, read_only=True)
    configuration = bundle.configuration(
        spec, Account(), rootfs=str(root), cgroup=cgroup, netns="", files={}, sources={}, open_files=1024
    )
    _clear(directory)
    root.mkdir(parents=True)
    # Without what is mounted below: a fresh /sys must fit.
    kernel.mount("/", str(root), flags=kernel.MS_BIND)
    (directory / "config.json").write_bytes(msgspec.json.encode(configuration))
    try:
        return _run(programs, directory)
    finally:
        Cgroup(cgroup).remove()
        shutil.rmtree(Path(programs.root) / _ID, ignore_errors=True)
        _clear(directory)


def try_users(programs: Programs, directory: Directory, users: Users, cgroup: str, kept: Path) -> str:
    """Empty when containers can have users of their own on this machine: found out the same way, with layers on the
    file system of `directory`. Otherwise what stood against it. Blocks; runs in the mount namespace."""
    key = f"{_key(programs)} users {directory.staged}"
    if key in _verdicts(kept):
        return ""
    trial = directory.path.parents[1]
    rootfs.unmount_rootfs(directory)  # of a daemon that was killed
    shutil.rmtree(trial, ignore_errors=True)
    empty = trial / "layer"
    directory.path.mkdir(parents=True)
    empty.mkdir()
    try:
        root = rootfs.mount_rootfs(directory, [empty], users)
        kernel.umount(str(root))  # An overlay's layers cannot be around it, as the host's own files are.
        idmap.attach_layer("/", str(root), map := idmap.namespace(users))
        os.close(map)
        configuration = bundle.configuration(
            ContainerSpec(id=_ID, args=("/bin/true",), read_only=True), Account(), rootfs=str(root), cgroup=cgroup,
            netns="", files={}, sources={}, open_files=1024, users=users, sysfs=rootfs.mount_sysfs(directory),
        )  # fmt: skip
        directory.config.write_bytes(msgspec.json.encode(configuration))
        refusal = _run(programs, directory.path)
        if not refusal:
            kept.write_bytes(msgspec.json.encode([*_verdicts(kept), key][-8:]))
        return refusal
    except (Unmappable, HivemindError, OSError) as error:
        return str(error)
    finally:
        Cgroup(cgroup).remove()
        shutil.rmtree(Path(programs.root) / _ID, ignore_errors=True)
        rootfs.unmount_rootfs(directory)
        shutil.rmtree(trial)


def _run(programs: Programs, directory: Path) -> str:
    """Empty when the container of that bundle ran, else what the runtime had to say."""
    try:
        done = subprocess.run(
            [programs.runtime, "--root", programs.root, "run", "--bundle", str(directory), _ID],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "it did not answer for 30 seconds"
    return complaint(done.stderr) if done.returncode else ""


def _clear(directory: Path) -> None:
    try:
        kernel.umount(str(directory / "rootfs"))
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOENT):
            raise
    if directory.exists():
        (directory / "config.json").unlink(missing_ok=True)
        (directory / "rootfs").rmdir()  # never recursively: it may still be the host
        directory.rmdir()


def _verdicts(kept: Path) -> list[str]:
    try:
        return msgspec.json.decode(kept.read_bytes(), type=list[str])
    except (FileNotFoundError, msgspec.DecodeError):
        return []


def _key(programs: Programs) -> str:
    binary = os.stat(programs.runtime)
    return f"{programs.runtime} {binary.st_size} {binary.st_mtime_ns} {os.uname().release}"
