"""What tasks wait for: it is there, it can be seen from where they are, and nothing waits for itself."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from hivemind.errors import Invalid
from hivemind.jobs import expression
from hivemind.jobs.definition.checks.spots import Group, Spot, spots
from hivemind.jobs.definition.finding import Findings, Path, did_you_mean

_OUTCOMES = ("success", "failure", "done", "always")
Edges = dict[Group, dict[str, dict[str, Path]]]
"""Group -> task of it -> what that, or something in it, waits for -> where that is written."""


def check(all_groups: list[Group], findings: Findings) -> None:
    edges: Edges = {group: {name: {} for name in group.tasks} for group in all_groups}
    for group in all_groups:
        for spot in spots(group):
            for name, outcome in spot.task.needs.items():
                path = (*spot.path, "needs", name)
                _outcome(path, outcome, findings)
                seen = _resolve(spot, name, path, all_groups, findings)
                waiting = _within(spot, seen) if seen else None
                if seen and waiting:
                    edges[seen][waiting].setdefault(name, path)
        for before, after in pairwise(group.order):
            if after in edges[group] and before in edges[group]:
                edges[group][after].setdefault(before, ())
    for group, waits in edges.items():
        _cycle(group, waits, findings)


def _outcome(path: Path, outcome: str, findings: Findings) -> None:
    if outcome in _OUTCOMES:
        return
    if outcome.isidentifier():
        hint = did_you_mean(outcome, _OUTCOMES).replace("there are", "it may be")
        findings.add(
            path, f"there is no outcome '{outcome}'", f"{hint}; an expression over result is possible, too"
        )
        return
    try:
        expression.check(outcome)
    except Invalid as error:
        findings.add_error(path, error)
        return
    for reference in sorted(expression.references(outcome)):
        if reference[0] not in ("result", "state", "outputs", "exit_code", "results"):
            findings.add(
                path, f"'{reference[0]}' is not known here",
                "a need speaks of the result, outputs and exit_code of that task; for all else write `if`",
            )  # fmt: skip


def _resolve(spot: Spot, name: str, path: Path, all_groups: list[Group], findings: Findings) -> Group | None:
    """The group in which the needed task is, when it can be waited for."""
    if name == spot.id and name in spot.group.tasks:
        findings.add(path, f"{spot.id} needs itself", "take it out", key=True)
        return None
    group = spot.group.find(name)
    if group is None:
        inside = next((g.owner for g in all_groups if name in g.tasks and g.owner and not g.hook), None)
        hint = did_you_mean(name, spot.group.visible() - {spot.id})
        if inside is not None:
            hint = f"{name} is inside the group {inside.id}: need {inside.id}, or put {spot.id} into it, too"
        findings.add(
            path, f"{spot.id} needs '{name}', which it cannot see or which is not there", hint, key=True
        )
        return None
    if any(owner.id == name and owner.group is group for owner in spot.around):
        findings.add(
            path, f"{spot.id} needs {name}, the group that it is in itself",
            "the group ends only when all in it have ended: need one of its tasks", key=True,
        )  # fmt: skip
        return None
    return group


def _within(spot: Spot, group: Group) -> str | None:
    """The task of `group` that the spot is, or is in. None: it is in a hook, which begins when all of these ended."""
    while spot.group is not group:
        if spot.group.hook or spot.group.owner is None:
            return None
        spot = spot.group.owner
    return spot.id


def _cycle(group: Group, waits: Mapping[str, Mapping[str, Path]], findings: Findings) -> None:
    """Each circle once, shown whole where it begins."""
    done: set[str] = set()
    for start in waits:
        if start in done:
            continue
        trail = {start: None}
        stack = [(start, iter(waits[start]))]
        while stack:
            name, further = stack[-1]
            following = next((n for n in further if n not in done), None)
            if following is None:
                done.add(name)
                stack.pop()
                trail.pop(name)
            elif following in trail:
                names = list(trail)
                _tell(group, [*names[names.index(following) :], following], waits, findings)
                done.add(following)
            else:
                stack.append((following, iter(waits[following])))
                trail[following] = None


def _tell(
    group: Group, circle: list[str], waits: Mapping[str, Mapping[str, Path]], findings: Findings
) -> None:
    written = [waits[one][other] for one, other in pairwise(circle) if waits[one][other]]
    words = [circle[0]]
    for one, other in pairwise(circle):
        words.append(f"needs {other}" if waits[one][other] else f"comes after {other} in the sequence")
        words.append("which")
    hint = "take one of these needs away"
    if len(written) < len(circle) - 1:
        hint = "in a sequence each task waits for the one before it: change the order, or take the need away"
    findings.add(
        written[0] if written else group.path,
        f"{' '.join(words[:-1])}: none of them can begin",
        hint,
        key=True,
    )
