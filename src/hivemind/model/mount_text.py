"""Mounts as docker's short form writes them: `data:/var/lib/data:ro`, `/srv/files:/files`, `db/password:/run/pw`."""

from __future__ import annotations

from typing import TypeVar

from hivemind.errors import Invalid
from hivemind.model.mount import BindMount, ConfigMount, SecretMount, VolumeMount
from hivemind.model.names import Name
from hivemind.model.quantity import read

M = TypeVar("M", bound=ConfigMount | SecretMount)
_SHORT = "write it like data:/var/lib/data, data:/var/lib/data:ro or /srv/files:/files:ro"


def volume(text: str, what: str) -> VolumeMount | BindMount:
    """`name:/path[:ro]`, `/host/path:/path[:ro]`. Raises `Invalid`, which calls it `what`."""
    source, _, rest = text.partition(":")
    target, _, options = rest.partition(":")
    if not rest:
        raise Invalid(f"{what} says only where, not what", hint=f"give the volume a name: {_SHORT}")
    if not target.startswith("/"):
        raise Invalid(f"{what}: {target!r} is not an absolute path", hint=_SHORT)
    if source.startswith((".", "~")):
        raise Invalid(
            f"{what}: {source} is a path of this machine, and the app may run on another",
            hint="write the node's absolute path, or give the volume a name",
        )
    flags = set(filter(None, options.split(",")))
    if strange := sorted(flags - {"ro", "rw", "per-replica"}):
        raise Invalid(f"{what}: {strange[0]!r} is not possible", hint="ro, rw or per-replica")
    if source.startswith("/"):
        if "per-replica" in flags:
            raise Invalid(f"{what}: a path of the node is the same for all replicas")
        return BindMount(source=source, target=target, readonly="ro" in flags)
    return VolumeMount(
        source=volume_name(source, what),
        target=target,
        readonly="ro" in flags,
        per_replica="per-replica" in flags,
    )


def volume_name(text: str, what: str) -> str:
    try:
        return str(read(text, Name))
    except Invalid:
        raise Invalid(
            f"{what}: {text!r} is no name of a volume", hint="lower-case letters, digits and dashes"
        ) from None


def content(text: str, kind: type[M], folder: str) -> M:
    """`db`, `db:/etc/db`, `db/password:/run/pw`; without a place below `folder`."""
    name, _, target = text.partition(":")
    source, _, key = name.partition("/")
    place = target or f"{folder}/{source}" + (f"/{key}" if key else "")
    return kind(source=source, target=place, key=key or None)
