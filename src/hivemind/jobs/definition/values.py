"""Short ways to write single values: one for a list, a word for a mapping, a number for text."""

from __future__ import annotations

import re
import shlex
from typing import Any

from hivemind.errors import Invalid
from hivemind.jobs.definition.place import Place, as_list
from hivemind.model.base import encode
from hivemind.model.job import PRIORITIES
from hivemind.model.mount import ConfigMount, SecretMount
from hivemind.model.mount_text import content, volume

_EXPRESSION = re.compile(r"\$\{\{.*?\}\}", re.S)
_RATE = re.compile(r"(\d+)\s*/\s*(\d*)\s*(s|m|h|d)[a-z]*\Z")
TYPES = ("string", "integer", "number", "boolean", "list", "object")


def text(raw: Any) -> Any:
    """Numbers and truth values as a person wrote them; all else stays."""
    if isinstance(raw, bool):
        return "true" if raw else "false"
    return encode(raw).decode() if isinstance(raw, int | float) else raw


def priority(raw: Any, place: Place) -> Any:
    if not isinstance(raw, str):
        return raw
    if (found := PRIORITIES.get(raw.strip().lower())) is None:
        place.refuse(f"'priority' cannot be {raw!r}", "low, medium or high, or a number from 0 to 100")
    return found


def environment(raw: Any, place: Place) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """`env`, and the `env_from` that is written in it as `PASSWORD: {secret: db, key: password}`."""
    pairs: list[tuple[str, Any, str | int]] = []
    if isinstance(raw, list | tuple):
        for number, line in enumerate(raw):
            name, equals, value = line.partition("=") if isinstance(line, str) else ("", "", "")
            if equals and name:
                pairs.append((name, value, number))
            else:
                place.at(number).refuse("a variable is written as NAME=value", "or env as a mapping")
    elif isinstance(raw, dict):
        pairs = [(key, value, key) for key, value in raw.items()]
    elif raw is not None:
        place.refuse("'env' is a mapping", "write it as NAME: value")
    plain: dict[str, Any] = {}
    sources: list[dict[str, Any]] = []
    for name, value, key in pairs:
        here = place.to(name, of=(key,))
        if isinstance(value, dict) and {"secret", "config"} & set(value):
            sources.append({"key": value.get("key", name), "name": name, **value})
        elif value is None:
            here.refuse(f"the variable {name} has no value", 'write "" for an empty one')
        elif isinstance(value, dict | list):
            here.refuse(
                f"the variable {name} is not text", "or take it from a secret: {secret: db, key: password}"
            )
        else:
            plain[name] = text(value)
    return plain, sources


def words(raw: Any, place: Place) -> Any:
    """A command line as its words; an expression stays in its word."""
    if not isinstance(raw, str):
        return [text(one) for one in raw] if isinstance(raw, list) else raw
    held: list[str] = []

    def hold(match: re.Match[str]) -> str:
        held.append(match[0])
        return f"\x01{len(held) - 1}\x01"

    try:
        found = shlex.split(_EXPRESSION.sub(hold, raw))
    except ValueError:
        place.refuse("a quote in the command is not closed", "or write the command as a list of words")
        return None
    return [re.sub("\x01(\\d+)\x01", lambda match: held[int(match[1])], word) for word in found]


def volumes(raw: Any, place: Place) -> list[tuple[Any, int]]:
    """Mounts, each with its number in `volumes`."""
    found: list[tuple[Any, int]] = []
    for number, one in enumerate(as_list(raw, place)):
        if isinstance(one, dict):
            renamed = {_MOUNT.get(key, key): value for key, value in one.items()}
            found.append(({"kind": "volume", **renamed}, number))
            continue
        try:
            found.append((_raw(volume(str(one), f"the volume {one}")), number))
        except Invalid as error:
            place.at(number).refuse_error(error)
    return found


_MOUNT = {"type": "kind", "read_only": "readonly", "src": "source", "dst": "target", "destination": "target"}


