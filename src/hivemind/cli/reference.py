"""docs/cli.md, made from the declarations: `python -m hivemind.cli.reference > docs/cli.md`."""

from __future__ import annotations

from collections.abc import Iterable

from hivemind.cli.command import GLOBAL_OPTIONS, Command, Option, by_heading, whole
from hivemind.cli.declarations import COMMANDS, GROUPS, SECTIONS, verbs
from hivemind.cli.help import explanation, signature
from hivemind.cli.parsing import usage

_HEAD = """# Command line

<!-- Made by `python -m hivemind.cli.reference`; a test checks that it is current. -->

Every command knows `--help`. Names may be given as a word or by their flag: `hivemind app info web-app` and
`hivemind app info --name web-app` are the same. Where a replica is meant, `web-app.0`, an allocation's id or any
unambiguous beginning of it will do.

Commands that change something wait until it is so and show how it gets there; `-d` returns at once. With
`-o json` or `-o yaml` the output is for programs. Colour is used on terminals only, and never with `NO_COLOR`.

| exit code | meaning |
| --- | --- |
| 0 | done |
| 1 | it failed |
| 2 | what was asked makes no sense as written |
| 3 | not signed in, or not allowed |
| 4 | there is no such thing |
| 5 | it clashes with what is there |
| 6 | not supported here |
| 7 | unavailable right now |
| 8 | it took too long |
| 9 | stored data is damaged |
| 130 | interrupted by Ctrl-C |

`exec` and `run` exit with the code of the command they ran.
"""


def text() -> str:
    parts = [_HEAD, "## Options everywhere\n", _options(GLOBAL_OPTIONS)]
    for noun in GROUPS:
        parts.append(f"## hivemind {noun.name}\n\n{noun.summary}\n")
        parts += [_command(command) for command in verbs(noun.name)]
    for section in SECTIONS:
        mine = [c for c in COMMANDS if len(c.words) == 1 and c.section == section and not c.hidden]
        if mine:
            parts.append(f"## {section}\n")
            parts += [_command(command) for command in mine]
    return "\n".join(parts).rstrip("\n") + "\n"


def _command(command: Command) -> str:
    command = whole(command)
    parts = [f"### {command.path}\n", f"{command.summary}\n", f"```\n{usage(command)}\n```\n"]
    if command.alias:
        parts.append(f"Also written `{' '.join(('hivemind', *command.words[:-1], command.alias))}`.\n")
    if command.description:
        parts.append(f"{command.description}\n")
    for argument in command.arguments:
        flag = f" (or `{argument.flag} {argument.name}`)" if argument.flag else ""
        parts.append(f"- `{argument.name}`{flag}: {argument.help}")
    if command.arguments:
        parts.append("")
    for heading, options in by_heading(command.options).items():
        parts += [f"**{heading}**\n"] if heading else []
        parts.append(_options(options))
    if command.examples:
        parts.append("```\n" + "\n".join(f"hivemind {e}" for e in command.examples) + "\n```\n")
    return "\n".join(parts)


def _options(options: Iterable[Option]) -> str:
    rows = ["| option | |", "| --- | --- |"]
    for option in options:
        if not option.hidden:
            name, meaning = signature(option).strip(), explanation(option)
            rows.append(f"| `{_cell(name)}` | {_cell(meaning)} |")
    return "\n".join(rows) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    import sys

    sys.stdout.write(text())
