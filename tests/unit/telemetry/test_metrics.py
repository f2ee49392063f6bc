"""The text format, read back by a strict parser."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivemind.errors import Invalid
from hivemind.telemetry.metrics import Registry

_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)")
_PAIR = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(,|\Z)')
_VALUE = re.compile(r"[+-]Inf|NaN|-?\d+(\.\d+)?(e[+-]?\d+)?")

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def parse(text: str) -> tuple[dict[str, str], Samples]:
    """Types by family, values by name and labels. Fails for anything that the format does not allow."""
    types: dict[str, str] = {}
    samples: Samples = {}
    assert not text or text.endswith("\n")
    current = ""
    for line in text.split("\n")[:-1]:
        if line.startswith("# HELP "):
            current = line.split(" ", 3)[2]
            assert current not in types
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == current
            types[name] = kind
        else:
            match = _SAMPLE.fullmatch(line)
            assert match, line
            name, inner, value = match.groups()
            assert name.removeprefix(current) in {"counter": {""}, "gauge": {""}}.get(
                types[current], {"_bucket", "_sum", "_count"}
            )
            assert _VALUE.fullmatch(value), value
            key = (name, tuple(_labels(inner or "")))
            assert key not in samples
            samples[key] = float(value)
    return types, samples


def _labels(inner: str) -> list[tuple[str, str]]:
    found, at = [], 0
    while at < len(inner):
        match = _PAIR.match(inner, at)
        assert match, inner
        found.append((match[1], re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m[1], m[1]), match[2])))
        at = match.end()
    return found


def test_a_counter_with_labels() -> None:
    registry = Registry()
    requests = registry.counter("requests_total", "Requests\nserved \\ all.", ("method", "status"))
    requests.labels("GET", "200").add()
    requests.labels("GET", "200").add(2.5)
    requests.labels("PUT", "500").add()
    types, samples = parse(registry.text())
    assert types == {"requests_total": "counter"}
    assert samples == {
        ("requests_total", (("method", "GET"), ("status", "200"))): 3.5,
        ("requests_total", (("method", "PUT"), ("status", "500"))): 1,
    }
    assert "# HELP requests_total Requests\\nserved \\\\ all.\n" in registry.text()


def test_gauges_set_and_asked() -> None:
    registry = Registry()
    level = registry.gauge("level", "Level.")
    level.labels().set(5)
    level.labels().add(-7)
    registry.gauge("asked", "Asked.").labels().ask(lambda: 1e300)
    up = registry.gauge("up", "Up.", ("app",))
    up.ask(lambda: {("web",): 1, ("db",): math.nan})
    _, samples = parse(registry.text())
    assert samples["level", ()] == -2
    assert samples["asked", ()] == 1e300
    assert samples["up", (("app", "web"),)] == 1
    assert math.isnan(samples["up", (("app", "db"),)])


def test_histograms_are_cumulative_and_bounds_inclusive() -> None:
    registry = Registry()
    waits = registry.histogram("wait_seconds", "Waits.", ("what",), bounds=(0.1, 1, 10))
    for value in (0.05, 0.1, 0.5, 1, 99):
        waits.labels("disk").observe(value)
    _, samples = parse(registry.text())
    disk = ("what", "disk")
    buckets = [samples["wait_seconds_bucket", (disk, ("le", bound))] for bound in ("0.1", "1", "10", "+Inf")]
    assert buckets == [2, 4, 4, 5]
    assert samples["wait_seconds_count", (disk,)] == 5
    assert samples["wait_seconds_sum", (disk,)] == pytest.approx(100.65)


def test_a_removed_series_is_gone() -> None:
    registry = Registry()
    up = registry.gauge("up", "Up.", ("app",))
    up.labels("web").set(1)
    up.remove("web")
    assert parse(registry.text()) == ({"up": "gauge"}, {})


@given(st.text(st.characters(exclude_categories=["Cs"])), st.floats())
def test_any_label_and_any_value_come_back(text: str, value: float) -> None:
    registry = Registry()
    registry.gauge("g", text, ("label",)).labels(text).set(value)
    _, samples = parse(registry.text())
    found = samples["g", (("label", text),)]
    assert found == value or (math.isnan(found) and math.isnan(value))


@pytest.mark.parametrize("name", ["", "1x", "a-b", "a b", "é"])
def test_bad_names_are_refused(name: str) -> None:
    with pytest.raises(Invalid):
        Registry().counter(name, "x")
    with pytest.raises(Invalid):
        Registry().counter("fine", "x", (name,))


def test_misuse_is_refused() -> None:
    registry = Registry()
    counter = registry.counter("twice", "x", ("a",))
    for wrong in (
        lambda: registry.gauge("twice", "x"),
        lambda: counter.labels(),
        lambda: counter.labels("a").add(-1),
        lambda: counter.labels("a").add(math.nan),
        lambda: registry.counter("c", "x", ("a", "a")),
        lambda: registry.counter("c", "x", ("__a",)),
        lambda: registry.histogram("h", "x", ("le",)),
        lambda: registry.histogram("h", "x", bounds=(2, 1)),
        lambda: registry.histogram("h", "x", bounds=(1, math.inf)),
    ):
        with pytest.raises(Invalid):
            wrong()
