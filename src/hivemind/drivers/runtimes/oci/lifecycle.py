"""The blocking steps of a container's life. They run on the mount namespace's threads, each safe to repeat."""

from __future__ import annotations

import errno
import logging
import os
import resource
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from hivemind.drivers.runtimes.cgroups import Cgroup
from hivemind.drivers.runtimes.contract import ContainerSpec, Exit
from hivemind.drivers.runtimes.oci import (
    bundle,
    devices,
    filters,
    idmap,
    init,
    joining,
    kernel,
    limits,
    monitor,
    rights,
    rootfs,
    sysctls,
    treecopy,
    users,
)
from hivemind.drivers.runtimes.oci.borrowed import Borrowed
from hivemind.drivers.runtimes.oci.container import command_line
from hivemind.drivers.runtimes.oci.idmap import Users
from hivemind.drivers.runtimes.oci.monitor import Programs
from hivemind.drivers.runtimes.oci.record import Directory, Record, boot_id
from hivemind.drivers.runtimes.oci.users import Account
from hivemind.errors import Invalid

_PATIENCE = 10.0
_LEAST_LOG_LIMIT = 16 << 20  # a burst between two looks at the size is kept, however small the log may be
_log = logging.getLogger(__name__)


def build(
    programs: Programs,
    directory: Directory,
    record: Record,
    layers: Sequence[Path],
    cgroup: str,
    borrowed: Borrowed,
) -> Record:
    """Makes everything; the container then waits to be started. On an error the caller calls `demolish`."""
    spec = record.spec
    directory.path.mkdir()
    directory.save(record)
    record, account = _mount_rootfs(directory, record, layers)
    own = record.users
    rootfs.give_owned(spec, borrowed.trees, account, own)
    rights.check_apparmor(spec, _apparmor() if spec.apparmor else None)
    nodes = devices.find(spec) if spec.devices or spec.privileged else ()
    sysfs = _furnish(directory, record, borrowed.network) if borrowed.network >= 0 else ""
    attached = rootfs.attach_sources(directory, _seen(spec, borrowed, own), own)
    configuration = bundle.configuration(
        spec,
        account,
        rootfs=str(directory.rootfs_of(own)),
        cgroup=cgroup,
        netns=borrowed.netns,
        files=_write_files(directory, spec, own),
        sources={
            **attached,
            **rootfs.mount_memory(directory, [mount for mount in spec.mounts if not mount.source], own),
        },
        open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        users=own,
        sysfs=sysfs,
        devices=nodes,
        device_sources=devices.make(directory.place(own) / "devices", nodes, own) if own else None,
        inner=_left_behind(programs, attached, own) if own else None,
        init_program=init.find() if spec.init else "",
    )
    filters.reuse(programs, configuration)
    directory.save_config(msgspec.json.encode(configuration), spec)
    log_limit = max(_LEAST_LOG_LIMIT, spec.log_max_size * spec.log_max_files)
    pid, watcher = monitor.create(programs, directory, spec, log_limit, limits.raising(spec))
    filters.learn(programs, spec.id, configuration)
    if own:
        _hand_over_output(pid, own.outside(account.uid))
        joining.prepare(programs, spec.id)
    made = msgspec.structs.replace(record, pid=pid, monitor=watcher)
    directory.save(made)
    return made


def _mount_rootfs(directory: Directory, record: Record, layers: Sequence[Path]) -> tuple[Record, Account]:
    """Its user is looked up in the image. Should that be a number beyond those that a container has, its root file
    system is mounted once more, with that one."""
    root = _open_rootfs(directory, record.users, layers)
    try:
        account = users.find_account(root, record.spec.user)
        own = record.users
        wider = own.including((account.uid, account.gid, *account.groups)) if own else None
        if wider != own:
            os.close(root)
            root = -1
            rootfs.unmount_rootfs(directory)
            record = msgspec.structs.replace(record, users=wider)
            root = _open_rootfs(directory, wider, layers)
        _make_workdir(root, record.spec.workdir, record.users.first if record.users else 0)
    finally:
        if root >= 0:
            os.close(root)
    return record, account


