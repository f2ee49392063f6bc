"""Results as a table for the terminal and as the page `docs/benchmarks.md`."""

from __future__ import annotations

import datetime
import importlib
from collections.abc import Mapping, Sequence

from bench.machine import describe
from bench.row import Row

_HEAD = ("benchmark", "result", "peer", "ratio", "budget", "")

_INTRODUCTION = """\
# Benchmarks

Written by `./run bench --markdown` on {date}. Every ratio compares two things measured in the same run, by
turns, medians of several rounds; seconds of another machine will differ, ratios should not by much. A ratio
without a bound says how many times better Hivemind is than its peer, unless the peer is called bare: then it
is what Hivemind takes relative to the least that anyone must.

## The machine

{machine}
"""


def table(rows: Sequence[Row]) -> str:
    lines = [_HEAD, *(_cells(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if at in (1, 3) else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def markdown(results: Mapping[str, Sequence[Row]]) -> str:
    """Each benchmark with what its module says of it: the docstring, and `NOTE`, where the time or memory goes."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    machine = "\n".join(f"- {name}: {value}" for name, value in describe().items())
    introduction = _INTRODUCTION.format(date=today, machine=machine)
    return "\n".join((introduction, *(_section(name, rows) for name, rows in results.items())))


def renewed(page: str, results: Mapping[str, Sequence[Row]]) -> str:
    """The page with these benchmarks told anew, in their places or at its end, and all else as it is."""
    introduction, *others = page.split("\n## ")
    sections = {other.partition("\n")[0]: f"## {other}" for other in others}
    sections |= {name: _section(name, rows) for name, rows in results.items()}
    return "\n".join((introduction, *sections.values()))


def _section(name: str, rows: Sequence[Row]) -> str:
    lines = [_HEAD, ("---", "---:", "---", "---:", "---", "---"), *(_cells(row) for row in rows)]
    module = importlib.import_module(f"bench.{name}")
    parts = [f"## {name}\n\n{(module.__doc__ or '').strip()}\n"]
    parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n")
    if note := getattr(module, "NOTE", ""):
        parts.append(note)
    return "\n".join(parts)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row["name"],
        f"{row['value']:,g} {row['unit']}" if row["value"] < 1000 else f"{row['value']:,.0f} {row['unit']}",
        row["peer"],
        "" if row["ratio"] is None else f"{row['ratio']:g}x",
        row["budget"] or "",
        "" if not row["budget"] else "ok" if row["ok"] else "MISSED",
    )
