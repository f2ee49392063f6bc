"""How a replica is kept apart, what it may do nevertheless, and how it is on the network: docker's spellings.

A list that was given replaces the one before; an empty text takes all of it away."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_args

from hivemind.cli.flags.text import changed, pairs
from hivemind.cli.parsing import Values
from hivemind.errors import Invalid, nearest
from hivemind.model.app import AppSpec
from hivemind.model.isolation import Device, LimitName, Ulimit
from hivemind.model.mount import Mount, TmpfsMount
from hivemind.model.quantity import parse_bytes

T = TypeVar("T")

_SECURITY_HINT = "it is seccomp=unconfined|default|FILE, apparmor=PROFILE or no-new-privileges[=true|false]"
_ASSUMED = ("rw", "nosuid", "nodev", "exec")
"""Options of a tmpfs that are so anyway."""


def changes(args: Values, base: AppSpec) -> dict[str, Any]:
    return {
        "isolation": changed(
            base.isolation,
            privileged=args.privileged,
            cap_add=_each(args.cap_add, capability),
            cap_drop=_each(args.cap_drop, capability),
            **security(args.security_opt),
            users=args.userns,
            read_only=args.read_only,
            shm_size=args.shm_size,
            init=args.init,
            devices=_each(args.device, device),
            ulimits=_named(args.ulimit, ulimit),
            sysctls=pairs(_present(args.sysctl), "--sysctl") if args.sysctl else None,
        ),
        "mounts": _mounts(args.tmpfs, base.mounts),
        "resources": changed(base.resources, gpus=gpus(args.gpus)),
        "network": changed(
            base.network,
            mode=args.network,
            hostname=args.hostname or None,
            dns=_each(args.dns, str),
            dns_search=_each(args.dns_search, str),
            dns_options=_each(args.dns_option, str),
            extra_hosts=_named(args.add_host, extra_host),
        ),
    }


def capability(text: str) -> str:
    """`net_admin`, `CAP_NET_ADMIN`."""
    return text.upper().removeprefix("CAP_")


def security(texts: list[str]) -> dict[str, Any]:
    """Fields of the isolation."""
    found: dict[str, Any] = {}
    for text in _present(texts):
        name, _, value = text.replace(":", "=", 1).partition("=") if "=" not in text else text.partition("=")
        if name == "seccomp" and value:
            found["seccomp"] = seccomp(value)
        elif name == "apparmor" and value:
            found["apparmor"] = value
        elif name == "no-new-privileges" and value in ("", "true", "false"):
            found["no_new_privileges"] = value != "false"
        elif name == "label":
            raise Invalid(
                "--security-opt label: SELinux labels are not supported",
                hint="leave it out; " + _SECURITY_HINT,
            )
        else:
            raise Invalid(f"--security-opt does not know {text!r}", hint=_SECURITY_HINT)
    return found


def seccomp(value: str) -> str:
    """What the manifest holds: a file's content travels with it, so that every node has it."""
    if value in ("unconfined", "default", "builtin"):
        return "default" if value == "builtin" else value
    try:
        return Path(value).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise Invalid(f"the seccomp profile {value} cannot be read: {why}", hint=_SECURITY_HINT) from None


def device(text: str) -> Device:
    """`/dev/fuse`, `/dev/sdb:/dev/disk`, `/dev/sdb:r`, `/dev/sdb:/dev/disk:rw`."""
    host, *rest = text.split(":")
    access = rest.pop() if rest and re.fullmatch("[rwm]{1,3}", rest[-1]) else "rwm"
    if not host.startswith("/") or len(rest) > 1 or not all(part.startswith("/") for part in rest):
        raise Invalid(
            f"--device {text!r} is not a device", hint="write it like /dev/fuse or /dev/sdb:/dev/disk:rw"
        )
    return Device(
        host=host, container=rest[0] if rest else None, access="".join(c for c in "rwm" if c in access)
    )


def ulimit(text: str) -> tuple[str, Ulimit]:
    """`nofile=1024:4096`, `core=0`, `memlock=-1`."""
    match = re.fullmatch(r"([a-z]+)=(-1|\d+|unlimited)(?::(-1|\d+|unlimited))?", text)
    if not match:
        raise Invalid(
            f"--ulimit {text!r} is not a limit", hint="write it like nofile=1024:4096 or memlock=-1"
        )
    if match[1] not in get_args(LimitName):
        close = nearest(match[1], get_args(LimitName))
        raise Invalid(
            f"--ulimit: there is no limit {match[1]!r}",
            hint=close or f"it is one of {', '.join(get_args(LimitName))}",
        )
    soft, hard = (-1 if part == "unlimited" else int(part) for part in (match[2], match[3] or match[2]))
    return match[1], Ulimit(soft=soft, hard=hard)


def tmpfs(text: str) -> TmpfsMount:
    """`/run`, `/run:size=64m,mode=0755`."""
    target, _, options = text.partition(":")
    hint = "write it like /run or /run:size=64m,mode=0755"
    if not target.startswith("/"):
        raise Invalid(f"--tmpfs {text!r} names no directory", hint=hint)
    given: dict[str, int] = {}
    for option in _present(options.split(",")):
        name, _, value = option.partition("=")
        if name == "size":
            given["size"] = parse_bytes(value)
        elif name == "mode" and re.fullmatch("0?[0-7]{3,4}", value):
            given["mode"] = int(value, 8)
        elif option not in _ASSUMED:
            raise Invalid(f"--tmpfs {text!r}: {option!r} is not understood", hint=hint)
    return TmpfsMount(target=target, **given)


def gpus(text: str | None) -> int | None:
    if text is None:
        return None
    if text == "all":
        raise Invalid(
            "--gpus all would depend on the node", hint="say how many; hivemind node ls -o wide shows them"
        )
    if not text.isdigit():
        raise Invalid(f"--gpus {text!r} is not a number", hint="say how many it gets, like --gpus 1")
    return int(text)


def extra_host(text: str) -> tuple[str, str]:
    """`db:10.0.0.5`, `gateway:host-gateway`, `v6=2001:db8::1`."""
    match = re.fullmatch(r"([^:=]+)[:=](.+)", text)
    if not match:
        raise Invalid(
            f"--add-host {text!r} names no address", hint="write it like db:10.0.0.5 or db:host-gateway"
        )
    return match[1], match[2].strip("[]")


def _mounts(texts: list[str], base: tuple[Mount, ...]) -> tuple[Mount, ...] | None:
    if not texts:
        return None
    return (*(m for m in base if not isinstance(m, TmpfsMount)), *(tmpfs(text) for text in _present(texts)))


def _each(texts: list[str], read: Callable[[str], T]) -> tuple[T, ...] | None:
    return tuple(read(text) for text in _present(texts)) if texts else None


def _named(texts: list[str], read: Callable[[str], tuple[str, T]]) -> dict[str, T] | None:
    return dict(read(text) for text in _present(texts)) if texts else None


def _present(texts: list[str]) -> list[str]:
    return [text for text in texts if text]
