"""Help texts, laid out from the declarations. The reference in docs/ is made of the same parts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hivemind.cli.command import FLAG, GLOBAL_OPTIONS, Command, Group, Option, by_heading
from hivemind.cli.declarations import COMMANDS, GROUPS, SECTIONS, verbs
from hivemind.cli.parsing import usage

_HEAD = "Hivemind runs containers and jobs on a group of machines with no master."


def root(width: int) -> str:
    """`hivemind --help`."""
    listed: dict[str, list[tuple[str, str]]] = {section: [] for section in SECTIONS}
    for noun in GROUPS:
        listed[noun.section].append((noun.name, noun.summary))
    for command in COMMANDS:
        if len(command.words) == 1 and not command.hidden:
            listed[command.section].append((command.words[0], command.summary))
    parts = [_HEAD, "Usage: hivemind COMMAND [OPTIONS] …"]
    parts += [f"{section}:\n{columns(rows, width)}" for section, rows in listed.items()]
    parts.append(f"Options everywhere:\n{columns(_option_rows(GLOBAL_OPTIONS), width)}")
    parts.append(
        "A first look:\n"
        "  hivemind app deploy --image nginx:latest --name web-app --service web.local\n"
        "  hivemind app scale --name web-app --replicas 3\n"
        "  hivemind job run etl.yaml    starts a run of that job, and follows it\n"
        "  hivemind COMMAND --help      shows a command's options and examples"
    )
    return "\n\n".join(parts) + "\n"


def group(noun: Group, width: int) -> str:
    """`hivemind app --help`."""
    rows = [(" ".join(c.words[1:]), c.summary) for c in verbs(noun.name)]
    parts = [
        noun.summary,
        f"Usage: hivemind {noun.name} COMMAND [OPTIONS] …",
        f"Commands:\n{columns(rows, width)}",
    ]
    parts.append(f"`hivemind {noun.name} COMMAND --help` shows a command's options and examples.")
    return "\n\n".join(parts) + "\n"


def command(one: Command, width: int) -> str:
    """`hivemind app deploy --help`."""
    parts = [one.summary, f"Usage: {usage(one)}"]
    if one.alias:
        parts.append(f"Also written: {' '.join(('hivemind', *one.words[:-1], one.alias))}")
    if one.description:
        parts.append("\n".join(wrap(one.description, width)))
    if one.arguments:
        rows = [(f"{a.name}, {a.flag} {a.name}" if a.flag else a.name, a.help) for a in one.arguments]
        parts.append(f"Words:\n{columns(rows, width)}")
    for heading, options in by_heading(one.options).items():
        parts.append(f"{heading or 'Options'}:\n{columns(_option_rows(options), width)}")
    taken = {spelling for o in one.options for spelling in o.spellings}
    shared = [o._replace(short="" if o.short in taken else o.short) for o in GLOBAL_OPTIONS]
    parts.append(f"Options everywhere:\n{columns(_option_rows(shared), width)}")
    if one.examples:
        parts.append("Examples:\n" + "\n".join(f"  hivemind {example}" for example in one.examples))
    return "\n\n".join(parts) + "\n"


def signature(option: Option) -> str:
    """`-p, --port [HOST:]PORT[/udp]`."""
    names = f"{option.short}, {option.name}" if option.short else f"    {option.name}"
    return names if option.kind == FLAG else f"{names} {option.metavar or 'VALUE'}"


def explanation(option: Option) -> str:
    more = [" Repeatable."] if option.many else []
    more += [f" Also {option.alias}."] if option.alias else []
    return option.help + "".join(more)


def _option_rows(options: Iterable[Option]) -> list[tuple[str, str]]:
    return [(signature(o), explanation(o)) for o in options if not o.hidden]


def columns(rows: Sequence[tuple[str, str]], width: int) -> str:
    """Two columns, the second wrapped; a long first word gets a line of its own."""
    lead = min(max((len(word) for word, _ in rows), default=0), 30)
    lines = []
    for word, text in rows:
        wrapped = wrap(text, max(width - lead - 4, 30)) or [""]
        if len(word) > lead:
            lines.append(f"  {word}")
            word = ""
        lines.append(f"  {word:<{lead}}  {wrapped[0]}".rstrip())
        lines += [f"  {'':<{lead}}  {line}" for line in wrapped[1:]]
    return "\n".join(lines)


def wrap(text: str, width: int) -> list[str]:
    """Lines of at most `width` characters, cut between words."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return [*lines, line] if line else lines
