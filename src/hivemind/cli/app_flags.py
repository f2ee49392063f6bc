"""From the options of `app deploy` and `run` to a manifest. What is not named stays as it was."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import Any

import msgspec

from hivemind.cli.parsing import Values
from hivemind.errors import Invalid
from hivemind.model.app import AppManifest, AppSpec, Port, Resources, Restart, Stop, Update
from hivemind.model.check import Check, CommandProbe, HttpProbe, Probe, TcpProbe
from hivemind.model.quantity import read

_PORT_HINT = "write it like 8080:80, 8080:80/udp, or 80 to name a port without publishing it"

_UNSET = {
    "command_line": "command",
    "entrypoint": "entrypoint",
    "user": "user",
    "workdir": "workdir",
    "service": "service",
}


def manifest(args: Values, name: str, present: AppManifest | None) -> AppManifest:
    """The whole manifest: `present` with what the person named put in. Raises `Invalid`."""
    base = present or AppManifest(name=name, spec=AppSpec())
    wished = msgspec.structs.replace(
        base,
        name=name,
        replicas=base.replicas if args.get("replicas") is None else args.replicas,
        labels=pairs(args.label, "--label") if args.label else base.labels,
        spec=spec(args, base.spec),
    )
    # Once more through the checks that every document passes: patterns and bounds stand in the types.
    checked = _checked(wished)
    checked.spec.validate()
    return checked


def _checked(wished: AppManifest) -> AppManifest:
    try:
        checked: AppManifest = read(msgspec.to_builtins(wished), AppManifest)
    except Invalid as error:
        # `Expected … - at '$.spec.workdir'` names a place in a document; here the person wrote options.
        what, _, path = error.message.rpartition(" - at ")
        place = path.strip("'").removeprefix("$.").removeprefix("spec.")
        message = f"{place}: {what[:1].lower()}{what[1:]}" if what else error.message
        raise Invalid(
            message, hint=error.hint or "hivemind app deploy --help shows how each option is written"
        ) from None
    return checked


def spec(args: Values, base: AppSpec) -> AppSpec:
    changes: dict[str, Any] = {
        "image": args.get("image"),
        "command": _command(args),
        "entrypoint": words(args.entrypoint, "--entrypoint") if args.entrypoint is not None else None,
        "env": environment(args) if args.given("env", "env_file") else None,
        "user": args.user,
        "workdir": args.workdir,
        "service": args.service,
        "ports": tuple(port(p) for p in args.port) if args.port else None,
        "resources": _changed(base.resources, Resources, cpus=args.cpus, memory=args.memory, pids=args.pids),
        "restart": restart(args.restart) if args.restart else None,
        "stop": _changed(base.stop, Stop, signal=args.stop_signal, grace=args.stop_grace_period),
        "runtime": args.runtime,
        "constraints": tuple(args.constraint) or None,
        "placement": args.placement,
        "priority": args.priority,
        "update": _changed(
            base.update,
            Update,
            order=args.update_order,
            max_parallel=args.update_parallel,
            min_healthy_time=args.update_min_healthy,
            healthy_deadline=args.update_deadline,
        ),
    }
    given = {k: v for k, v in changes.items() if v is not None}
    # An empty text takes a setting back to what the image says.
    given |= {field: None for key, field in _UNSET.items() if args.get(key) == ""}
    changed = msgspec.structs.replace(base, **given)
    return msgspec.structs.replace(changed, check=check(args, base.check))


def _changed(base: Any, type: type[msgspec.Struct], **given: Any) -> Any:
    named = {k: v for k, v in given.items() if v is not None}
    return msgspec.structs.replace(base, **named) if named else None


def _command(args: Values) -> tuple[str, ...] | None:
    if args.get("command_line") is not None and args.get("command"):
        raise Invalid("the command is given twice: by --command and after --", hint="give it once")
    if args.get("command_line") is not None:
        return words(args.command_line, "--command")
    return tuple(args.command) or None


def words(text: str, option: str) -> tuple[str, ...]:
    """As a shell would split it. No shell runs it: no variables, no pipes."""
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise Invalid(
            f"{option} {text!r} cannot be split into words: {error}", hint="check its quotes"
        ) from None


def port(text: str) -> Port:
    """`8080:80`, `8080:80/udp`, `80`."""
    match = re.fullmatch(r"(?:(\d{1,5}):)?(\d{1,5})(?:/(tcp|udp))?", text)
    if not match:
        if text.count(":") > 1:
            raise Invalid(
                f"--port {text}: an address cannot be chosen, a port is published on the node",
                hint=_PORT_HINT,
            )
        raise Invalid(f"--port {text} is not a port", hint=_PORT_HINT)
    host, container, protocol = match[1], int(match[2]), match[3] or "tcp"
    for number in (container, int(host or 1)):
        if not 1 <= number <= 65535:
            raise Invalid(f"--port {text}: {number} is not a port number", hint="ports go from 1 to 65535")
    return Port(
        container=container, host=int(host) if host else None, protocol="udp" if protocol == "udp" else "tcp"
    )


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


def check(args: Values, base: Check | None) -> Check | None:
    if args.no_healthcheck:
        return None
    probe = _probe(args)
    timing = {
        "interval": args.health_interval,
        "timeout": args.health_timeout,
        "retries": args.health_retries,
        "start_period": args.health_start_period,
    }
    given = {k: v for k, v in timing.items() if v is not None}
    if probe is None and base is None:
        if given:
            raise Invalid(
                "the health check has no way to check",
                hint="give one of --health-http, --health-tcp, --health-cmd",
            )
        return None
    if base is None:
        assert probe is not None
        return Check(probe=probe, **given)
    return msgspec.structs.replace(base, **given, **({"probe": probe} if probe else {}))


def _probe(args: Values) -> Probe | None:
    asked = [k for k in ("health_cmd", "health_http", "health_tcp") if args.get(k) is not None]
    if len(asked) > 1:
        raise Invalid(
            "an app has one health check", hint="give one of --health-http, --health-tcp, --health-cmd"
        )
    if args.health_cmd is not None:
        return CommandProbe(command=words(args.health_cmd, "--health-cmd"))
    if args.health_tcp is not None:
        return TcpProbe(port=args.health_tcp)
    if args.health_http is not None:
        return http_probe(args.health_http)
    return None


def http_probe(text: str) -> HttpProbe:
    """`/healthz`, `8080/healthz`, `:8080/`."""
    match = re.fullmatch(r":?(\d{1,5})?(/.*)?", text)
    if not match or not (match[1] or match[2]):
        raise Invalid(f"--health-http {text!r} is not a path", hint="write it like /healthz or 8080/healthz")
    return HttpProbe(path=match[2] or "/", port=int(match[1]) if match[1] else None)


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


def pairs(texts: list[str], option: str) -> dict[str, str]:
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise Invalid(f"{option} {text!r} has no value", hint=f"write it like {option} key=value")
        found[name] = value
    return found
