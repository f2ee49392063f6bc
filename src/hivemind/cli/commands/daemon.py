"""`hivemind daemon`: the flags of its settings, and what else one may ask of it."""

from __future__ import annotations

import os
import shlex
from typing import Any

from hivemind.cli.command import Option
from hivemind.cli.context import Context
from hivemind.daemon import settings
from hivemind.errors import Invalid


def options() -> tuple[Option, ...]:
    """A flag for each setting, as the settings declare them."""
    return tuple(_option(each) for each in settings.options())


def _option(setting: settings.Option) -> Option:
    default = "" if setting.default in ("", 0, 0.0, (), {}) or setting.many else f" ({setting.default})"
    return Option(
        setting.flag,
        f"{setting.about[:1].upper()}{setting.about[1:]}{default}.",
        metavar="K=V" if setting.many == "pairs" else setting.field.rpartition("_")[2].upper(),
        many=bool(setting.many),
        choices=setting.choices,
        completes="file" if setting.field.endswith(("_dir", "_cert", "_key", "socket")) else "",
    )


def daemon(context: Context) -> None:
    args = context.args
    given = {s.field: args.get(s.field) for s in settings.options() if args.given(s.field)}
    flags = {s.field: _value(s, given[s.field]) for s in settings.options() if s.field in given}
    wished = settings.load(flags, os.environ, args.config or "")
    if args.print_systemd_unit:
        from hivemind.daemon.systemd import unit

        context.print(unit(_written(args.config, given)).rstrip("\n"))
        return
    from hivemind.daemon import main

    if args.destroy:
        main.destroy(wished)
        context.print(f"nothing of the node in {wished.node.data_dir} is left")
        return
    main.run(wished)


def _value(setting: settings.Option, text: Any) -> Any:
    if setting.many == "pairs":
        try:
            return settings.pairs(text)
        except Invalid as error:
            raise Invalid(f"{setting.flag}: {error.message}", hint="write it like zone=eu") from None
    return text


def _written(config: str | None, given: dict[str, Any]) -> list[str]:
    """The same flags again, for a command line."""
    words = ["--config", config] if config else []
    for field, value in given.items():
        for each in value if isinstance(value, list) else [value]:
            words += [f"--{field.replace('_', '-')}", str(each)]
    return [shlex.quote(word) for word in words]
