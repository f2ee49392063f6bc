"""Mounts: what of the outside a container sees, and where."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from hivemind.errors import Invalid
from hivemind.model.base import Spec
from hivemind.model.names import Name
from hivemind.model.quantity import Bytes

AbsolutePath = Annotated[str, Meta(pattern=r"^/[^\x00]*\Z", max_length=4096, description="an absolute path")]
RelativePath = Annotated[
    str, Meta(pattern=r"^[^/\x00][^\x00]*\Z", max_length=4096, description="a path below the volume's top")
]
FileMode = Annotated[int, Meta(ge=0, le=0o7777, description="permission bits")]
Key = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*\Z",
        max_length=253,
        description="letters, digits, dots, dashes and underscores; it may become a file's name",
    ),
]


_LONGEST_BASE = 58
"""Letters of a name that becomes `<name>-<slot>`."""


class VolumeMount(Spec, frozen=True, kw_only=True, tag="volume", tag_field="kind"):
    """A named volume of the app's project, made with its defaults if there is none."""

    source: Name
    target: AbsolutePath
    readonly: bool = False
    subpath: RelativePath | None = None
    """Only this directory of the volume; made if it is missing. Links in it lead nowhere outside the volume."""
    per_replica: bool = False
    """Each replica has a volume of its own: `<source>-<slot>`."""


class BindMount(Spec, frozen=True, kw_only=True, tag="bind", tag_field="kind"):
    """A path of the node itself. Needs the project's permission `bind`."""

    source: AbsolutePath
    target: AbsolutePath
    readonly: bool = False


class TmpfsMount(Spec, frozen=True, kw_only=True, tag="tmpfs", tag_field="kind"):
    """Memory that is forgotten when the container ends."""

    target: AbsolutePath
    size: Bytes = 0
    """0: half the memory of the node, as the kernel has it."""
    mode: FileMode = 0o1777


class ScratchMount(Spec, frozen=True, kw_only=True, tag="scratch", tag_field="kind"):
    """A directory of the replica, empty at first: its containers that mount the same `source` share it. It is kept
    while they restart and gone when the replica is replaced."""

    source: Name
    target: AbsolutePath
    readonly: bool = False


class ConfigMount(Spec, frozen=True, kw_only=True, tag="config", tag_field="kind"):
    """A config's keys as files of the directory `target`, or one `key` as the file `target`. Read-only."""

    source: Name
    target: AbsolutePath
    key: Key | None = None
    mode: FileMode = 0o444


class SecretMount(Spec, frozen=True, kw_only=True, tag="secret", tag_field="kind"):
    """The same for a secret. Its files exist in memory only and belong to the container's user."""

    source: Name
    target: AbsolutePath
    key: Key | None = None
    mode: FileMode = 0o400


Mount = VolumeMount | BindMount | TmpfsMount | ScratchMount | ConfigMount | SecretMount


def check_mounts(mounts: tuple[Mount, ...]) -> None:
    """Raises `Invalid` for two mounts in one place, and for places where none can be."""
    for mount in mounts:
        if ".." in mount.target.split("/"):
            raise Invalid(f"the mount target {mount.target} goes upwards", hint="write the path without ..")
    targets = [_plain(mount.target) for mount in mounts]
    for target in targets:
        # What a runtime and the kernel's guards believe about a container is read below /proc.
        if target in ("/", "/proc", "/sys", "/dev") or target.startswith("/proc/"):
            raise Invalid(f"nothing can be mounted at {target}", hint="choose a directory of its own")
    doubled = sorted({target for target in targets if targets.count(target) > 1})
    if doubled:
        raise Invalid(f"two mounts have the target {doubled[0]}", hint="give each its own place")
    for mount in mounts:
        if isinstance(mount, VolumeMount):
            _check_volume(mount)


def _plain(path: str) -> str:
    """`//proc/./` is `/proc`."""
    return "/" + "/".join(part for part in path.split("/") if part not in ("", "."))


def _check_volume(mount: VolumeMount) -> None:
    if mount.subpath and ".." in mount.subpath.split("/"):
        raise Invalid(f"the subpath {mount.subpath} goes upwards", hint="write it without ..")
    if mount.per_replica and len(mount.source) > _LONGEST_BASE:
        raise Invalid(
            f"the volume name {mount.source!r} is too long for one volume a replica",
            hint=f"at most {_LONGEST_BASE} letters: the replica's number is added to it",
        )
