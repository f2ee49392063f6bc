"""`hivemind sim`: seeds, what happened in them, and how to repeat those that failed."""

from __future__ import annotations

import os
import secrets
from collections import Counter
from typing import Any

import msgspec

from hivemind.cli.context import Context
from hivemind.cli.output import show_data
from hivemind.cli.parsing import Values
from hivemind.errors import Invalid, nearest
from hivemind.sim.faults import KINDS
from hivemind.sim.many import outcomes, smallest
from hivemind.sim.registry import ADVERSARIES
from hivemind.sim.run import Outcome
from hivemind.sim.scenario import Settings

_TAIL = 60
"""Lines of the trace of a run that failed."""


def sim(context: Context) -> int:
    """1 when a run failed."""
    protocol = str(context.args.get("protocol", "pbft"))
    if context.args.adversary == "list":
        _list(context, protocol)
        return 0
    wanted = settings_of(context.args)
    jobs = int(context.args.get("jobs", os.cpu_count() or 1))
    plain = context.args.output in ("json", "yaml")
    failed: list[Outcome] = []
    coverage: Counter[str] = Counter()
    events, digest = 0, ""
    for outcome in outcomes(wanted, jobs=jobs, trace=bool(context.args.trace)):
        coverage.update(outcome.coverage)
        events, digest = events + outcome.events, outcome.digest
        if outcome.failed:
            failed.append(smallest(outcome) if context.args.shrink else outcome)
        if not plain:
            _show(context, failed[-1] if outcome.failed else outcome, alone=len(wanted) == 1)
    if plain:
        show_data(context, _document(context, wanted, failed, coverage, events, digest))
    else:
        _sum_up(context, wanted, failed, coverage, events)
    return 1 if failed else 0


def _list(context: Context, protocol: str) -> None:
    known = ADVERSARIES[protocol]
    if context.args.output in ("json", "yaml"):
        show_data(context, {name: kind.about for name, kind in known.items()})
        return
    for name, kind in known.items():
        context.print(f"{name:<26} {kind.about}")


def settings_of(args: Values) -> list[Settings]:
    """The runs that a command line asks for. Raises `Invalid`."""
    protocol = str(args.get("protocol", "pbft"))
    first = args.get("seed")
    seed = int(first) if first is not None else secrets.randbelow(2**32)
    runs, nodes = int(args.get("runs", 1)), int(args.get("nodes", 4))
    if runs < 1 or nodes < 1:
        raise Invalid("there must be a run, and a node in it", hint="--runs and --nodes count from 1")
    return [
        Settings(
            seed=seed + number,
            protocol=protocol,
            nodes=nodes,
            faults=_faults(str(args.get("faults", "all"))),
            adversary=adversary,
            seconds=float(args.get("seconds", 10)),
            real_crypto=bool(args.real_crypto),
            only_faults=_numbers(args.get("only_faults"), "--only-faults"),
            only_operations=_numbers(args.get("only_operations"), "--only-operations"),
        )
        for adversary in _adversaries(str(args.get("adversary", "")), protocol)
        for number in range(runs)
    ]


def _adversaries(name: str, protocol: str) -> list[str]:
    known = ADVERSARIES[protocol]
    if name == "all":
        return list(known)
    if name and name not in known:
        raise Invalid(
            f"nobody lies to {protocol} as {name!r}",
            hint=nearest(name, known) or f"hivemind sim --protocol {protocol} --adversary list",
        )
    return [name]


def _faults(text: str) -> tuple[str, ...]:
    if text in ("all", "none"):
        return tuple(KINDS) if text == "all" else ()
    kinds = tuple(kind.strip() for kind in text.split(","))
    for kind in kinds:
        if kind not in KINDS:
            raise Invalid(
                f"there is no fault {kind!r}", hint=nearest(kind, KINDS) or f"there are {', '.join(KINDS)}"
            )
    return kinds


def _numbers(text: Any, option: str) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(number) for number in str(text).split(",") if number.strip())
    except ValueError:
        raise Invalid(f"{option} is a list of numbers, not {text!r}", hint=f"{option} 0,3,4") from None


def again(settings: Settings) -> str:
    """The command that repeats a run."""
    faults = "all" if set(settings.faults) == set(KINDS) else ",".join(settings.faults) or "none"
    words = [
        f"hivemind sim --seed {settings.seed} --protocol {settings.protocol} --nodes {settings.nodes}",
        f"--faults {faults} --seconds {settings.seconds:g}",
    ]
    if settings.adversary:
        words.append(f"--adversary {settings.adversary}")
    if settings.real_crypto:
        words.append("--real-crypto")
    for option, numbers in (
        ("--only-faults", settings.only_faults),
        ("--only-operations", settings.only_operations),
    ):
        if numbers is not None:
            words.append(f"{option} {','.join(map(str, numbers)) or ','}")
    return " ".join(words)


def _show(context: Context, outcome: Outcome, *, alone: bool) -> None:
    """A run that failed, whole; one that did not, when it is the only one or its trace was wanted."""
    if context.args.trace:
        for line in outcome.trace:
            context.print(line)
    elif outcome.failed:
        for line in outcome.trace[-_TAIL:]:
            context.print(line)
    if outcome.failed or alone:
        liar = f", {outcome.settings.adversary}" if outcome.settings.adversary else ""
        context.print(
            f"seed {outcome.settings.seed}{liar}: {outcome.events} events in {outcome.ended / 1e6:.1f} s"
        )
        for fault in outcome.told:
            context.print(f"  {fault}")
    if outcome.failed:
        context.print(context.terminal.paint(f"failed: {outcome.rule}: {outcome.story}", "red"))
        context.print(f"again:  {again(outcome.settings)}")


def _sum_up(
    context: Context, wanted: list[Settings], failed: list[Outcome], coverage: Counter[str], events: int
) -> None:
    for what, count in sorted(coverage.items()):
        context.print(f"{count:>9}  {what}")
    context.print(
        f"{len(wanted)} run{'s' * (len(wanted) != 1)} from seed {wanted[0].seed}, {events} events, {len(failed)} failed"
    )


def _document(
    context: Context,
    wanted: list[Settings],
    failed: list[Outcome],
    coverage: Counter[str],
    events: int,
    digest: str,
) -> dict[str, Any]:
    """`digest` is of the last run."""
    return {
        "seed": wanted[0].seed,
        "runs": len(wanted),
        "events": events,
        "digest": digest,
        "coverage": dict(sorted(coverage.items())),
        "failures": [
            {
                "settings": msgspec.to_builtins(outcome.settings),
                "rule": outcome.rule,
                "story": outcome.story,
                "faults": list(outcome.told),
                "again": again(outcome.settings),
                "trace": list(outcome.trace if context.args.trace else outcome.trace[-_TAIL:]),
            }
            for outcome in failed
        ],
    }
