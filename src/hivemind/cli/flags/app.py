"""From the options of `app deploy` and `run` to a manifest. What is not named stays as it was."""

from __future__ import annotations

from typing import Any

import msgspec

from hivemind.cli.flags import (
    checks,
    companions,
    contents,
    isolation,
    mounts,
    network,
    process,
    terminal,
    update,
)
from hivemind.cli.flags.text import pairs
from hivemind.cli.parsing import Values
from hivemind.errors import Invalid
from hivemind.model.app import AppManifest, AppSpec
from hivemind.model.quantity import read

_CONCERNS = (process, network, checks, companions, update, contents, isolation, mounts, terminal)
"""Each says with `changes(args, base)` which fields of the spec were given (None: not), and with `taken_away(args)`,
if it has that, which go back to their default."""

_UNSET = {
    "command_line": "command",
    "entrypoint": "entrypoint",
    "user": "user",
    "workdir": "workdir",
    "service": "service",
}
"""Options whose empty text takes a setting back to what the image says."""


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
    """Concern by concern: each sees what those before it changed, so that several may add to one list."""
    for concern in _CONCERNS:
        given: dict[str, Any] = {k: v for k, v in concern.changes(args, base).items() if v is not None}
        given |= dict.fromkeys(getattr(concern, "taken_away", _nothing)(args))
        base = msgspec.structs.replace(base, **given)
    unset = {field: None for key, field in _UNSET.items() if args.get(key) == ""}
    return msgspec.structs.replace(base, **unset)


def _nothing(args: Values) -> set[str]:
    return set()
