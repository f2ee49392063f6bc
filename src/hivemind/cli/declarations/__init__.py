"""The command table: every command there is, a file per noun. One line here adds a file."""

from __future__ import annotations

from hivemind.cli.command import Command, Group
from hivemind.cli.declarations import (
    apps,
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
    tokens,
    volumes,
)

GROUPS: tuple[Group, ...] = (
    apps.GROUP,
    *jobs.GROUPS,
    *rollouts.GROUPS,
    *contents.GROUPS,
    *volumes.GROUPS,
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
    *hive.COMMANDS,
)
SECTIONS = ("Nouns", containers.SECTION, looking.SECTION, resources.SECTION, hive.SECTION)
"""In the order in which `hivemind --help` lists them."""


def group(name: str) -> Group | None:
    return next((g for g in GROUPS if g.name == name), None)


def verbs(name: str) -> list[Command]:
    """The commands of a group."""
    return [c for c in COMMANDS if len(c.words) == 2 and c.words[0] == name]


def find(words: tuple[str, ...]) -> Command | None:
    for command in COMMANDS:
        if words == command.words or (command.alias and words == (*command.words[:-1], command.alias)):
            return command
    return None