def contents(raw: Any, place: Place, kind: type[SecretMount] | type[ConfigMount]) -> list[tuple[Any, int]]:
    """Mounts of secrets or configs, each with its number in the list."""
    word = "secret" if kind is SecretMount else "config"
    found: list[tuple[Any, int]] = []
    for number, one in enumerate(as_list(raw, place)):
        if isinstance(one, dict):
            source = one.get("source")
            default = {} if "target" in one else {"target": f"/run/{word}s/{source}"}
            found.append(({"kind": word, **default, **one}, number))
        elif isinstance(one, str):
            found.append((_raw(content(one, kind, f"/run/{word}s")), number))
        else:
            place.at(number).refuse(f"a {word} is text or a mapping", "write its name")
    return found


def _raw(mount: Any) -> dict[str, Any]:
    import msgspec

    found: dict[str, Any] = msgspec.to_builtins(mount)
    return found


def concurrency(raw: Any, place: Place) -> Any:
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, int):
        return {"limit": raw}
    return {"key": raw} if isinstance(raw, str) else raw


def rate(raw: Any, place: Place) -> Any:
    """`10/s`, `100/5m`."""
    if not isinstance(raw, str):
        return raw
    match = _RATE.match(raw.strip())
    if not match:
        place.refuse(f"'rate' cannot be {raw!r}", "write it like 10/s or 100/5m")
        return None
    return {"limit": int(match[1]), "per": f"{match[2] or 1}{match[3]}"}


def retry(raw: Any, place: Place) -> Any:
    if isinstance(raw, int) and not isinstance(raw, bool):
        return {"max": raw}
    if isinstance(raw, dict) and "on" in raw:
        reasons = as_list(raw["on"], place.at("on"))
        return {**raw, "on": [f"exit:{one}" if type(one) is int else one for one in reasons]}
    return raw


def outputs(raw: Any, place: Place, *, of_routine: bool = False) -> Any:
    """`[x]`, `{x: expression}`, `{x: {file: …}}`."""
    if isinstance(raw, str | list):
        found = {}
        for number, name in enumerate(as_list(raw, place)):
            place.to(str(name), of=(number,) if isinstance(raw, list) else ())
            found[str(name)] = "" if of_routine else {}
        return found
    if not isinstance(raw, dict):
        return raw
    if of_routine:
        return {name: _template(one) for name, one in raw.items()}
    return {name: _output(one) for name, one in raw.items()}


def _template(raw: Any) -> Any:
    if isinstance(raw, dict) and set(raw) <= {"value", "description"}:
        return raw.get("value", "")
    return "" if raw is None else text(raw)


def _output(raw: Any) -> Any:
    if raw is None:
        return {}
    if isinstance(raw, str):
        return {"type": raw} if raw in TYPES else {"value": raw}
    return raw


def inputs(raw: Any, place: Place) -> Any:
    """`{url: string}`, `[url]`, and the whole form."""
    if isinstance(raw, list):
        for number, name in enumerate(raw):
            place.to(str(name), of=(number,))
        return {str(name): {} for name in raw}
    if not isinstance(raw, dict):
        return raw
    return {name: _input(one, place.at(name)) if isinstance(name, str) else one for name, one in raw.items()}


def _input(raw: Any, place: Place) -> Any:
    if raw is None:
        return {}
    if isinstance(raw, str):
        if raw not in TYPES:
            place.refuse(
                f"{raw!r} is no type of an input", f"one of {', '.join(TYPES)}; or {{default: {raw}}}"
            )
            return {}
        return {"type": raw}
    return raw


def artifacts(raw: Any, place: Place) -> Any:
    return [{"path": one} if isinstance(one, str) else one for one in as_list(raw, place)]


def approval(raw: Any, place: Place) -> Any:
    if raw is True or raw is None:
        return {}
    if isinstance(raw, str):
        return {"message": raw}
    if isinstance(raw, dict) and "by" in raw:
        return {**raw, "by": as_list(raw["by"], place.at("by"))}
    return raw


def condition(raw: Any, place: Place) -> Any:
    return text(raw)
