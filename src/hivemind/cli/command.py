"""What a command is: a declaration. Parser, help, completion and the reference in docs/ all derive from it.

A declaration names its handler as `module:function`; the module is imported only when the command runs, so
that `hivemind --help` stays quick. Named tuples, because dataclasses cost more to import than all of this.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

FLAG, TEXT, INTEGER, SECONDS, BYTES, CORES = "flag", "text", "integer", "seconds", "bytes", "cores"


class Option(NamedTuple):
    """`--long`, `-s`. Its value arrives under the long name with underscores; None (or False) when not given."""

    name: str
    """`--replicas`."""
    help: str
    short: str = ""
    """`-r`."""
    kind: str = TEXT
    metavar: str = ""
    many: bool = False
    """May be repeated; the value is a list."""
    choices: tuple[str, ...] = ()
    completes: str = ""
    """What its value names, for completion: `app`, `target`, `node`, `kind`, `image`, `project`, `person`, `file`."""
    hidden: bool = False
    alias: str = ""
    """Another long spelling."""
    switch: bool = False
    """Of a flag: None when it is not given, so that `--init=false` takes back what was set before."""
    into: str = ""
    """The attribute its value arrives under, where the name is taken."""
    heading: str = ""
    """Under which help lists it; without one, it comes first."""

    @property
    def key(self) -> str:
        return self.into or self.name.lstrip("-").replace("-", "_")

    @property
    def spellings(self) -> tuple[str, ...]:
        return tuple(s for s in (self.short, self.name, self.alias) if s)


class Argument(NamedTuple):
    """A word without a dash. With `flag`, it may be written `--flag WORD` as well."""

    name: str
    """As help shows it: `NAME`."""
    help: str
    required: bool = True
    many: bool = False
    """Takes all words that are left; the value is a list."""
    rest: bool = False
    """A command line of its own: takes everything from its first word on, dashes included; a list."""
    dashed: bool = False
    """Of a `rest`: it starts after `--` only."""
    eager: bool = False
    """Of a `rest`: it starts right after the words before it, even with an option."""
    flag: str = ""
    completes: str = ""
    choices: tuple[str, ...] = ()
    into: str = ""
    """The attribute its words arrive under, where its name is no name for one."""

    @property
    def key(self) -> str:
        return self.into or self.name.lower().replace("-", "_")


class Command(NamedTuple):
    words: tuple[str, ...]
    """`("app", "deploy")`."""
    summary: str
    handler: str = ""
    """`hivemind.cli.commands.app:deploy`."""
    arguments: tuple[Argument, ...] = ()
    options: tuple[Option, ...] = ()
    examples: tuple[str, ...] = ()
    """Without the leading `hivemind`."""
    description: str = ""
    section: str = ""
    """Under which heading `hivemind --help` lists it; only for what stands at the top."""
    alias: str = ""
    hidden: bool = False
    stray: str = ""
    """The hint for who writes a word too many; without one, how the command is used."""
    foreign: tuple[tuple[str, str], ...] = ()
    """Options that other programs have and this has not, each with the nearest that there is."""
    derived: str = ""
    """`module:function` that gives more options, for those that derive from something else."""

    @property
    def path(self) -> str:
        return " ".join(("hivemind", *self.words))

    @property
    def rest(self) -> Argument | None:
        return next((a for a in self.arguments if a.rest), None)


def under(heading: str, *options: Option) -> tuple[Option, ...]:
    """The same options, listed together in help."""
    return tuple(option._replace(heading=heading) for option in options)


def by_heading(options: Iterable[Option]) -> dict[str, list[Option]]:
    """What help shows, in the order in which headings appear first; those without one are under an empty one."""
    found: dict[str, list[Option]] = {"": []}
    for option in options:
        if not option.hidden:
            found.setdefault(option.heading, []).append(option)
    return {heading: listed for heading, listed in found.items() if listed}


def whole(command: Command) -> Command:
    """The command with its derived options, whose module is imported for it."""
    if not command.derived:
        return command
    import importlib

    module, _, function = command.derived.partition(":")
    more: tuple[Option, ...] = getattr(importlib.import_module(module), function)()
    return command._replace(options=(*command.options, *more), derived="")


class Group(NamedTuple):
    """A noun with verbs below it."""

    name: str
    summary: str
    section: str


GLOBAL_OPTIONS = (
    Option("--host", "The daemon to talk to: unix:///path, http://host:port or https://host:port"
           " (HIVEMIND_HOST; the local daemon's socket).", short="-H", metavar="ADDRESS"),
    Option("--token", "Signs in to it (HIVEMIND_TOKEN); not needed on the unix socket.", metavar="TOKEN"),
    Option("--ca", "PEM file of certificates to trust (HIVEMIND_CA).", metavar="FILE", completes="file"),
    Option("--project", "The project to work in (HIVEMIND_PROJECT; default).", metavar="PROJECT",
           completes="project"),
    Option("--verbose", "Show the trace of an error.", short="-v", kind=FLAG),
    Option("--help", "Show this help.", short="-h", kind=FLAG),
)  # fmt: skip
