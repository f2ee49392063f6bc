"""A node must be of the platform that the image was built for and offer the runtime that is asked for."""

from __future__ import annotations

from hivemind.model.node import Node
from hivemind.scheduler.contract import Ask
from hivemind.scheduler.filters.contract import Filter, Reason
from hivemind.scheduler.load import Load


def check(node: Node, load: Load, ask: Ask) -> Reason | None:
    if (ask.os and ask.os != node.os) or (ask.arch and ask.arch != node.arch):
        platform = "/".join(part for part in (ask.os, ask.arch) if part)
        return Reason(f"cannot run {platform} images", f"cannot run {platform} images")
    if ask.runtime != "auto" and ask.runtime not in node.runtimes:
        runtime = f"the {ask.runtime} runtime"
        return Reason(f"does not offer {runtime}", f"do not offer {runtime}")
    return None


FILTER = Filter(
    "platform",
    check,
    reads=("os", "arch", "runtime"),
    concerns=lambda ask: bool(ask.os or ask.arch) or ask.runtime != "auto",
)
