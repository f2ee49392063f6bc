"""Seccomp filters in the kernel's own form, compiled once.

crun compiles the profile at each start, which costs more than all the rest of it together. What it compiled it
leaves beside the container's state: the first container pays, the next ones bring that along in an annotation.
The profile stays in the configuration all the same, for runc, and should crun know the annotation no more.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import msgspec

from hivemind.drivers.runtimes.oci.monitor import Programs

_ANNOTATION = "run.oci.seccomp_bpf_data"
_INSTRUCTION = 8
"""Bytes of one instruction of a filter."""

_MOST = 32
"""Filters kept; of apps beyond that with filters of their own each start compiles its own."""

_compiled: dict[tuple[str, bytes], str] = {}
"""By the runtime's path and the profile: most containers have the same."""


def reuse(programs: Programs, configuration: dict[str, Any]) -> None:
    """Adds the compiled filter to an OCI configuration, if it has one that is known."""
    if "seccomp" not in configuration["linux"]:
        return
    if known := _compiled.get(_key(programs, configuration)):
        configuration["annotations"] = {_ANNOTATION: known}


def learn(programs: Programs, id: str, configuration: dict[str, Any]) -> None:
    """Keeps the filter that the runtime compiled for a container that it has just made."""
    if programs.name != "crun" or "seccomp" not in configuration["linux"]:
        return
    key = _key(programs, configuration)
    if key in _compiled or len(_compiled) >= _MOST:
        return
    try:
        made = Path(programs.root, id, "seccomp.bpf").read_bytes()
    except FileNotFoundError:
        return
    if made and len(made) % _INSTRUCTION == 0:
        _compiled[key] = base64.b64encode(made).decode()


def _key(programs: Programs, configuration: dict[str, Any]) -> tuple[str, bytes]:
    return programs.runtime, msgspec.json.encode(configuration["linux"]["seccomp"])
