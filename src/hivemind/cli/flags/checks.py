"""Health checks."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from hivemind.cli.flags.text import words
from hivemind.cli.parsing import Values
from hivemind.errors import Invalid
from hivemind.model.app import AppSpec
from hivemind.model.check import Check, CommandProbe, HttpProbe, Probe, TcpProbe


def changes(args: Values, base: AppSpec) -> dict[str, Any]:
    return {"check": check(args, base.check)}


def taken_away(args: Values) -> set[str]:
    return {"check"} if args.no_healthcheck else set()


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
