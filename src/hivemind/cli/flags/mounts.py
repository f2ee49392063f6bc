"""Volumes and the node's own paths, in docker's spellings: `--volume` and `--mount`."""

from __future__ import annotations

import re
from typing import Any

from hivemind.cli.parsing import Values
from hivemind.errors import Invalid
from hivemind.model.app import AppSpec
from hivemind.model.mount import BindMount, Mount, ScratchMount, TmpfsMount, VolumeMount
from hivemind.model.mount_text import volume, volume_name
from hivemind.model.quantity import parse_bytes

_LONG = "write it like type=volume,source=data,target=/data,readonly or type=bind,source=/srv,target=/srv"
_SAME = {
    "src": "source", "dst": "target", "destination": "target", "ro": "readonly", "volume-subpath": "subpath",
    "tmpfs-size": "size", "tmpfs-mode": "mode",
}  # fmt: skip
_FIELDS = {
    "volume": {"source", "target", "readonly", "subpath", "per-replica"},
    "bind": {"source", "target", "readonly"},
    "scratch": {"source", "target", "readonly"},
    "tmpfs": {"target", "size", "mode"},
}


def changes(args: Values, base: AppSpec) -> dict[str, Any]:
    """What was given replaces all volumes and paths that were there; an empty text takes them away."""
    if not args.given("volume", "mount"):
        return {}
    wished = [short(text) for text in args.volume if text] + [long(text) for text in args.mount if text]
    targets = {mount.target for mount in wished}
    gone = VolumeMount | BindMount | ScratchMount
    kept = (m for m in base.mounts if not isinstance(m, gone) and not _given(m, targets))
    return {"mounts": (*kept, *wished)}


def _given(mount: Mount, targets: set[str]) -> bool:
    return isinstance(mount, TmpfsMount) and mount.target in targets


def short(text: str) -> Mount:
    """`name:/path[:ro]`, `/host/path:/path[:ro]`."""
    return volume(text, f"--volume {text}")


def long(text: str) -> Mount:
    """`type=volume,source=data,target=/data,readonly,subpath=a/b,per-replica`; docker's other names as well."""
    found: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        found[_SAME.get(name, name)] = value if equals else "true"
    kind = found.pop("type", "volume")
    if kind not in _FIELDS:
        raise Invalid(f"--mount {text}: there is no type {kind!r}", hint="volume, bind, scratch or tmpfs")
    if strange := sorted(set(found) - _FIELDS[kind]):
        known = ", ".join(sorted(_FIELDS[kind]))
        raise Invalid(f"--mount {text}: {strange[0]!r} is not understood", hint=f"a {kind} has {known}")
    for needed in ("source", "target"):
        if needed in _FIELDS[kind] and not found.get(needed):
            raise Invalid(f"--mount {text} has no {needed}", hint=_LONG)
    return _made(kind, found, f"--mount {text}")


def _made(kind: str, found: dict[str, str], option: str) -> Mount:
    target = found["target"]
    if kind == "tmpfs":
        mode = found.get("mode", "1777")
        if not re.fullmatch("0?[0-7]{3,4}", mode):
            raise Invalid(f"{option}: {mode!r} is not a file mode", hint="write it like mode=1777")
        return TmpfsMount(target=target, size=parse_bytes(found.get("size", "0")), mode=int(mode, 8))
    readonly = _flag(found, "readonly", option)
    if kind == "bind":
        return BindMount(source=found["source"], target=target, readonly=readonly)
    if kind == "scratch":
        return ScratchMount(source=volume_name(found["source"], option), target=target, readonly=readonly)
    return VolumeMount(
        source=volume_name(found["source"], option), target=target, readonly=readonly,
        subpath=found.get("subpath") or None, per_replica=_flag(found, "per-replica", option),
    )  # fmt: skip


def _flag(found: dict[str, str], name: str, option: str) -> bool:
    value = found.get(name, "false").lower()
    if value not in ("true", "false", "1", "0"):
        raise Invalid(f"{option}: {name} is true or false, not {value!r}")
    return value in ("true", "1")
