"""Where containers with users of their own are put together: never over anything that is needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from hivemind.drivers.runtimes.oci import stage


@pytest.fixture
def mounted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    done: list[str] = []
    monkeypatch.setattr(stage.kernel, "mount", lambda source, target, *rest, **options: done.append(target))
    return done


def test_the_first_place_that_nobody_needs(
    tmp_path: Path, mounted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [tmp_path / name for name in ("missing", "link", "data", "free", "further")]
    for place in places[2:]:
        place.mkdir()
    places[1].symlink_to(places[3])
    monkeypatch.setattr(stage, "_PLACES", tuple(map(str, places)))
    (tmp_path / "to data").symlink_to(places[2])
    needed = [tmp_path / "to data" / "hivemind" / "oci"]
    assert stage.prepare(needed) == places[3]
    assert mounted == [str(places[3])]
    assert stage.prepare(needed) == places[3] and len(mounted) == 1, "it is known again"


def test_no_place(tmp_path: Path, mounted: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "_PLACES", (str(tmp_path),))
    assert stage.prepare([tmp_path / "state"]) is None and mounted == []
