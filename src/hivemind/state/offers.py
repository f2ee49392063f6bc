"""What a node may say of itself. The hive computes with it in every batch, and one number that cannot be computed with
would stop the whole hive, at every node and at every replay: so what no machine has is refused at the door."""

from __future__ import annotations

from typing import Final

import msgspec

from hivemind.errors import Conflict, Invalid
from hivemind.model.base import encode
from hivemind.model.names import Name
from hivemind.state.operations import RegisterNode
from hivemind.state.state import State

LARGEST: Final = 32 * 1024
"""Bytes of all that a node says of itself, encoded: its record is written again whenever anything about it changes."""
_MOST: Final = {
    "cpus": 2**20,
    "memory": 2**60,
    "gpus": 2**20,
    "task_slots": 2**20,
    "incarnation": 2**62 - 1,
    "protocol": 2**31 - 1,
}


def check(state: State, operation: RegisterNode) -> None:
    """Raises `Invalid`, `Conflict`. How a node that is alone calls itself is its own affair."""
    for field, most in _MOST.items():
        value = getattr(operation, field)
        if not 0 <= value <= most:
            raise Invalid(f"no node has so many, or so few: {field}", hint=f"say 0 to {most}")
    if len(encode(operation)) > LARGEST:
        raise Invalid("the node says too much of itself", hint="give it fewer and shorter labels")
    if state.hive_record is not None:
        _check_name(state, operation.name)


def _check_name(state: State, name: str) -> None:
    """People tell nodes by their names, and each other: no node is called like a person, or like another's id."""
    try:
        msgspec.convert(name, Name)
    except msgspec.ValidationError as error:
        raise Invalid(
            f"{name[:80]!r} is no name for a node: {error}", hint="start with --node-name OTHER"
        ) from None
    if any(person.name == name for person in state.principals.values() if person.kind != "node"):
        raise Conflict(f"the name {name!r} belongs to a person", hint="start with --node-name OTHER")
