"""What a task left is read only where it is a file: not even opened otherwise."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from hivemind.agent.tasks.reading import read_text
from hivemind.errors import Invalid


def read(top: Path) -> str | None:
    return read_text(top, "output", 100, "what it wrote")


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    assert read(tmp_path) is None
    (tmp_path / "output").write_text("a=1")
    assert read(tmp_path) == "a=1"
    (tmp_path / "output").write_text("a" * 101)
    with pytest.raises(Invalid, match="larger"):
        read(tmp_path)


@pytest.mark.parametrize("kind", ["fifo", "link", "directory", "device"])
def test_nothing_else_is_opened(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening a watchdog's device, say, would have the machine start anew."""
    place = tmp_path / "output"
    match kind:
        case "fifo":
            os.mkfifo(place)
        case "link":
            place.symlink_to("/etc/passwd")
        case "directory":
            place.mkdir()
        case "device":
            os.mknod(place, 0o600 | stat.S_IFCHR, os.makedev(1, 7))
    opened: list[str] = []
    real = os.open
    monkeypatch.setattr(
        os, "open", lambda path, *more, **named: (opened.append(str(path)), real(path, *more, **named))[1]
    )
    with pytest.raises(Invalid, match=r"no file any more|cannot be read"):
        read(tmp_path)
    assert opened == [str(tmp_path)]


def test_a_link_on_the_way_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "status").write_text("begin 1")
    (tmp_path / "steps").symlink_to(tmp_path / "there")
    with pytest.raises(Invalid):
        read_text(tmp_path, "steps/status", 100, "its status")
