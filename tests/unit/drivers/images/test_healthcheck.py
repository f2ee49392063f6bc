"""HEALTHCHECK of an image becomes a check."""

from __future__ import annotations

import msgspec
import pytest

from hivemind.drivers.images.manifest import Configuration
from hivemind.model.check import Check, CommandProbe


def read(config: object) -> Check | None:
    data = msgspec.json.encode({"rootfs": {"diff_ids": []}, "config": config})
    return msgspec.json.decode(data, type=Configuration).start.healthcheck


def test_dockers_defaults_are_taken() -> None:
    assert read({"Healthcheck": {"Test": ["CMD", "curl", "-f", "http://localhost"]}}) == Check(
        probe=CommandProbe(command=("curl", "-f", "http://localhost")), interval=30, timeout=30, retries=3
    )


def test_times_are_nanoseconds_and_shells_are_the_images() -> None:
    given = {"Test": ["CMD-SHELL", "test -f /up || exit 1"], "Interval": 5 * 10**9, "Timeout": 10**9,
             "StartPeriod": 60 * 10**9, "Retries": 7}  # fmt: skip
    assert read({"Healthcheck": given}) == Check(
        probe=CommandProbe(command=("/bin/sh", "-c", "test -f /up || exit 1")),
        interval=5, timeout=1, retries=7, start_period=60,
    )  # fmt: skip
    found = read({"Healthcheck": given, "Shell": ["/bin/bash", "-ec"]})
    assert found
    assert found.probe == CommandProbe(command=("/bin/bash", "-ec", "test -f /up || exit 1"))


@pytest.mark.parametrize(
    "config",
    [None, {}, {"Healthcheck": None}, {"Healthcheck": {}}, {"Healthcheck": {"Test": ["NONE"]}},
     {"Healthcheck": {"Test": []}}, {"Healthcheck": {"Test": ["CMD"]}}, {"Healthcheck": {"Test": ["ODD", "x"]}}],
)  # fmt: skip
def test_no_check_is_none(config: object) -> None:
    assert read(config) is None


def test_nonsense_is_bounded() -> None:
    found = read({"Healthcheck": {"Test": ["CMD", "x"], "Interval": -5, "Timeout": 10**18, "Retries": -1}})
    assert found == Check(probe=CommandProbe(command=("x",)), interval=30, timeout=86400, retries=3)
