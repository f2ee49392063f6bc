"""How a command joins a container that has users of its own, in a network namespace that is the node's.

crun tries each namespace with the rights of the node and then with those of the container. runc becomes the container's
root first, which has no right to the network namespace: so that is taken out of what runc joins, and runc is run
inside of it."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from hivemind.drivers.runtimes.oci.monitor import Programs


def prepare(programs: Programs, id: str) -> None:
    """Once the container is made."""
    if programs.name != "runc":
        return
    path = Path(programs.root, id, "state.json")
    state = msgspec.json.decode(path.read_bytes())
    namespaces = state["config"]["namespaces"]
    state["config"]["namespaces"] = [each for each in namespaces if each["type"] != "NEWNET"]
    draft = path.with_suffix(".draft")
    draft.write_bytes(msgspec.json.encode(state))
    os.replace(draft, path)


def inside(programs: Programs, pid: int) -> list[str]:
    """What to put in front of the runtime's command."""
    return ["nsenter", f"--net=/proc/{pid}/ns/net"] if programs.name == "runc" else []
