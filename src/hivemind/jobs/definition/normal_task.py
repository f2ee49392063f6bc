"""Tasks and groups: from the ways they are written to the canonical one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from hivemind.jobs.definition import values
from hivemind.jobs.definition.finding import did_you_mean
from hivemind.jobs.definition.needs import depends, needs
from hivemind.jobs.definition.place import Place, as_list
from hivemind.model.mount import ConfigMount, SecretMount

HOOKS = ("finally", "on_failure", "on_success")
_RENAMED = {"when": "if", "environment": "env", "retries": "retry"}
_DASHED = {"max-parallel", "fail-fast", "for-each", "allow-failure", "on-failure", "on-success", "env-from",
           "share-nodes"}  # fmt: skip
_PARTS: dict[str, Callable[[Any, Place], Any]] = {
    "priority": values.priority,
    "command": values.words,
    "entrypoint": values.words,
    "concurrency": values.concurrency,
    "rate": values.rate,
    "retry": values.retry,
    "outputs": values.outputs,
    "artifacts": values.artifacts,
    "approval": values.approval,
    "needs": needs,
    "if": values.condition,
    "constraints": as_list,
    "circuits": as_list,
}
_INTO_RESOURCES = ("gpus", "cpus", "memory")


def renamed(raw: Any, place: Place, names: Mapping[Any, str]) -> Any:
    """With canonical keys; both spellings at once are refused."""
    if not isinstance(raw, dict):
        return raw
    found: dict[Any, Any] = {}
    for key, value in raw.items():
        name: Any = names.get(key, key)
        if name in _DASHED:
            name = name.replace("-", "_")
        if name in found:
            place.at(key).refuse(f"'{key}' stands beside '{name}', which means the same", key=True)
            continue
        if name != key:
            place.to(name, of=(key,))
        found[name] = value
    return found


def task(raw: Any, place: Place) -> Any:
    """One task or group, with everything in it."""
    if isinstance(raw, str):
        place.to("run", of=())
        return {"run": raw}
    found = renamed(raw, place, _RENAMED)
    if not isinstance(found, dict):
        return raw
    for key, brought in _PARTS.items():
        if key in found:
            found[key] = brought(found[key], _of(place, key))
    _variables(found, place)
    _mounts(found, place)
    _resources(found, place)
    _fan_out(found, place)
    if "depends" in found:
        given = depends(found.pop("depends"), place.to("needs", of=("depends",)))
        found["needs"] = {**given, **(found.get("needs") or {})}
    if "steps" in found:
        found["steps"] = steps(found["steps"], place.at("steps"))
    if "network" in found and isinstance(found["network"], str):
        place.to("network", "mode", of=("network",))
        found["network"] = {"mode": found["network"]}
    members(found, place)
    _pass_down(found, place)
    return {key: value for key, value in found.items() if value is not None}


def _pass_down(found: dict[str, Any], place: Place) -> None:
    """The concurrency of a group holds for all tasks in it together, but for those that have one of their own; what
    asks a person, or calls another job, takes nothing that could be limited."""
    inner = found.get("tasks")
    if not isinstance(inner, dict) or not inner or "concurrency" not in found:
        return
    given = found.pop("concurrency")
    if isinstance(given, dict) and not given.get("key"):
        given = {**given, "key": f"${{{{ run.job }}}}.{'.'.join(_names(place))}"}
    for name, one in inner.items():
        if isinstance(one, dict) and not one.keys() & {"concurrency", "approval", "job"}:
            one["concurrency"] = given
            place.to("tasks", name, "concurrency", of=("concurrency",))
            _pass_down(one, _of(place, "tasks", name))


def _names(place: Place) -> list[str]:
    """Of the groups on the way there."""
    return [str(name) for above, name in pairwise(place.canonical) if above == "tasks"]


def _of(place: Place, *keys: str) -> Place:
    """The place of canonical keys, under whatever names they were written."""
    canonical = (*place.canonical, *keys)
    return Place(place.findings, canonical, place.findings.written(canonical))


def members(found: dict[str, Any], place: Place) -> None:
    """The tasks of a group or job, its groups and its hooks; `found` is changed."""
    mode = found.pop("mode", None)
    if mode in ("sequence", "graph"):
        found.setdefault("sequence", mode == "sequence")
    elif mode is not None:
        place.at("mode").refuse(f"'mode' cannot be {mode!r}", "sequence or graph")
    raw = found.get("tasks")
    if "tasks" in found:
        found["tasks"] = _tasks(raw, place.at("tasks"))
    if "groups" in found:
        _groups(found, place)
    if isinstance(found.get("tasks"), dict) and found.get("sequence") is True and "order" not in found:
        found["order"] = [key for key in found["tasks"] if isinstance(key, str)]
    for hook in HOOKS:
        if hook in found:
            found[hook] = _tasks(found[hook], _of(place, hook))


def _tasks(raw: Any, place: Place) -> Any:
    if not isinstance(raw, dict):
        return raw
    return {key: task(one, place.at(key)) for key, one in raw.items()}


def _groups(found: dict[str, Any], place: Place) -> None:
    """`groups: {ml: {tasks: [get, train]}}` gathers tasks that are written beside it; a mapping defines them there."""
    groups = found.pop("groups")
    beside = found.setdefault("tasks", {})
    if not isinstance(groups, dict) or not isinstance(beside, dict):
        place.at("groups").refuse(
            "'groups' is a mapping", "write it like groups: {ml: {tasks: [get, train]}}"
        )
        return
    for name, raw in groups.items():
        where = place.to("tasks", name, of=("groups", name))
        raw = {"tasks": raw} if isinstance(raw, list) else raw
        if not isinstance(raw, dict):
            where.refuse("a group is a mapping", "write it like ml: {tasks: [get, train]}")
            continue
        if name in beside:
            where.refuse(f"{name} is a task and a group", "give one of them another name", key=True)
            continue
        listed = raw.get("tasks")
        if isinstance(listed, list):
            beside[name] = _gathered(name, {**raw, "tasks": {}}, listed, beside, place, where)
        else:
            beside[name] = task(raw, where)


def _gathered(
    name: str, raw: dict[str, Any], listed: list[Any], beside: dict[str, Any], place: Place, where: Place
) -> Any:
    group = task(raw, where)
    for number, member in enumerate(listed):
        if not isinstance(member, str) or member not in beside:
            where.at("tasks", number).refuse(
                f"there is no task {member!r} beside the group {name}", did_you_mean(str(member), beside)
            )
            continue
        group["tasks"][member] = beside.pop(member)
        _move(place, ("tasks", member), ("tasks", name, "tasks", member))
    if group.get("sequence") is True:
        group["order"] = list(group["tasks"])
    _pass_down(group, where)
    return group


def _move(place: Place, old: tuple[str, ...], new: tuple[str, ...]) -> None:
    place.findings.shift((*place.canonical, *old), (*place.canonical, *new))


def _variables(found: dict[str, Any], place: Place) -> None:
    if "env" not in found:
        return
    plain, sources = values.environment(found["env"], _of(place, "env"))
    found["env"] = plain
    if sources:
        given = as_list(found.get("env_from"), place.at("env_from"))
        for number, source in enumerate(sources, start=len(given)):
            written = (*_of(place, "env").written, source["name"])
            Place(place.findings, (*place.canonical, "env_from", number), written)
        found["env_from"] = [*given, *sources]


def _mounts(found: dict[str, Any], place: Place) -> None:
    gathered = [
        (key, brought(found.pop(key), place.at(key))) for key, brought in _MOUNTS.items() if key in found
    ]
    if not gathered:
        return
    mounts = as_list(found.get("mounts"), place.at("mounts"))
    for key, some in gathered:
        for mount, number in some:
            place.to("mounts", len(mounts), of=(key, number))
            mounts.append(mount)
    found["mounts"] = mounts


_MOUNTS: dict[str, Callable[[Any, Place], list[tuple[Any, int]]]] = {
    "volumes": values.volumes,
    "secrets": lambda raw, place: values.contents(raw, place, SecretMount),
    "configs": lambda raw, place: values.contents(raw, place, ConfigMount),
}


def _resources(found: dict[str, Any], place: Place) -> None:
    given = found.get("resources")
    resources = dict(given) if isinstance(given, dict) else {}
    if "nodes" in resources and "nodes" not in found:
        place.to("nodes", of=("resources", "nodes"))
        found["nodes"] = resources.pop("nodes")
    for key in _INTO_RESOURCES:
        if key in found:
            place.to("resources", key, of=(key,))
            resources.setdefault(key, found.pop(key))
    if isinstance(given, dict) or (given is None and resources):
        found["resources"] = resources


def _fan_out(found: dict[str, Any], place: Place) -> None:
    """`include` and `exclude` may stand within `matrix`, as on GitHub."""
    matrix = found.get("matrix")
    if not isinstance(matrix, dict):
        return
    inner = dict(matrix)
    for key in ("include", "exclude"):
        if isinstance(inner.get(key), list) and all(isinstance(one, dict) for one in inner[key]):
            place.to(key, of=("matrix", key))
            found[key] = inner.pop(key)
    found["matrix"] = inner


def steps(raw: Any, place: Place) -> Any:
    if isinstance(raw, str):
        raw = as_list(raw, place)
    if not isinstance(raw, list):
        return raw
    return [_step(one, place.at(number)) for number, one in enumerate(raw)]


def _step(raw: Any, place: Place) -> Any:
    if isinstance(raw, str):
        place.to("run", of=())
        return {"run": raw}
    found = renamed(raw, place, {"environment": "env"})
    if isinstance(found, dict) and "env" in found:
        found["env"], sources = values.environment(found["env"], _of(place, "env"))
        for source in sources:
            _of(place, "env").at(source["name"]).refuse(
                f"the variable {source['name']} of one step cannot come from a secret or config",
                "write it in the `env` of the task",
            )
    return found


def routine(raw: Any, place: Place) -> Any:
    if isinstance(raw, str):
        place.to("run", of=())
        return {"run": raw}
    found = renamed(raw, place, {"environment": "env"})
    if not isinstance(found, dict):
        return raw
    if "inputs" in found:
        found["inputs"] = values.inputs(found["inputs"], place.at("inputs"))
    if "outputs" in found:
        found["outputs"] = values.outputs(found["outputs"], place.at("outputs"), of_routine=True)
    if "steps" in found:
        found["steps"] = steps(found["steps"], place.at("steps"))
    if "env" in found:
        found["env"], sources = values.environment(found["env"], _of(place, "env"))
        for source in sources:
            _of(place, "env").at(source["name"]).refuse(
                f"the variable {source['name']} of a routine cannot come from a secret or config",
                "make it an input, or write it in the `env` of the task that calls it",
            )
    return found
