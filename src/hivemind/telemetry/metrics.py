"""Metrics in Prometheus' text format 0.0.4.

A `Registry` holds families; a family holds one series for each combination of its labels' values:

    requests = registry.counter("hivemind_requests_total", "Requests served.", ("method", "status"))
    requests.labels("GET", "200").add()

Values that somebody else keeps are given as callbacks and asked for at each scrape.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Generic, TypeVar

from hivemind.errors import Invalid

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Bounds of buckets that fit most durations."""

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_Labels = tuple[tuple[str, str], ...]
_Sample = tuple[str, _Labels, float]
"""What follows the family's name, labels, value."""


class Counter:
    """Only rises."""

    kind = "counter"

    def __init__(self) -> None:
        self._value = 0.0

    def add(self, amount: float = 1) -> None:
        if not amount >= 0:
            raise Invalid(f"a counter only rises, it cannot take {amount}")
        self._value += amount

    def samples(self) -> Iterator[_Sample]:
        yield "", (), self._value


class Gauge:
    """Goes to and fro; either set, or asked for at each scrape."""

    kind = "gauge"

    def __init__(self) -> None:
        self._value = 0.0
        self._ask: Callable[[], float] | None = None

    def set(self, value: float) -> None:
        self._value, self._ask = value, None

    def add(self, amount: float = 1) -> None:
        self._value += amount

    def ask(self, callback: Callable[[], float]) -> None:
        self._ask = callback

    def samples(self) -> Iterator[_Sample]:
        yield "", (), self._ask() if self._ask else self._value


class Histogram:
    """Counts observations up to each bound (inclusive)."""

    kind = "histogram"

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def samples(self) -> Iterator[_Sample]:
        totals = list(accumulate(self._counts))
        for bound, total in zip((*self._bounds, math.inf), totals, strict=True):
            yield "_bucket", (("le", _number(bound)),), total
        yield "_sum", (), self._sum
        yield "_count", (), totals[-1]


M = TypeVar("M", Counter, Gauge, Histogram)


class Family(Generic[M]):
    """One name, its help and its series."""

    def __init__(self, name: str, help: str, labels: Sequence[str], make: Callable[[], M], kind: str) -> None:
        self.name, self.help, self.kind = name, help, kind
        self._labels = tuple(labels)
        self._make: Callable[[], M] = make
        self._series: dict[tuple[str, ...], M] = {}
        self._ask: Callable[[], dict[tuple[str, ...], float]] | None = None

    def labels(self, *values: str) -> M:
        """The series with these values, in the order of the declared labels; made when it is new."""
        if len(values) != len(self._labels):
            raise Invalid(f"{self.name} has the labels {self._labels}, not {len(values)} values")
        series = self._series.get(values)
        if series is None:
            series = self._series[values] = self._make()
        return series

    def remove(self, *values: str) -> None:
        self._series.pop(values, None)

    def ask(self, callback: Callable[[], dict[tuple[str, ...], float]]) -> None:
        """All series at once, at each scrape: for what comes and goes, like the containers of a node."""
        self._ask = callback

    def lines(self) -> Iterator[str]:
        yield f"# HELP {self.name} {_escaped(self.help)}"
        yield f"# TYPE {self.name} {self.kind}"
        for values, series in sorted(self._series.items()):
            for suffix, more, value in series.samples():
                yield self._line(suffix, values, more, value)
        for values, value in sorted(self._ask().items()) if self._ask else ():
            yield self._line("", values, (), value)

    def _line(self, suffix: str, values: tuple[str, ...], more: _Labels, value: float) -> str:
        labels = (*zip(self._labels, values, strict=True), *more)
        inner = ",".join(f'{name}="{_quoted(text)}"' for name, text in labels)
        return (
            f"{self.name}{suffix}{{{inner}}} {_number(value)}"
            if inner
            else f"{self.name}{suffix} {_number(value)}"
        )


class Registry:
    """All families of a process; `text` is one scrape."""

    def __init__(self) -> None:
        self._families: dict[str, Family[Counter] | Family[Gauge] | Family[Histogram]] = {}

    def counter(self, name: str, help: str, labels: Sequence[str] = ()) -> Family[Counter]:
        return self._add(Family(name, help, labels, Counter, Counter.kind))

    def gauge(self, name: str, help: str, labels: Sequence[str] = ()) -> Family[Gauge]:
        return self._add(Family(name, help, labels, Gauge, Gauge.kind))

    def histogram(
        self, name: str, help: str, labels: Sequence[str] = (), bounds: Sequence[float] = SECONDS
    ) -> Family[Histogram]:
        if list(bounds) != sorted(set(bounds)) or not all(math.isfinite(bound) for bound in bounds):
            raise Invalid(f"the bounds of {name} must rise and be finite")
        if "le" in labels:
            raise Invalid(f"the label le of {name} belongs to its buckets")
        return self._add(Family(name, help, labels, lambda: Histogram(bounds), Histogram.kind))

    def _add(self, family: Family[M]) -> Family[M]:
        if not _NAME.fullmatch(family.name):
            raise Invalid(f"{family.name!r} is not a name for a metric")
        bad = [label for label in family._labels if not _LABEL.fullmatch(label)]
        if bad or len(set(family._labels)) != len(family._labels):
            raise Invalid(f"the labels {family._labels} of {family.name} are not distinct names")
        if family.name in self._families:
            raise Invalid(f"there is a metric {family.name} already")
        self._families[family.name] = family
        return family

    def text(self) -> str:
        lines = [line for _, family in sorted(self._families.items()) for line in family.lines()]
        return "".join(line + "\n" for line in lines)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', '\\"')


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(float(value))