def _open_rootfs(directory: Directory, own: Users | None, layers: Sequence[Path]) -> int:
    mounted = rootfs.mount_rootfs(directory, layers, own)
    return os.open(mounted, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _furnish(directory: Directory, record: Record, network: int) -> str:
    """Readies its network namespace; where /sys is mounted for it, if it cannot do that itself."""
    mounted: list[str] = []

    def prepare() -> None:
        sysctls.write(sysctls.of_network(record.spec.sysctls))
        if record.users:
            mounted.append(rootfs.mount_sysfs(directory))

    sysctls.inside(network, prepare)
    return mounted[0] if mounted else ""


def _seen(spec: ContainerSpec, borrowed: Borrowed, own: Users | None) -> dict[str, int]:
    """The trees to mount; those that belong to users by their numbers are seen through the container's map, and of a
    read-only one nothing can be written, whatever is mounted in it (runtimes see to its top alone)."""
    if own and borrowed.to_map:
        map = idmap.namespace(own)
        try:
            for target in borrowed.to_map:
                idmap.apply(borrowed.trees[target], map)
        finally:
            os.close(map)
    for mount in spec.mounts:
        if mount.source and mount.readonly:
            kernel.make_readonly(borrowed.trees[mount.target])
    return borrowed.trees


def _left_behind(programs: Programs, attached: dict[str, str], own: Users) -> dict[str, list[str]]:
    """What is mounted below the sources, by target. crun 1.8 leaves it out of the binds of a container that has users
    of its own; with a later one the same is mounted there twice, which nobody sees."""
    if programs.name != "crun" or not attached:
        return {}

    def passes(state: os.stat_result) -> bool:
        return bool(state.st_mode & stat.S_IXOTH) or own.has(state.st_uid)

    below = treecopy.mounted_below(attached.values(), passes)
    return {target: below[place] for target, place in attached.items()}


def _hand_over_output(pid: int, owner: int) -> None:
    """The monitor's pipes become the container's, so that it may open /dev/stdout; runc cannot do that itself."""
    for number in range(3):
        pipe = f"/proc/{pid}/fd/{number}"
        with suppress(FileNotFoundError):
            if stat.S_ISFIFO(os.stat(pipe).st_mode):
                os.chown(pipe, owner, -1)


def _apparmor() -> frozenset[str] | None:
    """Profiles that the kernel has loaded; None where it has no AppArmor."""
    try:
        text = Path("/sys/kernel/security/apparmor/profiles").read_text()
    except OSError:
        return None
    return frozenset(line.rpartition(" (")[0] for line in text.splitlines())


def start(programs: Programs, directory: Directory, record: Record) -> Record:
    """Lets the waiting init become the container's program."""
    if not _released(programs, record.spec.id):
        done = subprocess.run(
            [programs.runtime, "--root", programs.root, "start", record.spec.id],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise monitor.explain(done.stderr)
    started = msgspec.structs.replace(record, started=time.time_ns() // 1_000_000)
    directory.save(started)
    return started


def unmake(directory: Directory, record: Record) -> None:
    """Before one that was never started is removed: should the daemon die meanwhile, the next one must not take it for
    one that ran and was killed."""
    directory.save(msgspec.structs.replace(record, pid=0))


def settle(directory: Directory, record: Record, cgroup: Cgroup) -> Exit:
    """How the container ended, after its monitor did. Written down, so that it is told the same for ever."""
    directory.forget_half_told()
    known = directory.load_exit()
    if known is not None:
        return known
    now = time.time_ns() // 1_000_000
    try:
        code = int(directory.told.read_text())
        at = directory.told.stat().st_mtime_ns // 1_000_000
    except (FileNotFoundError, ValueError):
        restarted = record.boot != boot_id()
        reason = "the machine was restarted" if restarted else "its monitor (conmon) was killed"
        ended = Exit(code=None, at=now, reason=reason)
        cgroup.kill()
        directory.told.touch()
    else:
        oom = code == 128 + signal.SIGKILL and cgroup.oom_kills() > 0
        ended = Exit(code=code, oom=oom, at=at, reason="out of memory" if oom else "")
    try:
        directory.save_exit(ended)
    except OSError as error:  # a full disk must not keep anyone waiting; the monitor's word remains
        _log.error("the exit of %s could not be written down: %s", record.spec.id, error)
    return ended


def free(programs: Programs, directory: Directory, id: str, cgroup: Cgroup) -> None:
    """Gives back what only a live container needs; its files and its log stay."""
    cgroup.remove()
    rootfs.unmount_rootfs(directory)
    shutil.rmtree(Path(programs.root) / id, ignore_errors=True)
    directory.forget_secrets()


def demolish(programs: Programs, directory: Directory, id: str, cgroup: Cgroup) -> None:
    """Takes away every trace of a container, however far its creation came."""
    deadline = time.monotonic() + _PATIENCE
    while makers := _makers(directory):  # a monitor or a runtime that is still at it
        for pid in makers:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        cgroup.kill()
        if time.monotonic() > deadline:
            break
        time.sleep(0.002)
    free(programs, directory, id, cgroup)
    rootfs.remove_directory(directory)


def is_waiting(programs: Programs, id: str, pid: int) -> bool:
    """Whether a created container still waits to be started: both runtimes keep its init, `pid`, at a fifo of that
    name. That of crun holds it open until it is released, which a daemon that died may not have told by removing it."""
    fifo = _fifo(programs, id)
    return fifo.exists() and (programs.name != "crun" or _holds_open(pid, fifo))


def _holds_open(pid: int, file: Path) -> bool:
    try:
        wanted = file.stat()
        return any(os.path.samestat(os.stat(fd), wanted) for fd in Path(f"/proc/{pid}/fd").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return False
    except (
        PermissionError
    ):  # this daemon may not look into other processes: then the fifo's being there must do
        return True


def _released(programs: Programs, id: str) -> bool:
    """Does what `crun start` comes down to without its process, which is a fifth of all that a start costs: the
    init of crun reads a byte from its fifo, and the fifo goes. False when nobody reads there (runc's init writes).

    The fifo goes last, because an init that nobody releases would wait for ever: if the daemon dies before that, the
    next one finds that the init has let go of it (see `is_waiting`)."""
    if programs.name != "crun":
        return False
    fifo = _fifo(programs, id)
    try:
        fd = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return False
    try:
        os.write(fd, b"\0")
    except BrokenPipeError:
        return False
    finally:
        os.close(fd)
    fifo.unlink()
    return True


def _fifo(programs: Programs, id: str) -> Path:
    return Path(programs.root, id, "exec.fifo")


def _write_files(directory: Directory, spec: ContainerSpec, own: Users | None) -> dict[str, str]:
    """Files that the container sees instead of the image's, by target."""
    wanted = {
        "/etc/hostname": bundle.hostname(spec) + "\n",
        "/etc/hosts": spec.hosts,
        "/etc/resolv.conf": spec.resolv_conf,
    }
    files = directory.place(own) / "files"
    files.mkdir()
    files.chmod(0o755)
    found = {}
    for target, text in wanted.items():
        if text:
            file = files / Path(target).name
            file.write_text(text)
            file.chmod(0o644)
            if own:
                os.chown(file, own.first, own.first)
            found[target] = str(file)
    return found


def _make_workdir(root: int, workdir: str, owner: int) -> None:
    if not workdir.startswith("/"):
        raise Invalid(f"the working directory {workdir!r} is not absolute", hint="begin it with /")
    try:
        rootfs.make_workdir(root, workdir, owner)
    except NotADirectoryError as error:
        raise Invalid(
            f"the working directory {workdir} cannot be made: something else is in its place in the image",
            hint="choose another one",
        ) from error


def _makers(directory: Directory) -> list[int]:
    """Processes that have this bundle on their command line: its monitor, and the runtime while it creates."""
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return [pid for pid in pids if str(directory.path) in command_line(pid)]
