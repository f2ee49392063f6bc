"""Configs and secrets: as files, as variables, and what their changes do."""

from __future__ import annotations

import re
from typing import Any, TypeVar

from hivemind.cli.parsing import Values
from hivemind.errors import Invalid
from hivemind.model.app import AppSpec
from hivemind.model.mount import ConfigMount, Mount, SecretMount
from hivemind.model.template import EnvFrom

M = TypeVar("M", ConfigMount, SecretMount)

_HINT = "write it like {0} NAME, {0} NAME:/path, {0} NAME/KEY:/path/of/file, or {0} source=NAME,target=/path,mode=0440"


def changes(args: Values, base: AppSpec) -> dict[str, Any]:
    return {
        "mounts": _mounts(args, base.mounts),
        "env_from": _env_from(args, base.env_from),
        "on_change": args.on_change,
    }


def _mounts(args: Values, base: tuple[Mount, ...]) -> tuple[Mount, ...] | None:
    """A list that was given replaces those of its kind; an empty text takes them away."""
    if not args.given("config", "secret"):
        return None
    configs = [mount(text, "--config", ConfigMount) for text in args.config if text]
    secrets = [mount(text, "--secret", SecretMount) for text in args.secret if text]
    gone = (ConfigMount,) * bool(args.config) + (SecretMount,) * bool(args.secret)
    return (*(m for m in base if not isinstance(m, gone)), *configs, *secrets)


def mount(text: str, option: str, kind: type[M]) -> M:
    """`db`, `db:/etc/db`, `db/password:/run/pw`, `source=db,target=/etc/db,mode=0440`."""
    if "=" in text:
        return _long(text, option, kind)
    name, _, target = text.partition(":")
    source, _, key = name.partition("/")
    return _made(text, option, kind, source, key, target, None)


def _long(text: str, option: str, kind: type[M]) -> M:
    """Docker's long form; docker's `src`, `dst` are understood as well."""
    found: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        word = {"src": "source", "dst": "target", "destination": "target"}.get(name, name)
        if not equals or word not in ("source", "target", "key", "mode"):
            raise Invalid(f"{option} {text!r}: {part!r} is not understood", hint=_HINT.format(option))
        found[word] = value
    mode = found.get("mode")
    if mode is not None and not re.fullmatch(r"0?[0-7]{3}", mode):
        raise Invalid(f"{option} {text!r}: {mode!r} is not a file mode", hint="write it like mode=0440")
    source, _, key = found.get("source", "").partition("/")
    return _made(
        text,
        option,
        kind,
        source,
        found.get("key", key),
        found.get("target", ""),
        int(mode, 8) if mode else None,
    )


def _made(text: str, option: str, kind: type[M], source: str, key: str, target: str, mode: int | None) -> M:
    if not source:
        raise Invalid(f"{option} {text!r} names no {option.lstrip('-')}", hint=_HINT.format(option))
    place = target or f"/run/{option.lstrip('-')}s/{source}" + (f"/{key}" if key else "")
    given: dict[str, Any] = {} if mode is None else {"mode": mode}
    return kind(source=source, target=place, key=key or None, **given)


def _env_from(args: Values, base: tuple[EnvFrom, ...]) -> tuple[EnvFrom, ...] | None:
    if not args.given("env_secret", "env_config"):
        return None
    configs = [_variable(text, "--env-config", "config") for text in args.env_config if text]
    secrets = [_variable(text, "--env-secret", "secret") for text in args.env_secret if text]
    kept = [e for e in base if not (args.env_config if e.config else args.env_secret)]
    return (*kept, *configs, *secrets)


def _variable(text: str, option: str, kind: str) -> EnvFrom:
    """`VAR=db/password`, `db/password` for a variable of the key's name, `db` for all keys, `DB_=db` with a prefix."""
    variable, equals, place = text.rpartition("=")
    source, slash, key = place.partition("/")
    if not source or (slash and not key) or (equals and not variable):
        raise Invalid(
            f"{option} {text!r} is not understood",
            hint=f"write it like {option} VAR=NAME/KEY, or {option} NAME for all of its keys",
        )
    named: dict[str, Any] = {kind: source}
    if key:
        return EnvFrom(key=key, name=variable or None, **named)
    return EnvFrom(prefix=variable, **named)
