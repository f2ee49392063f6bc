"""From what a person wrote to the canonical form `{name, labels, spec}`, nothing of it checked yet but its spelling."""

from __future__ import annotations

from typing import Any

from hivemind.jobs.definition import values
from hivemind.jobs.definition.finding import Findings
from hivemind.jobs.definition.normal_task import members, renamed, routine
from hivemind.jobs.definition.place import Place, as_list

OUTSIDE = ("name", "labels")
BESIDE = ("kind", "project")
"""Understood by whoever reads the file; nothing of the job itself."""
_SINGLE = {"webhook": "secret", "event": "type", "file": "path", "job": "name", "app": "name"}
"""Of triggers: what a mere text says."""


def canonical(raw: Any, findings: Findings) -> Any:
    """A mapping whose places `findings` can tell in what was written; None when there is nothing to go by."""
    top = Place(findings)
    if not isinstance(raw, dict):
        top.refuse("a job is a mapping", "it begins like `name: nightly` and has `tasks`")
        return None
    found: dict[str, Any] = {key: raw[key] for key in OUTSIDE if key in raw}
    if isinstance(found.get("labels"), dict):
        found["labels"] = {key: values.text(value) for key, value in found["labels"].items()}
    if isinstance(raw.get("kind", "Job"), str) and raw.get("kind", "Job") != "Job":
        top.at("kind").refuse(f"the kind of a job is Job, not {raw['kind']!r}")
    if "spec" in raw:
        for key in raw:
            if key not in (*OUTSIDE, *BESIDE, "spec"):
                top.at(key).refuse(
                    f"'{key}' stands beside 'spec'",
                    "write it into the spec, or write no spec at all",
                    key=True,
                )
        found["spec"] = job(raw["spec"], top.at("spec"))
    else:
        rest = {key: value for key, value in raw.items() if key not in (*OUTSIDE, *BESIDE)}
        found["spec"] = job(rest, top.to("spec", of=()))
    return found


def job(raw: Any, place: Place) -> Any:
    """A canonical `JobSpec`."""
    if not isinstance(raw, dict):
        return raw
    raw = {"on" if key is True else key: value for key, value in raw.items()}  # a reader of YAML 1.1
    found = renamed(raw, place, {"on": "triggers", "environment": "env"})
    if "triggers" in found:
        found["triggers"] = _triggers(found["triggers"], _at(place, "triggers"))
    if "env" in found:
        found["env"], sources = values.environment(found["env"], _at(place, "env"))
        for source in sources:
            _at(place, "env").at(source["name"]).refuse(
                f"the variable {source['name']} of a whole job cannot come from a secret or config",
                "write it in the `env` of the tasks that need it",
            )
    for key, brought in _PARTS.items():
        if key in found:
            found[key] = brought(found[key], place.at(key))
    if isinstance(found.get("routines"), dict):
        inner = place.at("routines")
        found["routines"] = {key: routine(one, inner.at(key)) for key, one in found["routines"].items()}
    members(found, place)
    return {key: value for key, value in found.items() if value is not None}


def _at(place: Place, key: str) -> Place:
    canonical = (*place.canonical, key)
    return Place(place.findings, canonical, place.findings.written(canonical))


def _triggers(raw: Any, place: Place) -> Any:
    if not isinstance(raw, dict):
        return raw
    found: dict[Any, Any] = {}
    for kind, some in raw.items():
        if isinstance(some, list) and isinstance(kind, str):
            found[kind] = [_trigger(kind, one, place.at(kind, number)) for number, one in enumerate(some)]
        elif isinstance(kind, str):
            found[kind] = [_trigger(kind, some, place.to(kind, 0, of=(kind,)))]
    return found


def _trigger(kind: str, raw: Any, place: Place) -> Any:
    if kind == "schedule":
        return _schedule(raw, place)
    if isinstance(raw, str) and kind in _SINGLE:
        place.to(_SINGLE[kind], of=())
        return {_SINGLE[kind]: raw}
    found = renamed(raw, place, {"when": "if"})
    for key in ("states", "events"):
        if isinstance(found, dict) and isinstance(found.get(key), str):
            found[key] = as_list(found[key], place.at(key))
    return found


def _schedule(raw: Any, place: Place) -> Any:
    if isinstance(raw, str):
        every = raw.strip().removeprefix("@every ")
        key, value = ("every", every) if every != raw.strip() else ("cron", raw)
        place.to(key, of=())
        return {key: value}
    return renamed(raw, place, {"tz": "timezone"})


def _circuits(raw: Any, place: Place) -> Any:
    if isinstance(raw, list):
        for number, name in enumerate(raw):
            place.to(str(name), of=(number,))
        return {str(name): {} for name in raw}
    if isinstance(raw, dict):
        return {name: {} if one is None else one for name, one in raw.items()}
    return raw


def _notify(raw: Any, place: Place) -> Any:
    if isinstance(raw, list):
        return [_addressee(one, place.at(number)) for number, one in enumerate(raw)]
    return [] if raw is None else [_addressee(raw, place.to(0, of=()))]


def _addressee(raw: Any, place: Place) -> Any:
    if not isinstance(raw, dict):
        return raw
    found = {"on" if key is True else key: value for key, value in raw.items()}
    for key in ("on", "email"):
        if isinstance(found.get(key), str):
            found[key] = [found[key]]
    return found


def _keep(raw: Any, place: Place) -> Any:
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, int):
        return {"runs": raw}
    return {"age": raw} if isinstance(raw, str) else raw


_PARTS = {
    "inputs": values.inputs,
    "outputs": values.outputs,
    "priority": values.priority,
    "circuits": _circuits,
    "concurrency": values.concurrency,
    "notify": _notify,
    "keep": _keep,
}
