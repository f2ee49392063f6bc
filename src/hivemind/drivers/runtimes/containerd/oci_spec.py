"""The OCI configuration of a container as containerd gets it: the embedded runtime's, for containerd's ways.

Users inside are the machine's own: containerd's snapshots are mounted by containerd, which cannot show them through
another map. So `users` has no effect here, and neither has `idmap` of a mount.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from hivemind.drivers.runtimes.containerd.record import Directory
from hivemind.drivers.runtimes.contract import ContainerSpec, ExecSpec
from hivemind.drivers.runtimes.oci import bundle, devices, init, rights, sysctls
from hivemind.drivers.runtimes.oci.users import Account
from hivemind.errors import Invalid

_X32 = "SCMP_ARCH_X32"
SPEC = "types.containerd.io/opencontainers/runtime-spec/1/Spec"


def configuration(
    spec: ContainerSpec, account: Account, directory: Directory, cgroup: str, open_files: int
) -> dict[str, Any]:
    """`open_files`: the most that a container may have. Writes the files that it sees instead of its image's.

    Raises `Invalid`, `NotFound`, `Unsupported`."""
    for mount in spec.mounts:
        if not mount.target.startswith("/"):
            raise Invalid(f"mount target {mount.target!r} is not absolute", hint="begin it with /")
        if mount.source and not Path(mount.source).exists():
            raise Invalid(
                f"{mount.source} cannot be mounted: it is not there", hint="create it first, on this node"
            )
    rights.check_apparmor(spec, _apparmor() if spec.apparmor else None)
    if spec.netns:
        _ready_network(spec)
    built = bundle.configuration(
        exposed(spec),
        account,
        rootfs="rootfs",
        cgroup=cgroup,
        netns=spec.netns,
        files=_write_files(directory, spec),
        sources={mount.target: mount.source for mount in spec.mounts if mount.source},
        open_files=open_files,
        devices=devices.find(spec) if spec.devices or spec.privileged else (),
        init_program=init.find() if spec.init else "",
    )
    if spec.tty:
        built["process"]["terminal"] = True
    _without_x32(built["linux"].get("seccomp", {}))
    return built


def _without_x32(profile: dict[str, Any]) -> None:
    """runc compiles a filter anew for each start, ten milliseconds for each architecture. A program of the x32 kind,
    which nobody builds, is then killed instead of having its calls refused."""
    if _X32 in profile.get("architectures", ()):
        profile["architectures"] = [name for name in profile["architectures"] if name != _X32]


def _ready_network(spec: ContainerSpec) -> None:
    try:
        network = os.open(spec.netns, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Invalid(f"the network namespace {spec.netns} cannot be opened: {error.strerror}") from error
    try:
        sysctls.inside(network, lambda: sysctls.write(sysctls.of_network(spec.sysctls)))
    finally:
        os.close(network)


def _apparmor() -> frozenset[str] | None:
    """Profiles that the kernel has loaded; None where it has no AppArmor."""
    try:
        text = Path("/sys/kernel/security/apparmor/profiles").read_text()
    except OSError:
        return None
    return frozenset(line.rpartition(" (")[0] for line in text.splitlines())


def exec_process(spec: ContainerSpec, command: ExecSpec, account: Account, open_files: int) -> dict[str, Any]:
    return bundle.exec_process(exposed(spec), command, account, open_files)


def exposed(spec: ContainerSpec) -> ContainerSpec:
    """With its secrets as plain environment: containerd has no other."""
    return replace(spec, env=spec.env | spec.secret_env, secret_env={})


def open_files_of(server: int) -> int:
    """The limit of containerd, which its containers cannot exceed."""
    return resource.prlimit(server, resource.RLIMIT_NOFILE)[1]


def _write_files(directory: Directory, spec: ContainerSpec) -> dict[str, str]:
    """Target to host path."""
    wanted = {
        "/etc/hostname": bundle.hostname(spec) + "\n",
        "/etc/hosts": spec.hosts,
        "/etc/resolv.conf": spec.resolv_conf,
    }
    directory.files.mkdir(exist_ok=True)
    found = {}
    for target, text in wanted.items():
        if text:
            file = directory.files / Path(target).name
            file.write_text(text)
            file.chmod(0o644)
            found[target] = str(file)
    return found
