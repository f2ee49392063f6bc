"""The command table: every command there is, a file per noun. One line here adds a file."""

from __future__ import annotations

from collections.abc import Sequence

from hivemind.cli.command import Command, Group
from hivemind.cli.declarations import (
    apps,
    cluster,
    containers,
    contents,
    hive,
    images,
    job_files,
    jobs,
    looking,
    registries,
    resources,
    rollouts,
    simulator,
    tokens,
    volumes,
)

GROUPS: tuple[Group, ...] = (
    apps.GROUP,
    *jobs.GROUPS,
    *rollouts.GROUPS,
    *contents.GROUPS,
    *volumes.GROUPS,
    cluster.GROUP,
    *hive.GROUPS,
    images.GROUP,
    registries.GROUP,
    tokens.GROUP,
)
COMMANDS: tuple[Command, ...] = (
    *apps.COMMANDS,
    *jobs.COMMANDS,
    *job_files.COMMANDS,
    *rollouts.COMMANDS,
    *contents.COMMANDS,
    *volumes.COMMANDS,
    *containers.COMMANDS,
    *looking.COMMANDS,
    *images.COMMANDS,
    *registries.COMMANDS,
    *resources.COMMANDS,
    *tokens.COMMANDS,
    *cluster.COMMANDS,
    *hive.COMMANDS,
    *simulator.COMMANDS,
)
SECTIONS = ("Nouns", containers.SECTION, looking.SECTION, resources.SECTION, hive.SECTION)
"""In the order in which `hivemind --help` lists them."""


def group(name: str) -> Group | None:
    return next((g for g in GROUPS if g.name == name), None)


def verbs(name: str) -> list[Command]:
    """The commands of a group."""
    return [c for c in COMMANDS if len(c.words) > 1 and c.words[0] == name]


def leading(words: Sequence[str]) -> tuple[Command | None, list[str]]:
    """The command of a group that these words begin with, and the words after it."""
    for length in (3, 2):
        if len(words) >= length and (command := find(tuple(words[:length]))):
            return command, list(words[length:])
    return None, list(words)


def find(words: tuple[str, ...]) -> Command | None:
    for command in COMMANDS:
        if words == command.words or (command.alias and words == (*command.words[:-1], command.alias)):
            return command
    return None
