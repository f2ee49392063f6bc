"""Health checks and hooks.

`--health-*` speak of the one check that is readiness and liveness in one; `--startup`, `--liveness` and
`--readiness` each hold a whole check: `http:8080/ready,interval=2s`."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from hivemind.cli.flags.text import words
from hivemind.cli.parsing import Values
from hivemind.errors import Invalid, nearest
from hivemind.model.app import AppSpec
from hivemind.model.check import Check, CommandProbe, GrpcProbe, Hook, HttpProbe, Probe, TcpProbe
from hivemind.model.quantity import parse_seconds

_PURPOSES = ("startup", "liveness", "readiness")
_HOOKS = ("post_start", "pre_stop")
_NOTHING = "none"
_PROBE_HINT = "write it like http:8080/ready, https:8443/, tcp:5432, grpc:9000/service or cmd:COMMAND"
_SETTINGS = ("interval", "timeout", "retries", "start-period", "header")
_SETTING = re.compile(rf",({'|'.join(_SETTINGS)})=([^,]*)\Z")
_ASKED = ("health_cmd", "health_http", "health_tcp", "health_grpc")


def changes(args: Values, base: AppSpec) -> dict[str, Any]:
    found: dict[str, Any] = {"check": check(args, base.check)}
    for purpose in _PURPOSES:
        if (text := args.get(purpose)) not in (None, _NOTHING):
            found[purpose] = whole_check(text, f"--{purpose}")
    for name in _HOOKS:
        if (text := args.get(name)) not in (None, _NOTHING):
            found[name] = hook(text, f"--{name.replace('_', '-')}")
    if args.no_healthcheck:
        found["healthcheck"] = "none"
    elif found["check"] is not None:
        found["healthcheck"] = "image"
    return found


def taken_away(args: Values) -> set[str]:
    away = {name for name in (*_PURPOSES, *_HOOKS) if args.get(name) == _NOTHING}
    return away | ({"check"} if args.no_healthcheck else set())


def check(args: Values, base: Check | None) -> Check | None:
    if args.no_healthcheck:
        if args.given(*_ASKED):
            raise Invalid("--no-healthcheck and a health check exclude each other", hint="give one of them")
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
                hint="give one of --health-http, --health-tcp, --health-grpc, --health-cmd",
            )
        return None
    if base is None:
        assert probe is not None
        return Check(probe=probe, **given)
    return msgspec.structs.replace(base, **given, **({"probe": probe} if probe else {}))


def _probe(args: Values) -> Probe | None:
    if sum(args.get(key) is not None for key in _ASKED) > 1:
        raise Invalid(
            "an app has one health check",
            hint="give one of --health-http, --health-tcp, --health-grpc, --health-cmd",
        )
    if args.health_cmd is not None:
        return CommandProbe(command=words(args.health_cmd, "--health-cmd"))
    if args.health_tcp is not None:
        return TcpProbe(port=args.health_tcp)
    if args.health_grpc is not None:
        return grpc_probe(args.health_grpc, "--health-grpc")
    if args.health_http is not None:
        return http_probe(args.health_http)
    return None


def whole_check(text: str, option: str) -> Check:
    """`http:8080/ready,interval=2s,retries=5`."""
    rest, settings, headers = _settings(text, option)
    kind, colon, what = rest.partition(":")
    if not colon:
        raise Invalid(f"{option} {text!r} says no kind of check", hint=_PROBE_HINT)
    if kind != "cmd":
        _refuse_unknown(what, option)
    return Check(probe=_probe_of(kind, what, headers, option), **settings)


def hook(text: str, option: str) -> Hook:
    """`http:8080/bye,timeout=5s`, or a command: `nginx -s quit`."""
    rest, settings, headers = _settings(text, option)
    unfit = sorted(settings.keys() - {"timeout"})
    if unfit:
        raise Invalid(f"{option} is done once and has no {unfit[0]}", hint="it may have a timeout=TIME")
    kind, colon, what = rest.partition(":")
    action: Probe
    if colon and kind in ("http", "https", "cmd"):
        action = _probe_of(kind, what, headers, option)
    else:
        action = _command(rest, headers, option)
    assert isinstance(action, CommandProbe | HttpProbe)
    return Hook(action=action, **settings)


def _settings(text: str, option: str) -> tuple[str, dict[str, Any], dict[str, str]]:
    """What stands before the settings at the end of `text`, the settings, and the headers among them."""
    settings: dict[str, Any] = {}
    headers: dict[str, str] = {}
    while match := _SETTING.search(text):
        text, name, value = text[: match.start()], match[1], match[2]
        if name == "header":
            key, colon, content = value.partition(":")
            if not colon:
                raise Invalid(f"{option}: header={value} has no value", hint="write header=Name:Value")
            headers[key] = content.strip()
        elif name == "retries":
            if not value.isdigit():
                raise Invalid(f"{option}: retries={value} is not a number", hint="write retries=3")
            settings[name] = int(value)
        else:
            settings[name.replace("-", "_")] = parse_seconds(value)
    return text, settings, headers


def _refuse_unknown(text: str, option: str) -> None:
    """A setting that is nearly one of those there are. Others may belong to a path."""
    match = re.search(r",([a-z_-]+)=[^,]*\Z", text)
    if match and (close := nearest(match[1], _SETTINGS)):
        raise Invalid(f"{option} has no setting {match[1]!r}", hint=close)


def _probe_of(kind: str, what: str, headers: dict[str, str], option: str) -> Probe:
    if kind in ("http", "https"):
        found = http_probe(what, option)
        return msgspec.structs.replace(found, scheme="https" if kind == "https" else "http", headers=headers)
    if headers:
        raise Invalid(f"{option}: only http and https checks have headers", hint=_PROBE_HINT)
    if kind == "tcp":
        if not what.isdigit():
            raise Invalid(f"{option}: {what!r} is not a port", hint="write it like tcp:5432")
        return TcpProbe(port=int(what))
    if kind == "grpc":
        return grpc_probe(what, option)
    if kind == "cmd":
        return _command(what, headers, option)
    raise Invalid(f"{option} knows no check {kind!r}", hint=_PROBE_HINT)


def _command(text: str, headers: dict[str, str], option: str) -> CommandProbe:
    found = words(text, option)
    if not found or headers:
        raise Invalid(f"{option} {text!r} is not a command", hint="write it like 'nginx -s quit'")
    return CommandProbe(command=found)


def http_probe(text: str, option: str = "--health-http") -> HttpProbe:
    """`/healthz`, `8080/healthz`, `:8080/`, each perhaps behind `http:` or `https:`."""
    match = re.fullmatch(r"(?:(https?):)?:?(\d{1,5})?(/(?:[^/].*)?)?", text)
    if not match or not (match[2] or match[3]):
        raise Invalid(f"{option} {text!r} is not a path", hint="write it like /healthz or 8080/healthz")
    return HttpProbe(
        path=match[3] or "/",
        port=int(match[2]) if match[2] else None,
        scheme="https" if match[1] == "https" else "http",
    )


def grpc_probe(text: str, option: str) -> GrpcProbe:
    """`9000`, `9000/shop.v1.Cart`."""
    port, _, service = text.partition("/")
    if not port.isdigit():
        raise Invalid(f"{option} {text!r} has no port", hint="write it like 9000 or 9000/package.Service")
    return GrpcProbe(port=int(port), service=service)
