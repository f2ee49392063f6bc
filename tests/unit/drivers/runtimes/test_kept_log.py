"""Logs that are put away: all of their files, whenever the daemon dies."""

from __future__ import annotations

from pathlib import Path

import pytest

from hivemind.drivers.runtimes import kept_log

FILES = {"": "newest", ".1": "older", ".2": "oldest"}


@pytest.mark.parametrize("moved", range(4))
def test_what_was_moved_before_a_crash_stays_moved_and_the_rest_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: int
) -> None:
    newest, kept = tmp_path / "log", tmp_path / "kept" / "a.log"
    for suffix, text in FILES.items():
        Path(f"{newest}{suffix}").write_text(text)
    rename, left = kept_log._rename, [moved]

    def dies(source: Path, target: Path) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(kept_log, "_rename", dies)
        if moved < len(FILES):
            with pytest.raises(KeyboardInterrupt):
                kept_log.move(newest, kept)
    kept_log.move(newest, kept)
    assert {suffix: Path(f"{kept}{suffix}").read_text() for suffix in FILES} == FILES
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
