"""`hivemind config …` and `hivemind secret …`: the same words for both, but no value of a secret is ever shown."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from hivemind.cli.commands.get import fetch
from hivemind.cli.context import Context
from hivemind.cli.flags.process import env_file
from hivemind.cli.flags.text import pairs
from hivemind.cli.output import age, show_list, show_one
from hivemind.cli.plans import show_plan
from hivemind.cli.tables import printable
from hivemind.errors import Invalid, NotFound
from hivemind.model.config import CONFIG
from hivemind.model.quantity import read
from hivemind.model.resource import Resource
from hivemind.model.secret import SECRET


def create(context: Context, resource: Resource) -> None:
    args = context.args
    data, binary = _values(context, resource)
    if args.file:
        text, raw = _split({args.name: _bytes(args.file)})
        data, binary = {**data, **text}, {**binary, **raw}
    if not data and not binary and resource is SECRET:
        raise Invalid(
            "a secret holds at least one key", hint=f"hivemind secret create {args.name} --from-file KEY=PATH"
        )
    assert resource.manifest is not None
    wished = {
        "name": args.name,
        "labels": pairs(args.label, "--label"),
        "data": data,
        "binary": _coded(binary),
    }
    made = _collection(context, resource).create(read(wished, resource.manifest), context.project)
    _told(context, resource, made, f"{resource.singular} {made.name} made, {_keys(made)}")


def change(context: Context, resource: Resource) -> None:
    args = context.args
    data, binary = _values(context, resource)
    if not (data or binary or args.remove):
        raise Invalid(
            "nothing to set",
            hint=f"hivemind {resource.singular} set {args.name} --from-file KEY=PATH, or --remove KEY",
        )
    collection = _collection(context, resource)
    if args.dry_run:
        steps = collection.plan_set(args.name, context.project, data=data, binary=binary, remove=args.remove)
        show_plan(context, steps)
        return
    before = fetch(context, resource, args.name)
    after = collection.set(args.name, context.project, data=data, binary=binary, remove=args.remove)
    if before.number == after.number:
        told = f"{resource.singular} {after.name} is already so"
    elif after.used_by:
        told = f"{resource.singular} {after.name} changed; it is used by {', '.join(after.used_by)}"
    else:
        told = f"{resource.singular} {after.name} changed; no app uses it"
    _told(context, resource, after, told)


def ls(context: Context, resource: Resource) -> None:
    show_list(context, resource, _collection(context, resource).list(context.scope))


def inspect(context: Context, resource: Resource) -> None:
    found = [fetch(context, resource, name) for name in context.args.name]
    if context.args.get("output") in ("json", "yaml"):
        if len(found) == 1:
            show_one(context, resource, found[0])
        else:
            show_list(context, resource, found)
        return
    for document in found:
        _show(context, resource, document)


def _show(context: Context, resource: Resource, document: Any) -> None:
    paint = context.terminal.paint
    context.print(f"{paint(document.name, 'bold')}  {resource.singular}, {_keys(document)}")
    facts = {
        "project": document.project,
        "labels": ", ".join(f"{key}={value}" for key, value in document.labels.items()),
        "number": str(document.number),
        "used by": ", ".join(document.used_by) or "no app",
        "changed": f"{age(document.updated)} ago",
    }
    for fact, value in facts.items():
        if value:
            context.print(f"  {fact + ':':<9} {value}")
    for key in document.keys:
        context.print(f"  {paint(key, 'cyan')}")
        if resource is CONFIG:
            text = document.data.get(key, f"({len(document.binary.get(key, b''))} bytes, not text)")
            for line in text.splitlines():
                context.print(f"    {printable(line)}")


def get(context: Context) -> None:
    config = fetch(context, CONFIG, context.args.name)
    key = context.args.key or (config.keys[0] if len(config.keys) == 1 else "")
    if not key:
        raise Invalid(
            f"config {config.name} has the keys {', '.join(config.keys) or 'none'}", hint="name one"
        )
    if key not in config.keys:
        raise NotFound(
            f"config {config.name} has no key {key!r}", hint=f"its keys: {', '.join(config.keys) or 'none'}"
        )
    if key in config.binary:
        context.terminal.out.flush()
        sys.stdout.buffer.write(config.binary[key])
    else:
        context.terminal.out.write(config.data[key])


def rm(context: Context, resource: Resource) -> None:
    for name in context.args.name:
        try:
            _collection(context, resource).delete(name, context.project)
        except NotFound:
            if not context.args.force:
                raise
            continue
        context.print(f"{resource.singular} {name} removed")


def _collection(context: Context, resource: Resource) -> Any:
    return context.hive.secrets if resource is SECRET else context.hive.configs


def _told(context: Context, resource: Resource, document: Any, text: str) -> None:
    if context.args.get("output") in ("json", "yaml"):
        show_one(context, resource, document)
    else:
        context.print(text)


def _keys(document: Any) -> str:
    count = len(document.keys)
    return f"{count} key" if count == 1 else f"{count} keys"


# -- what it shall hold ------------------------------------------------------------------------------------------


def _values(context: Context, resource: Resource) -> tuple[dict[str, str], dict[str, bytes]]:
    """Text and binary values that were given, later ones winning; secrets in arguments with a warning."""
    args = context.args
    found: dict[str, bytes] = {}
    for path in args.from_env_file:
        found |= {key: value.encode() for key, value in env_file(path).items()}
    for text in args.from_file:
        found |= dict(_files(text))
    literals = pairs(args.from_literal, "--from-literal")
    for word in args.get("words", []):
        key, equals, value = word.partition("=")
        if not key or not equals:
            raise Invalid(
                f"{word!r} has no value", hint=f"write it like {word}=VALUE, or --from-file {word}=PATH"
            )
        literals[key] = value
    if literals and resource is SECRET:
        context.note(
            "Note: a value on the command line can be seen by others on this machine, and stays in the shell's"
            " history; --from-file KEY=- reads it from standard input."
        )
    found |= {key: value.encode() for key, value in literals.items()}
    return _split(found)


def _files(text: str) -> Iterator[tuple[str, bytes]]:
    """`KEY=PATH`, `PATH`, or a folder: each of its files."""
    key, equals, path = text.partition("=")
    if not equals:
        key, path = Path(text).name, text
        if text == "-":
            raise Invalid("--from-file - needs a key", hint="write it like --from-file password=-")
        if Path(text).is_dir():
            for each in sorted(p for p in Path(text).iterdir() if p.is_file()):
                yield each.name, _bytes(str(each))
            return
    if not key or not path:
        raise Invalid(f"--from-file {text!r} is not understood", hint="write it like --from-file key=path")
    yield key, _bytes(path)


def _bytes(path: str) -> bytes:
    if path == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(path).read_bytes()
    except OSError as error:
        key, equals, _ = path.partition("=")
        hint = (
            f"for a value of its own: --from-literal {key}=…"
            if equals
            else "check its name; - is standard input"
        )
        raise Invalid(f"{path} cannot be read: {error.strerror}", hint=hint) from None


def _split(values: dict[str, bytes]) -> tuple[dict[str, str], dict[str, bytes]]:
    text, binary = {}, {}
    for key, value in values.items():
        try:
            text[key] = value.decode()
        except UnicodeDecodeError:
            binary[key] = value
    return text, binary


def _coded(binary: dict[str, bytes]) -> dict[str, str]:
    import base64

    return {key: base64.b64encode(value).decode() for key, value in binary.items()}


config_create, secret_create = partial(create, resource=CONFIG), partial(create, resource=SECRET)
config_set, secret_set = partial(change, resource=CONFIG), partial(change, resource=SECRET)
config_ls, secret_ls = partial(ls, resource=CONFIG), partial(ls, resource=SECRET)
config_inspect, secret_inspect = partial(inspect, resource=CONFIG), partial(inspect, resource=SECRET)
config_rm, secret_rm = partial(rm, resource=CONFIG), partial(rm, resource=SECRET)
