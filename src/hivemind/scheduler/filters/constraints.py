"""Constraints that a person wrote: `node.labels.zone==eu`, `node.name!=a`, `node.arch==arm64`."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from hivemind.errors import Invalid
from hivemind.model.node import Node
from hivemind.scheduler.contract import Ask
from hivemind.scheduler.filters.contract import Filter, Reason
from hivemind.scheduler.load import Load

ATTRIBUTES = ("id", "name", "arch", "os")
_FORM = re.compile(r"([^=!\s]+)\s*(==|!=)(.*)", re.DOTALL)
_LONGEST = 500
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,251}[A-Za-z0-9])?")
_HINT = (
    "write it like node.labels.zone==eu or node.name!=a; "
    "after 'node.' come labels.<key>, id, name, arch or os"
)


class Constraint(NamedTuple):
    attribute: str
    """One of `ATTRIBUTES`, or empty when `label` is what counts."""
    label: str
    equal: bool
    value: str

    def holds(self, node: Node) -> bool:
        """A node without the label differs from every value."""
        found = getattr(node, self.attribute) if self.attribute else node.labels.get(self.label)
        return (found == self.value) is self.equal


def parse_constraint(text: str) -> Constraint:
    """Raises `Invalid` that says how to write it."""
    if len(text) > _LONGEST:
        raise Invalid(f"the constraint {text[:40]!r}… has more than {_LONGEST} characters", hint=_HINT)
    match = _FORM.fullmatch(text.strip())
    if not match:
        raise Invalid(f"the constraint {text!r} has no == or !=", hint=_HINT)
    subject, operator = match[1], match[2]
    value = match[3].strip()
    if not value:
        raise Invalid(f"the constraint {text!r} compares with nothing", hint=_HINT)
    if value.startswith("=") or not value.isprintable():
        raise Invalid(f"the constraint {text!r} cannot be read", hint=_HINT)
    room, _, rest = subject.partition(".")
    equal = operator == "=="
    if room == "node" and rest in ATTRIBUTES:
        return Constraint(rest, "", equal, value)
    if room == "node" and rest.startswith("labels.") and _LABEL.fullmatch(rest[len("labels.") :]):
        return Constraint("", rest[len("labels.") :], equal, value)
    raise Invalid(f"the constraint {text!r} speaks of {subject!r}, which nodes do not have", hint=_HINT)


@lru_cache(maxsize=4096)
def _verdict(text: str) -> tuple[Constraint | None, Reason]:
    try:
        return parse_constraint(text), Reason(f"does not match {text}", f"do not match {text}")
    except Invalid:
        # Constraints are validated when an app is deployed. One that slipped through from a newer
        # version must stop its own app with a reason, not the agreed batch it is placed in.
        return None, Reason(f"does not understand {text!r}", f"do not understand {text!r}")


def check(node: Node, load: Load, ask: Ask) -> Reason | None:
    for text in ask.constraints:
        constraint, reason = _verdict(text)
        if constraint is None or not constraint.holds(node):
            return reason
    return None


FILTER = Filter("constraints", check, reads=("constraints",), concerns=lambda ask: bool(ask.constraints))
