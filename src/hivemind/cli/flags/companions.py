"""Init containers, sidecars, and the apps that are waited for. Manifests say more about companions."""

from __future__ import annotations

from typing import Any, get_args

import msgspec

from hivemind.cli.flags.text import words
from hivemind.cli.parsing import Values
from hivemind.errors import Invalid
from hivemind.model.app import AppSpec, Companion, Condition


def changes(args: Values, base: AppSpec) -> dict[str, Any]:
    return {
        "init_containers": _companions(args.init_container, base.init_containers, "--init-container"),
        "sidecars": _companions(args.sidecar, base.sidecars, "--sidecar"),
        "depends_on": _conditions(args.depends_on) if args.depends_on else None,
    }


def _companions(
    texts: list[str], present: tuple[Companion, ...], option: str
) -> tuple[Companion, ...] | None:
    """`NAME=IMAGE [COMMAND…]` adds one or changes the one of that name; `NAME=` takes it away."""
    if not texts:
        return None
    found = {companion.name: companion for companion in present}
    for text in texts:
        name, equals, rest = text.partition("=")
        if not name or not equals:
            raise Invalid(f"{option} {text!r} names no image", hint=f"write {option} 'NAME=IMAGE COMMAND'")
        image, *command = words(rest, option) or ("",)
        if not image:
            found.pop(name, None)
            continue
        known = found.get(name) or Companion(name=name)
        found[name] = msgspec.structs.replace(known, image=image, command=tuple(command) or None)
    return tuple(found.values())


def _conditions(texts: list[str]) -> dict[str, Condition]:
    """`db` (started, as in compose files), `db:healthy`, `migrate:completed`."""
    found: dict[str, Condition] = {}
    for text in texts:
        if text == "none":
            continue
        name, _, condition = text.partition(":")
        known: Condition | None = next(
            (c for c in get_args(Condition) if c == (condition or "started")), None
        )
        if known is None:
            raise Invalid(
                f"--depends-on {text}: an app is not {condition!r}",
                hint=f"it is {', '.join(get_args(Condition))}",
            )
        found[name] = known
    return found
