"""docs/configuration.md, made from the settings: `python -m hivemind.daemon.reference > docs/configuration.md`."""

from __future__ import annotations

import json
from itertools import groupby
from typing import Any

from hivemind.daemon.settings import DEFAULT_FILE, Option, options

_HEAD = f"""# Configuration

<!-- Made by `python -m hivemind.daemon.reference`; a test checks that it is current. -->

Nothing has to be configured. Each setting of the daemon can be said in three ways:

| | for example |
| --- | --- |
| a flag | `hivemind daemon --web-port 3001` |
| a variable | `HIVEMIND_WEB_PORT=3001 hivemind daemon` |
| a key in a file | `web_port = 3001` under `[api]` |

A flag beats the variable, which beats the file, which beats the default. A variable that is empty counts as not
set. The file is `{DEFAULT_FILE}`, if there is one, or what `--config FILE` names. When a key does
not exist or a value cannot be, the daemon says which and does not start.

Amounts may be written with a unit: `512MiB`, `64M` or `1GiB` of memory, `0.5`, `2` or `250m` of CPU. Where there
can be several values, the flag is given several times and the variable separates them by commas:
`--labels zone=eu --labels disk=ssd` is `HIVEMIND_LABELS=zone=eu,disk=ssd`.

Root's data is in `/var/lib/hivemind`, with sockets in `/run/hivemind`; anybody else's is in
`$XDG_DATA_HOME/hivemind` (mostly `~/.local/share/hivemind`), with sockets in `$XDG_RUNTIME_DIR/hivemind`. Another
`data_dir` has its sockets in `run` below it.

Settings take effect when the daemon starts; containers keep running while it is started anew.
`hivemind daemon --print-systemd-unit` with the same flags prints a unit that starts it with them.
"""

_TITLES = {
    "node": "The node",
    "api": "The API",
    "network": "Network and names",
    "image": "Images",
    "task": "Tasks of jobs",
    "engines": "Container engines",
    "cluster": "The hive",
    "log": "Its own log",
}

_EXAMPLE = """## hivemind.toml

A whole file, with every key at its default.

```toml
{file}```
"""


def text() -> str:
    parts = [_HEAD]
    for section, members in groupby(options(), lambda option: option.section):
        parts.append(f"## {_TITLES[section]}\n")
        parts.append("| key | flag | variable | default | meaning |\n| --- | --- | --- | --- | --- |")
        parts += [_row(option) for option in members]
        parts.append("")
    return "\n".join([*parts, _EXAMPLE.format(file=example())])


def _row(option: Option) -> str:
    default = f"`{_toml(option.default)}`" if option.default not in ("", (), {}) else ""
    meaning = f"{option.about[:1].upper()}{option.about[1:]}."
    if option.choices:
        meaning += f" One of {', '.join(f'`{choice}`' for choice in option.choices)}."
    cells = (f"`{option.key}`", f"`{option.flag}`", f"`{option.variable}`", default, meaning)
    return f"| {' | '.join(cells)} |"


def example() -> str:
    """A file that says what holds without it."""
    lines: list[str] = []
    for section, members in groupby(options(), lambda option: option.section):
        lines += ["", f"[{section}]"] if lines else [f"[{section}]"]
        for option in members:
            lines += [f"# {option.about}", f"{option.field} = {_toml(option.default)}"]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return (
            "{ " + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items()) + " }"
            if value
            else "{}"
        )
    return json.dumps(value)


if __name__ == "__main__":
    import sys

    sys.stdout.write(text())
