"""The command table: every command there is, a file per noun. One line here adds a file."""

from __future__ import annotations

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
