"""Seccomp profiles as docker and podman write them, turned into what an OCI runtime takes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from hivemind.drivers.runtimes.seccomp import ARCHITECTURES
from hivemind.model.isolation import parse_profile

_DOCKER_NAMES = {
    "x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "riscv64": "riscv64", "ppc64le": "ppc64le",
    "s390x": "s390x",
}  # fmt: skip


def from_docker(text: str, capabilities: Iterable[str], *, machine: str, release: str) -> dict[str, Any]:
    """`linux.seccomp` from a profile as docker and podman write them: rules may hold only with some capability,
    on some architecture, from some kernel on. Raises `Invalid`."""
    profile = parse_profile(text)
    held, ours = set(capabilities), _DOCKER_NAMES.get(machine, machine)
    kernel = _version(release)
    rules = []
    for rule in profile.get("syscalls", ()):
        wanted, unwanted = rule.get("includes") or {}, rule.get("excludes") or {}
        if not set(wanted.get("caps") or ()) <= held or set(unwanted.get("caps") or ()) & held:
            continue
        if wanted.get("arches") and ours not in wanted["arches"]:
            continue
        if ours in (unwanted.get("arches") or ()):
            continue
        if _version(str(wanted.get("minKernel") or "0")) > kernel:
            continue
        rules.append(_rule(rule))
    made: dict[str, Any] = {
        "defaultAction": profile["defaultAction"],
        "architectures": _profile_architectures(profile, machine),
        "syscalls": rules,
    }
    if profile.get("defaultErrnoRet") is not None:
        made["defaultErrnoRet"] = profile["defaultErrnoRet"]
    return made


def _rule(rule: dict[str, Any]) -> dict[str, Any]:
    made = {"names": rule.get("names") or [rule["name"]], "action": rule["action"]}
    if rule.get("args"):
        made["args"] = rule["args"]
    if rule.get("errnoRet") is not None:
        made["errnoRet"] = rule["errnoRet"]
    return made


def _profile_architectures(profile: dict[str, Any], machine: str) -> list[str]:
    """Docker names families (`archMap`); older profiles list what they are for."""
    own = ARCHITECTURES.get(machine, ())
    families = profile.get("archMap") or profile.get("architectures_map") or ()
    for family in families:
        if own and family.get("architecture") == own[0]:
            return [family["architecture"], *(family.get("subArchitectures") or ())]
    return list(profile.get("architectures") or own)


def _version(release: str) -> tuple[int, ...]:
    """`6.1.0-18-amd64` -> (6, 1)."""
    match = re.match(r"(\d+)(?:\.(\d+))?", release)
    return (int(match[1]), int(match[2] or 0)) if match else (0, 0)
