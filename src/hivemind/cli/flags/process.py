"""What runs: command, environment, user, limits, how it ends."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hivemind.cli.flags.text import changed, words
from hivemind.cli.parsing import Values
from hivemind.errors import Invalid
from hivemind.model.app import AppSpec, Restart


def changes(args: Values, base: AppSpec) -> dict[str, Any]:
    return {
        "image": args.get("image"),
        "pull": args.get("pull"),
        "command": _command(args),
        "entrypoint": words(args.entrypoint, "--entrypoint") if args.entrypoint is not None else None,
        "env": environment(args) if args.given("env", "env_file") else None,
        "user": args.user,
        "workdir": args.workdir,
        "resources": changed(base.resources, cpus=args.cpus, memory=args.memory, pids=args.pids),
        "restart": restart(args.restart) if args.restart else None,
        "stop": changed(base.stop, signal=args.stop_signal, grace=args.stop_grace_period),
        "runtime": args.runtime,
    }


def _command(args: Values) -> tuple[str, ...] | None:
    if args.get("command_line") is not None and args.get("command"):
        raise Invalid("the command is given twice: by --command and after --", hint="give it once")
    if args.get("command_line") is not None:
        return words(args.command_line, "--command")
    return tuple(args.command) or None


def restart(text: str) -> Restart:
    """`always`, `no`, `on-failure`, `on-failure:3`; docker's `unless-stopped` is `always`, for a stopped app
    stays stopped."""
    policy, colon, retries = text.partition(":")
    if policy == "unless-stopped" and not colon:
        return Restart(policy="always")
    if policy == "on-failure" and (not colon or retries.isdigit()):
        return Restart(policy="on-failure", retries=int(retries or 0))
    if text in ("always", "no"):
        return Restart(policy="always" if text == "always" else "no")
    raise Invalid(f"--restart does not know {text!r}", hint="it is always, on-failure, on-failure:N or no")


def environment(args: Values) -> dict[str, str]:
    """The files first, then --env, later ones winning."""
    found: dict[str, str] = {}
    for path in args.env_file:
        found |= env_file(path)
    for text in args.env:
        name, equals, value = text.partition("=")
        if not equals and name not in os.environ:
            raise Invalid(
                f"--env {name} names a variable that is not set here", hint=f"write --env {name}=VALUE"
            )
        found[name] = value if equals else os.environ[name]
    return found


def env_file(path: str) -> dict[str, str]:
    """Lines of `K=V`, or `K` to take it from here if it is set; `#` begins a comment line."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise Invalid(f"the environment file {path} cannot be read: {why}") from None
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        clean = line.strip()
        if not clean or clean.startswith("#"):
            continue
        name, equals, value = clean.removeprefix("export ").partition("=")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", name):
            raise Invalid(
                f"{path}:{number}: {name!r} is not the name of a variable", hint="lines look like NAME=value"
            )
        if equals:
            found[name] = _unquoted(value)
        elif name in os.environ:
            found[name] = os.environ[name]
    return found


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value
