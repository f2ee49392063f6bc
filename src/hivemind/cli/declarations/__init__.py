"""Finding commands. The table of all of them is made when somebody looks into it: a daemon would keep it for life."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hivemind.cli.command import Command, Group

if TYPE_CHECKING:
    from hivemind.cli.declarations.table import COMMANDS, GROUPS, SECTIONS

__all__ = ["COMMANDS", "GROUPS", "SECTIONS", "Command", "find", "group", "leading", "verbs"]
_OF_THE_TABLE = ("COMMANDS", "GROUPS", "SECTIONS")


def __getattr__(name: str) -> Any:
    if name not in _OF_THE_TABLE:
        raise AttributeError(name)
    from hivemind.cli.declarations import table

    return getattr(table, name)


def group(name: str) -> Group | None:
    from hivemind.cli.declarations.table import GROUPS

    return next((g for g in GROUPS if g.name == name), None)


def verbs(name: str) -> list[Command]:
    """The commands of a group."""
    from hivemind.cli.declarations.table import COMMANDS

    return [c for c in COMMANDS if len(c.words) > 1 and c.words[0] == name]


def leading(words: Sequence[str]) -> tuple[Command | None, list[str]]:
    """The command of a group that these words begin with, and the words after it."""
    for length in (3, 2):
        if len(words) >= length and (command := find(tuple(words[:length]))):
            return command, list(words[length:])
    return None, list(words)


def find(words: tuple[str, ...]) -> Command | None:
    from hivemind.cli.declarations.table import COMMANDS

    for command in COMMANDS:
        if words == command.words or (command.alias and words == (*command.words[:-1], command.alias)):
            return command
    return None
